"""The head of an HTTP/1.1 response: its status, its headers, and how its body is framed (RFC 9112, sections 4 to 6).

Engines are read leniently: lines may end in a bare line feed, and headers may be folded.
"""

from __future__ import annotations

import re

from msgspec import Struct

Fields = list[tuple[bytes, bytes]]

_END = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: .*)?\r?", re.IGNORECASE)
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:([^\x00\r]*)\r?")
_FOLD = re.compile(rb"\r?\n[ \t]+")
_NO_BODY = (204, 304)
_MAX_LENGTH_DIGITS = 15


class ResponseHead(Struct, frozen=True, kw_only=True):
    """What stands before a response's body. Header names are lower case.

    ``length`` None: the body ends with the connection, or is chunked. ``keeps_open``: the connection may be used again.
    """

    status: int
    fields: Fields
    is_chunked: bool
    length: int | None
    keeps_open: bool

    @property
    def is_interim(self) -> bool:
        """Whether another head follows."""
        return 100 <= self.status < 200 and self.status != 101


def take_response_head(received: bytes) -> tuple[ResponseHead, bytes] | None:
    """Return the head and what came behind it, or None while it is not whole.

    Raises:
        ValueError: it is no HTTP/1.1.
    """
    end = _END.search(received)
    if end is None:
        if not b"HTTP/1".startswith(received[:6].upper()):
            raise ValueError("it is no HTTP/1.1")
        return None
    first, *lines = _FOLD.sub(b" ", received[: end.start()]).split(b"\n")
    status_line = _STATUS_LINE.fullmatch(first)
    fields = [(found[1].lower(), found[2].strip(b" \t")) for line in lines if (found := _FIELD.fullmatch(line))]
    if status_line is None or len(fields) < len(lines):
        raise ValueError("its head is no HTTP/1.1")
    status = int(status_line[2])
    codings = [value.lower() for name, value in fields if name == b"transfer-encoding"]
    if codings not in ([], [b"chunked"]):
        raise ValueError(f"its transfer-encoding is {b', '.join(codings)[:40]!r}")
    lengths = {part.strip() for name, value in fields if name == b"content-length" for part in value.split(b",")}
    length = lengths.pop() if lengths else None
    if lengths or (length is not None and not (length.isdigit() and len(length) <= _MAX_LENGTH_DIGITS)):
        raise ValueError("its content-length is no length")
    closes = any(name == b"connection" and b"close" in value.lower() for name, value in fields)
    no_body = status in _NO_BODY or 100 <= status < 200
    head = ResponseHead(
        status=status,
        fields=fields,
        is_chunked=bool(codings) and not no_body,
        length=0 if no_body else None if codings or length is None else int(length),
        keeps_open=not closes and status != 101 and status_line[1] != b"0" and not (codings and length is not None),
    )
    return head, received[end.end() :]
