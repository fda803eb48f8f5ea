"""The head of an HTTP/1.1 request, read strictly: what two readers could take for two different requests is refused.

Section numbers are those of RFC 9112, which says what a server must refuse and may accept. Where it leaves the choice,
as with bare line feeds and folded lines, the bridge refuses: all known request smuggling lives on such a choice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from msgspec import Struct

from claude_bridge.errors import ClientError, InvalidRequestError, MethodNotAllowedError, ProtocolError

MAX_TARGET_BYTES = 8 * 1024
"""Section 3 asks for 8,000 at least."""

MAX_FIELDS = 100

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(%b) ([^ ]+) HTTP/([0-9])\.([0-9])" % _TOKEN)
_FIELD_NAME = re.compile(_TOKEN)
_TARGET = re.compile(rb"[!-\"$-~]+")
"""Visible ASCII without ``#``: a fragment is never sent."""

_CLEAN = re.compile(rb"[\t\x20-\x7e\x80-\xff]*+(?:\r\n(?![ \t])[\t\x20-\x7e\x80-\xff]*+)*+")
"""What holds nothing of the following, found in one run."""
# Control characters, line ends that are not CRLF (section 2.2), folded lines (section 5.2).
_FORBIDDEN = re.compile(rb"(\r\n[ \t])|(\r(?!\n)|(?<!\r)\n)|([\x00-\x08\x0b\x0c\x0e-\x1f\x7f])")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(?::([0-9]{0,5}))?")
_ABSOLUTE = re.compile(r"https?://([^/?]*)(.*)", re.IGNORECASE)
_MAX_LENGTH_DIGITS = 15
_MAX_REST_OF_LINE_BYTES = 100
"""Of a request line, beside its target."""


class RequestHead(Struct, frozen=True, kw_only=True):
    """What stands before a request's body.

    Header names are lower case; the values of repeated headers are joined by a comma. ``query`` is what stands behind
    the path, with its question mark. ``content_length`` None: the body is chunked.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str]
    content_length: int | None = 0
    is_http_1_0: bool = False
    keep_alive: bool = True
    expects_continue: bool = False

    @property
    def has_body(self) -> bool:
        """Whether a body follows."""
        return self.content_length != 0


def parse_request_head(data: bytes) -> RequestHead:
    """Return the head that ``data`` is: all bytes before the empty line, without the last line end.

    Raises:
        ClientError: it is no valid HTTP/1.1, or nothing that this server does; the connection must be closed.
    """
    lines = data.split(b"\r\n")
    method, target, is_http_1_0 = _parse_request_line(lines[0])
    _refuse_forbidden(data, 0, len(data))
    if len(lines) - 1 > MAX_FIELDS:
        raise ProtocolError(431, f"The request has more than {MAX_FIELDS} header lines.")
    headers = _parse_fields(lines[1:])
    if "host" not in headers and not is_http_1_0:
        raise _invalid("it has no Host header")
    path, query = _parse_target(method, target, headers)
    options = {option.strip() for option in headers.get("connection", "").lower().split(",")}
    return RequestHead(
        method=method,
        path=path,
        query=query,
        headers=headers,
        content_length=_body_length(headers, is_http_1_0=is_http_1_0),
        is_http_1_0=is_http_1_0,
        keep_alive=not is_http_1_0 and "close" not in options,
        expects_continue=_expects_continue(headers) and not is_http_1_0,
    )


class RequestHeadReader:
    """Finds one head in what has come so far; each byte is looked at once, wherever the reads end."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._checked = 0
        self._knows_request_line = False

    def take(self, received: bytearray) -> RequestHead | None:
        """Return the head and remove it from ``received``, or return None while it is not whole.

        Raises:
            ClientError: see parse_request_head; as soon as what has come can be no valid head.
        """
        while self._checked == 0 and received.startswith(b"\r\n"):  # section 2.2
            del received[:2]
        end = received.find(b"\r\n\r\n", max(0, self._checked - 3))
        size = len(received) if end < 0 else end + 4
        if size > self._max_bytes:
            raise ProtocolError(431, f"The request's headers are larger than {self._max_bytes} bytes.")
        if end < 0:
            self._check(received)
            return None
        head = bytes(received[:end])
        del received[:size]
        return parse_request_head(head)

    def _check(self, received: bytearray) -> None:
        """Refuse at once what a client may never end."""
        if received.startswith(b"\x16\x03"):
            raise InvalidRequestError("This is TLS, and the bridge speaks plain HTTP: use http:// in its address.")
        end = len(received) - received.endswith(b"\r")
        _refuse_forbidden(received, max(0, self._checked - 2), end)
        if not self._knows_request_line:
            line_end = received.find(b"\r\n", max(0, self._checked - 1))
            self._knows_request_line = line_end >= 0
            if self._knows_request_line or len(received) > MAX_TARGET_BYTES + _MAX_REST_OF_LINE_BYTES:
                _parse_request_line(bytes(received[:line_end] if line_end >= 0 else received))
        self._checked = end


def split_authority(authority: str) -> tuple[str, str] | None:
    """Return host and port of a Host header or of a URL's authority, None where it is malformed."""
    found = _AUTHORITY.fullmatch(authority)
    return None if found is None else (found[1], found[2] or "")


def _refuse_forbidden(data: bytes | bytearray, start: int, end: int) -> None:
    if _CLEAN.fullmatch(data, start, end):
        return
    forbidden = _FORBIDDEN.search(data, start, end)
    if forbidden is not None:
        kinds = ("a folded line", "a line that does not end in CRLF", "a control character")
        raise _invalid(f"its head has {kinds[(forbidden.lastindex or 1) - 1]}")


def _parse_request_line(line: bytes) -> tuple[str, str, bool]:
    found = _REQUEST_LINE.fullmatch(line)
    if found is None:
        if len(line) > MAX_TARGET_BYTES:
            raise ProtocolError(414, f"The request's target is longer than {MAX_TARGET_BYTES} bytes.")
        raise _invalid("its first line is not METHOD TARGET HTTP/1.1")
    method, target, version = found[1].decode(), found[2], (found[3], found[4])
    if version not in ((b"1", b"1"), (b"1", b"0")):
        raise ProtocolError(505, "This server speaks HTTP/1.1 and HTTP/1.0 only.")
    if len(target) > MAX_TARGET_BYTES:
        raise ProtocolError(414, f"The request's target is longer than {MAX_TARGET_BYTES} bytes.")
    if method == "CONNECT":
        raise MethodNotAllowedError("This server is no proxy.", allowed=("GET", "HEAD", "POST"))
    if not _TARGET.fullmatch(target):
        raise _invalid("its target has characters that a URL must escape")
    return method, target.decode(), version == (b"1", b"0")


def _parse_fields(lines: list[bytes]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        raw_name, colon, raw_value = line.partition(b":")
        name = _field_name(raw_name) if colon else None
        if name is None:
            raise _invalid("a header line is not NAME: VALUE")
        value = raw_value.strip(b" \t").decode("latin-1")
        if name in headers:
            if name in ("host", "content-length", "transfer-encoding"):
                raise _invalid(f"it has two {name} headers")
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return headers


@lru_cache(maxsize=256)  # clients send the same ones in each request
def _field_name(raw_name: bytes) -> str | None:
    """Return a header's name in lower case; None: it can be none (section 5.1: no blank before the colon either)."""
    return raw_name.decode().lower() if _FIELD_NAME.fullmatch(raw_name) else None


def _parse_target(method: str, target: str, headers: dict[str, str]) -> tuple[str, str]:
    """Return path and query of a target (section 3.2); its leading slashes count as one."""
    host = headers.get("host")
    if host is not None and split_authority(host) is None:
        raise _invalid("its Host header is malformed")
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is not None:
        if split_authority(absolute[1]) is None or absolute[1].lower() != (host or absolute[1]).lower():
            raise _invalid("its target names another host than its Host header")
        headers["host"] = absolute[1]
        target = absolute[2] if absolute[2].startswith("/") else "/" + absolute[2]
    elif not target.startswith("/") and (method, target) != ("OPTIONS", "*"):
        raise _invalid("its target is no path")
    path, mark, query = target.partition("?")
    if path.startswith("//"):  # a base URL that ends in a slash
        path = "/" + path.lstrip("/")
    return path, mark + query


def _body_length(headers: Mapping[str, str], *, is_http_1_0: bool) -> int | None:
    """Return the length of the body, None for a chunked one (section 6.3)."""
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None:
        if length is not None:
            raise _invalid("it has both transfer-encoding and content-length")
        if is_http_1_0:
            raise _invalid("HTTP/1.0 has no transfer-encoding")
        if coding.lower() != "chunked":
            raise ProtocolError(501, f"The transfer-encoding {coding[:40]!r} is not supported, only chunked.")
        return None
    if length is None:
        return 0
    if not (length.isascii() and length.isdigit()) or len(length) > _MAX_LENGTH_DIGITS:
        raise _invalid("its content-length is no number")
    return int(length)


def _expects_continue(headers: Mapping[str, str]) -> bool:
    expectation = headers.get("expect")
    if expectation is None:
        return False
    if expectation.lower() != "100-continue":
        raise ProtocolError(417, f"The expectation {expectation[:40]!r} can't be met, only 100-continue.")
    return True


def _invalid(why: str) -> ClientError:
    return InvalidRequestError(f"This is no valid HTTP/1.1 request: {why}.")
