"""Who may ask: judged by a request's head alone, before its body is read."""

from __future__ import annotations

import hmac

from claude_bridge.errors import AuthenticationError, ForbiddenError, ProtocolError
from claude_bridge.server.request_head import RequestHead, split_authority
from claude_bridge.wire.addresses import is_loopback

_OWN_SITES = ("same-origin", "none")
"""``Sec-Fetch-Site`` of a request that no other page caused."""


class AccessRules:
    """What a server asks of its clients: its token if it has one, and that no web page speaks through them."""

    def __init__(self, *, auth_token: str | None, loopback_only: bool) -> None:
        """``auth_token`` is what clients must send (None: nothing); ``loopback_only`` says where the server listens."""
        # Headers are bytes; clients encode what is outside ASCII in one of these two ways.
        self._tokens = (
            () if auth_token is None else tuple({auth_token.encode(), auth_token.encode("latin-1", "replace")})
        )
        self._loopback_only = loopback_only

    def check(self, head: RequestHead) -> None:
        """Check that this client may ask.

        Raises:
            AuthenticationError: it has no or the wrong token.
            ForbiddenError: a web page asks, perhaps by a name of its own for this machine's loopback address.
        """
        self._check_origin(head)
        if self._tokens:
            if not self.has_token(head):
                raise AuthenticationError(
                    "This bridge requires its token: set ANTHROPIC_AUTH_TOKEN to the one shown when it started."
                )
        else:
            self._check_host(head)

    def check_page(self, head: RequestHead) -> None:
        """Check that a browser asks for the page by itself, under a name of this machine if we listen on loopback.

        Raises:
            ForbiddenError: a page of another origin asks, or the name is another one.
        """
        self._check_origin(head)
        self._check_host(head)

    def is_the_token(self, text: str) -> bool:
        """Return whether a text is the token."""
        return any([hmac.compare_digest(text.encode("utf-8", "replace"), token) for token in self._tokens])  # noqa: C419 - all of them: time tells nothing

    def is_token(self, value: str) -> bool:
        """Return whether a header's value holds the token: it must go no further."""
        return bool(self._tokens) and any(token in value.encode("latin-1", "replace") for token in self._tokens)

    def _check_host(self, head: RequestHead) -> None:
        if self._loopback_only and "host" in head.headers:
            authority = split_authority(head.headers["host"])
            if authority is None or not is_loopback(authority[0]):
                raise ForbiddenError(
                    f"This bridge only answers under the names of loopback addresses, not as {head.headers['host']!r}."
                )

    def _check_origin(self, head: RequestHead) -> None:
        headers = head.headers
        host, origin = headers.get("host", ""), headers.get("origin")
        # Of several values that were sent, the joined text is none of these.
        is_own = origin is None or origin in (f"http://{host}", f"https://{host}")
        if not is_own or headers.get("sec-fetch-site", "none") not in _OWN_SITES:
            raise ForbiddenError("Web pages may not use this bridge.")

    def has_token(self, head: RequestHead) -> bool:
        """Return whether one of both places holds the token: Claude Code may send a key of its own beside it."""
        scheme, _, token = head.headers.get("authorization", "").partition(" ")
        bearer = token.strip() if scheme.lower() == "bearer" else ""
        sent = [text.encode("latin-1") for text in (bearer, head.headers.get("x-api-key", ""))]
        return any([hmac.compare_digest(given, token) for given in sent for token in self._tokens])  # noqa: C419 - all of them: time tells nothing


def check_content_type(head: RequestHead) -> None:
    """Check that a body is JSON; a missing header counts as such, as small clients leave it out.

    A page of another origin can send other types and none without asking the browser first. What it may send, it may
    only send with an Origin header, which the rules refuse.

    Raises:
        ProtocolError: it is something else.
    """
    content_type = head.headers.get("content-type")
    if head.has_body and content_type is not None:
        media_type = content_type.partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise ProtocolError(
                415,
                f"The content-type must be application/json, not {media_type[:60]!r}: with curl, "
                "-H 'content-type: application/json'.",
            )
