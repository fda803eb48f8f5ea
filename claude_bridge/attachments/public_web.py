"""A document from the public web: over http or https only, and never from an address inside.

A URL in a request may come from a page that a model has read, and must not be a way into the network that the bridge
runs in. So the address is judged after the name was resolved, at every redirect anew, and the connection goes to that
very address: a name that resolves to another one a moment later gains nothing.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urljoin

import anyio
from msgspec import Struct

from claude_bridge.upstream.client import transport_to
from claude_bridge.upstream.network import USER_AGENT, NetworkError, NoConnectionError
from claude_bridge.upstream.transport import CompressedAnswerError, HostRequest, HttpExchange
from claude_bridge.wire.urls import Url, parse_url

MAX_ADDRESSES = 3
"""How many addresses of a name are tried, one after the other."""

MAX_URL_CHARS = 8_000

_HEADERS = {"user-agent": USER_AGENT, "accept": "*/*", "accept-encoding": "gzip, deflate", "connection": "close"}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHARSET = re.compile(r"""charset=["']?([\w.:-]+)""", re.IGNORECASE)
_TEXTS = ("text/", "application/json", "application/xml", "application/javascript", "application/yaml")
_PASSING = frozenset({408, 425, 429})
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class FetchError(Exception):
    """A document could not be fetched.

    ``reason`` ends a sentence that begins with the URL; ``is_passing`` says that another time may do,
    ``is_forbidden`` that its host is not allowed. ``status`` is the server's (None: it gave none).
    """

    def __init__(
        self, reason: str, *, is_passing: bool = False, is_forbidden: bool = False, status: int | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_passing = is_passing
        self.is_forbidden = is_forbidden
        self.status = status


class WebLimits(Struct, frozen=True, kw_only=True):
    """What one fetch may take, with all its redirects."""

    max_bytes: int = 32 * 1024 * 1024
    total_s: float = 20.0
    connect_s: float = 5.0
    max_redirects: int = 5


class WebDocument(Struct, frozen=True, kw_only=True):
    """What was fetched.

    ``url`` is where it was found in the end; ``media_type`` (without parameters, in small letters) and ``charset``
    are what the server says, which need not be true.
    """

    url: str
    media_type: str
    charset: str | None
    body: bytes

    @property
    def is_text(self) -> bool:
        """Whether its server calls it text, and nothing in it contradicts that."""
        is_declared = self.media_type.startswith(_TEXTS) or self.media_type.endswith(("+json", "+xml"))
        return is_declared and b"\0" not in self.body


def is_public(address: Address) -> bool:
    """Return whether the address belongs to the public internet; an IPv4 address inside an IPv6 one is judged too."""
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast
    inner = address.ipv4_mapped or address.sixtofour
    if address in _NAT64:
        inner = IPv4Address(int(address) & 0xFFFF_FFFF)
    if inner is not None:
        return is_public(inner)
    return address in _GLOBAL_UNICAST and address.is_global


async def resolve_by_system(host: str, port: int) -> list[str]:
    """Return the addresses that the system gives for a name; raises OSError where there are none."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(entry[4][0] for entry in found))


class PublicWeb:
    """Fetches documents; keeps no connection, no cookie, nothing."""

    def __init__(
        self,
        limits: WebLimits | None = None,
        *,
        resolve: Resolve = resolve_by_system,
        is_allowed: Callable[[Address], bool] = is_public,
        trusted_hosts: Collection[str] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``is_allowed`` judges each address before it is connected to; ``tls`` None: the system's authorities.

        ``trusted_hosts``, with their ports where these are not the usual ones, are allowed wherever they are.
        """
        self._limits = limits or WebLimits()
        self._resolve = resolve
        self._is_allowed = is_allowed
        self._trusted_hosts = trusted_hosts
        self._tls = tls

    async def fetch(self, url: str) -> WebDocument:
        """Return the document at a public URL: checked, bounded, redirects followed one by one with a check at each.

        A proxy gets the address that was checked, never the name, which it would look up itself.

        Raises:
            FetchError: it can't be fetched, or must not be.
        """
        try:
            with anyio.fail_after(self._limits.total_s):
                return await self._follow(url)
        except TimeoutError:
            raise FetchError(f"took longer than {self._limits.total_s:g} seconds", is_passing=True) from None
        except NetworkError as error:
            reason = error.reason.removesuffix(" Is it running?").removesuffix(".")
            raise FetchError(reason, is_passing=not isinstance(error, CompressedAnswerError)) from error

    async def _follow(self, url: str) -> WebDocument:
        here = _parsed(url)
        for _ in range(self._limits.max_redirects + 1):
            found = await self._get(here)
            if isinstance(found, WebDocument):
                return found
            here = _parsed(found, base=here)
        raise FetchError(f"redirects more than {self._limits.max_redirects} times")

    async def _get(self, url: Url) -> WebDocument | str:
        """Return the document, or where it has moved to."""
        addresses = await self._addresses(url)
        for address in addresses:
            transport = transport_to(
                url, _HEADERS, address=str(address), tls=self._tls, connect_s=self._limits.connect_s
            )
            try:
                async with HttpExchange(transport, HostRequest("GET", url.target)) as exchange:
                    await exchange.receive_head()
                    if exchange.status in _REDIRECTS and "location" in exchange.headers:
                        return exchange.headers["location"]
                    return await self._read(url, exchange)
            except NoConnectionError:
                if address is addresses[-1]:
                    raise
        raise AssertionError("a name has an address")

    async def _addresses(self, url: Url) -> list[Address]:
        unknown = FetchError(f"is at {url.host!r}, an unknown host", is_passing=True)
        try:
            found = await self._resolve(url.host, url.port)
        except (OSError, UnicodeError) as error:
            raise unknown from error
        addresses = [ip_address(address.partition("%")[0]) for address in found]
        if url.authority not in self._trusted_hosts and not all(map(self._is_allowed, addresses)):
            raise FetchError(f"is at {url.host!r}, which is not on the public internet", is_forbidden=True)
        if not addresses:
            raise unknown
        return addresses[:MAX_ADDRESSES]

    async def _read(self, url: Url, exchange: HttpExchange) -> WebDocument:
        status, headers, limit = exchange.status, exchange.headers, self._limits.max_bytes
        if not 200 <= status < 300:
            is_passing = status >= 500 or status in _PASSING
            raise FetchError(f"answers with status {status}", is_passing=is_passing, status=status)
        too_large = FetchError(f"is larger than {limit / 2**20:g} MiB")
        declared = headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and int(declared) > limit:
            raise too_large
        body = bytearray()
        while piece := await exchange.receive_body():
            body += piece
            if len(body) > limit:
                raise too_large
        media_type, _, parameters = headers.get("content-type", "").partition(";")
        charset = _CHARSET.search(parameters)
        return WebDocument(
            url=str(url),
            media_type=media_type.strip().lower(),
            charset=charset[1].lower() if charset else None,
            body=bytes(body),
        )


def _parsed(url: str, base: Url | None = None) -> Url:
    """Return the URL, if it may be fetched."""
    if len(url) > MAX_URL_CHARS:
        raise FetchError(f"has an address of more than {MAX_URL_CHARS} characters")
    try:
        url = url.strip() if base is None else urljoin(str(base), url.strip())
        if not url.lower().startswith(("http://", "https://")):
            raise FetchError("is not at an http: or https: address")
        parsed = parse_url(url)
    except ValueError as error:  # urljoin's too
        raise FetchError(f"has an invalid address: {error}") from error
    if parsed.userinfo:
        raise FetchError("has an address with a password in it")
    return parsed
