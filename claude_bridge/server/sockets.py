"""New connections of clients, as plain sockets."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncGenerator
from contextlib import suppress

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.stapled import MultiListener

SEND_BUFFER_BYTES = 256 * 1024
"""What may pile up in the system for a client that does not read; by itself Linux grows this to megabytes."""

OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


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
            with suppress(OSError):  # it may be gone already
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            yield connected
            await anyio.lowlevel.checkpoint()


def sockets_of(listener: MultiListener[SocketStream]) -> list[socket.socket]:
    """Return the sockets, one for each address, on which an anyio listener listens."""
    return [one.extra(SocketAttribute.raw_socket) for one in listener.listeners]  # noqa: S610 - not Django's
