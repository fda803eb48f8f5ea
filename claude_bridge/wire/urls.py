"""URLs of engines, proxies and documents, read by one parser, so that no two can disagree on the host."""

from __future__ import annotations

import re
from urllib.parse import quote

from msgspec import Struct

from claude_bridge.wire.addresses import ip_address_of

DEFAULT_PORTS = {"http": 80, "https": 443}

_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:(?P<userinfo>[^/?#]*)@)?(?P<host>\[[^]/?#]*\]|[^/?#:]*)(?::(?P<port>[0-9]*))?"
    r"(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?(?:\#.*)?",
    re.IGNORECASE | re.DOTALL,
)
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
_MAX_NAME_CHARS = 255
_SAFE_IN_A_PATH = "/%!$&'()*+,;=:@~[]|"
_SAFE_IN_A_QUERY = _SAFE_IN_A_PATH + "?"
_KEY_IN_A_QUERY = re.compile(
    r"[?&](sig|auth|code|[^=&]*(?:key|token|secret|password|passwd|signature))=[^&]", re.IGNORECASE
)


class InvalidUrlError(ValueError):
    """A text is no URL with a host."""


class Url(Struct, frozen=True, kw_only=True):
    """One URL, in ASCII. ``host`` is in small letters and without brackets; ``query`` begins with its question mark."""

    scheme: str
    host: str
    port: int
    path: str = ""
    query: str = ""
    userinfo: str = ""

    def __str__(self) -> str:
        """Return the URL without its userinfo, which may hold a password."""
        return f"{self.origin}{self.path}{self.query}"

    @property
    def authority(self) -> str:
        """The host and, where it is not the usual one, the port; as in the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if DEFAULT_PORTS.get(self.scheme) == self.port else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme and authority."""
        return f"{self.scheme}://{self.authority}"

    @property
    def target(self) -> str:
        """Path and query, as in a request line."""
        return f"{self.path or '/'}{self.query}"


def parse_url(text: str) -> Url:
    """Return the URL that ``text`` is; what may not stand in one as it is gets percent-encoded.

    A missing port is the usual one of http or https.

    Raises:
        InvalidUrlError: it has no scheme or host, or an impossible host or port.
    """
    match = _URL.fullmatch(text.strip())
    if match is None:
        raise InvalidUrlError("it has no scheme and host, as in http://host:port")
    scheme = match["scheme"].lower()
    port = int(match["port"]) if match["port"] and len(match["port"]) <= 5 else DEFAULT_PORTS.get(scheme, 0)
    if (match["port"] and len(match["port"]) > 5) or not 0 <= port < 2**16 or match["port"] == "0":
        raise InvalidUrlError("its port is not between 1 and 65535")
    return Url(
        scheme=scheme,
        host=_host(match["host"]),
        port=port,
        path=quote(match["path"] or "", safe=_SAFE_IN_A_PATH),
        query=quote(match["query"] or "", safe=_SAFE_IN_A_QUERY),
        userinfo=match["userinfo"] or "",
    )


def join_path(base_url: str, path: str) -> str:
    """Return a base URL with ``path`` behind its own path; its query stays behind both, before that of ``path``."""
    base, mark, query = base_url.partition("?")
    path, own_mark, own_query = path.partition("?")
    queries = "&".join(part for part in (query, own_query) if part)
    return base.rstrip("/") + path + ("?" if mark or own_mark else "") * bool(queries) + queries


def key_in_query(url: str) -> str | None:
    """Return the name of the query parameter that seems to hold a key; None: there is none."""
    match = _KEY_IN_A_QUERY.search(url)
    return match[1] if match else None


def _host(host: str) -> str:
    host = host.lower()
    if host.startswith("["):
        address = ip_address_of(host)
        if address is None:
            raise InvalidUrlError("its host is no IPv6 address")
        return host[1:-1]
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii").lower()
        except UnicodeError:
            raise InvalidUrlError("its host is no name") from None
    if len(host) > _MAX_NAME_CHARS or not _NAME.fullmatch(host):
        raise InvalidUrlError("its host is no name")
    return host
