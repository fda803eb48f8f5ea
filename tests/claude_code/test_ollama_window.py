"""Sessions that outgrow the window of an Ollama: Claude Code compacts, and goes on to its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from claude_bridge.app.client_environment import client_environment
from claude_bridge.app.plan import Listening
from claude_bridge.providers import PROVIDERS, upstream_of
from claude_bridge.trace.events import ExchangeFailed
from claude_bridge.upstream.engines.discover import discover
from claude_bridge.upstream.engines.engine import Engine
from tests.claude_code.client import ClaudeCode, Session
from tests.kept_events import KeptEvents
from tests.running_bridge import open_bridge
from tests.scripted_ollama import ScriptedOllama, a_model, call_line, chat_that_counts

pytestmark = [pytest.mark.anyio, pytest.mark.claude_code]

MODEL = "qwen3:1.7b"
WINDOW_TOKENS = 32_768
STEPS = 24
ASKS_FOR_SUMMARY = "<summary> block"
SUMMARY = "<summary>" + "Some parts were read, and nothing in them is new. " * 120 + "</summary>"
LOADER_OPTIONS = ("keep_alive", "truncate", "shift")


class Form(Struct, frozen=True, kw_only=True):
    """How a session is played; ``is_told`` says that the client knows the window, as ``bridge serve`` prints it."""

    is_told: bool
    bytes_per_token: float = 3.8
    reads_whole: int = 6
    """Which parts the model reads whole: each so many-th."""
    lines: int = 600
    arguments: tuple[str, ...] = ()


FORMS = {
    "told": Form(is_told=True),
    "told, dense tokenizer": Form(is_told=True, bytes_per_token=3.3),
    # After it compacted, the client reads such files again: beside its full set of tools that fills the window.
    "told, few tools, files that are read again": Form(
        is_told=True, reads_whole=2, lines=200, arguments=("--tools", "Bash,Read,Edit,Write")
    ),
    "not told": Form(is_told=False),
    "not told, dense tokenizer": Form(is_told=False, bytes_per_token=3.3),
}


class Reader:
    """A model that looks at one part after the other, some of them whole, and then has its answer."""

    def __init__(self, project: Path, form: Form) -> None:
        self.heard: list[dict[str, Any]] = []
        """The chats that it answered in its own matter."""
        self.summed_up: list[dict[str, Any]] = []
        self._project = project
        self._reads_whole = form.reads_whole
        for step in range(STEPS):
            lines = [f"Line {line} of part {step} tells of nothing new.\n" for line in range(form.lines)]
            (project / f"part{step}.txt").write_text("".join(lines))

    def speak(self, body: dict[str, Any]) -> Sequence[Mapping[str, Any]]:
        if ASKS_FOR_SUMMARY in body["messages"][-1]["content"]:
            self.summed_up.append(body)
            return [{"content": SUMMARY}]
        step = len(self.heard)
        self.heard.append(body)
        if step == STEPS:
            return [{"content": "All parts "}, {"content": "were read."}]
        if step % self._reads_whole == 0:
            return [call_line("Read", {"file_path": str(self._project / f"part{step}.txt")})]
        return [call_line("Bash", {"command": f"head -c 4000 part{step}.txt", "description": "Look"})]


class Played(Struct, frozen=True, kw_only=True):
    """A session that is over, and what the engine and the bridge said in it."""

    form: Form
    session: Session
    reader: Reader
    bodies: list[dict[str, Any]]
    refusals: list[str]


@pytest.fixture(scope="module", params=FORMS.values(), ids=list(FORMS))
async def played(request: pytest.FixtureRequest, new_claude_code: Callable[[], ClaudeCode]) -> Played:
    form: Form = request.param
    claude_code, trace = new_claude_code(), KeptEvents()
    reader = Reader(claude_code.project, form)
    chat = chat_that_counts(reader.speak, bytes_per_token=form.bytes_per_token)
    async with ScriptedOllama({MODEL: a_model("tools")}, chat=chat) as ollama:
        requested = upstream_of(PROVIDERS["ollama"], base_url=ollama.root_url, model=MODEL)
        upstream = await discover(Engine(upstream=requested))
        assert upstream.window_tokens == WINDOW_TOKENS
        pasted = client_environment(Listening(host="127.0.0.1", port=1).served(upstream))
        reported = {name: value for name, value in pasted.items() if name.startswith("CLAUDE_CODE_MAX")}
        async with open_bridge(upstream, trace) as url:
            session = await claude_code.ask(
                url, "Read all parts.", "--model", MODEL, *form.arguments, environment=reported if form.is_told else {}
            )
        return Played(
            form=form,
            session=session,
            reader=reader,
            bodies=[chat.json for chat in ollama.chats],
            refusals=[event.message for event in trace.events if isinstance(event, ExchangeFailed)],
        )


async def test_the_session_goes_on_to_its_end(played: Played) -> None:
    assert (played.session.code, played.session.result["result"]) == (0, "All parts were read.")
    assert len(played.reader.heard) == STEPS + 1, "each turn is asked once"
    assert played.session.notices("api_retry") == []


async def test_it_compacts_now_and_then_and_not_at_every_turn(played: Played) -> None:
    compactions = len(played.session.notices("compact_boundary"))
    assert 3 <= compactions <= STEPS // 3
    assert len(played.reader.summed_up) == compactions, "each summary is whole at the first try"


async def test_only_a_client_that_does_not_know_the_window_is_refused(played: Played) -> None:
    compactions = len(played.session.notices("compact_boundary"))
    assert len(played.refusals) == (0 if played.form.is_told else compactions)
    assert all(message.startswith("prompt is too long: ") for message in played.refusals)


async def test_the_engine_is_never_asked_what_it_must_refuse(played: Played) -> None:
    assert len(played.bodies) == len(played.reader.heard) + len(played.reader.summed_up)


async def test_what_the_engine_is_loaded_with_never_changes(played: Played) -> None:
    assert {body["options"]["num_ctx"] for body in played.bodies} == {WINDOW_TOKENS}
    assert {tuple(body[name] for name in LOADER_OPTIONS) for body in played.bodies} == {("30m", False, False)}
    assert {frozenset(body["options"]) for body in played.bodies} == {frozenset({"num_ctx", "num_predict"})}


async def test_each_request_extends_the_one_before_until_the_next_compaction(played: Played) -> None:
    heard = [body["messages"] for body in played.reader.heard]
    begun_anew = sum(later[: len(earlier)] != earlier for earlier, later in pairwise(heard))
    assert begun_anew == len(played.session.notices("compact_boundary"))
