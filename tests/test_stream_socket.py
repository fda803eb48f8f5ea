from __future__ import annotations

import itertools
import socket
from contextlib import suppress
from typing import Any

import anyio
import pytest

from claude_bridge.stream_socket import StreamSocket, connect

UVLOOP = ("asyncio", {"use_uvloop": True})
LOOPS = pytest.mark.parametrize("anyio_backend", ["asyncio", UVLOOP, "trio"], ids=["asyncio", "uvloop", "trio"])
pytestmark = [pytest.mark.anyio, LOOPS]


async def test_small_writes_go_out_at_once() -> None:
    # Held back, the last chunk of a streamed answer would wait 40 ms for the client's delayed acknowledgement.
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        connected, _ = listener.accept()
        stream = StreamSocket(connected)
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await stream.aclose()


async def test_a_connection_is_quiet_until_the_other_side_sends_or_leaves() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with await connect(*listener.getsockname()) as stream:
            other, _ = listener.accept()
            with other:
                other.send(b"x")
                assert await stream.receive() == b"x"
                assert stream.is_quiet
            with anyio.fail_after(60):
                while stream.is_quiet:
                    await anyio.lowlevel.checkpoint()


async def send_in_pieces(stream: StreamSocket, data: bytes, sizes: list[int], pause_s: float) -> None:
    at = 0
    for size in itertools.cycle(sizes):
        await stream.send(data[at : at + size])
        at += size
        if at >= len(data):
            break
        await anyio.sleep(pause_s)
    await stream.aclose()


async def test_bytes_keep_their_order_though_reads_are_given_up_and_differ_in_size() -> None:
    sent = b"".join(b"%05d," % number for number in range(20_000))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with await connect(*listener.getsockname()) as stream, anyio.create_task_group() as tasks:
            other = StreamSocket(listener.accept()[0])
            tasks.start_soon(send_in_pieces, other, sent, [6, 30, 3_000, 6, 60_000, 70_000], 0)
            received = b""
            with anyio.fail_after(60):
                for steps in itertools.cycle(range(4)):
                    with anyio.CancelScope() as scope:
                        for _ in range(steps):
                            await anyio.lowlevel.checkpoint()
                        scope.cancel()
                        received += await stream.receive(1_000 + 20_000 * steps)
                    more = await stream.receive(1_000)
                    if not more:
                        break
                    received += more
    assert received == sent


async def test_bytes_keep_their_order_after_waits_that_were_given_up() -> None:
    # With older versions of anyio the stream reads on after such a wait.
    sent = b"".join(b"%05d," % number for number in range(10_000))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with await connect(*listener.getsockname()) as stream, anyio.create_task_group() as tasks:
            other = StreamSocket(listener.accept()[0])
            tasks.start_soon(send_in_pieces, other, sent, [6, 30, 3_000, 6, 20_000], 0.001)
            received = b""
            with anyio.fail_after(30):
                more = b"more"
                while more:
                    with anyio.move_on_after(0.0005):
                        received += await stream.receive()
                    await anyio.sleep(0.004)
                    more = await stream.receive()
                    received += more
    assert received == sent


async def test_bytes_keep_their_order_where_more_comes_than_the_event_loop_reads_at_once() -> None:
    # uvloop reads on into its stream's queue; the last bytes of one piece of that are no sign that the queue is empty.
    sent = b"".join(b"%07d," % number for number in range(1_000_000))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with await connect(*listener.getsockname()) as stream:
            stream._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)  # as for who reads fast
            other, _ = listener.accept()
            other.setblocking(False)
            at = other.send(sent[:8])
            received = bytearray(await stream.receive())  # so few that the next read waits
            with anyio.fail_after(10):
                while len(received) < len(sent):
                    with suppress(BlockingIOError):
                        at += other.send(memoryview(sent)[at:])
                    received += await stream.receive(50_000)
            assert received == sent
            other.close()


async def test_bytes_that_a_read_has_left_make_a_connection_unquiet() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        async with await connect(*listener.getsockname()) as stream:
            other = StreamSocket(listener.accept()[0])
            await other.send(b"one, two")
            assert await stream.receive(5) == b"one, "
            assert not stream.is_quiet
            assert await stream.receive() == b"two"
            assert stream.is_quiet
            await other.aclose()


def addresses(*hosts: str, port: int) -> Any:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port)) for host in hosts]


async def test_the_next_address_of_a_host_is_tried_where_one_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        async def found(*_: object, **__: object) -> Any:
            return addresses("127.0.0.2", "127.0.0.1", port=port)

        monkeypatch.setattr(anyio, "getaddrinfo", found)
        async with await connect("engine.test", port):
            listener.accept()[0].close()


async def test_a_host_none_of_whose_addresses_answers_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        await connect("127.0.0.1", port)
