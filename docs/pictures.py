"""Draws the pictures of README.md from what the program really prints, with a scripted engine behind it.

Run python docs/pictures.py; it needs the extra ``dev``. The plot is from benchmarks/prompt_cache.py --plot.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import sys
import tempfile
import termios
import time
from contextlib import suppress
from pathlib import Path

import anyio
import httpx
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

FOLDER = Path(__file__).parent / "pictures"
sys.path.insert(0, str(FOLDER.parent.parent))

from tests.cli.process import command, environment, serving  # noqa: E402 - found in the checkout
from tests.fake_upstream import (  # noqa: E402
    DONE,
    Pause,
    Reply,
    Send,
    Stall,
    chunk,
    frame,
    progress,
    stream,
    tool_call,
)
from tests.real_parts import cache_folder  # noqa: E402
from tests.scripted_engines import engine_of  # noqa: E402

COLUMNS = 96
SESSION = "3f0c9a52-5d0e-4f4e-9c2b-1a7e6f3d2b10"
OTHER_SESSION = "b2c7d1f0-8e55-4a0b-8f4e-6f2f9f0f7a11"
HEADERS = {"user-agent": "claude-cli/2.1.332 (external, cli)", "x-claude-code-session-id": SESSION}
TOOL = {"name": "Bash", "description": "Run a command.", "input_schema": {"type": "object"}}
QUESTION = {
    "model": "qwen3-8b",
    "max_tokens": 4096,
    "stream": True,
    "system": "You are Claude Code. " * 2000,
    "tools": [TOOL],
    "messages": [{"role": "user", "content": "Which tests fail?"}],
}
URL = "http://127.0.0.1:8080/v1"
REST_S = 8.0
"""How long the last picture of a moving one stays."""


def answer() -> Reply:
    """Return an answer that calls a tool, from a llama.cpp that had most of the prompt in its cache."""
    counts = {"prompt_tokens": 9_731, "completion_tokens": 64, "prompt_tokens_details": {"cached_tokens": 9_530}}
    timings = {"cache_n": 9_530, "prompt_n": 201, "prompt_ms": 650.0, "predicted_n": 64, "predicted_ms": 1_520.0}
    pieces = [
        chunk({"reasoning_content": "I run the tests first."}),
        tool_call("Bash", {"command": "pytest -q", "description": "Run the tests"}),
        chunk({}, finish_reason="tool_calls"),
        frame({"choices": [], "usage": counts, "timings": timings}),
    ]
    head, *_ = stream()
    return [head, Pause(0.7), Send(pieces[0]), Pause(1.5), *map(Send, pieces[1:]), Send(DONE)]


async def draw() -> None:
    """Ask once with --debug, and once more to look at the status line while the engine reads."""
    head, *_ = stream()
    replies = [[head, Send(progress(6_325, 9_731, time_ms=40_000)), Stall()], answer()]
    engine = engine_of("llama-cpp")
    engine._script = replies  # noqa: SLF001 - the same engine, with other answers
    colours = {"FORCE_COLOR": "1", "COLUMNS": str(COLUMNS), "NO_COLOR": "", "TERM": "xterm-256color"}
    async with engine, httpx.AsyncClient(timeout=30) as client:
        url = f"http://127.0.0.1:{engine.port}/v1"
        async with serving("llamacpp", "--base-url", url, "--debug", env=colours) as bridge:
            await bridge.says("claude")
            before = HEADERS | {"x-claude-code-session-id": OTHER_SESSION}
            async with client.stream("POST", f"{bridge.url}/v1/messages", json=QUESTION, headers=before):
                reading = await status_line(bridge.url, OTHER_SESSION)
            await bridge.says("left after")
            bridge.told = ""
            await client.post(f"{bridge.url}/v1/messages", json=QUESTION, headers=HEADERS)
            await bridge.says("I run the tests first")
            await bridge.says("pytest")
            await anyio.sleep(0.5)
            await bridge.says("Bash(")
            done = await status_line(bridge.url, SESSION)
    log = bridge.told.replace(url, URL).strip("\n")
    save("debug-log", "bridge serve llamacpp --debug", log)
    save("status-line", "the status line of Claude Code", f"{reading}\n\n{done}")


async def status_line(url: str, session: str) -> str:
    """Return what Claude Code would show in this session."""
    description = f'{{"session_id": "{session}"}}'.encode()
    line = await anyio.run_process(
        command("statusline"), input=description, env=environment({"ANTHROPIC_BASE_URL": url})
    )
    return line.stdout.decode().strip()


def save(name: str, title: str, text: str, style: str = "") -> None:
    """Write a picture of a terminal that shows the text; ``style`` is more CSS for it."""
    with (Path("/dev/null")).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True)
        console.print(Text.from_ansi(text))
    svg = console.export_svg(title=title, theme=MONOKAI, unique_id=name)
    FOLDER.mkdir(exist_ok=True)
    # Without the fonts that Rich would fetch from elsewhere.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace("</style>", f"{style}</style>", 1)
    (FOLDER / f"{name}.svg").write_text(svg, "utf-8")


def record() -> tuple[str, list[float]]:
    """Run ``bridge try`` with its real model in a terminal; return what it printed, and when each line was whole."""
    with tempfile.TemporaryDirectory() as home:
        terminal, program_side = os.openpty()
        fcntl.ioctl(program_side, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
        env = environment({"HOME": home, "XDG_CACHE_HOME": str(cache_folder()), "TERM": "dumb"})  # dumb: no spinner
        env = {name: value for name, value in env.items() if name not in ("COLUMNS", "NO_COLOR")}
        program = str(Path(sys.executable).parent / "bridge")
        env["PATH"] = f"{Path(program).parent}:{env['PATH']}"
        with subprocess.Popen([program, "try"], env=env, stdin=program_side, stdout=program_side, stderr=program_side):
            os.close(program_side)
            begin, printed, whole_at = time.monotonic(), b"", list[float]()
            with suppress(OSError):  # the end of the program
                while True:
                    printed += os.read(terminal, 4_096)
                    whole_at += [time.monotonic() - begin] * (printed.count(b"\n") - len(whole_at))
    return printed.decode().replace("\r", ""), whole_at


def draw_first_command() -> None:
    """Draw ``bridge try`` as a moving picture: each line appears as long after the command as it really did."""
    printed, whole_at = record()
    length_s = whole_at[-1] + REST_S
    style = f".first-command-matrix text {{ animation: {length_s:.0f}s step-end infinite }}"
    for line, at_s in enumerate(whole_at, 1):  # line 0 is the command
        begin = f"{at_s / length_s:.1%}"
        style += f"\n@keyframes line-{line} {{ 0% {{ opacity: 0 }} {begin}, 100% {{ opacity: 1 }} }}"
        style += (
            f'\n.first-command-matrix [clip-path="url(#first-command-line-{line})"] {{ animation-name: line-{line} }}'
        )
    style += "\n@media (prefers-reduced-motion: reduce) { text { animation: none !important } }\n"
    save("first-command", "bridge try", f"\x1b[2m$\x1b[0m bridge try\n{printed}".rstrip("\n"), style)


if __name__ == "__main__":
    anyio.run(draw)
    draw_first_command()
