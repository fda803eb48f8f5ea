"""Clients' connections as plain non-blocking sockets: a write is one system call, on asyncio and on trio.

An anyio stream runs the event loop once more for each write, which was a quarter of what a streamed token cost.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncGenerator
from contextlib import suppress

import anyio
from anyio.abc import ByteStream, SocketAttribute, SocketStream
from anyio.streams.stapled import MultiListener

SEND_BUFFER_BYTES = 256 * 1024
"""What may pile up in the system for a client that does not read; by itself Linux grows this to megabytes."""

OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class ClientSocket(ByteStream):
    """A connected socket."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        with suppress(OSError):  # it may be gone already
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            # Else the system holds back a small write until the client has confirmed the one before: 40 ms at the end
            # of each streamed answer.
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connected
        self._has_waited = True
        """Whether the last read let others have their turn."""

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """Return what has come, waiting for the first byte of it; see anyio's ByteReceiveStream."""
        if not self._has_waited:
            await anyio.lowlevel.checkpoint()  # a client that sends without end must let others have their turn
        self._has_waited = False
        while True:
            try:
                data = self._socket.recv(max_bytes)
            except (BlockingIOError, InterruptedError):
                await anyio.wait_readable(self._socket)
                self._has_waited = True
            except OSError as error:
                raise anyio.BrokenResourceError from error
            else:
                if not data:
                    raise anyio.EndOfStream
                return data

    async def send(self, item: bytes) -> None:
        """Send all bytes, waiting only where the client does not read; cancelled, it may have sent a part of them."""
        sent = self._send_now(item)
        while sent < len(item):
            await anyio.wait_writable(self._socket)
            sent += self._send_now(memoryview(item)[sent:])

    def _send_now(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise anyio.BrokenResourceError from error

    async def send_eof(self) -> None:
        """Tell the client that nothing more comes; raises OSError if it has left."""
        self._socket.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        """Close the socket."""
        if self._socket.fileno() >= 0:
            anyio.notify_closing(self._socket)
            self._socket.close()


async def accept_sockets(listener: socket.socket) -> AsyncGenerator[socket.socket, None]:
    """Yield each new connection.

    Raises:
        OSError: with a code of OUT_OF_RESOURCES, if one can't be taken for now.
    """
    while True:
        try:
            connected, _ = listener.accept()
        except (BlockingIOError, InterruptedError):
            await anyio.wait_readable(listener)
        except OSError as error:
            if error.errno in OUT_OF_RESOURCES:
                raise
            # The client was gone before its turn came: accept() reports that as an error of many names.
        else:
            yield connected
            await anyio.lowlevel.checkpoint()


def sockets_of(listener: MultiListener[SocketStream]) -> list[socket.socket]:
    """Return the sockets, one for each address, on which an anyio listener listens."""
    return [one.extra(SocketAttribute.raw_socket) for one in listener.listeners]  # noqa: S610 - not Django's
