"""The HTTP client: sends an OutgoingRequest, hands back bytes as they come, and maps every failure.

The only file that knows httpx: it speaks TLS and to proxies. Engines on plain HTTP are asked through ``plain_http``.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from ssl import SSLError
from urllib.request import getproxies

import anyio
import httpx
from msgspec import Struct

from claude_bridge import __version__
from claude_bridge.adapters.base import OutgoingRequest
from claude_bridge.conversion.upstream_errors.translate import quote
from claude_bridge.errors import (
    BridgeError,
    UpstreamBrokenError,
    UpstreamDroppedError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from claude_bridge.providers import Upstream
from claude_bridge.upstream.call import UpstreamCall
from claude_bridge.upstream.transport import CONNECT_TIMEOUT_S, PlainHttpClient, PlainResponse, why_no_connection
from claude_bridge.wire.addresses import reaches_this_machine

MAX_REFUSAL_BYTES = 64 * 1024
REFUSAL_S = 1.0
"""How long the words of a refusal are waited for; its status says the most."""

CONNECT_TRIES = 2
RETRY_WITHIN_S = 1.0
RETRY_PAUSE_S = 0.1

_STREAM_HEADERS = {"content-type": "application/json", "accept": "text/event-stream"}

ExplainRefusal = Callable[[int, Mapping[str, str], bytes, str], BridgeError]


class FetchedDocument(Struct, frozen=True):
    """A small answer that was read whole."""

    status: int
    headers: dict[str, str]
    body: bytes


class UpstreamClient:
    """Talks to one engine. Use as an async context manager, or call ``aclose``."""

    def __init__(
        self, base_url: str, *, api_key: str | None, name: str, key_headers: Mapping[str, str] | None = None
    ) -> None:
        """``base_url`` ends before the endpoint, as in ``http://localhost:11434/v1``; ``name`` is for error texts.

        ``key_headers`` carry the key (None: as a bearer token).
        """
        self.base_url = base_url.rstrip("/")
        self.name = name
        self._api_key = api_key
        self._where = f"{name} at {self.base_url}"
        url = httpx.URL(self.base_url)
        headers = {"user-agent": f"claude-bridge/{__version__}", "accept-encoding": "identity"}
        if key_headers is not None:
            headers |= key_headers
        elif api_key:
            headers["authorization"] = f"Bearer {api_key}"
        # Proxy variables are for the way out; HTTP_PROXY would swallow what goes to this machine.
        trust_env = not reaches_this_machine(url.host)
        self._httpx = httpx.AsyncClient(
            headers=headers,
            # How long an engine may be silent while it reads is watched by UpstreamCall, for all reads at once.
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=30),
            trust_env=trust_env,
            # No TLS, no certificates to load: that saves 20 ms and 5 MB for a local engine.
            verify=url.scheme == "https",
        )
        self._path = url.raw_path.decode("ascii").rstrip("/")
        self._plain: PlainHttpClient | None = None
        if url.scheme == "http" and not (trust_env and getproxies().get("http")):
            host = {"host": url.netloc.decode("ascii")}
            headers = {**host, **headers, **_STREAM_HEADERS}
            self._plain = PlainHttpClient(url.host, url.port or 80, headers, where=self._where)

    @property
    def has_key(self) -> bool:
        """Whether every request carries a key."""
        return bool(self._api_key)

    async def __aenter__(self) -> UpstreamClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._httpx.aclose()
        if self._plain is not None:
            await self._plain.aclose()

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
                tasks.start_soon(call.watch_silence, self._where)
                yield call
                await call.drain()
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            # A task group wraps what the body of the context raised; its reader raises nothing but bugs. On trio,
            # where the client leaves in the same moment, its cancellation comes along; it is not lost by this.
            _, errors = group.split(anyio.get_cancelled_exc_class())
            if errors is not None and len(errors.exceptions) == 1:
                raise errors.exceptions[0] from errors.exceptions[0].__cause__
            raise

    async def fetch(
        self, path: str, *, timeout_s: float, question: bytes | None = None, at_root: bool = False
    ) -> FetchedDocument:
        """GET a small document, such as the model list, or POST a JSON ``question`` for it.

        ``path`` is relative to the base URL, or where ``at_root`` to what the base URL is without its /v1.

        Raises:
            UpstreamError: there is no answer; any status is returned, not raised.
        """
        url = (self.base_url.removesuffix("/v1") if at_root else self.base_url) + path
        with self._mapped_errors():
            if question is None:
                response = await self._httpx.get(url, timeout=timeout_s)
            else:
                headers = {"content-type": "application/json"}
                response = await self._httpx.post(url, content=question, headers=headers, timeout=timeout_s)
        return FetchedDocument(response.status_code, dict(response.headers), self._without_key(response.content))

    async def _read(self, outgoing: OutgoingRequest, explain_refusal: ExplainRefusal, call: UpstreamCall) -> None:
        started_at = anyio.current_time()
        for tries_left in reversed(range(CONNECT_TRIES)):
            try:
                with self._mapped_errors():
                    await self._read_once(outgoing, explain_refusal, call)
            except BridgeError as error:
                # Nothing came back, and at once: the engine restarts, or had just closed the idle connection. One
                # that breaks down after a while has worked on the request, and would do so again.
                is_quick = anyio.current_time() - started_at < RETRY_WITHIN_S
                if tries_left and is_quick and isinstance(error, UpstreamUnreachableError | UpstreamDroppedError):
                    call.retried = error.message
                    await anyio.sleep(RETRY_PAUSE_S)
                    continue
                call.end(error)
            else:
                call.end()
            return

    async def _read_once(self, outgoing: OutgoingRequest, explain_refusal: ExplainRefusal, call: UpstreamCall) -> None:
        response = await self._send(outgoing)
        try:
            call.status, call.headers = response.status, response.headers
            async with aclosing(aiter(response)) as pieces:
                if 200 <= response.status < 300:
                    async for piece in pieces:
                        await call.put(piece)
                    return
                body = await _beginning(pieces)
            raise explain_refusal(response.status, response.headers, self._without_key(body), self._where)
        finally:
            await response.aclose()

    async def _send(self, outgoing: OutgoingRequest) -> PlainResponse | _HttpxResponse:
        if self._plain is not None:
            return await self._plain.send(outgoing.method, self._path + outgoing.path, outgoing.body, outgoing.headers)
        request = self._httpx.build_request(
            outgoing.method,
            self.base_url + outgoing.path,
            content=outgoing.body,
            headers={**_STREAM_HEADERS, **outgoing.headers},
        )
        return _HttpxResponse(await self._httpx.send(request, stream=True))

    def _without_key(self, body: bytes) -> bytes:
        return body.replace(self._api_key.encode(), b"[key removed]") if self._api_key else body

    def _mapped_errors(self) -> _MappedErrors:
        return _MappedErrors(self._where)


def client_for(upstream: Upstream, api_key: str | None) -> UpstreamClient:
    """Return a client for an engine, which carries the key in the way of its API."""
    headers = upstream.adapter.key_headers(api_key, upstream.profile)
    return UpstreamClient(upstream.base_url, api_key=api_key, name=upstream.name, key_headers=headers)


async def _beginning(pieces: AsyncIterator[bytes]) -> bytes:
    """Return what a refusal says, but not all of it if it goes on and on."""
    body = b""
    with anyio.move_on_after(REFUSAL_S):
        async for piece in pieces:
            body += piece
            if len(body) > MAX_REFUSAL_BYTES:
                break
    return body


class _HttpxResponse:
    """A response of httpx in the form that PlainHttpClient gives."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self._response = response

    @property
    def headers(self) -> dict[str, str]:
        """The headers, with names in lower case."""
        return dict(self._response.headers)

    async def __aiter__(self) -> AsyncGenerator[bytes, None]:
        # ``stream`` and not ``aiter_raw``: half the cost for each chunk, and nothing here is compressed.
        assert isinstance(self._response.stream, httpx.AsyncByteStream), "an async client gives an async stream"
        async for chunk in self._response.stream:
            yield chunk

    async def aclose(self) -> None:
        """Close the response."""
        await self._response.aclose()


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
            return UpstreamUnreachableError(
                f"{where} did not answer in time. Is it running, and is it {_scheme(where)}?"
            )
        case httpx.ConnectError():
            return UpstreamUnreachableError(f"{where} {_why_no_tls(error) or why_no_connection(error)}")
        case httpx.TimeoutException():
            return UpstreamTimeoutError(f"{where} was silent for too long.")
        case httpx.RemoteProtocolError() if "without sending a response" in words:
            return UpstreamDroppedError(f"{where} closed the connection without an answer.")
        case httpx.UnsupportedProtocol() | httpx.LocalProtocolError():
            return UpstreamUnreachableError(f"{where}: {words}")
        case httpx.ProxyError():
            return UpstreamUnreachableError(f"{where} can't be reached through the proxy: {words}")
        case _:
            return UpstreamBrokenError(f"{where} broke off its answer: {words}")


def _scheme(where: str) -> str:
    return "https://" if "https://" in where else "http://"


def _why_no_tls(error: BaseException) -> str | None:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, SSLError):
            return f"does not speak TLS as asked ({cause.reason or 'handshake failed'}). Is it http:// or https://?"
        cause = cause.__cause__ or cause.__context__
    return None
