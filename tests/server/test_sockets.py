import socket

import pytest

from claude_bridge.server.sockets import ClientSocket

pytestmark = pytest.mark.anyio


async def test_small_writes_go_out_at_once() -> None:
    # Held back, the last chunk of a streamed answer would wait 40 ms for the client's delayed acknowledgement.
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        connected, _ = listener.accept()
        stream = ClientSocket(connected)
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await stream.aclose()
