"""A slow answer: what one token of it costs, and what the client gets while the engine is silent."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from claude_bridge.exchange import Waiting
from claude_bridge.upstream.call import WATCHED_AFTER_S
from tests.fake_upstream import FakeUpstream, Head, Pause, Reply, Send, Stall, Wait, finish, text
from tests.server.served import BridgeServer, post
from tests.server.test_memo import KINDS, an_upstream, counted_calls
from tests.server.test_passthrough import HELLO

pytestmark = pytest.mark.anyio

A_TOKEN: dict[str, tuple[list[bytes], bytes]] = {
    "openai-chat": ([text("One")], text(" more")),
    "ollama-chat": (
        [b'{"model":"m","message":{"role":"assistant","content":"One"},"done":false}\n'],
        b'{"model":"m","message":{"role":"assistant","content":" more"},"done":false}\n',
    ),
    "anthropic-messages": (HELLO[:3], HELLO[2]),
}
MAX_CALLS = {"openai-chat": 70, "ollama-chat": 70, "anthropic-messages": 85}


def a_request() -> bytes:
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Count."}]
    return post("/v1/messages", {"model": "m", "messages": messages, "max_tokens": 100, "stream": True})


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_token_that_comes_alone_costs_few_calls(kind: str) -> None:
    begin, token = A_TOKEN[kind]
    turns = [anyio.Event() for _ in range(8)]
    head = KINDS[kind][1][0]
    later = [step for turn in turns for step in (Wait(turn), Send(token))]
    steps: Reply = [head, *map(Send, begin), Pause(WATCHED_AFTER_S), Send(token), *later, Stall()]
    found: list[int] = []
    async with (
        FakeUpstream([steps]) as fake,
        BridgeServer(an_upstream(kind, fake)) as server,
        server.connect() as wire,
    ):
        await wire.send(a_request())
        await wire.head()
        for turn in turns:
            await anyio.wait_all_tasks_blocked()
            with counted_calls() as calls:
                turn.set()
                await wire.chunk()
                await anyio.wait_all_tasks_blocked()
            found += calls
    assert 0 < min(found[4:]) <= MAX_CALLS[kind]


async def test_a_client_hears_of_a_slow_engine_and_gets_all_that_follows() -> None:
    has_pinged = anyio.Event()
    begin: Reply = [Head(), Send(text("One")), Pause(WATCHED_AFTER_S), Send(text(" two")), Wait(has_pinged)]
    steps: Reply = [*begin, Send(text(" three")), Send(finish()), Stall()]
    waiting = Waiting(first_byte_grace_s=5, keep_alive_s=0.05)
    async with (
        FakeUpstream([steps]) as upstream,
        BridgeServer(upstream, waiting=waiting) as server,
        server.connect() as wire,
    ):
        await wire.send(a_request())
        await wire.head()
        got = b""
        with anyio.fail_after(60):
            while b"message_stop" not in got:
                got += await wire.chunk()
                if b"ping" in got.partition(b'" two"')[2]:
                    has_pinged.set()
    assert [word in got for word in (b'"One"', b'" two"', b'" three"')] == [True] * 3
    assert b"event: error" not in got
