"""What the handlers share: the bridge once it is there, the trace, who may ask, and what is running."""

from __future__ import annotations

import hmac
import re

import anyio

from claude_bridge.adapters.base import ClientRequest
from claude_bridge.bridge import BridgeProtocol
from claude_bridge.errors import AuthenticationError, ForbiddenError
from claude_bridge.server.http1 import HttpRequest
from claude_bridge.trace.bus import Bus
from claude_bridge.trace.stats import Stats
from claude_bridge.wire.addresses import is_loopback
from claude_bridge.wire.anthropic import MessagesRequest
from claude_bridge.wire.anthropic_codec import parse_outline

_NOT_FOR_ENGINES = frozenset(
    {"accept-encoding", "connection", "content-length", "cookie", "expect", "forwarded", "host", "keep-alive", "origin"}
    | {"referer", "te", "trailer", "transfer-encoding", "upgrade", "via"}
)
_NOT_FOR_ENGINES_PREFIXES = ("proxy-", "sec-", "x-forwarded-", "x-real-")


class Service:
    """The server's side of a bridge that may still be looking for its engine."""

    def __init__(self, bus: Bus, *, auth_token: str | None, loopback_only: bool) -> None:
        """``auth_token`` is what clients must send (None: nothing); ``loopback_only`` says where we listen."""
        self.bus = bus
        self.stats = Stats()
        """What all exchanges came to."""
        self.running: set[str] = set()
        """Request ids of the answers that are being written."""
        self._auth_token = auth_token
        self._loopback_only = loopback_only
        self._bridge: BridgeProtocol | None = None
        self._ready = anyio.Event()

    def provide(self, bridge: BridgeProtocol) -> None:
        """Give the bridge to all who wait for it."""
        self._bridge = bridge
        self._ready.set()

    @property
    def bridge_if_known(self) -> BridgeProtocol | None:
        """The bridge, or None while it is not known what its engine is."""
        return self._bridge

    async def bridge(self) -> BridgeProtocol:
        """Return the bridge, as soon as it is known what its engine is."""
        await self._ready.wait()
        assert self._bridge is not None, "provide() sets both"
        return self._bridge

    def check(self, request: HttpRequest) -> None:
        """Check that this client may ask.

        Raises:
            AuthenticationError: it has no or the wrong token.
            ForbiddenError: it is a web page that found its way to this machine's loopback address.
        """
        if self._auth_token is not None:
            if not any(hmac.compare_digest(given, self._auth_token.encode()) for given in _given_tokens(request)):
                raise AuthenticationError(
                    "This bridge asks for its token: set ANTHROPIC_AUTH_TOKEN to the one shown when it started."
                )
        elif self._loopback_only:
            host = request.headers.get("host", "localhost")
            if not _is_loopback_authority(host):
                raise ForbiddenError(f"This bridge only answers on loopback addresses, not as {host!r}.")
            origin = request.headers.get("origin", "null")
            if origin != "null" and not _is_loopback_authority(origin.partition("://")[2]):
                raise ForbiddenError("Web pages may not use this bridge.")

    def given(self, request: HttpRequest) -> ClientRequest:
        """Return the request as an engine of Anthropic's API may get it: without what is meant for the bridge.

        The bridge's own token stays here, and so do headers of this one connection (RFC 9110, section 7.6.1) and of
        browsers.
        """
        named = request.headers.get("connection", "").lower().split(",")
        left_out = _NOT_FOR_ENGINES | {name.strip() for name in named}
        headers = {
            name: value
            for name, value in request.headers.items()
            if name not in left_out and not name.startswith(_NOT_FOR_ENGINES_PREFIXES) and not self._is_token(value)
        }
        return ClientRequest(body=request.body, query=request.query, headers=headers)

    def outline(self, request: HttpRequest) -> MessagesRequest | None:
        """Return what can be read of a request that this version does not understand, if it goes on as it came."""
        is_passthrough = self._bridge is not None and self._bridge.is_passthrough
        return parse_outline(request.body) if is_passthrough else None

    def _is_token(self, value: str) -> bool:
        return self._auth_token is not None and self._auth_token in value


def _given_tokens(request: HttpRequest) -> tuple[bytes, bytes]:
    """Return both tokens that a client may send: Claude Code sends a key of its own beside the token it was given."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return bearer.encode("latin-1"), request.headers.get("x-api-key", "").encode("latin-1")


_AUTHORITY = re.compile(r"(\[[^]]*]|[^:]*)(:[0-9]*)?")


def _is_loopback_authority(authority: str) -> bool:
    """Return whether a Host header, or what stands for it in an Origin, names this machine."""
    found = _AUTHORITY.fullmatch(authority)
    return found is not None and is_loopback(found[1])
