"""A request of a session costs what is new in it, and goes to the engine as it would without a memo."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import claude_bridge
from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.engine_profiles import LLAMA_CPP, OLLAMA, UNKNOWN
from claude_bridge.conversion.profile import Profile
from claude_bridge.providers import Upstream
from tests.fake_upstream import FakeUpstream, Head, Reply, Send, answer
from tests.server.served import BridgeServer, Response, post
from tests.server.test_passthrough import HELLO

pytestmark = pytest.mark.anyio

PACKAGE = str(Path(claude_bridge.__file__).parent)
OLLAMA_ANSWER = (
    b'{"model":"m","message":{"role":"assistant","content":"Hi"},"done":true,"done_reason":"stop",'
    b'"prompt_eval_count":9,"eval_count":2}\n'
)

KINDS: dict[str, tuple[Profile, Reply]] = {
    "openai-chat": (UNKNOWN, answer("Hello")),
    "ollama-chat": (OLLAMA, [Head(headers={"content-type": "application/x-ndjson"}), Send(OLLAMA_ANSWER)]),
    "anthropic-messages": (LLAMA_CPP, [Head(), *map(Send, HELLO)]),
}
TOOLS = [{"name": "Read", "description": "Reads.", "input_schema": {"type": "object", "properties": {"path": {}}}}]


def a_turn(number: int) -> list[dict[str, Any]]:
    call = {"type": "tool_use", "id": f"toolu_{number}", "name": "Read", "input": {"path": f"/{number}"}}
    result = {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": f"{number} " * 100}
    return [
        {"role": "assistant", "content": [{"type": "text", "text": f"I read {number}."}, call]},
        {"role": "user", "content": [result]},
        {"role": "system", "content": f"It is {number} o'clock."},
    ]


def a_request(turns: int, *, topic: str = "a") -> bytes:
    """Return a request after so many turns, its newest message marked for the cache as Claude Code does it."""
    messages = [{"role": "user", "content": f"Look at {topic}."}, *(part for n in range(turns) for part in a_turn(n))]
    last = messages[-1]
    mark = {"type": "text", "text": last["content"], "cache_control": {"type": "ephemeral"}}
    body = {"model": "m", "messages": [*messages[:-1], {**last, "content": [mark]}], "system": "Be brief."}
    return post("/v1/messages", {**body, "tools": TOOLS, "max_tokens": 100, "stream": True})


def an_upstream(kind: str, fake: FakeUpstream) -> Upstream:
    base_url = fake.base_url if kind == "openai-chat" else f"http://127.0.0.1:{fake.port}"
    return Upstream(name="The engine", base_url=base_url, model="m", adapter=ADAPTERS[kind], profile=KINDS[kind][0])


@contextmanager
def counted_calls() -> Iterator[list[int]]:
    """Count the calls of the bridge's own functions, in the one item of the list."""
    calls = [0]

    def count(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            calls[0] += 1

    sys.setprofile(count)
    try:
        yield calls
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_turn_costs_the_same_after_ten_turns_and_after_a_hundred(kind: str) -> None:
    found: dict[int, int] = {}
    async with (
        FakeUpstream(lambda _: KINDS[kind][1]) as fake,
        BridgeServer(an_upstream(kind, fake)) as server,
        server.connect() as wire,
    ):
        for turns in (10, 100):
            tries: list[int] = []
            for later in range(8):
                with counted_calls() as calls:
                    await wire.send(a_request(turns - 7 + later, topic=f"{turns}"))
                    response = await wire.response()
                assert (response.status, response.body[-3:]) == (200, b"}\n\n")
                tries += calls
            found[turns] = min(tries[2:])  # how the answer falls into reads differs, and so do the calls
    assert found[100] <= 3 * found[10]  # without the memo it is six times as much


@pytest.mark.parametrize("kind", KINDS)
async def test_a_session_reaches_the_engine_as_it_does_without_a_memo(kind: str) -> None:
    async def bodies(*, keeps_histories: bool) -> list[bytes]:
        async with (
            FakeUpstream(lambda _: KINDS[kind][1]) as fake,
            BridgeServer(an_upstream(kind, fake), keeps_histories=keeps_histories) as server,
        ):
            responses: list[Response] = [await server.ask(a_request(turns)) for turns in range(1, 21)]
            assert server.service.memo.size_bytes > 0 or not keeps_histories
        assert [response.status for response in responses] == [200] * 20
        return [request.body for request in fake.requests]

    assert await bodies(keeps_histories=True) == await bodies(keeps_histories=False)
