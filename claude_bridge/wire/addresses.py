"""Hosts as people and programs write them: one reading of every spelling, for all that come in and all that go out."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import urlsplit

_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*")
_MAX_NUMBER_CHARS = 16


def ip_address_of(host: str) -> IPv4Address | IPv6Address | None:
    """Return the IP address that ``host`` spells, None for a name.

    Takes what system resolvers take: brackets, a zone, ``127.1``, ``0x7f000001``; an IPv4 address inside an IPv6 one
    (``::ffff:127.0.0.1``) is returned as itself.
    """
    if ":" in host:
        try:
            address = IPv6Address(host.removeprefix("[").removesuffix("]").partition("%")[0])
        except AddressValueError:
            return None
        return address.ipv4_mapped or address
    return _ipv4_address_of(host)


def reaches_this_machine(host: str) -> bool:
    """Return whether a connection to the host ends on this machine: loopback, ``0.0.0.0`` and ``::`` do.

    Not for addresses to listen on: the unspecified ones are open to all networks there.
    """
    address = ip_address_of(host)
    return is_loopback(host) or (address is not None and address.is_unspecified)


def comparable_place(url: str) -> tuple[str, int | None]:
    """Return the host and the port of a URL, with one spelling for all of this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return "localhost" if reaches_this_machine(host) else host, parts.port


@lru_cache(maxsize=16)  # of nearly all requests it is the same one
def is_loopback(host: str) -> bool:
    """Return whether a host, without its port, is this machine and nothing else, however it is spelled."""
    name = host.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761, section 6.3: never resolved by a name server
        return True
    address = ip_address_of(name)
    return address is not None and address.is_loopback


def _ipv4_address_of(host: str) -> IPv4Address | None:
    """Return what inet_aton does: one to four numbers, decimal, octal or hexadecimal; the last one fills the rest."""
    parts = host.split(".")
    if len(parts) > 4 or not all(len(part) <= _MAX_NUMBER_CHARS and _NUMBER.fullmatch(part) for part in parts):
        return None
    *leading, last = (int(part, 16 if part[:2] in ("0x", "0X") else 8 if part[0] == "0" else 10) for part in parts)
    rest_bits = 8 * (4 - len(leading))
    if last >= 1 << rest_bits or any(number > 255 for number in leading):
        return None
    return IPv4Address(sum(number << (24 - 8 * index) for index, number in enumerate(leading)) + last)
