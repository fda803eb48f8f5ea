"""The pages on engines show what really happens: their command is run against a scripted engine of that kind."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import anyio
import pytest

from claude_bridge.providers import PROVIDERS
from tests.cli.process import serving
from tests.scripted_engines import engine_of

FOLDER = Path(__file__).parent.parent / "docs" / "engines"
PAGES = sorted(page.stem for page in FOLDER.glob("*.md"))

KEYS = {"OPENAI_API_KEY": "a-key-of-openai", "OPENROUTER_API_KEY": "a-key-of-openrouter", "SHELL": "/bin/bash"}

_OUTPUT = re.compile(r"(<!-- output: [\w-]+ -->\n).*?(<!-- end -->)", re.DOTALL)


async def output_of(page: str, command: str) -> str:
    """Return what ``bridge serve`` prints, with the engine at its usual address."""
    words = shlex.split(command)[2:]
    usual_url = PROVIDERS[words[0]].base_url
    async with engine_of(page) as engine:
        url = f"http://127.0.0.1:{engine.port}" + ("/v1" if usual_url.endswith("/v1") else "")
        async with serving(*words, "--base-url", url, env=KEYS) as bridge:
            await bridge.says("claude --model")
            reported = bridge.reported.replace(url, usual_url)
    reported = re.sub(r"http://127\.0\.0\.1:\d+/\?key=\S+", "http://127.0.0.1:8765/?key=…", reported)
    return re.sub(r'\$\(.* env --url \S+"', '$(bridge env)"', reported)


@pytest.mark.anyio
@pytest.mark.parametrize("page", PAGES)
async def test_the_page_shows_what_its_command_prints(page: str, request: pytest.FixtureRequest) -> None:
    path = FOLDER / f"{page}.md"
    text = await anyio.Path(path).read_text("utf-8")
    commands = re.findall(r"^    (bridge serve .*)$", text, re.MULTILINE)
    lines = (await output_of(page, commands[0])).splitlines()
    shown = "\n" + "".join(f"    {line}\n" for line in lines) + "\n"
    expected = _OUTPUT.sub(lambda found: found[1] + shown + found[2], text)
    if request.config.getoption("--update-reference"):
        await anyio.Path(path).write_text(expected, "utf-8")
    else:
        assert text == expected, "pytest --update-reference tests/test_engine_pages.py brings the page up to it"
    assert _OUTPUT.search(text) is not None
