"""A client that leaves: its engine must be free within a second, before the first token too."""

from __future__ import annotations

import socket
import struct

import anyio
import pytest
from anyio.abc import SocketAttribute

from claude_bridge.exchange import Waiting
from claude_bridge.server.http1 import MAX_AHEAD_BYTES
from tests.fake_upstream import FakeUpstream, Head, Pause, Reply, Send, Stall, answer, text
from tests.kept_events import KeptEvents
from tests.server.served import QUICK, BridgeServer, Wire, post, question, streamed, until

pytestmark = pytest.mark.anyio

WHOLE = post("/v1/messages", question())

SILENT: Reply = [Stall()]
HEAD_ONLY: Reply = [Head(), Stall()]
ONE_TOKEN: Reply = [Head(), Send(text("Hello")), Stall()]
ENDLESS: Reply = [Head(), *[step for _ in range(1000) for step in (Send(text("la ")), Pause(0.005))]]


def reset(wire: Wire) -> None:
    """Make the next close a reset."""
    raw_socket = wire.stream.extra(SocketAttribute.raw_socket)
    raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("how", ["closed", "reset"])
@pytest.mark.parametrize(
    ("reply", "requested", "waiting"),
    [
        pytest.param(SILENT, streamed(), None, id="before the engine says anything"),
        pytest.param(HEAD_ONLY, streamed(), None, id="before the first token"),
        pytest.param(SILENT, streamed(), QUICK, id="while being kept alive"),
        pytest.param(ONE_TOKEN, streamed(), None, id="after the first token"),
        pytest.param(ENDLESS, streamed(), None, id="in mid-stream"),
        pytest.param(SILENT, WHOLE, None, id="whole answer, before the engine says anything"),
        pytest.param(ENDLESS, WHOLE, None, id="whole answer, in mid-stream"),
    ],
)
async def test_the_engine_is_stopped_within_a_second(
    reply: Reply, requested: bytes, waiting: Waiting | None, how: str
) -> None:
    notes = KeptEvents()
    async with FakeUpstream([reply]) as upstream, BridgeServer(upstream, waiting=waiting, sinks=[notes]) as server:
        async with server.connect() as wire:
            await wire.send(requested)
            request = await upstream.request()
            if requested is not WHOLE and (waiting is QUICK or reply in (ONE_TOKEN, ENDLESS)):
                await wire.head()
                await wire.chunk()
            if how == "reset":
                reset(wire)
        await request.wait_until_closed_by_peer()
        await until(lambda: notes.kinds()[-1] == "ClientLeft" and not server.service.running)


async def test_a_client_that_cannot_be_seen_leaving_is_missed_when_it_is_written_to(
    capsys: pytest.CaptureFixture[str],
) -> None:
    notes = KeptEvents()
    async with FakeUpstream([ENDLESS]) as upstream, BridgeServer(upstream, sinks=[notes]) as server:
        async with server.connect() as wire:
            await wire.send(streamed() + b"POST /v1/messages HTTP/1.1\r\n" + b"x" * (MAX_AHEAD_BYTES + 1))
            await wire.head()
            await anyio.wait_all_tasks_blocked()
            reset(wire)
        await upstream.requests[0].wait_until_closed_by_peer()
        await until(lambda: notes.kinds()[-1] == "ClientLeft")
    assert capsys.readouterr().err == ""


async def test_others_go_on_when_one_client_leaves() -> None:
    script: list[Reply] = [ENDLESS, answer("Hello")]
    async with FakeUpstream(script) as upstream, BridgeServer(upstream) as server:
        async with server.connect() as wire:
            await wire.send(streamed())
            await wire.head()
        assert (await server.messages()).status == 200


async def test_a_client_that_leaves_after_the_last_event_has_not_left_early() -> None:
    notes = KeptEvents()
    async with FakeUpstream([answer("Hello")]) as upstream, BridgeServer(upstream, sinks=[notes]) as server:
        async with server.connect() as wire:
            await wire.send(streamed())
            await wire.head()
            while b"message_stop" not in await wire.chunk():
                pass
        await anyio.wait_all_tasks_blocked()
    assert "ExchangeEnded" in notes.kinds()
    assert "ClientLeft" not in notes.kinds()


async def test_a_pipelined_request_of_a_client_that_left_is_not_sent() -> None:
    async with FakeUpstream([ONE_TOKEN, answer("Two")]) as upstream, BridgeServer(upstream) as server:
        async with server.connect() as wire:
            await wire.send(streamed() + streamed())
            await wire.head()
            await wire.chunk()
        await (await upstream.request()).wait_until_closed_by_peer()
        await anyio.wait_all_tasks_blocked()
        assert len(upstream.requests) == 1
