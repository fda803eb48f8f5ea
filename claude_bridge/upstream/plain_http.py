"""The fast path, for engines in plain HTTP: connections are kept, and the answer is read while the request is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import anyio
import h11
from anyio.abc import ByteStream, TaskGroup
from anyio.lowlevel import checkpoint

from claude_bridge.upstream.network import CONNECT_TIMEOUT_S, NoConnectionError, no_connection
from claude_bridge.upstream.transport import (
    WRITE_BYTES,
    BrokenAnswerError,
    Connection,
    Fields,
    HttpRequest,
    HttpTransport,
    NoAnswerError,
    StaleConnectionError,
)
from claude_bridge.wire.chunked import ChunkedDecoder
from claude_bridge.wire.urls import Url

READ_BYTES = 256 * 1024
MAX_HEAD_BYTES = 64 * 1024
MAX_HEAD_STEPS = 1_000
"""How many reads and interim answers a head may take."""
MAX_IDLE_CONNECTIONS = 64

MAX_IDLE_S = 4.0
"""Shorter than engines keep a connection (llama.cpp and vLLM: 5 s), so that no request meets one that they close."""

_SETTLING_STEPS = 4
"""How many turns of the event loop a kept connection gets to show what came while it was idle; a read takes two."""

_KEEP_ALIVE_TIMEOUT = re.compile(r"\btimeout\s*=\s*(\d{1,6})", re.IGNORECASE)
_TLS_ALERT = b"\x15\x03"


class PlainTransport(HttpTransport):
    """Speaks plain HTTP to the host of one URL, without a proxy, and keeps its connections for reuse."""

    def __init__(self, url: Url, headers: Mapping[str, str]) -> None:
        super().__init__(url.authority, headers)
        self._url = url
        self._idle: list[_Connection] = []

    async def aclose(self) -> None:
        """Close the connections that are kept for reuse."""
        while self._idle:
            await self._idle.pop().close()

    async def send(self, request: HttpRequest, tasks: TaskGroup, *, is_new: bool) -> _Connection:
        """Send it on a kept connection or a new one."""
        connection = await self._connection(is_new=is_new)
        head = h11.Request(method=request.method, target=request.target, headers=self._fields(request))
        tasks.start_soon(connection.send, connection.encode_head(head, request.body), request.body)
        return connection

    async def take_back(self, connection: Connection) -> None:
        """Keep a connection whose exchange is over, if it is fit for another one; else close it."""
        assert isinstance(connection, _Connection), "it was made by send"
        if connection.start_next_cycle() and len(self._idle) < MAX_IDLE_CONNECTIONS:
            self._idle.append(connection)
        else:
            await connection.close()
        while self._idle and anyio.current_time() >= self._idle[0].expires_at:
            await self._idle.pop(0).close()

    async def _connection(self, *, is_new: bool) -> _Connection:
        while self._idle and not is_new:
            connection = self._idle.pop()
            if anyio.current_time() < connection.expires_at:
                return connection
            await connection.close()
        try:
            with anyio.fail_after(CONNECT_TIMEOUT_S):
                return _Connection(await anyio.connect_tcp(self._url.host, self._url.port))
        except TimeoutError:
            raise NoConnectionError(f"did not answer within {CONNECT_TIMEOUT_S:g} s. Is it running?") from None
        except OSError as error:
            raise no_connection(error) from error


class _Connection:
    """One connection, and one exchange at a time on it."""

    def __init__(self, stream: ByteStream) -> None:
        self.expires_at = 0.0
        """Until when it may be used again, once it is idle."""
        self._stream = stream
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._chunked: ChunkedDecoder | None = None
        self._unread = b""
        self._keep_s = MAX_IDLE_S
        self._reads: anyio.Event | None = None
        """Of a kept connection: set once somebody reads. Nothing is sent before, nor if something has come by then."""
        self._is_stale = False
        self._is_sending = False
        self._is_sent = False
        self._is_heard = False

    def encode_head(self, head: h11.Request, body: bytes) -> bytes:
        """Return the bytes that go before the body; the body is sent as it is, and its end needs no bytes."""
        encoded = self._h11.send(head) or b""
        self._h11.send_with_data_passthrough(h11.Data(body))
        self._h11.send(h11.EndOfMessage())
        return encoded

    async def send(self, head: bytes, body: bytes) -> None:
        """Send a request, beside the task that reads the answer.

        A host may answer, and close the connection, before it has read all: then it is the reader who finds out.
        """
        if self._reads is not None:
            await self._reads.wait()
            for _ in range(_SETTLING_STEPS):
                await checkpoint()
        if self._is_stale:
            return
        self._is_sending = True
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._stream.send(head + body[:WRITE_BYTES])
            for start in range(WRITE_BYTES, len(body), WRITE_BYTES):
                await self._stream.send(body[start : start + WRITE_BYTES])
            self._is_sent = True

    async def receive_head(self) -> tuple[int, Fields]:
        for _ in range(MAX_HEAD_STEPS):
            event = self._next_event()
            if isinstance(event, h11.Response):
                if _is_chunked(event):
                    # From here on h11 is not asked any more: it takes 16 times as long for a chunk.
                    self._chunked = ChunkedDecoder()
                    self._unread = self._h11.trailing_data[0]
                self._keep_s = _keep_alive_s(event)
                return event.status_code, list(event.headers)
            if event is h11.NEED_DATA:
                self._h11.receive_data(await self._receive())
        raise BrokenAnswerError("sent interim answers without end.")

    async def receive_body(self) -> bytes:
        if self._chunked is not None:
            return await self._receive_chunks(self._chunked)
        parts: list[bytes] = []
        while self._h11.their_state not in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED):
            try:
                event = self._next_event()
            except BrokenAnswerError:
                if not parts:
                    raise
                break  # what came before the fault is good; the next call raises again
            if isinstance(event, h11.Data):
                parts.append(event.data)
            elif event is h11.NEED_DATA:
                if parts:
                    break
                self._h11.receive_data(await self._receive())
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)

    def start_next_cycle(self) -> bool:
        """Make ready for another exchange; return whether that is possible."""
        if self._chunked is not None:
            has_ended = self._chunked.ended and not self._chunked.excess
            self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        else:
            has_ended = self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE
            has_ended = has_ended and not self._h11.trailing_data[0]
            if has_ended:
                self._h11.start_next_cycle()
        is_fit = has_ended and self._is_sent
        self._chunked, self._is_sending, self._is_sent, self._is_heard = None, False, False, False
        self._reads = anyio.Event()
        self.expires_at = anyio.current_time() + self._keep_s
        return is_fit

    async def close(self) -> None:
        await anyio.aclose_forcefully(self._stream)

    async def _receive_chunks(self, chunked: ChunkedDecoder) -> bytes:
        while not chunked.ended:
            if chunked.broken is not None:
                raise BrokenAnswerError(f"broke off its answer: {chunked.broken}.")
            data, self._unread = self._unread or await self._receive(), b""
            if not data:
                raise BrokenAnswerError("broke off its answer: the connection was closed.")
            if payload := chunked.feed(data):
                return payload
        return b""

    def _next_event(self) -> Any:  # noqa: ANN401 - h11's events and sentinels have no common type
        try:
            return self._h11.next_event()
        except h11.RemoteProtocolError as error:
            if self._h11.trailing_data[0].startswith(_TLS_ALERT):
                raise BrokenAnswerError("speaks TLS, and was asked without. Use https:// in its address.") from error
            raise BrokenAnswerError(f"broke off its answer: {error}") from error

    async def _receive(self) -> bytes:
        """Return what a read brings, ``b""`` at the end of an answer that has begun.

        What comes on a kept connection before the request was sent is no answer to it. Once a byte of the request is
        on its way, the host may work on it, and the request is never sent again.
        """
        if self._reads is not None:
            self._reads.set()
        how = "closed"
        try:
            data = await self._stream.receive(READ_BYTES)
        except anyio.EndOfStream:
            data = b""
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            if self._is_heard:
                raise BrokenAnswerError("broke off its answer: the connection was reset.") from None
            data, how = b"", "reset"
        if self._is_heard:
            return data
        if self._reads is not None and not self._is_sending:
            self._is_stale = True
            did = "sent something that was not requested" if data else f"{how} the connection while it was idle"
            raise StaleConnectionError(f"{did}.")
        if not data:
            raise NoAnswerError(f"{how} the connection without an answer.")
        self._is_heard = True
        return data


def _is_chunked(head: h11.Response) -> bool:
    """Return whether the body is in chunks, and in nothing else, on a connection that stays open."""
    headers = head.headers
    codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
    closes = any(name == b"connection" and b"close" in value.lower() for name, value in headers)
    return codings == [b"chunked"] and not closes and head.http_version == b"1.1"


def _keep_alive_s(head: h11.Response) -> float:
    """Return how long the connection may be idle: a second less than the host says, so that it is not met closing."""
    for name, value in head.headers:
        if name == b"keep-alive" and (found := _KEEP_ALIVE_TIMEOUT.search(value.decode("latin-1"))):
            return min(MAX_IDLE_S, float(found[1]) - 1)
    return MAX_IDLE_S
