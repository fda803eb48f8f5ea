from __future__ import annotations

import os
import socket
import sys

import pytest

from claude_bridge.server.listener import describe_port_owner

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells in /proc")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_process_that_listens_is_named(host: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.bind((host, 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert f"(process {os.getpid()})" in describe_port_owner(port)


def test_a_port_where_nobody_listens_has_no_owner() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert describe_port_owner(bound.getsockname()[1]) == ""
