"""A document from the public web: over http or https only, and never from an address inside.

A URL in a request may come from a page that a model has read, and must not be a way into the network that the bridge
runs in. So the address is judged after the name was resolved, at every redirect anew, and the connection goes to that
very address: a name that resolves to another one a moment later gains nothing.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import anyio
import httpx
from anyio import to_thread
from anyio.abc import ByteStream
from msgspec import Struct

from claude_bridge.attachments.http_get import FetchError, HttpGet, Unpacked, too_large, words_of

MAX_ADDRESSES = 3
"""How many addresses of a name are tried, one after the other."""

MAX_URL_CHARS = 8_000

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CHARSET = re.compile(r"""charset=["']?([\w.:-]+)""", re.IGNORECASE)
_PASSING = frozenset({408, 425, 429})
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


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
    """Fetches documents; keeps nothing but its TLS settings."""

    def __init__(
        self,
        limits: WebLimits | None = None,
        *,
        resolve: Resolve = resolve_by_system,
        is_allowed: Callable[[Address], bool] = is_public,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """``is_allowed`` judges each address before it is connected to; ``tls`` None: the usual authorities."""
        self._limits = limits or WebLimits()
        self._resolve = resolve
        self._is_allowed = is_allowed
        self._tls = tls

    async def fetch(self, url: str) -> WebDocument:
        """Return the document at ``url``, following redirects.

        Proxy variables are not heeded: a proxy would look up the name by itself.

        Raises:
            FetchError: it can't be had, or may not be asked for.
        """
        try:
            with anyio.fail_after(self._limits.total_s):
                return await self._follow(url)
        except TimeoutError:
            raise FetchError(f"took longer than {self._limits.total_s:g} seconds", is_passing=True) from None

    async def _follow(self, url: str) -> WebDocument:
        here = _parsed(url)
        for _ in range(self._limits.max_redirects + 1):
            async with self._connected(here, await self._addresses(here)) as exchange:
                status, headers = await exchange.head(here.netloc, here.raw_path)
                if status not in _REDIRECTS or "location" not in headers:
                    return await self._read(here, status, headers, exchange)
            here = _parsed(headers["location"], base=here)
        raise FetchError(f"redirects more than {self._limits.max_redirects} times")

    async def _addresses(self, url: httpx.URL) -> list[Address]:
        host = _host(url)
        try:
            given = await self._resolve(host, _port(url))
        except (OSError, UnicodeError) as error:
            raise FetchError(f"is at {host!r}, a host that is not known", is_passing=True) from error
        addresses = [ip_address(address.partition("%")[0]) for address in given]
        if not all(map(self._is_allowed, addresses)):
            raise FetchError(f"is at {host!r}, which is no address of the public internet")
        if not addresses:
            raise FetchError(f"is at {host!r}, a host that is not known", is_passing=True)
        return addresses[:MAX_ADDRESSES]

    @asynccontextmanager
    async def _connected(self, url: httpx.URL, addresses: Sequence[Address]) -> AsyncIterator[HttpGet]:
        """Yield a connection to the first address that takes one; its certificate must be the name's."""
        stream: ByteStream | None = None
        for address in addresses:
            try:
                with anyio.fail_after(self._limits.connect_s):
                    stream = await self._connect(url, address)
                    break
            except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError too
                if address is addresses[-1]:
                    raise FetchError(f"can't be reached ({words_of(error)})", is_passing=True) from error
        assert stream is not None, "there is at least one address"
        try:
            yield HttpGet(stream)
        finally:
            await anyio.aclose_forcefully(stream)

    async def _connect(self, url: httpx.URL, address: Address) -> ByteStream:
        if url.scheme == "http":
            return await anyio.connect_tcp(str(address), _port(url))
        if self._tls is None:
            self._tls = await to_thread.run_sync(httpx.create_ssl_context)  # reads the authorities: 20 ms
        return await anyio.connect_tcp(
            str(address), _port(url), ssl_context=self._tls, tls_hostname=_host(url), tls_standard_compatible=False
        )

    async def _read(self, url: httpx.URL, status: int, headers: Mapping[str, str], exchange: HttpGet) -> WebDocument:
        if not 200 <= status < 300:
            raise FetchError(f"answers with status {status}", is_passing=status >= 500 or status in _PASSING)
        limit = self._limits.max_bytes
        told = headers.get("content-length", "")
        if told.isascii() and told.isdigit() and int(told) > limit:
            raise FetchError(too_large(limit))
        unpacked = Unpacked(headers.get("content-encoding", ""), limit)
        while chunk := await exchange.more_body():
            unpacked.feed(chunk)
        media_type, _, parameters = headers.get("content-type", "").partition(";")
        charset = _CHARSET.search(parameters)
        return WebDocument(
            url=str(url),
            media_type=media_type.strip().lower(),
            charset=charset[1].lower() if charset else None,
            body=bytes(unpacked.body),
        )


def _parsed(url: str, base: httpx.URL | None = None) -> httpx.URL:
    """Return a URL that may be asked for; only one parser reads it, so that none of two can be deceived."""
    if len(url) > MAX_URL_CHARS:
        raise FetchError(f"has an address of more than {MAX_URL_CHARS} characters")
    try:
        parsed = base.join(url) if base is not None else httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise FetchError("has an address that is none") from error
    if parsed.scheme not in ("http", "https") or not parsed.raw_host:
        raise FetchError("is not at an http: or https: address")
    if parsed.port is not None and not 0 < parsed.port < 2**16:
        raise FetchError("has an address that is none")
    if parsed.userinfo:
        raise FetchError("has an address with a password in it")
    return parsed


def _host(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii").strip("[]")


def _port(url: httpx.URL) -> int:
    return url.port or {"http": 80, "https": 443}[url.scheme]
