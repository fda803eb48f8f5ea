"""A session of twelve turns: each request begins with the bytes of the one before it: engines read only what is new.

Claude Code's own requests don't: its ``cache_control`` moves on with each turn, and a system message that was a list of
blocks becomes a string. What the bridge makes of them does. Two things in a session change the prompt all the same,
and both are the client's own doing: a tool that is loaded comes behind the others, and where the conversation is
compacted it begins anew (tests/claude_code/test_ollama_window.py).
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import httpx
import msgspec
import pytest
from msgspec import Struct

from claude_bridge.adapters import engine_profiles
from claude_bridge.conversion.profile import Profile
from claude_bridge.providers import PROVIDERS, Upstream, upstream_of
from claude_bridge.server.http1 import HttpRequest
from claude_bridge.upstream.engines.discover import discover
from claude_bridge.upstream.engines.engine import Engine
from tests.claude_code.client import ClaudeCode, Session
from tests.documents import a_pdf, a_png
from tests.fake_upstream import (
    DONE,
    MODEL,
    FakeUpstream,
    ReceivedRequest,
    Reply,
    finish,
    stream,
    text,
    thinking,
    tool_call,
    usage,
)
from tests.prompt_prefix import assert_extends
from tests.running_bridge import open_bridge, scripted_upstream
from tests.scripted_ollama import QWEN3_INFO, ScriptedOllama, a_model, call_line, chat_that_counts

pytestmark = [pytest.mark.anyio, pytest.mark.claude_code]

TURNS = 12
"""With the calls of tools, the model answers 20 times."""


class Played(Struct, frozen=True, kw_only=True):
    """A session that is over: what the client sent to the bridge, and the bridge to the engine."""

    session: Session
    received: list[bytes]
    sent: list[bytes]
    sent_without_memo: list[bytes]
    """What goes to the engine for the same requests where nothing is kept of earlier ones."""


class Speaker:
    """A model that uses a tool or two in each turn, and thinks now and then."""

    def __init__(self, claude_code: ClaudeCode) -> None:
        project = claude_code.project
        (project / "picture.png").write_bytes(a_png())
        (project / "paper.pdf").write_bytes(a_pdf("Words"))
        (project / "notes.txt").write_text("alpha\nbeta\n")
        self._turns: dict[int, list[tuple[str, dict[str, Any]]]] = {
            1: [("Bash", {"command": "echo hello", "description": "Greet"})],
            2: [("Read", {"file_path": str(project / name)}) for name in ("picture.png", "paper.pdf", "missing.txt")],
            3: [("Write", {"file_path": str(project / "made.txt"), "content": "été\n"})],
            4: [("ToolSearch", {"query": "select:CronList", "max_results": 5})],
            5: [("CronList", {})],
            8: [
                ("Read", {"file_path": str(project / "notes.txt")}),
                ("Bash", {"command": "false", "description": "Fail"}),
            ],
        }

    def calls(self, messages: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
        """Return the tools to call now: once in a turn, when its words are the last."""
        turns_sent = [turn for turn in range(1, TURNS + 2) if f"This is turn {turn}." in str(messages[-1]["content"])]
        return self._turns.get(turns_sent[-1], []) if turns_sent else []

    def openai(self, request: ReceivedRequest) -> Reply:
        called = self.calls(request.json["messages"])
        parts = [tool_call(name, given, index=index) for index, (name, given) in enumerate(called)]
        words = [thinking("Let me see."), text("I look." if parts else "That was it.")]
        return stream(*words, *parts, finish("tool_calls" if parts else "stop"), usage(9_000, 20), DONE)

    def ollama(self, body: dict[str, Any]) -> list[Mapping[str, Any]]:
        called = self.calls(body["messages"])
        return [
            {"thinking": "Let me see."},
            {"content": "I look."},
            *(call_line(name, given) for name, given in called),
        ]


def prompts() -> list[list[dict[str, Any]]]:
    """Return what the user says, with a picture in one turn and a PDF in another."""
    turns_sent: list[list[dict[str, Any]]] = [
        [{"type": "text", "text": f"This is turn {turn}."}] for turn in range(1, TURNS + 1)
    ]
    for turn, kind, media_type, data in (
        (6, "image", "image/png", a_png(3, 3)),
        (7, "document", "application/pdf", a_pdf("More words")),
    ):
        source = {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}
        turns_sent[turn - 1].append({"type": kind, "source": source})
    return turns_sent


@asynccontextmanager
async def openai_engine(speaker: Speaker, profile: Profile) -> AsyncIterator[tuple[Upstream, FakeUpstream]]:
    async with FakeUpstream(speaker.openai) as engine:
        yield scripted_upstream(engine.base_url, profile=profile), engine


@asynccontextmanager
async def ollama_engine(speaker: Speaker, capability: str) -> AsyncIterator[tuple[Upstream, FakeUpstream]]:
    info = {**QWEN3_INFO, "qwen3.context_length": 131_072}
    models = {MODEL: a_model("tools", capability, info=info)}
    async with ScriptedOllama(models, chat=chat_that_counts(speaker.ollama)) as engine:
        requested = upstream_of(PROVIDERS["ollama"], base_url=engine.root_url, model=MODEL)
        yield await discover(Engine(upstream=requested, window_tokens=131_072)), engine


ENGINES: dict[str, Callable[[Speaker], Any]] = {
    "any engine": lambda speaker: openai_engine(speaker, engine_profiles.UNKNOWN),
    "llama.cpp": lambda speaker: openai_engine(speaker, engine_profiles.LLAMA_CPP),
    "Ollama, a model that sees": lambda speaker: ollama_engine(speaker, "vision"),
    "Ollama, a model that thinks": lambda speaker: ollama_engine(speaker, "thinking"),
}


@pytest.fixture(scope="module", params=ENGINES.values(), ids=list(ENGINES))
async def played(request: pytest.FixtureRequest, new_claude_code: Callable[[], ClaudeCode]) -> Played:
    claude_code = new_claude_code()
    received: list[HttpRequest] = []
    async with (
        request.param(Speaker(claude_code)) as (upstream, engine),
        open_bridge(upstream, received=received) as url,
    ):
        begun = await claude_code.converse(url, prompts(), "--model", MODEL)
        assert begun.code == 0, begun.stderr
        resume = ("--resume", begun.result["session_id"])
        session = await claude_code.ask(url, f"This is turn {TURNS + 1}.", "--model", MODEL, *resume)
        asked_again = [requested for requested in received if requested.body]
        bodies = [requested.body for requested in asked_again]
        async with (
            open_bridge(upstream, keeps_histories=False) as plain,
            httpx.AsyncClient(base_url=plain, trust_env=False) as client,
        ):
            for requested in asked_again:
                await client.post(requested.path, content=requested.body, headers={"content-type": "application/json"})
        sent = [requested.body for requested in engine.requests if "messages" in requested.json]
        half = len(sent) // 2
        return Played(session=session, received=bodies, sent=sent[:half], sent_without_memo=sent[half:])


async def test_the_same_goes_to_the_engine_where_nothing_is_kept_of_earlier_requests(played: Played) -> None:
    assert played.sent_without_memo == played.sent


async def test_each_request_begins_with_the_bytes_of_the_one_before_it(played: Played) -> None:
    assert played.session.code == 0
    assert len(played.sent) == len(played.received) > 1.5 * TURNS
    for shorter, longer in pairwise(played.sent):
        assert_extends(longer, shorter)


async def test_the_tools_change_only_where_one_is_loaded(played: Played) -> None:
    lists = [msgspec.json.decode(body)["tools"] for body in played.sent]
    changes = [at for at, (before, after) in enumerate(pairwise(lists), 1) if before != after]
    assert len(changes) == 1
    assert len(lists[changes[0]]) == len(lists[changes[0] - 1]) + 1
    assert "tool_reference" in str(msgspec.json.decode(played.received[changes[0]])["messages"][-1])


async def test_the_clients_own_requests_do_not(played: Played) -> None:
    """Else the tests above prove little."""
    extend = []
    for shorter, longer in pairwise(played.received):
        before, after = (msgspec.json.decode(body)["messages"] for body in (shorter, longer))
        extend.append(after[: len(before)] == before)
    assert not any(extend)
