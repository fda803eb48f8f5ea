"""Makes the pictures of the documentation: python -m tests.page.screenshots.

The session is a real one, of Claude Code with a scripted engine.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
from anyio import to_thread

from claude_bridge.page.document import trace_page
from claude_bridge.trace.trace_file import TraceFile
from tests.claude_code.client import new_installation
from tests.cli.process import serving
from tests.page.browser import open_browser
from tests.page.recording import MAIN, engine, record
from tests.real_parts import find_claude_code

IMAGES = Path(__file__).parent.parent.parent / "docs" / "pictures"


def main() -> None:
    """Make the pictures."""
    binary = find_claude_code()
    if isinstance(binary, str):
        sys.exit(binary)
    with tempfile.TemporaryDirectory() as folder:
        anyio.run(_make, binary, Path(folder))


async def _make(binary: Path, folder: Path) -> None:
    trace = folder / "trace.jsonl"
    await record(new_installation(binary, folder / "first"), trace)
    page = trace.with_suffix(".html")
    page.write_bytes(b"".join(trace_page(TraceFile(trace))))
    await to_thread.run_sync(_picture_of_trace, page.as_uri())
    claude_code = new_installation(binary, folder / "second")
    async with (
        engine(claude_code.project) as upstream,
        serving("openai", MAIN, "--base-url", upstream.base_url, "--context-window", "65536") as bridge,
        anyio.create_task_group() as tasks,
    ):
        await bridge.says("Start Claude Code")
        (address,) = re.findall(rf"({bridge.url}/\?key=\S+)", bridge.reported)
        begin = partial(claude_code.ask, bridge.url, "What is in this folder?", "--model", MAIN)
        await to_thread.run_sync(_picture_of_bridge, address, partial(tasks.start_soon, begin))
        tasks.cancel_scope.cancel()


def _picture_of_trace(address: str) -> None:
    with open_browser() as browser:
        browser.look(width=1200, height=750)
        browser.open(address)
        browser.run("select(page.exchanges[2].exchange, 'compare')")
        browser.until("document.querySelector('.compare input, #view input')")
        browser.click("#view input")
        browser.until("!document.querySelector('.compare tr.same')")
        browser.picture(IMAGES / "trace-page.png")


def _picture_of_bridge(address: str, begin: Callable[[], object]) -> None:
    with open_browser() as browser:
        browser.look(width=1200, height=750, dark=True)
        browser.open(address)
        browser.until("document.querySelector('#detail .state.good')")
        anyio.from_thread.run_sync(begin)
        browser.until("page.exchanges.length >= 3 && document.querySelector('#running .progress')")
        browser.picture(IMAGES / "live-page.png")


if __name__ == "__main__":
    main()
