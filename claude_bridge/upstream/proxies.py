"""Which proxy a request takes: one rule for engines and for the web, by the variables that all programs share."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from ipaddress import ip_network

from msgspec import Struct
from msgspec.structs import replace

from claude_bridge.wire.addresses import ip_address_of, reaches_this_machine
from claude_bridge.wire.urls import InvalidUrlError, Url, parse_url

PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_DEFAULT_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


class InvalidProxyError(Exception):
    """A variable names a proxy that can't be used; the message is a sentence that names the variable."""


class Proxy(Struct, frozen=True, kw_only=True):
    """A proxy and the variable that names it."""

    url: Url
    source: str

    def __str__(self) -> str:
        """Return both, without a password."""
        return f"{self.url.origin} (from {self.source})"


def proxy_for(url: Url, environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for a URL, None for a direct connection.

    This machine is never asked through a proxy, nor what NO_PROXY names. ``http_proxy``, ``https_proxy`` and
    ``all_proxy`` count in small and in capital letters, the small ones first; where none is set, the settings of
    macOS or Windows do.

    Raises:
        InvalidProxyError: the variable's value is no proxy that the bridge can speak to.
    """
    if reaches_this_machine(url.host) or _is_exempt(url, _variable(environment, "no_proxy")[1]):
        return None
    for name in (f"{url.scheme}_proxy", "all_proxy"):
        source, value = _variable(environment, name)
        if value:
            return _parse_proxy(value, source)
    return None if _names_a_proxy(environment) else _system_proxy(url)


def _parse_proxy(value: str, source: str) -> Proxy:
    try:
        url = parse_url(value if "://" in value else f"http://{value}")
    except InvalidUrlError as error:
        raise InvalidProxyError(f"{source} is no address of a proxy: {error}.") from error
    if url.scheme not in PROXY_SCHEMES:
        raise InvalidProxyError(
            f"{source} names a proxy of the kind {url.scheme}://; the bridge can use {', '.join(PROXY_SCHEMES)}."
        )
    return Proxy(url=replace(url, port=url.port or _DEFAULT_PORTS[url.scheme]), source=source)


def _variable(environment: Mapping[str, str], name: str) -> tuple[str, str]:
    """Return the variable's name as it is set, and its value; an empty one in small letters hides the other."""
    spelled = name if name in environment else name.upper()
    return spelled, environment.get(spelled, "").strip()


def _names_a_proxy(environment: Mapping[str, str]) -> bool:
    return any(_variable(environment, name)[1] for name in ("http_proxy", "https_proxy", "all_proxy"))


def _system_proxy(url: Url) -> Proxy | None:
    if sys.platform not in ("darwin", "win32"):
        return None
    from urllib.request import getproxies, proxy_bypass  # read the system's settings; take 20 ms to import

    value = getproxies().get(url.scheme)
    if not value or proxy_bypass(url.host):
        return None
    return _parse_proxy(value, "the system's settings")


def _is_exempt(url: Url, no_proxy: str) -> bool:
    """Return whether NO_PROXY names the host: by name, as a part of a domain, with its port, or by its network."""
    return any(_names_host(entry.lower(), url) for entry in re.split(r"[\s,]+", no_proxy) if entry)


def _names_host(entry: str, url: Url) -> bool:
    if entry == "*":
        return True
    address = ip_address_of(url.host)
    if address is not None and "/" in entry:
        try:
            return address in ip_network(entry, strict=False)
        except ValueError:
            return False
    host, colon, port = entry.rpartition(":")
    if colon and port.isdigit() and (host.endswith("]") or ":" not in host):
        if int(port) != url.port:
            return False
        entry = host
    if address is not None:
        return ip_address_of(entry) == address
    name = entry.removeprefix("*").lstrip(".")
    return bool(name) and (url.host == name or url.host.endswith(f".{name}"))
