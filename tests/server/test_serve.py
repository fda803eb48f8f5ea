"""Listening, and stopping in good order. The signals are the test's own."""

from __future__ import annotations

import errno
from typing import Any

import anyio
import pytest
from anyio.abc import Listener, SocketStream
from anyio.streams.stapled import MultiListener

from claude_bridge.errors import SetupError
from claude_bridge.server.listener import open_listener, serve
from tests.fake_upstream import DONE, FakeUpstream, Head, Reply, Send, Stall, Wait, finish, text
from tests.server.served import BridgeServer, Wire, get, post, streamed

pytestmark = pytest.mark.anyio

ONE_TOKEN: Reply = [Head(), Send(text("Hello")), Stall()]


class StoppableServer(BridgeServer):
    """A bridge that stops when the test says so, as it does on SIGTERM."""

    def __init__(self, upstream: FakeUpstream | str, *, shutdown_grace_s: float = 5.0) -> None:
        super().__init__(upstream)
        self.said: list[str] = []
        self.stopped = anyio.Event()
        self._shutdown_grace_s = shutdown_grace_s
        self._signals, self._received = anyio.create_memory_object_stream[str](10)

    def signal(self) -> None:
        self._signals.send_nowait("SIGTERM")

    async def wait_until_stopped(self, within_s: float = 2.0) -> None:
        with anyio.fail_after(within_s):
            await self.stopped.wait()

    async def _serve(self, listener: MultiListener[SocketStream]) -> None:
        with self._signals, self._received:
            await serve(
                listener,
                self.service,
                aiter(self._received),
                say=self.said.append,
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
        assert server.said == []


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
            assert server.said == ["Waiting up to 5 s for 1 answer to finish; press Ctrl-C again to stop now."]
            with pytest.raises(OSError, match=r"refused|connect"):
                await anyio.connect_tcp("127.0.0.1", server.port)
            go_on.set()
            assert b"message_stop" in await wire.chunk()
            assert await wire.chunk() == b""
            assert await wire.is_closed()
        await server.wait_until_stopped()
        assert len(server.said) == 1


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
        assert "2 answers" in server.said[0]
        assert server.said[1] == "Stopped with 2 unfinished."
        await upstream.requests[0].wait_until_closed_by_peer(within_s=1)


async def test_a_second_signal_stops_at_once() -> None:
    async with FakeUpstream([ONE_TOKEN]) as upstream, StoppableServer(upstream) as server, server.connect() as wire:
        await begin_streaming(wire)
        server.signal()
        server.signal()
        await server.wait_until_stopped(within_s=1)
        assert server.said[-1] == "Stopped with 1 unfinished."


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


class Exhausted(Listener[SocketStream]):
    """A listener that has no file descriptor left for the first connection."""

    def __init__(self, listener: Listener[SocketStream]) -> None:
        self._listener = listener
        self._has_failed = False

    async def serve(self, handler: Any, task_group: Any = None) -> None:
        if not self._has_failed:
            self._has_failed = True
            raise OSError(errno.EMFILE, "Too many open files")
        await self._listener.serve(handler, task_group)

    async def aclose(self) -> None:
        await self._listener.aclose()


class ExhaustedServer(BridgeServer):
    async def _serve(self, listener: MultiListener[SocketStream]) -> None:
        await super()._serve(MultiListener([Exhausted(listener)]))


async def test_a_server_survives_a_lack_of_file_descriptors() -> None:
    async with ExhaustedServer("http://127.0.0.1:9/v1") as server:
        assert (await server.ask(get("/healthz"))).status == 200


async def test_a_taken_port_is_told_with_its_owner_and_the_next_step() -> None:
    listener, port = await open_listener("127.0.0.1", 0)
    async with listener:
        with pytest.raises(SetupError) as caught:
            await open_listener("127.0.0.1", port)
    assert f"Port {port} on 127.0.0.1 is taken by " in caught.value.what
    assert f"--port {port + 1}" in caught.value.hint


async def test_a_foreign_address_is_told() -> None:
    with pytest.raises(SetupError, match="is not an address of this machine"):
        await open_listener("192.0.2.1", 0)


async def test_localhost_is_one_port_on_all_its_addresses() -> None:
    listener, port = await open_listener("localhost", 0)
    async with listener, await anyio.connect_tcp("127.0.0.1", port):
        pass
