"""HTTP/1.1 for one connection: requests in, answers out, with keep-alive, limits and deadlines.

A handler gets a request as soon as its head has come, and reads the body only if it wants to: who may not ask is
refused before a body is sent. Pipelined requests are answered in order. While an answer is written the connection is
still read now and then, so that a client that goes away is noticed soon; what arrives meanwhile belongs to the next
request.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache, partial
from http import HTTPStatus
from io import BytesIO
from math import ceil

import anyio
from anyio.lowlevel import checkpoint
from msgspec import Struct

from claude_bridge.errors import (
    BridgeError,
    ClientError,
    InvalidRequestError,
    MethodNotAllowedError,
    ProtocolError,
    RelayedRefusalError,
)
from claude_bridge.server.memory import MemoryAccount, MemoryBudget
from claude_bridge.server.request_head import RequestHead, RequestHeadReader
from claude_bridge.stream_socket import StreamSocket
from claude_bridge.wire.anthropic_codec import encode_error
from claude_bridge.wire.chunked import ChunkedDecoder, LengthDecoder

READ_BYTES = 256 * 1024
CHUNKED_READ_BYTES = 16 * 1024
"""A body may come in chunks of one byte: this is how many of them are taken apart before others have their turn."""

MAX_AHEAD_BYTES = 64 * 1024
"""How much of the next request is read while an answer is written."""

LOOK_EVERY_S = 0.07
"""How often a client is looked at while it waits for its answer: a task that waits for its end would cost more. No
multiple of the 0.1 s in which anyio's ``wait_all_tasks_blocked`` looks, or a test may never see the task asleep."""

LINGER_S = 2.0
"""How long a refused client may keep sending before its connection is closed."""

ID_HEADER = "request-id"
OWN_ID_HEADER = "bridge-request-id"
"""Has our id of the request where ID_HEADER has the engine's."""

EVENT_STREAM = "text/event-stream; charset=utf-8"

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_NOT_IN_VALUES = re.compile(r"[^\t\x20-\x7e\x80-\xff]")


class ServerLimits(Struct, frozen=True, kw_only=True):
    """What a server may take, in bytes and seconds."""

    max_connections: int = 2_000
    max_header_bytes: int = 64 * 1024
    max_body_bytes: int = 64 * 1024 * 1024
    max_memory_bytes: int | None = None
    """Of all bodies together; None: a quarter of what the machine has free when the server starts."""
    header_timeout_s: float = 20.0
    body_timeout_s: float = 120.0
    idle_timeout_s: float = 120.0
    write_timeout_s: float = 900.0


class ClientGoneError(Exception):
    """The client closed the connection, or has not read for too long."""


class HttpRequest:
    """One request, whose body is read on demand."""

    def __init__(self, head: RequestHead, read_body: Callable[[], Awaitable[bytes]]) -> None:
        self.head = head
        self.method, self.path, self.query, self.headers = head.method, head.path, head.query, head.headers
        self.body = b""
        """The body, once it has been read."""
        self._read_body = read_body

    async def read_body(self) -> bytes:
        """Return the whole body, once.

        Raises:
            ClientError: it is malformed, too large or too slow.
            OverloadedError: the bodies of all requests together take too much memory.
        """
        self.body = await self._read_body()
        return self.body


class Responder:
    """Writes the answer to one request: ``send`` for a whole one, ``start_stream`` … ``end`` for a stream."""

    def __init__(self, connection: ClientConnection, head: RequestHead | None, *, request_id: str) -> None:
        """``head`` None: it could not be read."""
        self.request_id = request_id
        self.started = False
        """Whether the status line has been decided, so that no other answer can be given."""
        self.ended = False
        """Whether the answer is whole."""
        self._connection = connection
        self._is_head = head is not None and head.method == "HEAD"
        self._is_chunked = head is None or not head.is_http_1_0
        self._unsent_head = b""

    async def send(
        self,
        status: int,
        body: bytes,
        *,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send a whole answer; raises ClientGoneError."""
        fields = {"content-type": content_type, "content-length": str(len(body)), **(headers or {})}
        head = self._head(status, fields)
        await self._connection.write(head if self._is_head else head + body)
        self.ended = True

    async def send_error(self, error: BridgeError) -> None:
        """Send an error in Anthropic's shape, with the headers that tell a client whether to try again."""
        cause: BaseException | None = error
        while cause is not None:  # who keeps it would keep all that its frames hold, the request's body too
            cause.__traceback__ = None
            cause = cause.__cause__ or cause.__context__
        if isinstance(error, RelayedRefusalError):
            await self.send(error.status, error.body, content_type=error.content_type, headers=error.headers)
            return
        headers: dict[str, str] = {}
        if error.should_retry is not None:
            headers["x-should-retry"] = "true" if error.should_retry else "false"
        if error.retry_after_s is not None:
            headers["retry-after"] = str(max(1, ceil(error.retry_after_s)))
        if isinstance(error, MethodNotAllowedError):
            headers["allow"] = ", ".join(error.allowed)
        body = encode_error(error.error_type, error.message, self.request_id, error.error_code)
        await self.send(error.status, body, headers=headers)

    async def fail(self, error: Exception) -> None:
        """Send what ended a handler, unless an answer has begun, which is cut; a bug of ours goes to stderr too."""
        while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        if not isinstance(error, BridgeError):
            what = f"{type(error).__name__}: {error}"[:300]
            print(f"bridge: {self.request_id}: internal error: {what!r}", file=sys.stderr)  # noqa: T201
            error = BridgeError(f"Internal bridge error ({type(error).__name__}). Details are on the bridge's stderr.")
        if not self.started:
            await self.send_error(error)

    def start_stream(self, content_type: str = EVENT_STREAM, *, headers: Mapping[str, str] | None = None) -> None:
        """Decide on a streamed 200; the head goes out with the first write."""
        fields = {"content-type": content_type, "cache-control": "no-cache", **(headers or {})}
        if self._is_chunked:
            fields["transfer-encoding"] = "chunked"
        self._unsent_head = self._head(200, fields)

    async def write(self, data: bytes) -> None:
        """Send more of a stream, in one write; raises ClientGoneError."""
        if data:  # an empty chunk would be the last one
            head, self._unsent_head = self._unsent_head, b""
            await self._connection.write(head + (b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data))

    async def end(self) -> None:
        """End a stream."""
        head, self._unsent_head = self._unsent_head, b""
        await self._connection.write(head + (_LAST_CHUNK if self._is_chunked else b""))
        self.ended = True

    def has_client_left(self) -> bool:
        """Return whether the client has closed the connection, or has not read for too long."""
        return self._connection.has_client_left()

    async def cancel_when_client_leaves(self, scope: anyio.CancelScope) -> None:
        """Cancel a scope when the client has left."""
        while not self.has_client_left():  # noqa: ASYNC110 - nothing sets an event when a client leaves
            await anyio.sleep(LOOK_EVERY_S)
        scope.cancel()

    @property
    def is_open(self) -> bool:
        """Whether more of a stream can be sent: it has not ended, and no write was broken off."""
        return not self.ended and self._connection.writing_since is None

    def _head(self, status: int, fields: Mapping[str, str]) -> bytes:
        self.started = True
        lines = [_STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n"]
        lines += [f"{name}: {_NOT_IN_VALUES.sub(' ', value)}\r\n" for name, value in fields.items()]
        # Where the engine gave the answer an id of its own, that is the one to ask the engine's people about.
        id_name = OWN_ID_HEADER if ID_HEADER in fields else ID_HEADER
        lines.append(f"{id_name}: {self.request_id}\r\ndate: {_date(int(time.time()))}\r\n")
        if self._connection.is_last_answer():
            lines.append("connection: close\r\n")
        lines.append("\r\n")
        return "".join(lines).encode("latin-1")


Handler = Callable[[HttpRequest, Responder], Awaitable[None]]
"""Answers one request; a BridgeError that it raises before it has begun to answer becomes the answer."""


class ClientConnection:
    """One client's connection, from its first byte to its last."""

    def __init__(
        self,
        stream: StreamSocket,
        handler: Handler,
        *,
        limits: ServerLimits,
        memory: MemoryBudget,
        new_request_id: Callable[[], str],
    ) -> None:
        """``memory`` is what the bodies of all connections share."""
        self._stream = stream
        self._handler = handler
        self._limits = limits
        self._memory = memory
        self._new_request_id = new_request_id
        self._closing = False
        self._received = bytearray()
        """What has come and was not read yet."""
        self._body_is_unread = False
        self.idle_scope: anyio.CancelScope | None = None
        """Around the wait for a request; None: there is one, or its head is coming."""
        self.writing_since: float | None = None
        """Since when a write waits; it stays so where that was broken off, and nothing can be sent any more."""

    async def run(self, closed: Callable[[ClientConnection], None] = lambda _: None) -> None:
        """Serve requests until the client or we close the connection, and report that to ``closed``."""
        try:
            while not self._closing and (head := await self._next_head()):
                responder = Responder(self, head, request_id=self._new_request_id())
                self._body_is_unread = head.has_body
                self._closing |= not head.keep_alive
                with MemoryAccount(self._memory) as account:
                    try:
                        await self._handler(HttpRequest(head, partial(self._read_body, head, account)), responder)
                    except ClientGoneError:
                        raise
                    except Exception as error:  # noqa: BLE001 - a bug in one answer must not end the others
                        await responder.fail(error)
                if not responder.ended:
                    break  # the answer was cut; the client sees that by the connection's end
                if self.is_last_answer() and self._body_is_unread:
                    await self._linger()
        except (ClientGoneError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            await self._stream.aclose()
            closed(self)

    def close_when_idle(self) -> None:
        """End the connection after the answer that is being written, or at once where none is."""
        self._closing = True
        if self.idle_scope is not None:
            self.idle_scope.cancel()

    def is_last_answer(self) -> bool:
        """Return whether the connection is closed after the answer that is being written."""
        # What would follow an unread body can't be told from that body.
        self._closing |= self._body_is_unread
        return self._closing

    async def write(self, data: bytes) -> None:
        """Send bytes; raises ClientGoneError."""
        try:
            sent = self._stream.send_now(data)
            if sent < len(data):
                self.writing_since = time.monotonic()
                await self._stream.send(memoryview(data)[sent:])
                self.writing_since = None  # but not where it was cancelled
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise ClientGoneError from error

    def has_client_left(self) -> bool:
        """Read on while an answer is written; return whether the client has left."""
        if len(self._received) <= MAX_AHEAD_BYTES:  # a client that pipelines more can't be seen leaving
            try:
                data = self._stream.receive_now(READ_BYTES)
            except anyio.BrokenResourceError:
                data = b""
            if data == b"":
                return True
            self._received += data or b""
        since = self.writing_since
        return since is not None and time.monotonic() - since > self._limits.write_timeout_s

    async def _next_head(self) -> RequestHead | None:
        """Return the next request's head; None where none follows, or none that can be read, which is answered."""
        try:
            return await self._read_head()
        except ClientError as error:
            self._closing = True
            await Responder(self, None, request_id=self._new_request_id()).send_error(error)
            await self._linger()
            return None

    async def _read_head(self) -> RequestHead | None:
        """Return the next request's head, or None if the client has nothing more to ask.

        Raises:
            ClientError: it is malformed, too large or too slow.
        """
        reader = RequestHeadReader(self._limits.max_header_bytes)
        head = reader.take(self._received)
        if head is not None:
            await checkpoint()  # a client that sends many requests at once must let others have their turn
            return head
        if not self._received:
            with anyio.move_on_after(self._limits.idle_timeout_s) as self.idle_scope:
                data = await self._stream.receive(READ_BYTES)
            idle_scope, self.idle_scope = self.idle_scope, None
            if idle_scope.cancelled_caught or not data:
                return None
            self._received += data
        deadline = anyio.current_time() + self._limits.header_timeout_s
        while (head := reader.take(self._received)) is None:
            data = await self._receive_by(deadline, "headers")
            if not data:
                if not self._received:
                    return None  # it has sent empty lines only
                raise InvalidRequestError("This is no valid HTTP/1.1 request: its head is cut off.")
            self._received += data
        return head

    async def _read_body(self, head: RequestHead, account: MemoryAccount) -> bytes:
        length, max_bytes = head.content_length, self._limits.max_body_bytes
        if length == 0:
            return b""
        too_large = ProtocolError(413, f"The request body is larger than {max_bytes} bytes.")
        if length is not None and length > max_bytes:
            raise too_large
        account.check(length or 0)
        if head.headers.get("content-encoding", "identity").lower() != "identity":
            coding = head.headers["content-encoding"][:40]
            raise ProtocolError(415, f"The content-encoding {coding!r} is not supported; send the body plain.")
        if head.expects_continue and not self._received:
            await self.write(_CONTINUE)
        body, deadline = BytesIO(), anyio.current_time() + self._limits.body_timeout_s
        decoder = ChunkedDecoder(is_strict=True) if length is None else LengthDecoder(length)
        data = bytes(self._received)
        self._received.clear()
        while True:
            payload = decoder.feed(data)
            account.take(len(payload))
            if body.write(payload) and body.tell() > max_bytes:
                raise too_large
            if decoder.ended:
                break
            if decoder.broken is None:
                data = await self._receive_by(deadline, "body", CHUNKED_READ_BYTES if length is None else READ_BYTES)
                if not data:
                    decoder.broken = "its body is cut off"
            if decoder.broken is not None:
                raise InvalidRequestError(f"This is no valid HTTP/1.1 request: {decoder.broken}.")
        self._received += decoder.excess
        self._body_is_unread = False
        return body.getvalue()

    async def _receive_by(self, deadline: float, what: str, max_bytes: int = READ_BYTES) -> bytes:
        with anyio.move_on_after(deadline - anyio.current_time()) as scope:
            data = await self._stream.receive(max_bytes)
        if scope.cancelled_caught:
            raise ProtocolError(408, f"The request's {what} did not arrive in time.")
        return data

    async def _linger(self) -> None:
        """Read on for a moment: closing with unread bytes would reset the connection, and the answer might be lost."""
        try:
            self._stream.send_eof()
        except OSError:
            return  # it has left already
        with anyio.move_on_after(LINGER_S):
            while await self._stream.receive(READ_BYTES):
                pass


@lru_cache(maxsize=1)
def _date(now_s: int) -> str:
    """Return the time as an HTTP date (RFC 9110, section 5.6.7); its names are English: nothing here sets a locale."""
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(now_s))
