"""The fast path, for engines in plain HTTP: connections are kept, and the answer is read while the request is sent."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress

import anyio
from anyio.lowlevel import checkpoint

from claude_bridge.stream_socket import StreamSocket, connect
from claude_bridge.upstream.network import CONNECT_TIMEOUT_S, NoConnectionError, no_connection
from claude_bridge.upstream.transport import (
    WRITE_BYTES,
    BrokenAnswerError,
    Connection,
    HttpRequest,
    HttpTransport,
    NoAnswerError,
    StartSoon,
)
from claude_bridge.wire.chunked import ChunkedDecoder
from claude_bridge.wire.response_head import Fields, take_response_head
from claude_bridge.wire.urls import Url

READ_BYTES = 64 * 1024
"""Of an answer; what a read brings is worked on at once, while the event loop serves nobody else."""

MAX_HEAD_BYTES = 64 * 1024
MAX_HEAD_STEPS = 1_000
"""How many reads and interim answers a head may take."""
MAX_IDLE_CONNECTIONS = 64

MAX_IDLE_S = 4.0
"""Shorter than engines keep a connection (llama.cpp and vLLM: 5 s), so that no request meets one that they close."""

UNPROVEN_IDLE_S = 0.05
"""How long a connection must be idle after an answer in chunks, until this host has once kept such a connection.

llama.cpp closes it after each streamed answer, although its head says ``Keep-Alive: timeout=5``.
"""

_SETTLING_STEPS = 4
"""How many turns of the event loop a connection gets to show its end, after an engine refused a request: some close it
then, and say so in no header."""

_LINE_END = re.compile(rb"[\r\n\0]")
_KEEP_ALIVE_TIMEOUT = re.compile(r"\btimeout\s*=\s*(\d{1,6})", re.IGNORECASE)
_TLS_ALERT = b"\x15\x03"


class PlainTransport(HttpTransport):
    """Speaks plain HTTP to the host of one URL, without a proxy, and keeps its connections for reuse."""

    def __init__(self, url: Url, headers: Mapping[str, str]) -> None:
        super().__init__(url.authority, headers)
        self._url = url
        self._idle: list[_Connection] = []
        """The oldest first."""
        self._keeps: dict[bool, bool] = {False: True}
        """Whether this host keeps a connection after an answer in chunks (True), and after another one (False)."""

    async def aclose(self) -> None:
        """Close the connections that are kept for reuse."""
        while self._idle:
            await self._idle.pop().close()

    async def send(self, request: HttpRequest, start_soon: StartSoon) -> _Connection:
        """Send it on a kept connection or a new one."""
        head = _encode_head(request, self._fields(request))
        connection = await self._connection()
        connection.send(head, request.body, start_soon)
        return connection

    async def take_back(self, connection: Connection) -> None:
        """Keep a connection whose exchange is over, if it is fit for another one; else close it."""
        assert isinstance(connection, _Connection), "it was made by send"
        is_fit = connection.start_next_cycle() and self._keeps.get(connection.was_chunked, True)
        if is_fit and len(self._idle) < MAX_IDLE_CONNECTIONS:
            self._idle.append(connection)
        else:
            await connection.close()
        while self._idle and time.monotonic() >= self._idle[0].expires_at:
            await self._idle.pop(0).close()

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            try:
                if connection.was_chunked not in self._keeps:
                    await anyio.sleep(max(0, connection.idle_since + UNPROVEN_IDLE_S - time.monotonic()))
                for _ in range(_SETTLING_STEPS if connection.has_refused else 0):
                    await checkpoint()
            except BaseException:  # cancelled, with a connection that nobody else knows
                await connection.close()
                raise
            if time.monotonic() < connection.expires_at:
                self._keeps[connection.was_chunked] = (
                    self._keeps.get(connection.was_chunked, True) and connection.is_quiet
                )
                if self._keeps[connection.was_chunked]:
                    return connection
            await connection.close()
        try:
            with anyio.fail_after(CONNECT_TIMEOUT_S):
                return _Connection(await connect(self._url.host, self._url.port))
        except TimeoutError:
            raise NoConnectionError(f"did not answer within {CONNECT_TIMEOUT_S:g} s. Is it running?") from None
        except OSError as error:
            raise no_connection(error) from error


class _Connection:
    """One connection, and one exchange at a time on it."""

    def __init__(self, stream: StreamSocket) -> None:
        self.expires_at = 0.0
        """Until when it may be used again, once it is idle."""
        self.idle_since = 0.0
        self.was_chunked = False
        """How the last answer came."""
        self.has_refused = False
        """Whether the last answer was a refusal."""
        self._stream = stream
        self._chunked: ChunkedDecoder | None = None
        self._left: int | None = None
        """How much of a body is missing; None: it ends with its last chunk, or with the connection."""
        self._unread = b""
        self._keeps_open = False
        self._keep_s = MAX_IDLE_S
        self._is_sent = False
        self._is_heard = False

    @property
    def is_quiet(self) -> bool:
        """Whether it is open, and nothing has come: that would be no answer to the next request."""
        return self._stream.is_quiet

    def send(self, head: bytes, body: bytes, start_soon: StartSoon) -> None:
        """Send a request as far as the system takes it at once; the rest goes beside the task that reads the answer.

        A host may answer, and close the connection, before it has read all.
        """
        first = head + body[:WRITE_BYTES]
        try:
            sent = self._stream.send_now(first)
        except anyio.BrokenResourceError:
            return  # then the reader finds out
        self._is_sent = sent == len(head) + len(body)
        if not self._is_sent:
            start_soon(self._send_rest, (memoryview(first)[sent:], memoryview(body)[WRITE_BYTES:]))

    async def _send_rest(self, pieces: Iterable[memoryview]) -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            for piece in pieces:
                for start in range(0, len(piece), WRITE_BYTES):
                    await self._stream.send(piece[start : start + WRITE_BYTES])
            self._is_sent = True

    async def receive_head(self) -> tuple[int, Fields]:
        for _ in range(MAX_HEAD_STEPS):
            try:
                found = take_response_head(self._unread)
            except ValueError as error:
                if self._unread.startswith(_TLS_ALERT):
                    raise BrokenAnswerError("speaks TLS, but its address begins with http://. Use https://.") from None
                raise BrokenAnswerError(f"broke off its answer: {error}.") from error
            if found is None:
                if len(self._unread) > MAX_HEAD_BYTES:
                    raise BrokenAnswerError(f"sent a head of more than {MAX_HEAD_BYTES} bytes.")
                data = await self._receive()
                if not data:
                    raise BrokenAnswerError("broke off its answer: the connection was closed.")
                self._unread += data
                continue
            head, self._unread = found
            if not head.is_interim:
                self._chunked = ChunkedDecoder() if head.is_chunked else None
                self._left, self._keeps_open, self._keep_s = head.length, head.keeps_open, _keep_alive_s(head.fields)
                self.has_refused = head.status >= 300
                return head.status, head.fields
        raise BrokenAnswerError("sent interim answers without end.")

    async def receive_body(self) -> bytes:
        while not self.has_ended:
            if self._chunked is not None and self._chunked.broken is not None:
                raise BrokenAnswerError(f"broke off its answer: {self._chunked.broken}.")
            data, self._unread = self._unread or await self._receive(), b""
            if not data:
                if self._chunked is not None or self._left is not None:
                    raise BrokenAnswerError("broke off its answer: the connection was closed.")
                self._left = 0
            elif self._chunked is not None:
                if payload := self._chunked.feed(data):
                    return payload
            elif self._left is None:
                return data
            else:
                payload, self._unread = data[: self._left], data[self._left :]
                self._left -= len(payload)
                return payload
        return b""

    @property
    def has_ended(self) -> bool:
        return self._left == 0 if self._chunked is None else self._chunked.ended

    def start_next_cycle(self) -> bool:
        """Make ready for another exchange; return whether that is possible."""
        excess = self._unread if self._chunked is None else self._chunked.excess
        is_fit = self._keeps_open and self._is_sent and self.has_ended and not excess
        self.was_chunked = self._chunked is not None
        self._chunked, self._left, self._unread, self._is_sent, self._is_heard = None, None, b"", False, False
        self.idle_since = time.monotonic()
        self.expires_at = self.idle_since + self._keep_s
        return is_fit

    async def close(self) -> None:
        await self._stream.aclose()

    async def _receive(self) -> bytes:
        """Return what a read brings, ``b""`` at the end of an answer that has begun."""
        how = "closed"
        try:
            data = await self._stream.receive(READ_BYTES)
        except anyio.EndOfStream:
            data = b""
        except anyio.BrokenResourceError:
            if self._is_heard:
                raise BrokenAnswerError("broke off its answer: the connection was reset.") from None
            data, how = b"", "reset"
        if not data and not self._is_heard:
            raise NoAnswerError(f"{how} the connection without an answer.")
        self._is_heard = True
        return data


def _encode_head(request: HttpRequest, fields: Fields) -> bytes:
    lines = [f"{request.method} {request.target} HTTP/1.1".encode("latin-1"), *map(b": ".join, fields)]
    if _LINE_END.search(b"".join(lines)):
        raise ValueError("A header of a request holds a line end.")
    return b"\r\n".join((*lines, b"\r\n"))


def _keep_alive_s(fields: Fields) -> float:
    """Return how long the connection may be idle: a second less than the host says, so that it is not met closing."""
    for name, value in fields:
        if name == b"keep-alive" and (found := _KEEP_ALIVE_TIMEOUT.search(value.decode("latin-1"))):
            return min(MAX_IDLE_S, float(found[1]) - 1)
    return MAX_IDLE_S
