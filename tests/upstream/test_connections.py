"""Connections that are kept: no answer is mistaken for another's, nothing is sent twice, no answer is missed."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from claude_bridge.adapters.base import OutgoingRequest
from claude_bridge.conversion.upstream_errors.translate import explain_refusal
from claude_bridge.errors import BridgeError, UpstreamBrokenError, UpstreamDroppedError, UpstreamRefusedError
from claude_bridge.upstream.client import UpstreamClient
from claude_bridge.upstream.plain_http import UNPROVEN_IDLE_S, PlainTransport
from claude_bridge.upstream.transport import HostRequest, HttpExchange
from claude_bridge.wire.urls import parse_url

pytestmark = pytest.mark.anyio

LARGE = 20_000_000
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
REFUSAL = b"HTTP/1.1 413 Too Large\r\ncontent-type: application/json\r\ncontent-length: 33\r\n\r\n"
REFUSAL += b'{"error":{"message":"too large"}}'


@pytest.fixture(params=["asyncio", "uvloop", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """All three event loops: each has ways of its own to read ahead."""
    name = str(request.param)
    return ("trio", {}) if name == "trio" else ("asyncio", {"use_uvloop": name == "uvloop"})


class Engine:
    """An engine that does what a function does with each connection, and counts the requests that it reads."""

    def __init__(self) -> None:
        self.requests = 0
        self.connections = 0
        self.port = 0

    async def read(self, stream: SocketStream) -> bytes:
        """Return the next request, whole."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive()
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
        while len(body) < length:
            body += await stream.receive()
        self.requests += 1
        return data


Serve = Callable[[Engine, SocketStream, int], Awaitable[None]]


@asynccontextmanager
async def engine_of(
    serve: Callable[[Engine, SocketStream, int], Awaitable[None]],
) -> AsyncIterator[tuple[Engine, UpstreamClient]]:
    """Yield an engine and a client of it; ``serve`` gets each connection and its number."""
    engine = Engine()

    async def handle(stream: SocketStream) -> None:
        engine.connections += 1
        try:
            await serve(engine, stream, engine.connections - 1)
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass
        finally:
            await anyio.aclose_forcefully(stream)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    engine.port = listener.extra(SocketAttribute.local_port)
    async with (
        listener,
        anyio.create_task_group() as tasks,
        UpstreamClient(f"http://127.0.0.1:{engine.port}/v1", api_key=None, name="The engine") as client,
    ):
        tasks.start_soon(listener.serve, handle)
        with anyio.fail_after(60):
            yield engine, client
        tasks.cancel_scope.cancel()


async def body_of(client: UpstreamClient, *, size: int = 10) -> bytes:
    request = OutgoingRequest(method="POST", path="/chat/completions", body=b"x" * size)
    body = b""
    async with client.open(request, explain_refusal, idle_s=5) as call:
        while data := await call.receive():
            body += data
    return body


async def until_readable(stream: SocketStream) -> None:
    """Wait for bytes without reading them."""
    descriptor = os.dup(stream.extra(SocketAttribute.raw_socket).fileno())  # the loop keeps its own to itself
    try:
        await anyio.wait_readable(descriptor)
    finally:
        os.close(descriptor)


# --- stray bytes ----------------------------------------------------------------------------------------------

STRAY = ANSWER + b"BAD"


@pytest.mark.parametrize("first", [ANSWER + b"one", CHUNKED + b"3\r\none\r\n0\r\n\r\n"], ids=["length", "chunked"])
@pytest.mark.parametrize("how", ["at once", "a moment later", "a huge one"])
async def test_a_second_answer_that_nobody_asked_for_reaches_nobody(first: bytes, how: str) -> None:
    sent = anyio.Event()

    async def serve(engine: Engine, stream: SocketStream, number: int) -> None:
        await engine.read(stream)
        if number > 0:
            await stream.send(ANSWER + b"two")
        elif how == "at once":
            await stream.send(first + STRAY)
        elif how == "a huge one":
            await stream.send(first)
            with anyio.move_on_after(0.1):
                await stream.send(STRAY * 20_000)
        else:
            await stream.send(first)
            await anyio.sleep(0.02)
            await stream.send(STRAY)
        sent.set()
        await stream.receive()

    async with engine_of(serve) as (engine, client):
        assert await body_of(client) == b"one"
        await sent.wait()
        await anyio.sleep(0.01)
        assert await body_of(client) == b"two"
        assert (engine.connections, engine.requests) == (2, 2)


async def test_bytes_that_stay_behind_a_read_that_was_given_up_reach_nobody() -> None:
    go_on = anyio.Event()

    async def serve(engine: Engine, stream: SocketStream, number: int) -> None:
        await engine.read(stream)
        if number == 0:
            await go_on.wait()
            await stream.send(ANSWER + b"one")
            await anyio.sleep(0.02)
            await stream.send(STRAY)
        else:
            await stream.send(ANSWER + b"two")
        await stream.receive()

    async with engine_of(serve) as (engine, client):
        request = OutgoingRequest(method="POST", path="/x", body=b"x")
        async with client.open(request, explain_refusal, idle_s=0.02) as call:
            assert await call.receive() is None
            go_on.set()
            body = b""
            while (data := await call.receive()) != b"":
                body += data or b""
            assert body == b"one"
        await anyio.sleep(0.05)
        assert await body_of(client) == b"two"
        assert engine.connections == 2


# --- sent once ------------------------------------------------------------------------------------------------


async def test_a_request_that_meets_a_closed_idle_connection_goes_out_on_a_new_one() -> None:
    closed = anyio.Event()

    async def serve(engine: Engine, stream: SocketStream, number: int) -> None:
        await engine.read(stream)
        await stream.send(ANSWER + b"one" if number == 0 else ANSWER + b"two")
        if number == 0:
            await anyio.aclose_forcefully(stream)
            closed.set()
        else:
            await stream.receive()

    async with engine_of(serve) as (engine, client):
        assert await body_of(client) == b"one"
        await closed.wait()
        await anyio.wait_all_tasks_blocked()
        assert await body_of(client) == b"two"
        assert (engine.connections, engine.requests) == (2, 2)


@pytest.mark.parametrize("reason", ["the engine says that it closes", "the request was not read whole"])
async def test_a_connection_that_is_not_fit_for_another_request_gets_none(reason: str) -> None:
    is_read_whole = reason == "the engine says that it closes"
    is_over = anyio.Event()

    async def serve(engine: Engine, stream: SocketStream, number: int) -> None:
        if number > 0 or is_read_whole:
            await engine.read(stream)
        else:
            await stream.receive()
        await stream.send(
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\n" if is_read_whole else ANSWER
        )
        await stream.send(b"two" if number else b"one")
        await is_over.wait()  # it does not close by itself

    async with engine_of(serve) as (engine, client):
        assert await body_of(client, size=10 if is_read_whole else LARGE) == b"one"
        with anyio.fail_after(60):
            assert await body_of(client) == b"two"
        assert engine.connections == 2
        is_over.set()


async def test_a_request_that_meets_a_connection_while_it_closes_is_not_sent_again() -> None:
    async def serve(engine: Engine, stream: SocketStream, number: int) -> None:
        await engine.read(stream)
        await stream.send(ANSWER + b"one")
        await until_readable(stream)  # and closes without reading the request, which resets the connection

    async with engine_of(serve) as (engine, client):
        assert await body_of(client) == b"one"
        with pytest.raises(UpstreamDroppedError, match="without an answer"):
            await body_of(client)
        assert (engine.connections, engine.requests) == (1, 1)


@pytest.mark.parametrize("wait_s", [0.0, 0.3])
@pytest.mark.parametrize("is_kept", [True, False], ids=["kept connection", "new connection"])
async def test_a_request_that_an_engine_has_read_is_never_sent_again(wait_s: float, *, is_kept: bool) -> None:
    async def serve(engine: Engine, stream: SocketStream, number: int) -> None:
        if is_kept:
            await engine.read(stream)
            await stream.send(ANSWER + b"one")
        await engine.read(stream)
        await anyio.sleep(wait_s)

    async with engine_of(serve) as (engine, client):
        if is_kept:
            await body_of(client)
        with pytest.raises(UpstreamDroppedError, match="closed the connection without an answer"):
            await body_of(client)
        assert engine.requests == (2 if is_kept else 1)


async def test_a_request_whose_engine_breaks_down_with_a_reset_later_is_not_sent_again() -> None:
    async def serve(engine: Engine, stream: SocketStream, number: int) -> None:
        await engine.read(stream)
        await stream.send(ANSWER + b"one")
        await engine.read(stream)
        await anyio.sleep(0.3)
        raw_socket = stream.extra(SocketAttribute.raw_socket)
        raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with engine_of(serve) as (engine, client):
        await body_of(client)
        with pytest.raises(UpstreamDroppedError, match="the connection without an answer"):
            await body_of(client)
        assert engine.requests == 2


async def test_an_idle_connection_is_dropped_before_the_engine_drops_it() -> None:
    async def serve(engine: Engine, stream: SocketStream, number: int) -> None:
        while True:
            await engine.read(stream)
            await stream.send(b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1, max=5\r\ncontent-length: 0\r\n\r\n")

    async with engine_of(serve) as (engine, client):
        await body_of(client)
        await body_of(client)
        assert engine.connections == 2


async def test_idle_connections_that_have_expired_are_closed_though_others_are_used() -> None:
    closed = anyio.Event()
    both = anyio.Event()

    async def serve(engine: Engine, stream: SocketStream, number: int) -> None:
        await engine.read(stream)
        if engine.requests == 2:
            both.set()
        await both.wait()
        timeout = 1 if number == 0 else 5
        answer = b"HTTP/1.1 200 OK\r\nkeep-alive: timeout=%d\r\ncontent-length: 0\r\n\r\n" % timeout
        await stream.send(answer)
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                await engine.read(stream)
                await stream.send(answer)
        if number == 0:
            closed.set()

    async with engine_of(serve) as (_, client):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(body_of, client)
            tasks.start_soon(body_of, client)
        await body_of(client)
        await closed.wait()


async def test_an_engine_that_closes_after_its_streams_is_not_met_while_it_closes() -> None:
    """llama.cpp does so, soon after the end of a stream, although it says that it keeps the connection."""

    async def serve(engine: Engine, stream: SocketStream, number: int) -> None:
        await engine.read(stream)
        await stream.send(CHUNKED.replace(b"\r\n\r\n", b"\r\nKeep-Alive: timeout=5\r\n\r\n") + b"3\r\none\r\n0\r\n\r\n")
        await anyio.sleep(0.01)

    async with engine_of(serve) as (engine, _):
        url = parse_url(f"http://127.0.0.1:{engine.port}/v1")
        async with aclosing(
            PlainTransport(url, {}, unproven_idle_s=1.0)
        ) as transport:  # 0.05 s is not long on a busy machine
            for _ in range(5):
                async with HttpExchange(transport, HostRequest("GET", "/v1/models")) as exchange:
                    await exchange.receive_head()
                    assert await exchange.receive_body() == b"one"
                    assert await exchange.receive_body() == b""
        assert (engine.connections, engine.requests) == (5, 5)


async def test_a_connection_that_was_idle_for_longer_than_its_trial_is_used_again() -> None:
    async def serve(engine: Engine, stream: SocketStream, number: int) -> None:
        while await engine.read(stream):
            await stream.send(CHUNKED + b"3\r\none\r\n0\r\n\r\n")

    async with engine_of(serve) as (engine, client):
        assert await body_of(client) == b"one"
        await anyio.sleep(2 * UNPROVEN_IDLE_S)
        assert await body_of(client) == b"one"
        assert (engine.connections, engine.requests) == (1, 2)


async def test_a_connection_that_can_not_be_shown_to_be_quiet_says_nothing_of_its_host() -> None:
    # On uvloop, where a wait was given up: after a long prompt each later request would get a connection of its own.
    go_on = anyio.Event()

    async def serve(engine: Engine, stream: SocketStream, number: int) -> None:
        while await engine.read(stream):
            await go_on.wait()
            await stream.send(ANSWER + b"one")

    async with engine_of(serve) as (engine, client):
        request = OutgoingRequest(method="POST", path="/x", body=b"x")
        async with client.open(request, explain_refusal, idle_s=0.01) as call:
            assert await call.receive() is None
            go_on.set()
            while await call.receive() != b"":
                pass
        for _ in range(3):
            assert await body_of(client) == b"one"
        assert engine.connections <= 2


# --- read while writing ---------------------------------------------------------------------------------------


async def test_an_engine_that_refuses_before_it_has_read_the_request_is_understood_at_once() -> None:
    async def serve(engine: Engine, stream: SocketStream, number: int) -> None:
        await stream.receive(1000)
        await stream.send(REFUSAL)
        await anyio.sleep_forever()  # and neither reads nor closes

    async with engine_of(serve) as (engine, client):
        with pytest.raises(UpstreamRefusedError, match="too large"):
            await body_of(client, size=LARGE)
        assert engine.connections == 1


async def test_an_engine_that_refuses_and_closes_before_it_has_read_the_request_is_understood() -> None:
    async def serve(engine: Engine, stream: SocketStream, number: int) -> None:
        await stream.receive(1000)
        await stream.send(REFUSAL)  # and closes: what it has not read resets the connection

    async with engine_of(serve) as (engine, client):
        for _ in range(20):
            with pytest.raises(UpstreamRefusedError, match="too large"):
                await body_of(client, size=LARGE)
        assert engine.connections == 20


async def test_an_engine_that_answers_and_closes_before_it_has_read_the_request_is_understood() -> None:
    has_begun = anyio.Event()

    async def serve(engine: Engine, stream: SocketStream, number: int) -> None:
        await stream.receive(1000)
        await stream.send(CHUNKED + b"3\r\none\r\n")
        await has_begun.wait()  # and closes: what it has not read resets the connection

    async def ask(client: UpstreamClient) -> None:
        request = OutgoingRequest(method="POST", path="/chat/completions", body=b"x" * LARGE)
        async with client.open(request, explain_refusal, idle_s=60) as call:
            assert await call.receive() == b"one"
            has_begun.set()
            await call.receive()

    async with engine_of(serve) as (engine, client):
        with pytest.raises(UpstreamBrokenError):
            await ask(client)
        assert engine.connections == 1


async def test_an_engine_that_turns_every_connection_away_is_understood() -> None:
    async def serve(engine: Engine, stream: SocketStream, number: int) -> None:
        await stream.send(REFUSAL.replace(b"413 Too Large", b"503 Busy"))

    async with engine_of(serve) as (_, client):
        for _ in range(20):
            with pytest.raises(BridgeError, match="too large"):
                await body_of(client)


async def test_an_engine_that_answers_while_it_reads_is_heard() -> None:
    async def serve(engine: Engine, stream: SocketStream, number: int) -> None:
        await stream.receive(1000)
        await stream.send(CHUNKED + b"3\r\none\r\n")
        left = LARGE - 2000
        while left > 0:
            left -= len(await stream.receive())
        await stream.send(b"3\r\ntwo\r\n0\r\n\r\n")

    async with engine_of(serve) as (_, client):
        assert await body_of(client, size=LARGE) == b"onetwo"


@pytest.mark.parametrize(("target", "header"), [("/\r\nx: y", "b"), ("/", "b\nc: d"), ("/", "b\0")])
async def test_a_request_whose_head_would_be_two_is_not_sent(target: str, header: str) -> None:
    request = HostRequest("GET", target, headers={"a": header})
    with pytest.raises(ValueError, match="line end"):
        await HttpExchange(PlainTransport(parse_url("http://127.0.0.1:9"), {}), request).__aenter__()


@pytest.mark.parametrize(
    ("head", "message"),
    [(b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000, "head of more than 65536"), (b"HTTP/1.1 20", "connection was closed")],
    ids=["too long", "cut off"],
)
async def test_a_head_that_does_not_end_is_no_answer(head: bytes, message: str) -> None:
    async def serve(engine: Engine, stream: SocketStream, _number: int) -> None:
        await engine.read(stream)
        await stream.send(head)

    async with engine_of(serve) as (_, client):
        with pytest.raises(UpstreamBrokenError, match=message):
            await body_of(client)
