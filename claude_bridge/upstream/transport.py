"""One request to a host and its answer: what all ways out have in common, whoever makes the connection."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import anyio

from claude_bridge.upstream.network import NetworkError, NoConnectionError
from claude_bridge.wire.response_head import Fields

WRITE_BYTES = 256 * 1024
"""How much of a request is written at a time: the event loop serves others in between."""

RETRY_WITHIN_S = 1.0
RETRY_PAUSE_S = 0.1


StartSoon = Callable[..., None]


class NoAnswerError(NetworkError):
    """The connection ended before the host had sent anything, and it may have worked on the request."""


class BrokenAnswerError(NetworkError):
    """An answer began, and ended early or is no HTTP/1.1."""


class CompressedAnswerError(BrokenAnswerError):
    """An answer is compressed, and that was not asked for, or it can't be unpacked."""


class HostRequest(NamedTuple):
    """One request; ``headers`` take the place of the transport's usual ones of the same name, in lower case."""

    method: str
    target: str
    body: bytes = b""
    headers: Mapping[str, str] = {}


class HostConnection(Protocol):
    """A connection on which a request is being sent."""

    async def receive_head(self) -> tuple[int, Fields]:
        """Return status and headers of the answer, past interim ones. May be cancelled and called again.

        Raises:
            NetworkError: there is none.
        """

    async def receive_body(self) -> bytes:
        """Return all that has come of the body, waiting if that is nothing; ``b""`` at its end.

        May be cancelled and called again; nothing is lost.

        Raises:
            BrokenAnswerError: it ended too early, or can't be read.
        """

    @property
    def has_ended(self) -> bool:
        """Whether the whole body has been received."""

    async def close(self) -> None:
        """Close at once."""


class HttpTransport(ABC):
    """Speaks to the host of one URL; ``headers`` go with every request."""

    decodes: tuple[str, ...] = ()
    """The content encodings that are asked for and decoded; an answer in another one is refused."""

    def __init__(self, authority: str, headers: Mapping[str, str]) -> None:
        self._headers = {"host": authority, **headers}
        self._usual_fields = _encode_fields(self._headers)

    @abstractmethod
    async def send(self, request: HostRequest, start_soon: StartSoon) -> HostConnection:
        """Return a connection on which the request is sent, by a task of the exchange where that takes longer.

        Raises:
            NoConnectionError: there is none.
        """

    async def take_back(self, connection: HostConnection) -> None:
        """Take a connection whose exchange is over: close it, where none is kept for reuse."""
        await connection.close()

    async def aclose(self) -> None:  # noqa: B027 - nothing to do, where none is kept
        """Close the connections that are kept for reuse."""

    def _fields(self, request: HostRequest) -> Fields:
        more = request.headers
        fields = _encode_fields({**self._headers, **more}) if more else self._usual_fields
        if not request.body and request.method == "GET":
            return fields
        return [*fields, (b"content-length", b"%d" % len(request.body))]


def _encode_fields(headers: Mapping[str, str]) -> Fields:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items() if value]


async def _run(function: Callable[..., Any], arguments: tuple[object, ...]) -> None:
    """Run a task. Where it is cancelled, what it held is let go: the task group keeps the error in a cycle for long."""
    try:
        await function(*arguments)
    except anyio.get_cancelled_exc_class() as error:
        error.__traceback__ = None
        del function, arguments
        raise


class HttpExchange:
    """One request and its answer: entering it sends the request, then the head is read, then the body.

    Leaving it closes the connection, unless the answer was read to its end.
    """

    def __init__(self, transport: HttpTransport, request: HostRequest) -> None:
        self.connection: HostConnection | None = None
        self.status = 0
        """The status, once the head has come."""
        self.headers: Mapping[str, str] = {}
        """The headers that came with it, by lower-case name."""
        self.retried: str | None = None
        """Why a connection was tried for a second time: the end of a sentence about the host."""
        self._transport = transport
        self._request = request
        self._tasks = anyio.create_task_group()
        self._has_tasks = False

    async def __aenter__(self) -> Self:
        """Send the request; raises NoConnectionError where nothing could be sent."""
        await self._tasks.__aenter__()
        try:
            await self.begin()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if self._has_tasks:
            self._tasks.cancel_scope.cancel()
        try:
            if isinstance(error, Exception):  # which the group would wrap, and a cancellation replace
                with suppress(anyio.get_cancelled_exc_class()):
                    await self._tasks.__aexit__(None, None, None)
                return False
            return bool(await self._tasks.__aexit__(kind, error, traceback))
        finally:
            if self.connection is not None:
                await self._transport.take_back(self.connection)

    def start_soon(self, function: Callable[..., Any], *arguments: object) -> None:
        """Start a task that ends with the exchange at the latest."""
        self._has_tasks = True
        self._tasks.start_soon(_run, function, arguments)

    async def begin(self) -> None:
        """Connect and begin to send the request; raises NoConnectionError."""
        began_at = time.monotonic()
        try:
            self.connection = await self._transport.send(self._request, self.start_soon)
        except NoConnectionError as error:
            # At once: the host may be restarting.
            if error.is_overload or time.monotonic() - began_at > RETRY_WITHIN_S:
                raise
            self.retried = error.reason
            await anyio.sleep(RETRY_PAUSE_S)
            self.connection = await self._transport.send(self._request, self.start_soon)

    async def receive_head(self) -> None:
        """Wait for the answer's head; interim answers are passed over. May be cancelled and called again.

        Raises:
            NetworkError: there is none.
        """
        assert self.connection is not None, "it has begun"
        status, fields = await self.connection.receive_head()
        self.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in fields}
        encoding = self.headers.get("content-encoding", "").strip().lower()
        if encoding not in ("", "identity", *self._transport.decodes):
            raise CompressedAnswerError(f"sent a compressed answer ({encoding[:40]}), which was not requested.")
        self.status = status

    async def receive_body(self) -> bytes:
        """Return more of the body; see HostConnection."""
        assert self.connection is not None, "the head has come"
        return await self.connection.receive_body()
