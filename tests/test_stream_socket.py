from __future__ import annotations

import socket
from typing import Any

import anyio
import pytest

from claude_bridge.stream_socket import StreamSocket, connect

pytestmark = pytest.mark.anyio


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
                assert stream.is_quiet
                other.send(b"x")
                assert await stream.receive() == b"x"
                assert stream.is_quiet
            await anyio.wait_readable(stream._socket)
            assert not stream.is_quiet


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
