"""EarlyPort: the port of a bridge while the rest of it loads, which takes most of its start.

A thread answers who asks whether the bridge lives. All others wait for the bridge, in place of being refused.
"""

from __future__ import annotations

import select
import socket
import sys
from contextlib import suppress
from threading import Thread

from claude_bridge.version import __version__

EARLY_HOST = "127.0.0.1"
BACKLOG = 1024
MAX_WAITING = 100
"""Of connections that are accepted early: more wait in the system."""

MAX_HEAD_BYTES = 16 * 1024

ALIVE = b'{"status":"ok","version":"%b"}' % __version__.encode()
_QUESTION = b"GET /healthz HTTP/1.1\r\n"
_PLAIN_FIELDS = frozenset({b"accept", b"accept-encoding", b"connection", b"host", b"user-agent"})
_OWN_NAMES = frozenset({b"127.0.0.1", b"localhost"})
_ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (
    len(ALIVE),
    ALIVE,
)


def open_early_port(port: int) -> EarlyPort | None:
    """Listen on a port of 127.0.0.1; None: it can't be had, which ``open_listener`` explains later."""
    listening = socket.socket()
    try:
        if sys.platform == "win32":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((EARLY_HOST, port))
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        return None
    return EarlyPort(listening, port)


class EarlyPort:
    """A socket that listens, until it is handed over."""

    def __init__(self, listening: socket.socket, requested_port: int) -> None:
        """``requested_port`` 0: any free one."""
        self._requested_port = requested_port
        self.port: int = listening.getsockname()[1]
        self._listening = listening
        self._waiting: list[socket.socket] = []
        self._stop, self._stopped = socket.socketpair()
        self._thread = Thread(target=self._serve, daemon=True)
        self._thread.start()

    def is_at(self, host: str, port: int) -> bool:
        """Return whether it is what ``host`` and ``port`` mean."""
        return (host, port) == (EARLY_HOST, self._requested_port)

    def close(self) -> None:
        """Close it with all its connections: the bridge listens elsewhere."""
        listening, waiting = self.hand_over()
        for one in (listening, *waiting):
            one.close()

    def hand_over(self) -> tuple[socket.socket, list[socket.socket]]:
        """Return the socket that listens, and the connections that wait for an answer."""
        self._stop.close()
        self._thread.join()
        self._stopped.close()
        self._listening.setblocking(False)
        return self._listening, self._waiting

    def _serve(self) -> None:
        silent: list[socket.socket] = []
        while True:
            is_full = len(silent) + len(self._waiting) >= MAX_WAITING
            accepting = [] if is_full else [self._listening]
            ready, _, _ = select.select([self._stopped, *accepting, *silent], [], [])
            if self._stopped in ready:
                self._waiting += silent
                return
            for one in ready:
                if one is self._listening:
                    with suppress(OSError):
                        silent.append(one.accept()[0])
                else:
                    silent.remove(one)
                    if not _is_answered(one):
                        self._waiting.append(one)


def _is_answered(connected: socket.socket) -> bool:
    """Answer a connection that asks whether the bridge lives; what others have sent stays unread."""
    with suppress(OSError):
        head = connected.recv(MAX_HEAD_BYTES, socket.MSG_PEEK)
        if not _is_plain(head):
            return False
        connected.recv(len(head))
        connected.sendall(_ANSWER)
    connected.close()
    return True


def _is_plain(head: bytes) -> bool:
    """Return whether there is nothing in a head that the bridge would have to judge: it is no web page's."""
    lines = head.lower().split(b"\r\n")
    hosts = [line[len(b"host:") :].strip().partition(b":")[0] for line in lines if line.startswith(b"host:")]
    return (
        head.startswith(_QUESTION)
        and head.endswith(b"\r\n\r\n")
        and {line.partition(b":")[0] for line in lines[1:-2]} <= _PLAIN_FIELDS
        and len(hosts) == 1
        and hosts[0] in _OWN_NAMES
        and head.count(b"\n") == head.count(b"\r\n")
    )
