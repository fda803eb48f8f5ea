"""Listening, and stopping in good order. The signals are the test's own."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Sequence

import anyio
import pytest

from claude_bridge.errors import SetupError
from claude_bridge.server.http1 import ServerLimits
from claude_bridge.server.listener import open_listener, serve
from tests.fake_upstream import DONE, WAIT_S, FakeUpstream, Head, Reply, Send, Stall, Wait, finish, text
from tests.server.served import BridgeServer, Wire, get, post, question, streamed

pytestmark = pytest.mark.anyio

ONE_TOKEN: Reply = [Head(), Send(text("Hello")), Stall()]


class StoppableServer(BridgeServer):
    """A bridge that stops when the test says so, as it does on SIGTERM."""

    def __init__(self, upstream: FakeUpstream | str, *, shutdown_grace_s: float = 60.0) -> None:
        super().__init__(upstream)
        self.printed: list[str] = []
        self.stopped = anyio.Event()
        self._shutdown_grace_s = shutdown_grace_s
        self._signals, self._received = anyio.create_memory_object_stream[str](10)

    def signal(self) -> None:
        self._signals.send_nowait("SIGTERM")

    async def wait_until_stopped(self) -> None:
        with anyio.fail_after(WAIT_S):
            await self.stopped.wait()

    async def _serve(self, listening: Sequence[socket.socket]) -> None:
        with self._signals, self._received:
            await serve(
                listening,
                self.service,
                aiter(self._received),
                say=self.printed.append,
                shutdown_grace_s=self._shutdown_grace_s,
            )
        self.stopped.set()

    async def __aenter__(self) -> StoppableServer:
        await super().__aenter__()
        return self


async def begin_streaming(wire: Wire) -> None:
    await wire.send(streamed())
    await wire.head()
    await wire.chunk()


async def test_a_server_with_nothing_to_do_stops_at_once_and_says_nothing() -> None:
    async with StoppableServer("http://127.0.0.1:9/v1") as server:
        await server.ask(get("/healthz"))
        server.signal()
        await server.wait_until_stopped()
        assert server.printed == []


async def test_a_running_answer_finishes_while_new_connections_are_refused() -> None:
    go_on = anyio.Event()
    reply: Reply = [Head(), Send(text("Hello")), Wait(go_on), Send(text(" you") + finish() + DONE)]
    async with FakeUpstream([reply]) as upstream, StoppableServer(upstream) as server:
        async with server.connect() as wire, server.connect() as idle:
            await begin_streaming(wire)
            await idle.send(get("/healthz"))
            await idle.response()
            server.signal()
            assert await idle.is_closed()
            assert server.printed == ["Waiting up to 60 s for 1 answer to finish; press Ctrl-C again to stop now."]
            with pytest.raises(OSError, match=r"refused|connect"):
                await anyio.connect_tcp("127.0.0.1", server.port)
            go_on.set()
            assert b"message_stop" in await wire.chunk()
            assert await wire.chunk() == b""
            assert await wire.is_closed()
        await server.wait_until_stopped()
        assert len(server.printed) == 1


async def test_the_wait_for_answers_is_bounded() -> None:
    async with (
        FakeUpstream([ONE_TOKEN] * 2) as upstream,
        StoppableServer(upstream, shutdown_grace_s=0.1) as server,
        server.connect() as one,
        server.connect() as two,
    ):
        await begin_streaming(one)
        await begin_streaming(two)
        server.signal()
        await server.wait_until_stopped()
        assert "2 answers" in server.printed[0]
        assert server.printed[1] == "Stopped with 2 unfinished."
        for wire in (one, two):
            assert (await wire.chunk()).startswith(b"event: error")
        await upstream.requests[0].wait_until_closed_by_peer()


async def test_a_second_signal_ends_each_stream_with_an_error() -> None:
    silent: Reply = [Stall()]
    async with (
        FakeUpstream([ONE_TOKEN, silent, silent]) as upstream,
        StoppableServer(upstream) as server,
        server.connect() as streaming,
        server.connect() as silent_stream,
        server.connect() as whole,
    ):
        await begin_streaming(streaming)
        await silent_stream.send(streamed())
        await upstream.request(1)
        await whole.send(post("/v1/messages", question()))
        await upstream.request(2)
        server.signal()
        server.signal()
        last = await streaming.chunk()
        assert last.startswith(b"event: error")
        assert b"was stopped before the answer was whole" in last
        assert (await streaming.chunk(), await streaming.is_closed()) == (b"", True)
        for wire in (silent_stream, whole):
            response = await wire.response()
            assert (response.status, response.json["error"]["type"]) == (503, "overloaded_error")
        await server.wait_until_stopped()
        assert server.printed[-1] == "Stopped with 3 unfinished."
        for request in upstream.requests:
            await request.wait_until_closed_by_peer()


async def test_a_client_that_does_not_read_holds_up_no_end() -> None:
    flood: Reply = [Head(), *[Send(text("x" * 60_000))] * 200, Stall()]
    async with FakeUpstream([flood]) as upstream, StoppableServer(upstream) as server, server.connect() as wire:
        await wire.send(streamed())
        await upstream.request()
        await anyio.sleep(0.2)
        server.signal()
        server.signal()
        await server.wait_until_stopped()


async def test_an_answer_that_begins_while_stopping_says_that_it_is_the_last() -> None:
    async with (
        FakeUpstream([ONE_TOKEN]) as upstream,
        StoppableServer(upstream) as server,
        server.connect() as running,
        server.connect() as wire,
    ):
        await begin_streaming(running)
        request = post("/v1/messages/count_tokens", {"model": "m", "messages": []})
        await wire.send(request[:-1])
        await anyio.wait_all_tasks_blocked()
        server.signal()
        await anyio.wait_all_tasks_blocked()
        await wire.send(request[-1:])
        assert (await wire.response()).headers["connection"] == "close"
        server.signal()
        await server.wait_until_stopped()


# --- connections ----------------------------------------------------------------------------------------------


async def test_a_server_out_of_descriptors_says_so_and_recovers() -> None:
    printed: list[str] = []
    reported = anyio.Event()

    def say(words: str) -> None:
        printed.append(words)
        reported.set()

    async with BridgeServer("http://127.0.0.1:9/v1", say=say) as server:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        async with server.connect() as wire:
            await wire.send(get("/healthz"))
            await wire.response()
            taken = os.dup(0)
            os.close(taken)
            client = socket.socket()
            client.setblocking(False)
            resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 1, hard))  # the client took the last one
            try:
                client.connect_ex(("127.0.0.1", server.port))
                with anyio.fail_after(WAIT_S):
                    await reported.wait()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert "Too many open files" in printed[0]
            client.close()
        assert (await server.ask(get("/healthz"))).status == 200
        assert len(printed) == 1


async def test_one_connection_too_many_is_refused_in_words() -> None:
    printed: list[str] = []
    limits = ServerLimits(max_connections=2)
    async with (
        FakeUpstream([ONE_TOKEN] * 2) as upstream,
        BridgeServer(upstream, limits=limits, say=printed.append) as server,
        server.connect() as one,
        server.connect() as two,
    ):
        await begin_streaming(one)
        await begin_streaming(two)
        response = await server.ask(get("/healthz"))
        assert (response.status, response.headers["retry-after"]) == (529, "5")
        assert response.json["error"]["type"] == "overloaded_error"
        assert printed == ["2 connections are open: more are refused."]


async def test_an_idle_connection_makes_room_for_a_new_one() -> None:
    limits = ServerLimits(max_connections=2)
    async with (
        FakeUpstream([ONE_TOKEN]) as upstream,
        BridgeServer(upstream, limits=limits) as server,
        server.connect() as busy,
        server.connect() as idle,
    ):
        await begin_streaming(busy)
        await idle.send(get("/healthz"))
        await idle.response()
        assert (await server.ask(get("/healthz"))).status == 200
        assert await idle.is_closed()


# --- memory ---------------------------------------------------------------------------------------------------


async def test_the_bodies_of_all_requests_together_have_a_limit() -> None:
    filler = "x" * 60_000
    limits = ServerLimits(max_memory_bytes=150_000)
    async with (
        FakeUpstream([ONE_TOKEN] * 3) as upstream,
        BridgeServer(upstream, limits=limits) as server,
        server.connect() as one,
        server.connect() as two,
    ):
        for wire in (one, two):
            await wire.send(streamed(system=filler))
            await wire.head()
        response = await server.messages(system=filler)
        assert (response.status, response.json["error"]["type"]) == (529, "overloaded_error")
        assert "retry-after" in response.headers
        assert "--max-memory" in response.json["error"]["message"]
        assert (await server.ask(get("/healthz"))).status == 200
        await one.stream.aclose()
        await upstream.requests[0].wait_until_closed_by_peer()
        await anyio.wait_all_tasks_blocked()
        async with server.connect() as wire:
            await wire.send(streamed(system=filler))
            assert (await wire.head()).status == 200


async def test_a_body_that_would_not_fit_is_refused_before_it_is_sent() -> None:
    limits = ServerLimits(max_memory_bytes=1000)
    async with BridgeServer("http://127.0.0.1:9/v1", limits=limits) as server, server.connect() as wire:
        await wire.send(post("/v1/messages", {}, expect="100-continue", content_length="2000")[:-2])
        assert (await wire.response()).status == 529


# --- listening ------------------------------------------------------------------------------------------------


async def test_a_taken_port_is_reported_with_its_owner_and_the_next_step() -> None:
    (listening,), port = await open_listener("127.0.0.1", 0)
    with listening, pytest.raises(SetupError) as caught:
        await open_listener("127.0.0.1", port)
    assert f"Port {port} on 127.0.0.1 is taken by " in caught.value.what
    assert f"--port {port + 1}" in caught.value.hint


async def test_a_foreign_address_is_reported() -> None:
    with pytest.raises(SetupError, match="is not an address of this machine"):
        await open_listener("192.0.2.1", 0)


async def test_localhost_is_one_port_on_all_its_addresses() -> None:
    listening, port = await open_listener("localhost", 0)
    async with await anyio.connect_tcp("127.0.0.1", port):
        assert len({one.getsockname()[1] for one in listening}) == 1
    for one in listening:
        one.close()
