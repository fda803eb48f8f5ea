"""The fast path, for engines in plain HTTP: connections are kept, and the answer is read while the request is sent."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress

import anyio
from anyio.lowlevel import checkpoint

from claude_bridge.stream_socket import StreamSocket, connect
from claude_bridge.upstream.network import CONNECT_TIMEOUT_S, NetworkError, NoConnectionError, no_connection
from claude_bridge.upstream.transport import (
    WRITE_BYTES,
    BrokenAnswerError,
    HostConnection,
    HostRequest,
    HttpExchange,
    HttpTransport,
    NoAnswerError,
    StartSoon,
)
from claude_bridge.wire.chunked import ChunkedDecoder, LengthDecoder
from claude_bridge.wire.response_head import Fields, ResponseHead, take_response_head
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

    def __init__(self, url: Url, headers: Mapping[str, str], *, unproven_idle_s: float = UNPROVEN_IDLE_S) -> None:
        super().__init__(url.authority, headers)
        self._url = url
        self._unproven_idle_s = unproven_idle_s
        self._idle: list[_Connection] = []
        """The oldest first."""
        self._keeps: dict[bool, bool] = {False: True}
        """Whether this host keeps a connection after an answer in chunks (True), and after another one (False)."""

    async def aclose(self) -> None:
        """Close the connections that are kept for reuse."""
        while self._idle:
            await self._idle.pop().close()

    async def send(self, request: HostRequest, start_soon: StartSoon) -> _Connection:
        """Send it on a kept connection or a new one."""
        head = _encode_head(request, self._fields(request))
        connection = _Connection(await self._stream())
        connection.send(head, request.body, start_soon)
        return connection

    async def take_back(self, connection: HostConnection) -> None:
        """Keep a connection whose exchange is over, if it is fit for another one; else close it."""
        assert isinstance(connection, _Connection), "it was made by send"
        if (
            connection.is_fit
            and self._keeps.get(connection.is_chunked, True)
            and len(self._idle) < MAX_IDLE_CONNECTIONS
        ):
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            await connection.close()
        while self._idle and time.monotonic() >= self._idle[0].expires_at:
            await self._idle.pop(0).close()

    async def _stream(self) -> StreamSocket:
        """Return a kept connection or a new one."""
        while self._idle:
            connection = self._idle.pop()
            is_chunked = connection.is_chunked
            try:
                if is_chunked not in self._keeps:
                    await anyio.sleep(max(0, connection.idle_since + self._unproven_idle_s - time.monotonic()))
                for _ in range(_SETTLING_STEPS if connection.has_refused else 0):
                    await checkpoint()
            except BaseException:  # cancelled, with a connection that nobody else knows
                await connection.close()
                raise
            if time.monotonic() < connection.expires_at:
                self._keeps[is_chunked] = self._keeps.get(is_chunked, True) and connection.stream.is_quiet
                if self._keeps[is_chunked]:
                    return connection.stream
            await connection.close()
        try:
            with anyio.fail_after(CONNECT_TIMEOUT_S):
                return await connect(self._url.host, self._url.port)
        except TimeoutError:
            raise NoConnectionError(f"did not answer within {CONNECT_TIMEOUT_S:g} s. Is it running?") from None
        except OSError as error:
            raise no_connection(error) from error


class _Connection:
    """One exchange on a connection, which may be kept for another one."""

    def __init__(self, stream: StreamSocket) -> None:
        self.stream = stream
        self.idle_since = 0.0
        """Since when it is kept."""
        self._head: ResponseHead | None = None
        self._body: ChunkedDecoder | LengthDecoder = LengthDecoder(0)
        self._unread = b""
        self._is_sent = False
        self._is_heard = False

    @property
    def is_chunked(self) -> bool:
        """Whether the answer came in chunks."""
        return isinstance(self._body, ChunkedDecoder)

    @property
    def has_refused(self) -> bool:
        """Whether the answer was a refusal."""
        return self._head is not None and self._head.status >= 300

    @property
    def is_fit(self) -> bool:
        """Whether another exchange may follow."""
        is_read = self._body.ended and not (self._unread or self._body.excess or self.stream.may_hold_bytes)
        is_over = self._is_sent and is_read
        return is_over and self._head is not None and self._head.keeps_open

    @property
    def expires_at(self) -> float:
        """Until when it may be used again, once it is kept."""
        return self.idle_since + _keep_alive_s(self._head.fields if self._head else [])

    def send(self, head: bytes, body: bytes, start_soon: StartSoon) -> None:
        """Send a request as far as the system takes it at once; the rest goes beside the task that reads the answer.

        A host may answer, and close the connection, before it has read all.
        """
        first = head + body[:WRITE_BYTES]
        try:
            sent = self.stream.send_now(first)
        except anyio.BrokenResourceError:
            return  # then the reader finds out
        self._is_sent = sent == len(head) + len(body)
        if not self._is_sent:
            start_soon(self._send_rest, (memoryview(first)[sent:], memoryview(body)[WRITE_BYTES:]))

    async def _send_rest(self, pieces: Iterable[memoryview]) -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            for piece in pieces:
                for start in range(0, len(piece), WRITE_BYTES):
                    await self.stream.send(piece[start : start + WRITE_BYTES])
            self._is_sent = True

    async def receive_head(self) -> tuple[int, Fields]:
        for _ in range(MAX_HEAD_STEPS):
            try:
                found = take_response_head(self._unread)
            except ValueError as error:
                if self._unread.startswith(_TLS_ALERT):
                    raise BrokenAnswerError("speaks TLS, but its address begins with http://. Use https://.") from None
                raise _broken_off(str(error)) from error
            if found is None:
                if len(self._unread) > MAX_HEAD_BYTES:
                    raise BrokenAnswerError(f"sent a head of more than {MAX_HEAD_BYTES} bytes.")
                data = await self._receive()
                if not data:
                    raise _broken_off("the connection was closed")
                self._unread += data
                continue
            head, self._unread = found
            if not head.is_interim:
                self._head = head
                self._body = ChunkedDecoder() if head.is_chunked else LengthDecoder(head.length)
                return head.status, head.fields
        raise BrokenAnswerError("sent interim answers without end.")

    async def receive_body(self) -> bytes:
        body = self._body
        while not body.ended:
            if body.broken is not None:
                raise _broken_off(body.broken)
            data, self._unread = self._unread or await self._receive(), b""
            if not data:
                body.close()
            elif payload := body.feed(data):
                return payload
        return b""

    @property
    def has_ended(self) -> bool:
        return self._body.ended

    async def close(self) -> None:
        await self.stream.aclose()

    async def _receive(self) -> bytes:
        """Return what a read brings, ``b""`` at the end of an answer that has begun."""
        how = "closed"
        try:
            data = await self.stream.receive(READ_BYTES)
        except anyio.BrokenResourceError:
            if self._is_heard:
                raise _broken_off("the connection was reset") from None
            data, how = b"", "reset"
        if not data and not self._is_heard:
            raise NoAnswerError(f"{how} the connection without an answer.")
        self._is_heard = True
        return data


def _broken_off(why: str) -> BrokenAnswerError:
    return BrokenAnswerError(f"broke off its answer: {why}.")


def _encode_head(request: HostRequest, fields: Fields) -> bytes:
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


async def speaks_plain_http(url: Url) -> bool:
    """Return whether a host answers a request without TLS; a server with TLS may do so too, to say that it wants it."""
    transport = PlainTransport(Url(scheme="http", host=url.host, port=url.port), {"connection": "close"})
    try:
        async with HttpExchange(transport, HostRequest("GET", "/")) as exchange:
            await exchange.receive_head()
    except NetworkError:
        return False
    finally:
        await transport.aclose()  # not all hosts close it
    return exchange.status != 400 and not exchange.headers.get("location", "").startswith("https:")
