"""UpstreamClient: sends requests to one engine, hands back bytes as they come, and explains every failure."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
from anyio.abc import AsyncResource
from msgspec import Struct

from claude_bridge.adapters.base import OutgoingRequest
from claude_bridge.errors import (
    BridgeError,
    RelayedRefusalError,
    SetupError,
    UpstreamBrokenError,
    UpstreamDroppedError,
    UpstreamError,
    UpstreamLoadingError,
    UpstreamOverloadedError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from claude_bridge.providers import Upstream, start_command_of
from claude_bridge.upstream.call import UpstreamCall
from claude_bridge.upstream.key_ring import ChosenKey, KeyRing
from claude_bridge.upstream.network import USER_AGENT, NetworkError, NoConnectionError
from claude_bridge.upstream.plain_http import PlainTransport
from claude_bridge.upstream.proxies import InvalidProxyError, proxy_for
from claude_bridge.upstream.transport import BrokenAnswerError, HostRequest, HttpExchange, HttpTransport, NoAnswerError
from claude_bridge.wire.addresses import reaches_this_machine
from claude_bridge.wire.urls import Url, join_path, parse_url

MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
"""OpenRouter's list of all models takes one; the tokens of a long prompt, where they are counted, take some."""

MIN_KEY_CHARS = 8
"""A shorter key is not looked for in texts: "1" would be found everywhere, and hides nothing."""

_STREAM_HEADERS = {"content-type": "application/json", "accept": "text/event-stream"}
_DOCUMENT_HEADERS = {"content-type": "application/json", "accept": "application/json"}

ExplainRefusal = Callable[[int, Mapping[str, str], bytes, str], BridgeError]


def _bearer(api_key: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {api_key}"} if api_key else {}


class FetchedDocument(Struct, frozen=True):
    """A small answer that was read whole."""

    status: int
    headers: dict[str, str]
    body: bytes


class UpstreamClient(AsyncResource):
    """Talks to one engine. Use as an async context manager, or call ``aclose``."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None,
        name: str,
        start_command: str | None = None,
        headers: Mapping[str, str] = {},
        secrets: Sequence[str] = (),
        ring: KeyRing | None = None,
        headers_of_key: Callable[[str | None], Mapping[str, str]] = _bearer,
    ) -> None:
        """``base_url`` ends before the endpoint, as in ``http://localhost:11434/v1``; ``name`` is for error texts.

        ``headers_of_key`` carry the key; ``ring`` chooses another one than ``api_key`` for each request.
        ``headers`` go with every request; ``secrets`` of them are taken out of the engine's own words, as the key is.
        ``start_command`` starts an engine on this machine.

        Raises:
            SetupError: the key can't stand in a header.
            InvalidUrlError: the base URL is invalid.
        """
        self.base_url = base_url.rstrip("/")
        self.name = name
        self._api_key = api_key
        self._start_command = start_command
        self._where = f"{name} at {self.base_url}"
        if api_key and not (api_key.isascii() and api_key.isprintable()):
            raise SetupError(f"The key for {name} contains characters that no key can have.", "Copy it again.")
        self.ring = ring
        self._secrets = tuple(secrets)
        self._headers_of_key = headers_of_key
        self.key_headers = tuple(headers_of_key(api_key))
        """The names of the headers that carry the key."""
        self._url = parse_url(self.base_url)
        self._path = self._url.path.rstrip("/") + self._url.query
        self._headers = {
            "user-agent": USER_AGENT,
            "accept-encoding": "identity",
            **_STREAM_HEADERS,
            **headers_of_key(api_key),
            **headers,
        }
        self._transport: HttpTransport | None = None

    @property
    def has_key(self) -> bool:
        """Whether every request carries a key."""
        return bool(self._api_key)

    async def aclose(self) -> None:
        """Close all connections."""
        if self._transport is not None:
            await self._transport.aclose()

    def open(
        self,
        outgoing: OutgoingRequest,
        explain_refusal: ExplainRefusal,
        *,
        idle_s: float,
        turn: AbstractAsyncContextManager[None] | None = None,
        key: ChosenKey | None = None,
    ) -> UpstreamCall:
        """Return the call that sends the request when it is entered, and through which its answer comes.

        Leaving it, in whichever way, closes the connection unless the answer had come to its end. ``idle_s`` is the
        silence after which ``receive`` returns None. Where there is a ``turn``, connecting waits for it, which is
        silence too, and what fails then is raised by ``receive``. ``key`` is one of the ring (None: there is no ring).
        Entering it raises UpstreamError where the engine can't be connected to.
        """

        def explain(status: int, headers: Mapping[str, str], body: bytes) -> BridgeError:
            return self.without_key(explain_refusal(status, headers, body, self._where))

        headers = outgoing.headers if key is None else {**outgoing.headers, **self._headers_of_key(key.value)}
        return UpstreamCall(
            self._to_engine(),
            HostRequest(outgoing.method, join_path(self._path, outgoing.path), outgoing.body, headers),
            idle_s=idle_s,
            where=self._where,
            explain_refusal=explain,
            explain_failure=self._explain_failure,
            turn=turn,
        )

    async def choose_key(self, session: str) -> ChosenKey | None:
        """Return the key of the ring for a session's next request (None: there is no ring); raises as the ring does."""
        return await self.ring.choose(session) if self.ring is not None else None

    async def fetch(
        self,
        path: str,
        *,
        timeout_s: float,
        question: bytes | None = None,
        at_root: bool = False,
        key_header: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> FetchedDocument:
        """GET a small document, such as the model list, or POST a JSON ``question`` for it.

        ``path`` is relative to the base URL, or where ``at_root`` to what the base URL is without its /v1, or /openai
        at Gemini. ``key_header`` carries the key in place of the headers that do so in all other requests. ``headers``
        are further ones.

        Raises:
            UpstreamError: there is no answer in time, or a huge one; any status is returned, not raised.
        """
        base_path, mark, query = self._path.partition("?")
        if at_root:
            base_path = base_path.removesuffix("/openai" if base_path.endswith("/openai") else "/v1")
        target = join_path(base_path + mark + query, path)
        chosen = await self.choose_key("")
        key = chosen.value if chosen is not None else self._api_key
        carried = {} if chosen is None else self._headers_of_key(key)
        if key_header is not None:
            carried = {**dict.fromkeys(self.key_headers, ""), key_header: key or ""}
        headers = {**_DOCUMENT_HEADERS, **(headers or {}), **carried}
        request = HostRequest("GET" if question is None else "POST", target, question or b"", headers)
        is_connected = False
        try:
            with anyio.fail_after(timeout_s):
                async with HttpExchange(self._to_engine(), request) as exchange:
                    is_connected = True
                    await exchange.receive_head()
                    body = bytearray()
                    while piece := await exchange.receive_body():
                        body += piece
                        if len(body) > MAX_DOCUMENT_BYTES:
                            raise BrokenAnswerError(f"sent more than {MAX_DOCUMENT_BYTES >> 20} MiB at {path}.")
        except NetworkError as error:
            raise self._explain_failure(error) from error
        except TimeoutError:
            kind = UpstreamTimeoutError if is_connected else UpstreamUnreachableError
            raise kind(f"{self._where} did not answer within {timeout_s:g} s. Is it running?") from None
        return FetchedDocument(exchange.status, dict(exchange.headers), self._key_removed(bytes(body)))

    def _to_engine(self) -> HttpTransport:
        if self._transport is None:
            self._transport = transport_to(self._url, self._headers)
        return self._transport

    def _explain_failure(self, error: NetworkError) -> UpstreamError:
        message = self._key_removed(f"{self._where} {error.reason}".encode()).decode()
        match error:
            case NoConnectionError(is_overload=True):
                return UpstreamOverloadedError(message)
            case NoConnectionError():
                if self._start_command is not None and message.endswith("Is it running?"):
                    message += f" Start it: `{self._start_command}`"
                return UpstreamUnreachableError(message)
            case NoAnswerError():
                return UpstreamDroppedError(message)
            case _:
                return UpstreamBrokenError(message)

    def without_key(self, error: BridgeError) -> BridgeError:
        """Return the error, which was made of the engine's own words, without the key in them."""
        error.message = self._key_removed(error.message.encode()).decode()
        if isinstance(error, RelayedRefusalError):
            error.body = self._key_removed(error.body)
        return error

    def _key_removed(self, text: bytes) -> bytes:
        for key in (self._api_key or "", *self._secrets, *(self.ring.secrets if self.ring else ())):
            if len(key) >= MIN_KEY_CHARS:
                text = text.replace(key.encode(), b"[key removed]")
        return text


def advice_on(error: UpstreamError) -> str:
    """Return what to do about an engine that does not answer, beside what the error says already."""
    match error:
        case UpstreamLoadingError():
            return "Wait a moment."
        case UpstreamUnreachableError() if "Start it: `" in error.message:
            return "If it runs elsewhere, give its address: --base-url URL."
        case UpstreamUnreachableError() if error.message.endswith("Is it running?"):
            return "Start it, or check --base-url."
        case UpstreamUnreachableError() if "proxy" in error.message:
            return "Correct the proxy's variable, or unset it."
        case UpstreamUnreachableError():
            return "Check --base-url, and the network."
        case _:
            return "Try again in a moment."


def transport_to(url: Url, headers: Mapping[str, str], **checked: Any) -> HttpTransport:  # noqa: ANN401 - see HttpxTransport
    """Return our own transport for plain HTTP straight to a host, else httpx; raises NoConnectionError.

    ``checked`` says which address the connection goes to, as HttpxTransport takes it.
    """
    try:
        proxy = proxy_for(url, os.environ)
    except InvalidProxyError as error:
        raise NoConnectionError(f"can't be reached: {error}") from error
    if url.scheme == "http" and proxy is None and not checked:
        return PlainTransport(url, headers)
    from claude_bridge.upstream.httpx_transport import HttpxTransport

    return HttpxTransport(url, headers, proxy, **checked)


def client_for(upstream: Upstream, api_key: str | None, ring: KeyRing | None = None) -> UpstreamClient:
    """Return a client for an engine, which carries the key in the way of its API."""
    is_here = reaches_this_machine(parse_url(upstream.base_url).host)
    return UpstreamClient(
        upstream.base_url,
        api_key=api_key,
        name=upstream.name,
        headers_of_key=lambda key: upstream.adapter.key_headers(key, upstream.profile),
        headers=upstream.settings.headers,
        secrets=upstream.settings.secrets,
        ring=ring,
        start_command=start_command_of(upstream.name) if is_here else None,
    )
