"""The port that is open while the bridge loads."""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import partial

import anyio
import pytest

from claude_bridge.server.app import Service
from claude_bridge.server.early_port import open_early_port
from claude_bridge.server.listener import serve
from claude_bridge.trace.bus import Bus

LIMIT_S = 20.0


def _requested(port: int, path: str, fields: str = "host: localhost") -> socket.socket:
    connected = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)
    connected.sendall(f"GET {path} HTTP/1.1\r\n{fields}\r\nconnection: close\r\n\r\n".encode())
    return connected


def _answer(connected: socket.socket) -> bytes:
    with connected:
        return b"".join(iter(lambda: connected.recv(65_536), b""))


@pytest.mark.anyio
async def test_who_asks_for_more_than_life_waits_for_the_bridge() -> None:
    early = open_early_port(0)
    assert early is not None
    service = Service(Bus(), auth_token=None, loopback_only=True)
    port = early.port
    with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as silent:
        waiting = _requested(port, "/readyz")
        unclear = _requested(port, "/healthz", "host: localhost\r\nhost: e.example")
        assert _answer(_requested(port, "/healthz")).startswith(b"HTTP/1.1 200 OK\r\n")
        listening, connections = early.hand_over()
        assert listening.getsockname()[1] == port
        later = _requested(port, "/healthz")
        silent.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        signals, received = anyio.create_memory_object_stream[str](1)
        with received, signals:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(serve, [listening], service, received, say=_ignore, waiting=connections))
                answers = [await anyio.to_thread.run_sync(_answer, one) for one in (waiting, later, silent, unclear)]
                signals.send_nowait("SIGTERM")
    assert [answer.partition(b"\r\n")[0].split()[1] for answer in answers] == [
        b"503",
        b"200",
        b"200",
        b"400",
    ]
    assert answers[1].partition(b"\r\n\r\n")[2] == answers[2].partition(b"\r\n\r\n")[2]


def _ignore(_: str) -> None:
    pass


def test_a_taken_port_is_left_to_those_who_can_explain_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as owner:
        assert open_early_port(owner.getsockname()[1]) is None


def test_a_port_that_the_bridge_does_not_get_is_closed_with_its_connections() -> None:
    early = open_early_port(0)
    assert early is not None
    assert early.is_at("127.0.0.1", 0)
    assert not early.is_at("0.0.0.0", 0)
    assert not early.is_at("127.0.0.1", 1)
    waiting = _requested(early.port, "/readyz")
    early.close()
    with waiting, suppress(ConnectionResetError):
        assert waiting.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", early.port), timeout=LIMIT_S)
