"""StreamSocket: a connected TCP socket as plain system calls, on asyncio and on trio.

An anyio stream runs the event loop once more for each write, which was a quarter of what a streamed token cost; and it
has no way to show whether anything has come on a connection that is kept for later.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import anyio
from anyio.abc import AsyncResource, SocketStream

CONNECT_STAGGER_S = 0.25
"""How long one address of a host may be silent before the next one is tried too (RFC 8305, section 5)."""

_FEW_BYTES = 1024
"""What one or two tokens take. Where a read brings no more, the next one has to wait, as far as one can know."""

_WHOLE_READ_BYTES = 1024 * 1024
"""More than uvloop reads at once (256,000 bytes), so that its stream never splits what it has read."""
_LAST_READ_BYTES = 128 * 1024
"""Less than uvloop reads at once. Only after a read that filled its buffer does it read again, into its stream's queue
(libuv's ``uv__read``), so after a shorter read the queue holds nothing more."""


class StreamSocket(AsyncResource):
    """A connected socket; what fails raises BrokenResourceError."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        with suppress(OSError):  # it may be gone already
            # Else the system holds back a small write until the other side has confirmed the one before: 40 ms at the
            # end of each streamed answer.
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connected
        self._has_waited = True
        """Whether the last read let others have their turn."""

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """Return what has come, waiting for the first byte of it; ``b""`` at the end."""
        if not self._has_waited:
            await anyio.lowlevel.checkpoint()  # one that sends without end must let others have their turn
        self._has_waited = False
        while (data := self.receive_now(max_bytes)) is None:
            await anyio.wait_readable(self._socket)
            self._has_waited = True
        return data

    def receive_now(self, max_bytes: int) -> bytes | None:
        """Return what has come, without waiting: None if that is nothing, ``b""`` at the end."""
        try:
            return self._socket.recv(max_bytes)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            raise anyio.BrokenResourceError from error

    async def send(self, item: bytes | memoryview) -> None:
        """Send all bytes, waiting only where nobody reads them; cancelled, it may have sent a part of them."""
        sent = self.send_now(item)
        while sent < len(item):
            await anyio.wait_writable(self._socket)
            sent += self.send_now(memoryview(item)[sent:])

    def send_now(self, data: bytes | memoryview) -> int:
        """Send what the system takes without waiting, and return how much that was; raises BrokenResourceError."""
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise anyio.BrokenResourceError from error

    @property
    def may_hold_bytes(self) -> bool:
        """Whether bytes may have come that only ``receive`` can tell of, so that ``is_quiet`` is no proof."""
        return False

    @property
    def is_quiet(self) -> bool:
        """Whether the other side has sent nothing that was not read, and has not closed the connection."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        return False

    def send_eof(self) -> None:
        """Tell the other side that nothing more comes; raises OSError if it has left."""
        self._socket.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        """Close the socket."""
        if self._socket.fileno() >= 0:
            anyio.notify_closing(self._socket)
            self._socket.close()


class _UvloopSocket(StreamSocket):
    """A connected socket on uvloop, whose own stream waits for bytes at half the cost of waiting for a plain socket.

    That stream reads only while ``receive`` waits for it, so that all other reads and writes can be system calls.
    """

    def __init__(self, connected: socket.socket, stream: SocketStream) -> None:
        super().__init__(connected)
        self._stream = stream
        self._may_hold_bytes = True
        """Whether the stream may hold bytes that it has not returned; they come before those in the system's buffer."""
        self._held = b""
        """Bytes that the stream has returned and ``receive`` has not: they come first."""
        self._was_given_up = False
        """Whether a read was cancelled: the stream may read on from then on, so that it alone may read."""
        self._has_few = True
        """Whether the last read brought few bytes."""

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        data: bytes | None = None
        if self._held or not (self._may_hold_bytes or self._has_few):
            if not self._has_waited:
                await anyio.lowlevel.checkpoint()
            data = self._held or self.receive_now(max_bytes)
        self._has_waited = data is None
        if data is None:
            was_given_up, self._was_given_up, self._may_hold_bytes = self._was_given_up, True, True
            try:
                data = await self._stream.receive(_WHOLE_READ_BYTES)
            except anyio.EndOfStream:
                return b""
            self._was_given_up = was_given_up
            self._may_hold_bytes = was_given_up or len(data) >= _LAST_READ_BYTES
        data, self._held = data[:max_bytes], data[max_bytes:]
        self._has_few = len(data) <= _FEW_BYTES
        return data

    async def send(self, item: bytes | memoryview) -> None:
        sent = self.send_now(item)
        if sent < len(item):
            await self._stream.send(memoryview(item)[sent:])  # type: ignore[arg-type]

    @property
    def may_hold_bytes(self) -> bool:
        return bool(self._held) or self._may_hold_bytes

    @property
    def is_quiet(self) -> bool:
        return not self.may_hold_bytes and super().is_quiet

    async def aclose(self) -> None:
        await anyio.aclose_forcefully(self._stream)


async def connect(host: str, port: int) -> StreamSocket:
    """Return a connection to a host; its addresses are tried in turn, the next one as soon as one fails or is silent.

    Raises:
        OSError: there is none; the error of the last address that failed.
    """
    found: Sequence[tuple[Any, ...]]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:  # it is a name, which takes a thread to look up
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failures: list[OSError] = []
    connected: list[socket.socket] = []

    async def attempt(family: int, address: tuple[object, ...], failed: anyio.Event) -> None:
        try:
            one = await _connected(family, address)
        except OSError as error:
            failures.append(error)
            failed.set()
        else:
            connected.append(one)
            tasks.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as tasks:
            for family, _, _, _, address in found:
                failed = anyio.Event()
                tasks.start_soon(attempt, family, address, failed)
                with anyio.move_on_after(CONNECT_STAGGER_S):
                    await failed.wait()
        if not connected:
            raise failures[-1]
        return await _stream_of(connected.pop(0))
    finally:
        for other in connected:
            other.close()


async def _stream_of(connected: socket.socket) -> StreamSocket:
    loop = type(anyio.lowlevel.current_token().native_token)
    if not loop.__module__.startswith("uvloop"):
        return StreamSocket(connected)
    try:
        return _UvloopSocket(connected, await SocketStream.from_socket(connected))
    except BaseException:
        connected.close()
        raise


async def _connected(family: int, address: tuple[object, ...]) -> socket.socket:
    connecting = socket.socket(family, socket.SOCK_STREAM)
    try:
        connecting.setblocking(False)
        with suppress(BlockingIOError):
            connecting.connect(address)
            return connecting
        await anyio.wait_writable(connecting)
        code = connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
    except BaseException:
        connecting.close()
        raise
    return connecting
