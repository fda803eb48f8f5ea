"""HTTP/1.1 for one connection: h11 on an anyio stream, with keep-alive, limits and deadlines.

Pipelined requests are answered in order. While an answer is written the connection is still read, so that a client
that goes away is noticed at once; what arrives meanwhile belongs to the next request.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from enum import Enum, auto
from math import ceil

import anyio
import h11
from anyio.abc import ByteStream
from msgspec import Struct

from claude_bridge.errors import (
    BridgeError,
    ClientError,
    HeadersTooLargeError,
    InvalidRequestError,
    MethodNotAllowedError,
    RelayedRefusalError,
    RequestTimeoutError,
    RequestTooLargeError,
)
from claude_bridge.wire.anthropic_codec import encode_error

READ_BYTES = 256 * 1024
MAX_AHEAD_BYTES = 64 * 1024
"""How much of the next request is read while an answer is written."""

LINGER_S = 1.0
"""How long a client that was refused may go on sending before its connection is closed."""

ID_HEADER = "request-id"
OWN_ID_HEADER = "bridge-request-id"
"""Has our id of the request where ID_HEADER has the engine's."""

JSON = "application/json"
EVENT_STREAM = "text/event-stream; charset=utf-8"


class Limits(Struct, frozen=True, kw_only=True):
    """What one connection may take, in bytes and seconds."""

    max_header_bytes: int = 64 * 1024
    max_body_bytes: int = 64 * 1024 * 1024
    header_timeout_s: float = 20.0
    body_timeout_s: float = 120.0
    idle_timeout_s: float = 120.0
    write_timeout_s: float = 900.0


class HttpRequest(Struct, frozen=True, kw_only=True):
    """One request, whole. Header names are lower case; of repeated headers the last one counts.

    ``query`` is what stands behind the path, with its question mark.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str]
    body: bytes


class ClientGoneError(Exception):
    """The client closed the connection, or has not read for too long."""


class Responder:
    """Writes the answer to one request: ``send`` for a whole one, ``start_stream`` … ``end`` for a stream."""

    def __init__(self, connection: Connection, *, request_id: str, is_head: bool) -> None:
        self.request_id = request_id
        self.started = False
        """Whether the status line has been decided, so that no other answer can be given."""
        self._connection = connection
        self._is_head = is_head
        self._unsent_head = b""

    async def send(
        self, status: int, body: bytes, *, content_type: str = JSON, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a whole answer.

        Raises:
            ClientGoneError: there is nobody to answer.
        """
        fields = {"content-type": content_type, "content-length": str(len(body)), **(headers or {})}
        data = self._head(status, fields)
        if body and not self._is_head:
            data += self._connection.encode(h11.Data(body))
        await self._connection.write(data + self._connection.encode(h11.EndOfMessage()))

    async def send_error(self, error: BridgeError) -> None:
        """Send an error in Anthropic's shape, with the headers that tell a client whether to try again."""
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
        body = encode_error(error.error_type, error.message, self.request_id)
        await self.send(error.status, body, headers=headers)

    def start_stream(self, content_type: str = EVENT_STREAM, *, headers: Mapping[str, str] | None = None) -> None:
        """Decide on a streamed 200; the head goes out with the first write."""
        fields = {"content-type": content_type, "cache-control": "no-cache", **(headers or {})}
        self._unsent_head = self._head(200, fields)

    async def write(self, data: bytes) -> None:
        """Send more of a stream, in one write; raises ClientGoneError."""
        head, self._unsent_head = self._unsent_head, b""
        await self._connection.write(head + self._connection.encode(h11.Data(data)))

    async def end(self) -> None:
        """End a stream."""
        head, self._unsent_head = self._unsent_head, b""
        await self._connection.write(head + self._connection.encode(h11.EndOfMessage()))

    async def wait_until_client_leaves(self) -> None:
        """Return when the client has closed the connection, or has not read for too long."""
        await self._connection.read_ahead()

    def _head(self, status: int, fields: Mapping[str, str]) -> bytes:
        self.started = True
        headers = [(name, value) for name, value in fields.items()]
        # Where the engine gave the answer an id of its own, that is the one to ask the engine's people about.
        id_name = OWN_ID_HEADER if ID_HEADER in fields else ID_HEADER
        headers += [(id_name, self.request_id), ("date", formatdate(usegmt=True))]
        if self._connection.closing:
            headers.append(("connection", "close"))
        return self._connection.encode(h11.Response(status_code=status, headers=headers))


Handler = Callable[[HttpRequest, Responder], Awaitable[None]]


class _Part(Enum):
    """What of a request is being waited for."""

    HEADER = auto()
    BODY = auto()


class Connection:
    """One client's connection, from its first byte to its last."""

    def __init__(
        self, stream: ByteStream, handler: Handler, *, limits: Limits, new_request_id: Callable[[], str]
    ) -> None:
        self.closing = False
        """Whether the answer that is being written is the last one on this connection."""
        self._stream = stream
        self._handler = handler
        self._limits = limits
        self._new_request_id = new_request_id
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.max_header_bytes)
        self._idle_scope: anyio.CancelScope | None = None
        self._writing_since: float | None = None

    async def run(self) -> None:
        """Serve requests until the client or we close the connection."""
        try:
            while not self.closing and await self._serve_one():
                pass
        except (ClientGoneError, anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
            pass
        finally:
            await anyio.aclose_forcefully(self._stream)

    def close_when_idle(self) -> None:
        """End the connection after the answer that is being written, or at once where none is."""
        self.closing = True
        if self._idle_scope is not None:
            self._idle_scope.cancel()

    def encode(self, event: h11.Event) -> bytes:
        """Return the bytes of an h11 event."""
        return self._h11.send(event) or b""

    async def write(self, data: bytes) -> None:
        """Send bytes; raises ClientGoneError."""
        self._writing_since = anyio.current_time()
        try:
            await self._stream.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise ClientGoneError from error
        finally:
            self._writing_since = None

    async def read_ahead(self) -> None:
        """Read on while an answer is written; return when the client has left."""
        while True:
            data: bytes | None = None
            with anyio.move_on_after(self._limits.write_timeout_s / 2):
                if len(self._h11.trailing_data[0]) > MAX_AHEAD_BYTES:
                    await anyio.sleep_forever()  # a client that pipelines this much can't be seen leaving
                try:
                    data = await self._stream.receive(READ_BYTES)
                except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                    return
            if data is not None:
                self._h11.receive_data(data)
            since = self._writing_since
            if since is not None and anyio.current_time() - since > self._limits.write_timeout_s:
                return

    async def _serve_one(self) -> bool:
        """Serve one request; return whether another may follow."""
        responder = Responder(self, request_id=self._new_request_id(), is_head=False)
        try:
            head = await self._next_head()
            if head is None:
                return False
            is_head = head.method == b"HEAD"
            responder = Responder(self, request_id=responder.request_id, is_head=is_head)
            request = await self._whole_request(head)
        except ClientError as error:
            await self._reject(error, responder)
            return False
        try:
            await self._handler(request, responder)
        except ClientGoneError:
            raise
        except Exception as error:  # noqa: BLE001 - a bug in one answer must not end the others
            await self._respond_internal_error(error, responder)
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._h11.start_next_cycle()
        return True

    async def _next_head(self) -> h11.Request | None:
        """Return the next request's head, or None if the client has nothing more to ask.

        Raises:
            ClientError: it is malformed, too large or too slow.
        """
        event = self._next_event()
        if event is h11.NEED_DATA and not self._h11.trailing_data[0]:
            with anyio.move_on_after(self._limits.idle_timeout_s) as self._idle_scope:
                self._h11.receive_data(await self._receive())
            idle_scope, self._idle_scope = self._idle_scope, None
            if idle_scope.cancelled_caught:
                return None
            event = self._next_event()
        deadline = anyio.current_time() + self._limits.header_timeout_s
        while event is h11.NEED_DATA:
            await self._receive_until(deadline, _Part.HEADER)
            event = self._next_event()
        return event if isinstance(event, h11.Request) else None

    async def _whole_request(self, head: h11.Request) -> HttpRequest:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
        declared = headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._limits.max_body_bytes:
            raise self._body_too_large()
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise InvalidRequestError(f"content-encoding {headers['content-encoding']!r} is not supported")
        if self._h11.they_are_waiting_for_100_continue:
            await self.write(self.encode(h11.InformationalResponse(status_code=100, headers=[])))
        body = await self._body()
        path, query = _path_and_query(head.target)
        return HttpRequest(method=head.method.decode(), path=path, query=query, headers=headers, body=body)

    async def _body(self) -> bytes:
        deadline = anyio.current_time() + self._limits.body_timeout_s
        parts: list[bytes] = []
        size = 0
        while True:
            event = self._next_event()
            if event is h11.NEED_DATA:
                await self._receive_until(deadline, _Part.BODY)
            elif isinstance(event, h11.Data):
                parts.append(bytes(event.data))
                size += len(event.data)
                if size > self._limits.max_body_bytes:
                    raise self._body_too_large()
            else:
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def _body_too_large(self) -> RequestTooLargeError:
        return RequestTooLargeError(f"The request body is larger than {self._limits.max_body_bytes} bytes.")

    def _next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            return self._h11.next_event()
        except h11.RemoteProtocolError as error:
            if error.error_status_hint == HeadersTooLargeError.status:
                limit = self._limits.max_header_bytes
                raise HeadersTooLargeError(f"The request's headers are larger than {limit} bytes.") from error
            raise InvalidRequestError(f"This is no valid HTTP/1.1 request: {error}") from error

    async def _receive_until(self, deadline: float, part: _Part) -> None:
        with anyio.move_on_after(deadline - anyio.current_time()) as scope:
            self._h11.receive_data(await self._receive())
        if scope.cancelled_caught:
            what = "headers" if part is _Part.HEADER else "body"
            raise RequestTimeoutError(f"The request's {what} did not arrive in time.")

    async def _receive(self) -> bytes:
        try:
            return await self._stream.receive(READ_BYTES)
        except anyio.EndOfStream:
            return b""

    async def _respond_internal_error(self, error: Exception, responder: Responder) -> None:
        """Tell of a bug of ours, in one line here and to the client; an answer that has begun is cut instead."""
        while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        what = f"{type(error).__name__}: {error}"[:300]
        print(f"bridge: {responder.request_id} met an error of the bridge itself: {what!r}", file=sys.stderr)  # noqa: T201
        if not responder.started:
            words = f"The bridge met an error of its own ({type(error).__name__}); it has told more on its stderr."
            await responder.send_error(BridgeError(words))

    async def _reject(self, error: ClientError, responder: Responder) -> None:
        """Answer a request that was not read whole; what follows on the connection can't be trusted."""
        if self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        self.closing = True
        await responder.send_error(error)
        # Closing with unread bytes would reset the connection, and the client might lose the answer.
        try:
            await self._stream.send_eof()
        except OSError:
            return  # it has left already; anyio does not map this one on trio
        with anyio.move_on_after(LINGER_S):
            while await self._receive():
                pass


def _path_and_query(target: bytes) -> tuple[str, str]:
    """Return both parts of a request's target, which may be a whole URL (RFC 9112, section 3.2.2)."""
    path, mark, query = target.decode("latin-1").partition("?")
    if path.startswith(("http://", "https://")):
        path = "/" + path.partition("://")[2].partition("/")[2]
    return path, mark + query
