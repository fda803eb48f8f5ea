"""HTTP/1.1 without TLS, for engines on this machine or network: one piece of the answer for each socket read.

httpx hands out one piece for each HTTP chunk, through six layers of generators, and engines send a chunk for each
token. Here a read that brought fifty tokens is one piece: a third of the CPU time for each event, and half of the
time to the first token (``benchmarks/`` measures both). TLS, proxies and redirects stay with httpx.
"""

from __future__ import annotations

import select
import socket
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any

import anyio
import h11
from anyio.abc import SocketAttribute, SocketStream

from claude_bridge.errors import UpstreamBrokenError, UpstreamDroppedError, UpstreamUnreachableError
from claude_bridge.wire.chunked import ChunkedDecoder

READ_BYTES = 256 * 1024
CONNECT_TIMEOUT_S = 10.0
MAX_IDLE_CONNECTIONS = 64
MAX_IDLE_S = 30.0


class PlainHttpClient:
    """Speaks to one host, and keeps its connections for reuse."""

    def __init__(self, host: str, port: int, headers: Mapping[str, str], *, where: str) -> None:
        """``headers`` go with every request; ``where`` names the host in error texts."""
        self._address = (host, port)
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._where = where
        self._idle: list[_Connection] = []

    async def send(
        self, method: str, target: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> PlainResponse:
        """Send the body and return the response as soon as its head has come; the caller closes it.

        ``headers`` take the place of the usual ones of the same name.

        Raises:
            UpstreamUnreachableError: no connection.
            UpstreamDroppedError: the connection ended before the host had said anything.
            UpstreamBrokenError: what came back is no HTTP/1.1.
        """
        connection = await self._idle_connection() or await self._connect()
        try:
            fields = [*self._fields(headers), (b"content-length", b"%d" % len(body))]
            await connection.send(h11.Request(method=method, target=target, headers=fields), body)
            head = await connection.receive_head()
        except BaseException:
            await connection.close()
            raise
        return PlainResponse(self, connection, head)

    def _fields(self, headers: Mapping[str, str] | None) -> list[tuple[bytes, bytes]]:
        if not headers:
            return self._headers
        own = {name.encode("latin-1"): value.encode("latin-1") for name, value in headers.items()}
        return [field for field in self._headers if field[0] not in own] + list(own.items())

    async def aclose(self) -> None:
        """Close the connections that are kept for reuse."""
        while self._idle:
            await self._idle.pop().close()

    async def take_back(self, connection: _Connection) -> None:
        """Keep a connection whose response was read to its end; close any other."""
        if len(self._idle) < MAX_IDLE_CONNECTIONS and connection.start_next_cycle():
            self._idle.append(connection)
        else:
            await connection.close()

    async def _idle_connection(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_alive():
                return connection
            await connection.close()
        return None

    async def _connect(self) -> _Connection:
        try:
            with anyio.fail_after(CONNECT_TIMEOUT_S):
                stream = await anyio.connect_tcp(*self._address)
        except TimeoutError as error:
            raise UpstreamUnreachableError(
                f"{self._where} did not answer within {CONNECT_TIMEOUT_S:.0f} s. Is it running?"
            ) from error
        except OSError as error:
            raise UpstreamUnreachableError(f"{self._where} {why_no_connection(error)}") from error
        return _Connection(stream, self._where)


class PlainResponse:
    """A response whose body is still to come; iterate over it for its pieces."""

    def __init__(self, client: PlainHttpClient, connection: _Connection, head: h11.Response) -> None:
        self.status = head.status_code
        self._client = client
        self._connection = connection
        self._head = head

    @property
    def headers(self) -> dict[str, str]:
        """The headers, with names in lower case."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self._head.headers}

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        while piece := await self._connection.receive_body():
            yield piece

    async def aclose(self) -> None:
        """Keep the connection if the body was read to its end, else close it."""
        await self._client.take_back(self._connection)


class _Connection:
    """One connection."""

    def __init__(self, stream: SocketStream, where: str) -> None:
        self._stream = stream
        self._where = where
        self._socket: socket.socket = stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - anyio's, not Django's
        self._h11 = h11.Connection(h11.CLIENT)
        self._chunked: ChunkedDecoder | None = None
        self._unread = b""
        self._idle_since = 0.0

    async def send(self, head: h11.Request, body: bytes) -> None:
        """Send head and body in one write."""
        parts = [self._h11.send(head), self._h11.send(h11.Data(body)), self._h11.send(h11.EndOfMessage())]
        # It may have answered before it stopped reading; if not, reading says so.
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._stream.send(b"".join(part for part in parts if part))

    async def receive_head(self) -> h11.Response:
        """Return the response's head; interim responses are passed over."""
        while True:
            event = self._next_event()
            if isinstance(event, h11.Response):
                if _is_chunked(event):
                    # From here on h11 is not asked any more: it takes 16 times as long for a chunk.
                    self._chunked = ChunkedDecoder()
                    self._unread = self._h11.trailing_data[0]
                return event
            if event is h11.NEED_DATA and not await self._receive() and self._is_unanswered:
                raise UpstreamDroppedError(f"{self._where} closed the connection without an answer.")

    async def receive_body(self) -> bytes:
        """Return all that has come of the body, waiting if that is nothing; ``b""`` at its end."""
        if self._chunked is not None:
            return await self._receive_chunks(self._chunked)
        parts: list[bytes] = []
        while not self._body_ended:
            try:
                event = self._next_event()
            except UpstreamBrokenError:
                if not parts:
                    raise
                break  # what came before the broken chunk is good; the next call raises again
            if isinstance(event, h11.Data):
                parts.append(event.data)
            elif event is h11.NEED_DATA:
                if parts:
                    break
                await self._receive()
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)

    async def _receive_chunks(self, chunked: ChunkedDecoder) -> bytes:
        while not chunked.ended:
            if chunked.broken is not None:
                raise UpstreamBrokenError(f"{self._where} broke off its answer: {chunked.broken}.")
            data, self._unread = self._unread or await self._receive_bytes(), b""
            if not data:
                raise UpstreamBrokenError(f"{self._where} broke off its answer: the connection was closed.")
            if payload := chunked.feed(data):
                return payload
        return b""

    def start_next_cycle(self) -> bool:
        """Make ready for another request; return whether that is possible."""
        if self._chunked is not None:
            reusable = self._chunked.ended and not self._chunked.excess and self._h11.our_state is h11.DONE
            self._chunked = None
            self._h11 = h11.Connection(h11.CLIENT)
            self._idle_since = anyio.current_time()
            return reusable
        if self._h11.our_state is not h11.DONE or self._h11.their_state is not h11.DONE:
            return False
        self._h11.start_next_cycle()
        self._idle_since = anyio.current_time()
        return True

    def is_alive(self) -> bool:
        """Return whether the connection can be used again: all that is readable while idle is its end."""
        if anyio.current_time() - self._idle_since > MAX_IDLE_S:
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    async def close(self) -> None:
        """Close at once."""
        await anyio.aclose_forcefully(self._stream)

    @property
    def _is_unanswered(self) -> bool:
        """Whether not a single byte of the response has come."""
        return self._h11.their_state is h11.SEND_RESPONSE and not self._h11.trailing_data[0]

    @property
    def _body_ended(self) -> bool:
        return self._h11.their_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED)

    def _next_event(self) -> Any:  # noqa: ANN401 - h11's events and sentinels have no common type
        try:
            return self._h11.next_event()
        except h11.RemoteProtocolError as error:
            raise UpstreamBrokenError(f"{self._where} broke off its answer: {error}") from error

    async def _receive(self) -> bytes:
        data = await self._receive_bytes()
        self._h11.receive_data(data)
        return data

    async def _receive_bytes(self) -> bytes:
        """Return what a read brings, ``b""`` at the end of the connection."""
        try:
            return await self._stream.receive(READ_BYTES)
        except anyio.EndOfStream:
            return b""
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            if self._is_unanswered:
                raise UpstreamDroppedError(f"{self._where} reset the connection without an answer.") from error
            raise UpstreamBrokenError(f"{self._where} broke off its answer: the connection was reset.") from error


def _is_chunked(head: h11.Response) -> bool:
    """Return whether the body is in chunks, and in nothing else, on a connection that stays open."""
    headers = head.headers
    codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
    closes = any(name == b"connection" and b"close" in value.lower() for name, value in headers)
    return codings == [b"chunked"] and not closes and head.http_version == b"1.1"


def why_no_connection(error: BaseException) -> str:
    """Return the end of a sentence that begins with the host: why it can't be reached."""
    causes = [error]
    for cause in causes:  # grows while it is walked: anyio and httpx wrap what the system said
        causes += [inner for inner in (cause.__cause__, cause.__context__) if inner is not None and inner not in causes]
        causes += [inner for inner in getattr(cause, "exceptions", ()) if inner not in causes]
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return "can't be found: the host name is unknown."
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return "refused the connection. Is it running?"
    return f"can't be reached: {error}"
