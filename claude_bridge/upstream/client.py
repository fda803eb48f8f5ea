"""The HTTP client: sends an OutgoingRequest, hands back bytes as they come, and maps every failure.

The only file that knows httpx. Its responses hide where one socket read ends and the next begins, so a task of its
own reads the answer, and ``receive`` hands over all that has come since the last time: one write per read.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from ipaddress import ip_address
from ssl import SSLError

import anyio
import httpx
from msgspec import Struct

from claude_bridge import __version__
from claude_bridge.adapters.base import OutgoingRequest
from claude_bridge.conversion.upstream_errors import quote
from claude_bridge.errors import (
    BridgeError,
    UpstreamBrokenError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)

CONNECT_TIMEOUT_S = 10.0
SILENCE_LIMIT_S = 2 * 3600.0
"""A prompt of a large model on a small machine may take an hour to read."""

MAX_BUFFERED_BYTES = 256 * 1024
"""Past this the upstream is not read until the client has taken more."""

MAX_REFUSAL_BYTES = 64 * 1024
DRAIN_S = 0.1
"""How long an answer's last bytes are waited for, so that the connection can be used again."""

CONNECT_TRIES = 2
RETRY_PAUSE_S = 0.1

ExplainRefusal = Callable[[int, Mapping[str, str], bytes, str], BridgeError]


class FetchedDocument(Struct, frozen=True):
    """A small answer that was read whole."""

    status: int
    headers: dict[str, str]
    body: bytes


class UpstreamCall:
    """One answer that is on its way; made by UpstreamClient.open."""

    def __init__(self, idle_s: float) -> None:
        self.status: int | None = None
        """The HTTP status, once it has come."""
        self._idle_s = idle_s
        self._chunks: list[bytes] = []
        self._buffered_bytes = 0
        self._error: BridgeError | None = None
        self._ended = anyio.Event()
        self._arrived: anyio.Event | None = None
        self._taken: anyio.Event | None = None
        self._last_at = anyio.current_time()
        self._is_idle = False

    async def receive(self) -> bytes | None:
        """Return all bytes that have come: ``b""`` at the end, None after ``idle_s`` seconds of silence.

        Raises:
            UpstreamError: the answer broke off, or never came.
            ClientError: the engine refused the request as the client's fault.
        """
        while not self._chunks and not self._is_idle:
            if self._ended.is_set():
                if self._error is not None:
                    raise self._error
                return b""
            self._arrived = anyio.Event()
            await self._arrived.wait()
        self._last_at = anyio.current_time()
        if self._is_idle and not self._chunks:
            self._is_idle = False
            return None
        chunks, self._chunks, self._buffered_bytes, self._is_idle = self._chunks, [], 0, False
        if self._taken is not None:
            self._taken.set()
            self._taken = None
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def put(self, chunk: bytes) -> None:
        """Take bytes from the upstream; waits while too many are waiting for the client."""
        self._chunks.append(chunk)
        self._buffered_bytes += len(chunk)
        self._wake()
        if self._buffered_bytes > MAX_BUFFERED_BYTES:
            self._taken = anyio.Event()
            await self._taken.wait()

    def end(self, error: BridgeError | None = None) -> None:
        """Say that nothing more comes, and why."""
        self._error = error
        self._ended.set()
        self._wake()

    async def watch_silence(self) -> None:
        """Wake the receiver after each ``idle_s`` seconds without bytes; returns when the answer has ended."""
        while not self._ended.is_set():
            due_in_s = self._last_at + self._idle_s - anyio.current_time()
            if due_in_s > 0:
                with anyio.move_on_after(due_in_s):
                    await self._ended.wait()
            else:
                self._is_idle = True
                self._last_at = anyio.current_time()
                self._wake()

    async def drain(self) -> None:
        """Wait a moment for the end of an answer that has said its last word."""
        self._chunks.clear()
        with anyio.move_on_after(DRAIN_S):
            await self._ended.wait()

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()
            self._arrived = None


class UpstreamClient:
    """Talks to one engine. Use as an async context manager, or call ``aclose``."""

    def __init__(self, base_url: str, *, api_key: str | None, name: str) -> None:
        """``base_url`` ends before the endpoint, as in ``http://localhost:11434/v1``; ``name`` is for error texts."""
        self.base_url = base_url.rstrip("/")
        self.name = name
        self._api_key = api_key
        url = httpx.URL(self.base_url)
        headers = {"user-agent": f"claude-bridge/{__version__}", "accept-encoding": "identity"}
        if api_key:
            headers["authorization"] = f"Bearer {api_key}"
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(SILENCE_LIMIT_S, connect=CONNECT_TIMEOUT_S, pool=None),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=30),
            # Proxy variables are for the way out; HTTPS_PROXY would swallow what goes to this machine.
            trust_env=not is_loopback(url.host),
            # No TLS, no certificates to load: that saves 20 ms and 5 MB for a local engine.
            verify=url.scheme == "https",
        )

    async def __aenter__(self) -> UpstreamClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def open(
        self, outgoing: OutgoingRequest, explain_refusal: ExplainRefusal, *, idle_s: float
    ) -> AsyncIterator[UpstreamCall]:
        """Send the request; its answer comes through the call that is yielded.

        Leaving the context, in whichever way, closes the connection unless the answer had come to its end.
        ``idle_s`` is the silence after which ``receive`` returns None.
        """
        call = UpstreamCall(idle_s)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._read, outgoing, explain_refusal, call)
                tasks.start_soon(call.watch_silence)
                yield call
                await call.drain()
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            # A task group wraps what the body of the context raised; its reader raises nothing but bugs.
            if len(group.exceptions) == 1:
                raise group.exceptions[0] from group.exceptions[0].__cause__
            raise

    async def fetch(self, path: str, *, timeout_s: float) -> FetchedDocument:
        """GET a small document, such as the model list; ``path`` is relative to the base URL.

        Raises:
            UpstreamError: there is no answer; any status is returned, not raised.
        """
        with self._mapped_errors():
            response = await self._client.get(self.base_url + path, timeout=timeout_s)
        return FetchedDocument(response.status_code, dict(response.headers), response.content)

    async def _read(self, outgoing: OutgoingRequest, explain_refusal: ExplainRefusal, call: UpstreamCall) -> None:
        for tries_left in reversed(range(CONNECT_TRIES)):
            try:
                with self._mapped_errors():
                    await self._read_once(outgoing, explain_refusal, call)
            except BridgeError as error:
                # Nothing came back, so the engine did nothing yet: a restart, or a connection it had just closed.
                if tries_left and call.status is None and isinstance(error, UpstreamUnreachableError | _DroppedError):
                    await anyio.sleep(RETRY_PAUSE_S)
                    continue
                call.end(error)
            else:
                call.end()
            return

    async def _read_once(self, outgoing: OutgoingRequest, explain_refusal: ExplainRefusal, call: UpstreamCall) -> None:
        request = self._client.build_request(
            outgoing.method,
            self.base_url + outgoing.path,
            content=outgoing.body,
            headers={"content-type": "application/json", "accept": "text/event-stream"},
        )
        response = await self._client.send(request, stream=True)
        try:
            call.status = response.status_code
            # ``stream`` and not ``aiter_raw``: half the cost for each chunk, and nothing here is compressed.
            assert isinstance(response.stream, httpx.AsyncByteStream), "an async client gives an async stream"
            if response.is_success:
                async for chunk in response.stream:
                    await call.put(chunk)
                return
            body = b""
            async for chunk in response.stream:
                body += chunk
                if len(body) > MAX_REFUSAL_BYTES:
                    break
            raise explain_refusal(response.status_code, response.headers, self._without_key(body), self._where)
        finally:
            await response.aclose()

    @property
    def _where(self) -> str:
        return f"{self.name} at {self.base_url}"

    def _without_key(self, body: bytes) -> bytes:
        return body.replace(self._api_key.encode(), b"[key removed]") if self._api_key else body

    def _mapped_errors(self) -> _MappedErrors:
        return _MappedErrors(self._where)


class _DroppedError(UpstreamBrokenError):
    """The upstream closed the connection before it said anything."""


class _MappedErrors:
    """Turns httpx's exceptions into ours, once, at the border."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, httpx.HTTPError):
            raise _explain(error, self._where) from error
        if isinstance(error, httpx.InvalidURL):
            raise UpstreamUnreachableError(f"{self._where}: {error}") from error


def _explain(error: httpx.HTTPError, where: str) -> UpstreamError:
    words = quote(str(error)) or type(error).__name__
    match error:
        case httpx.ConnectTimeout():
            return UpstreamUnreachableError(f"{where} did not answer within {CONNECT_TIMEOUT_S:.0f} s. Is it running?")
        case httpx.ConnectError():
            return UpstreamUnreachableError(f"{where} {_why_no_connection(error)}")
        case httpx.TimeoutException():
            return UpstreamTimeoutError(f"{where} was silent for too long.")
        case httpx.RemoteProtocolError() if "without sending a response" in words:
            return _DroppedError(f"{where} closed the connection without an answer.")
        case httpx.UnsupportedProtocol() | httpx.LocalProtocolError():
            return UpstreamUnreachableError(f"{where}: {words}")
        case httpx.ProxyError():
            return UpstreamUnreachableError(f"{where} can't be reached through the proxy: {words}")
        case _:
            return UpstreamBrokenError(f"{where} broke off its answer: {words}")


def _why_no_connection(error: httpx.ConnectError) -> str:
    words = str(error)
    causes: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, SSLError):
            return f"does not speak TLS as asked ({cause.reason or 'handshake failed'}). Is it http:// or https://?"
        causes.append(f"{cause!r} {cause}")
        cause = cause.__cause__ or cause.__context__
    everything = " ".join(causes)
    if "Name or service not known" in everything or "nodename nor servname" in everything or "gaierror" in everything:
        return "can't be found: the host name is unknown."
    if "refused" in everything or "All connection attempts failed" in everything:
        return "refused the connection. Is it running?"
    return f"can't be reached: {quote(words)}"


def is_loopback(host: str) -> bool:
    """Return whether the host names this machine only."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
