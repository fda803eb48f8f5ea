"""HTTP/1.1 to one host: connections that are kept for reuse, and requests that are written while the answer is read.

All ways out go through here: streams and small documents of engines, and what is fetched from the web.
"""

from __future__ import annotations

import os
import re
import socket
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import cached_property
from typing import Any, NamedTuple

import anyio
import h11
from anyio.abc import ByteStream, SocketAttribute, TaskGroup
from anyio.lowlevel import checkpoint

from claude_bridge.upstream.network import (
    NetworkError,
    NoConnectionError,
    is_forwarded,
    open_stream,
    proxy_headers,
)
from claude_bridge.upstream.proxies import InvalidProxyError, Proxy, proxy_for
from claude_bridge.wire.chunked import ChunkedDecoder
from claude_bridge.wire.urls import Url

READ_BYTES = 256 * 1024
MAX_HEAD_BYTES = 64 * 1024
MAX_IDLE_CONNECTIONS = 64
MAX_IDLE_S = 30.0

RETRY_WITHIN_S = 1.0
RETRY_PAUSE_S = 0.1

_SETTLING_STEPS = 4
"""How many turns of the event loop a kept connection gets to show what came while it was idle; a read takes two."""

_KEEP_ALIVE_TIMEOUT = re.compile(r"\btimeout\s*=\s*(\d{1,6})", re.IGNORECASE)
_ZLIB_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
_OF_PACKED_BODIES = ("content-encoding", "content-length")
_TLS_ALERT = b"\x15\x03"

OpenStream = Callable[[], Awaitable[ByteStream]]


class NoAnswerError(NetworkError):
    """The connection ended before the host had said anything, and it may have worked on the request."""


class BrokenAnswerError(NetworkError):
    """An answer began, and ended early or is no HTTP/1.1."""


class CompressedAnswerError(BrokenAnswerError):
    """An answer is compressed, though that was not asked for, in a way that can't be unpacked."""


class _UnprocessedError(NetworkError):
    """The connection ended before the host can have worked on the request, so that it can be sent again."""


class HttpRequest(NamedTuple):
    """One request; ``headers`` take the place of the transport's usual ones of the same name, in lower case."""

    method: str
    target: str
    body: bytes = b""
    headers: Mapping[str, str] = {}


class HttpTransport:
    """Speaks to the host of one URL, and keeps its connections for reuse."""

    def __init__(self, url: Url, headers: Mapping[str, str], *, open_stream: OpenStream | None = None) -> None:
        """``headers`` go with every request; ``open_stream`` None: by the proxy that the environment names, if any."""
        self._url = url
        self._fields = [(b"host", url.authority.encode()), *_encoded(headers)]
        self._open_stream = open_stream
        self._idle: list[_Connection] = []

    @asynccontextmanager
    async def exchange(self, request: HttpRequest, *, is_deferred: bool = False) -> AsyncIterator[HttpExchange]:
        """Send a request and yield its exchange: the caller reads the head, then the body.

        Leaving the context closes the connection, unless the answer was read to its end. Where it ``is_deferred``, the
        caller calls ``begin``, before it reads.

        Raises:
            NoConnectionError: nothing could be sent.
        """
        exchange: HttpExchange | None = None
        failure: Exception | None = None
        try:
            async with anyio.create_task_group() as tasks:
                try:
                    exchange = HttpExchange(self, request, tasks)
                    if not is_deferred:
                        await exchange.begin()
                    yield exchange
                except Exception as error:  # noqa: BLE001 - raised below, where no task group wraps it
                    failure = error
                tasks.cancel_scope.cancel()
        finally:
            if exchange is not None:
                await exchange.end()
            if failure is not None:
                raise failure

    async def aclose(self) -> None:
        """Close the connections that are kept for reuse."""
        while self._idle:
            await self._idle.pop().close()

    def encode(self, request: HttpRequest) -> tuple[str, list[tuple[bytes, bytes]]]:
        """Return the request's target and headers as the host, or the proxy before it, takes them."""
        own = _encoded(request.headers)
        names = {name for name, _ in own}
        fields = [field for field in self._fields if field[0] not in names] + own
        if request.body or request.method != "GET":
            fields.append((b"content-length", b"%d" % len(request.body)))
        if not self.is_forwarded:
            return request.target, fields
        assert self._proxy is not None, "requests are forwarded by a proxy"
        return self._url.origin + request.target, fields + proxy_headers(self._proxy)

    @cached_property
    def is_forwarded(self) -> bool:
        """Whether a proxy takes the requests themselves, and not only a tunnel's bytes."""
        return self._open_stream is None and is_forwarded(self._url, self._proxy)

    async def connection(self, *, is_new: bool) -> _Connection:
        """Return a connection: one that was kept, if there is any and none ``is_new`` is wanted."""
        while self._idle and not is_new:
            connection = self._idle.pop()
            if anyio.current_time() < connection.expires_at:
                return connection
            await connection.close()
        began_at = anyio.current_time()
        stream = await (self._open_stream() if self._open_stream else open_stream(self._url, self._proxy))
        return _Connection(stream, round_trip_s=anyio.current_time() - began_at)

    async def take_back(self, connection: _Connection) -> None:
        """Keep a connection whose exchange is over, if it is fit for another one; else close it."""
        if connection.start_next_cycle() and len(self._idle) < MAX_IDLE_CONNECTIONS:
            self._idle.append(connection)
        else:
            await connection.close()

    @cached_property
    def _proxy(self) -> Proxy | None:
        try:
            return proxy_for(self._url, os.environ)
        except InvalidProxyError as error:
            raise NoConnectionError(f"can't be reached: {error}") from error


class HttpExchange:
    """One request and its answer; made by HttpTransport.exchange."""

    def __init__(self, transport: HttpTransport, request: HttpRequest, tasks: TaskGroup) -> None:
        self.tasks = tasks
        """They end with the exchange."""
        self.status = 0
        """The status, once the head has come."""
        self.headers: Mapping[str, str] = {}
        """The headers that came with it, by lower-case name."""
        self.retried: str | None = None
        """Why the request was sent, or a connection tried, for a second time: the end of a sentence about the host."""
        self._transport = transport
        self._request = request
        self._connection: _Connection | None = None
        self._unpacker: Unpacker | None = None

    async def begin(self) -> None:
        """Connect and begin to send the request; raises NoConnectionError."""
        began_at = anyio.current_time()
        try:
            await self._send(is_new=False)
        except NoConnectionError as error:
            # At once: the host may be restarting.
            if error.is_overload or anyio.current_time() - began_at > RETRY_WITHIN_S:
                raise
            self.retried = error.reason
            await anyio.sleep(RETRY_PAUSE_S)
            await self._send(is_new=True)

    async def receive_head(self) -> None:
        """Wait for the answer's head; interim answers are passed over. May be cancelled and called again.

        A request that met the end of a kept connection is sent again on a new one, if it is certain that the host has
        not worked on it.

        Raises:
            NetworkError: there is none.
        """
        while not self.status:
            if self._connection is None:
                await self._send(is_new=True)
            assert self._connection is not None, "it was just made"
            try:
                head = await self._connection.receive_head()
            except _UnprocessedError as error:
                connection, self._connection = self._connection, None
                await connection.close()
                if self.retried is not None:
                    raise NoAnswerError(error.reason) from error
                self.retried = error.reason
                continue
            self._take_head(head)

    async def receive(self) -> bytes:
        """Return all that has come of the body, unpacked, waiting if that is nothing; ``b""`` at its end.

        May be cancelled and called again; nothing is lost.

        Raises:
            BrokenAnswerError: it ended too early, or can't be read.
        """
        assert self._connection is not None, "the head has come"
        if self._unpacker is None:
            return await self._connection.receive_body()
        while not (piece := self._unpacker.take()):
            packed = await self._connection.receive_body()
            if not packed:
                self._unpacker.close()
                break
            self._unpacker.feed(packed)
        return piece

    async def end(self) -> None:
        """Keep the connection if the answer was read to its end, else close it."""
        if self._connection is not None:
            await self._transport.take_back(self._connection)

    async def _send(self, *, is_new: bool) -> None:
        target, fields = self._transport.encode(self._request)
        self._connection = await self._transport.connection(is_new=is_new)
        head = h11.Request(method=self._request.method, target=target, headers=fields)
        self.tasks.start_soon(self._connection.send, self._connection.encode(head, self._request.body))

    def _take_head(self, head: h11.Response) -> None:
        if head.status_code == 407 and self._transport.is_forwarded:
            raise NoConnectionError("can't be reached: the proxy before it wants a login, as http://USER:PASSWORD@HOST")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        encoding = headers.get("content-encoding", "").strip().lower()
        if encoding not in ("", "identity"):
            self._unpacker = Unpacker(encoding)
            headers = {name: value for name, value in headers.items() if name not in _OF_PACKED_BODIES}
        self.headers = headers
        self.status = head.status_code


class Unpacker:
    """Unpacks a body that was compressed unasked, a piece at a time: a small one may unpack into a huge one."""

    def __init__(self, encoding: str) -> None:
        if encoding not in _ZLIB_WINDOWS:
            raise CompressedAnswerError(f"sent a compressed answer ({encoding[:40]}), which was not asked for.")
        self._zlib = zlib.decompressobj(_ZLIB_WINDOWS[encoding])
        self._packed = b""

    def feed(self, packed: bytes) -> None:
        """Take what came next, once ``take`` gives nothing more; what follows the end is passed over."""
        if not self._zlib.eof:
            self._packed += packed

    def take(self) -> bytes:
        """Return the next piece, ``b""`` if more must be fed; raises CompressedAnswerError."""
        if not self._packed or self._zlib.eof:
            return b""
        try:
            piece = self._zlib.decompress(self._packed, READ_BYTES)
        except zlib.error as error:
            raise CompressedAnswerError(f"sent a compressed answer that can't be unpacked ({error}).") from error
        self._packed = self._zlib.unconsumed_tail
        return piece

    def close(self) -> None:
        """Check that nothing is missing; raises CompressedAnswerError."""
        if not self._zlib.eof:
            raise CompressedAnswerError("broke off its answer: the compressed data has no end.")


class _Connection:
    """One connection, and one exchange at a time on it."""

    def __init__(self, stream: ByteStream, *, round_trip_s: float) -> None:
        self.expires_at = 0.0
        """Until when it may be used again, once it is idle."""
        self._stream = stream
        self._round_trip_s = round_trip_s
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._chunked: ChunkedDecoder | None = None
        self._unread = b""
        self._keep_s = MAX_IDLE_S
        self._is_reused = False
        self._sending_since: float | None = None
        self._is_sent = False
        self._is_heard = False
        self._is_stale = False

    def encode(self, head: h11.Request, body: bytes) -> bytes:
        """Return the bytes of a request."""
        parts = [self._h11.send(head), self._h11.send(h11.Data(body)), self._h11.send(h11.EndOfMessage())]
        return b"".join(part for part in parts if part)

    async def send(self, request: bytes) -> None:
        """Send the request in one write, beside the task that reads the answer.

        A host may answer, and close the connection, before it has read all: then it is the reader who finds out. What
        comes on a kept connection before anything was sent is no answer to it: the request is not sent then.
        """
        for _ in range(_SETTLING_STEPS if self._is_reused else 1):
            await checkpoint()
        if self._is_stale:
            return
        self._sending_since = anyio.current_time()
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._stream.send(request)
            self._is_sent = True

    async def receive_head(self) -> h11.Response:
        """Return the response's head; interim responses are passed over."""
        while True:
            event = self._next_event()
            if isinstance(event, h11.Response):
                if _is_chunked(event):
                    # From here on h11 is not asked any more: it takes 16 times as long for a chunk.
                    self._chunked = ChunkedDecoder()
                    self._unread = self._h11.trailing_data[0]
                self._keep_s = _keep_alive_s(event)
                return event
            if event is h11.NEED_DATA:
                self._h11.receive_data(await self._receive())

    async def receive_body(self) -> bytes:
        """Return all that has come of the body, waiting if that is nothing; ``b""`` at its end."""
        if self._chunked is not None:
            return await self._receive_chunks(self._chunked)
        parts: list[bytes] = []
        while not self._body_ended:
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
        self._chunked, self._sending_since, self._is_sent, self._is_heard = None, None, False, False
        self._is_reused = True
        self.expires_at = anyio.current_time() + self._keep_s
        return is_fit

    async def close(self) -> None:
        """Close at once."""
        await anyio.aclose_forcefully(self._stream)

    @property
    def _body_ended(self) -> bool:
        return self._h11.their_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED)

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
        """Return what a read brings, ``b""`` at the end of an answer that has begun."""
        try:
            data = await self._stream.receive(READ_BYTES)
        except anyio.EndOfStream:
            data = b""
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as error:
            if self._is_heard:
                raise BrokenAnswerError("broke off its answer: the connection was reset.") from error
            raise await self._no_answer(is_reset=True) from error
        if self._is_heard:
            return data
        if self._sending_since is None and (self._is_reused or not data):
            self._is_stale = True
            raise _UnprocessedError(
                "sent something that was not requested." if data else "closed the connection while it was idle."
            )
        if not data:
            raise await self._no_answer(is_reset=False)
        self._is_heard = True
        return data

    async def _no_answer(self, *, is_reset: bool) -> NetworkError:
        """Return what it means that the connection ended without a byte.

        A host that has closed a kept connection when the request comes resets it within a round trip, as it has not
        read the request. Anything else may be a host that broke down over it.
        """
        how = "reset" if is_reset else "closed"
        since = self._sending_since
        if since is None:
            return _UnprocessedError(f"{how} the connection before the request was sent.")
        if not self._is_reused:
            return NoAnswerError(f"{how} the connection without an answer.")
        deadline = since + min(2 * self._round_trip_s + 0.05, RETRY_WITHIN_S)
        is_at_once = anyio.current_time() <= deadline
        if is_at_once and (is_reset or await self._is_reset_by(deadline)):
            return _UnprocessedError("had closed the idle connection when the request came.")
        return NoAnswerError(f"{how} the connection without an answer.")

    async def _is_reset_by(self, deadline: float) -> bool:
        raw_socket = self._stream.extra(SocketAttribute.raw_socket, None)  # noqa: S610 - anyio's, not Django's
        while raw_socket is not None:
            if raw_socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                return True
            if anyio.current_time() > deadline:
                break
            await anyio.sleep(0.005)
        return False


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


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
