"""Claude Code on a screen, as a person uses it: the first question, the title, Esc, the way out."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest

from tests.claude_code.client import ClaudeCode
from tests.claude_code.terminal import Terminal, holds, open_terminal
from tests.fake_upstream import MODEL, FakeUpstream, Head, ReceivedRequest, Reply, Send, Stall, answer, calls, text
from tests.real_parts import missing
from tests.running_bridge import open_bridge, scripted_upstream

pytestmark = [pytest.mark.anyio, pytest.mark.claude_code]

READY = "? for shortcuts"
RUNNING = "esc to interrupt"
Script = Callable[[ReceivedRequest], Reply]


@pytest.fixture(autouse=True)
def tmux() -> None:
    if shutil.which("tmux") is None:
        missing("tmux is not installed.")


@asynccontextmanager
async def open_session(
    claude_code: ClaudeCode, script: Script, *arguments: str, asks_for_titles: bool = False
) -> AsyncIterator[tuple[Terminal, FakeUpstream]]:
    async with FakeUpstream(script) as upstream, open_bridge(scripted_upstream(upstream.base_url)) as url:
        environment = claude_code.environment(url)
        if asks_for_titles:
            del environment["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"]
        command = [str(claude_code.binary), "--model", MODEL, "--permission-mode", "default", *arguments]
        with TemporaryDirectory() as folder:  # pytest's own path is too long for a socket
            screen = open_terminal(
                command, environment=environment, project=claude_code.project, socket=Path(folder) / "tmux"
            )
            async with screen as terminal:
                await terminal.wait_for(READY)
                yield terminal, upstream


def transcript(claude_code: ClaudeCode) -> str:
    """Return what Claude Code has written down of its sessions."""
    return "".join(path.read_text() for path in (claude_code.home / ".claude" / "projects").rglob("*.jsonl"))


def last_words(request: ReceivedRequest) -> str:
    return str(request.json["messages"][-1]["content"])


async def test_a_question_is_answered_on_the_screen_and_the_session_gets_a_title(claude_code: ClaudeCode) -> None:
    def script(request: ReceivedRequest) -> Reply:
        return answer('{"title": "Say hello to all"}') if "response_format" in request.json else answer("Hello, all!")

    async with open_session(claude_code, script, asks_for_titles=True) as (terminal, upstream):
        # Two words would be too little for the client to ask for a title.
        await terminal.ask("Please say hello to everybody who works on this project")
        await terminal.wait_for("● Hello, all!")
        await upstream.request(1)  # beside the question, or a moment later
        (requested,) = [request.json for request in upstream.requests if "response_format" in request.json]
        assert requested["response_format"]["type"] == "json_schema"
        assert "title" in requested["response_format"]["json_schema"]["schema"]["properties"]
        assert "tools" not in requested

        async def title_is_kept() -> bool:
            return '"aiTitle":"Say hello to all"' in transcript(claude_code)

        assert await holds(title_is_kept)
        await terminal.ask("/exit")
        await terminal.wait_for_end()


@pytest.mark.parametrize(
    "stalled",
    [
        pytest.param([Head(), Send(text("I begin to count.\n\n")), Stall()], id="within the answer"),
        pytest.param([Head(), Stall()], id="before the first token"),
        pytest.param([Stall()], id="before the engine says anything"),
    ],
)
async def test_esc_frees_the_engine_and_the_session_goes_on(claude_code: ClaudeCode, stalled: Reply) -> None:
    def script(request: ReceivedRequest) -> Reply:
        return stalled if last_words(request).endswith("Count to a million") else answer("At your service.")

    async with open_session(claude_code, script) as (terminal, upstream):
        await terminal.ask("Say hello")  # the first message of a session also carries the reminders
        await terminal.wait_for("● At your service.")
        await terminal.ask("Count to a million")
        request = await upstream.request(1)
        await terminal.wait_for("I begin to count." if len(stalled) == 3 else RUNNING)
        pressed_at = anyio.current_time()
        await terminal.press("Escape")
        await request.wait_until_closed_by_peer()
        assert anyio.current_time() - pressed_at < 1.0
        await terminal.wait_until_gone(RUNNING)
        await terminal.press("C-u")  # what was not answered at all stands in the prompt again
        await terminal.ask("Are you there")
        await terminal.wait_for("● At your service.", times=2)
        assert last_words(upstream.requests[-1]).endswith("Are you there")


async def test_a_command_is_asked_for_and_then_run(claude_code: ClaudeCode) -> None:
    def script(request: ReceivedRequest) -> Reply:
        if request.json["messages"][-1]["role"] == "tool":
            return answer("It is made.")
        return calls(("Bash", {"command": "mkdir made-by-the-model", "description": "Make a folder"}))

    async with open_session(claude_code, script) as (terminal, upstream):
        await terminal.ask("Make a folder")
        await terminal.wait_for("Do you want to proceed?")
        assert not (claude_code.project / "made-by-the-model").exists()
        await terminal.press_until("Enter", "● It is made.")
        assert (claude_code.project / "made-by-the-model").is_dir()
        assert len(upstream.requests) == 2
