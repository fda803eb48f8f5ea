"""One GET on one connection: its head, its body in pieces, and how much that body may unpack into."""

from __future__ import annotations

import zlib

import anyio
import h11
from anyio.abc import ByteStream

from claude_bridge import __version__

_READ_BYTES = 64 * 1024
_ZLIB_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class FetchError(Exception):
    """A document could not be fetched.

    ``reason`` ends a sentence that begins with what was asked for; ``is_passing`` says that another time may do.
    """

    def __init__(self, reason: str, *, is_passing: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_passing = is_passing


class HttpGet:
    """One request and its response, on a connection of its own."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._h11 = h11.Connection(h11.CLIENT)

    async def head(self, host: bytes, target: bytes) -> tuple[int, dict[str, str]]:
        """Ask for ``target``; return the status and the headers, with names in small letters."""
        headers = {
            "host": host.decode("ascii"),
            "user-agent": f"claude-bridge/{__version__}",
            "accept": "*/*",
            "accept-encoding": "identity",
            "connection": "close",
        }
        request = h11.Request(method="GET", target=target, headers=list(headers.items()))
        try:
            await self._stream.send(self._h11.send(request) or b"")
            self._h11.send(h11.EndOfMessage())
            while True:
                event = await self._next_event()
                if isinstance(event, h11.Response):
                    return event.status_code, {
                        name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers
                    }
        except (h11.ProtocolError, anyio.BrokenResourceError, OSError) as error:
            raise FetchError(f"gives no answer ({words_of(error)})", is_passing=True) from error

    async def more_body(self) -> bytes:
        """Return what came next of the body, b"" at its end."""
        try:
            event = await self._next_event()
        except (h11.ProtocolError, anyio.BrokenResourceError, OSError) as error:
            raise FetchError(f"broke off ({words_of(error)})", is_passing=True) from error
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    async def _next_event(self) -> h11.Event:
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            try:
                data = await self._stream.receive(_READ_BYTES)
            except anyio.EndOfStream:
                data = b""
            self._h11.receive_data(data)
        if isinstance(event, h11.Event):
            return event
        raise h11.RemoteProtocolError("the connection was closed")


class Unpacked:
    """A body that some servers compress unasked; a small one that unpacks into a huge one is given up in time."""

    def __init__(self, encoding: str, limit: int) -> None:
        self.body = bytearray()
        self._limit = limit
        self._zlib = None
        encoding = encoding.strip().lower()
        if encoding in _ZLIB_WINDOWS:
            self._zlib = zlib.decompressobj(_ZLIB_WINDOWS[encoding])
        elif encoding not in ("", "identity"):
            raise FetchError(f"comes packed as {encoding!r}, which was not asked for")

    def feed(self, chunk: bytes) -> None:
        """Take what came next."""
        room = self._limit - len(self.body) + 1
        try:
            self.body += self._zlib.decompress(chunk, room) if self._zlib else chunk
        except zlib.error as error:
            raise FetchError("is packed in a way that can't be read") from error
        if len(self.body) > self._limit:
            raise FetchError(too_large(self._limit))


def too_large(limit: int) -> str:
    """Return the reason for giving up a document of more than ``limit`` bytes."""
    return f"is larger than {limit / 2**20:g} MiB"


def words_of(error: Exception) -> str:
    """Return what an exception says, or what it is."""
    return str(error)[:200] or type(error).__name__
