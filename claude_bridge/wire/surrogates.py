"""Lone surrogates in JSON text: escapes that name no character are replaced, wherever they stand.

JavaScript and Python cut strings between UTF-16 halves, and their JSON encoders then write half a pair: legal JSON
that no decoder of UTF-8 can represent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_HIGH = rb"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE = re.compile(rb"%b(?!%b)|(?<!%b)%b" % (_HIGH, _LOW, _HIGH, _LOW))

_SEAM = re.compile(rb"[^\\]{12}|[^\\](?:\\[^u]|(?!%b)\\u[0-9a-fA-F]{4}|%b(?=%b))" % (_HIGH, _HIGH, _HIGH))
"""What ends outside of an escape, and not between the halves of a pair."""

_BACKSLASH = rb"\\"
_STAND_IN = b"\x00\x01"
"""For a quoted backslash, so that what follows it is not taken for an escape; no JSON text holds these bytes."""

SLICE_BYTES = 256 * 1024
"""How much is read at a time: other threads get the interpreter in between."""
_SEAM_WITHIN_BYTES = 4_096


def replace_lone_surrogates(document: bytes, *, slice_bytes: int = SLICE_BYTES) -> bytes:
    """Return the JSON text with U+FFFD in place of each half of a pair that stands alone; of the same length."""
    if (b"\\ud" not in document and b"\\uD" not in document) or b"\x00" in document:
        return document
    return b"".join(map(_replaced, _slices(document, slice_bytes)))


def _slices(document: bytes, slice_bytes: int) -> Iterator[bytes]:
    start = at = 0
    while (at := at + slice_bytes) < len(document):
        if seam := _SEAM.search(document, at, at + _SEAM_WITHIN_BYTES):
            yield document[start : seam.end()]
            start = at = seam.end()
    yield document[start:]


def _replaced(part: bytes) -> bytes:
    return _LONE.sub(rb"\\ufffd", part.replace(_BACKSLASH, _STAND_IN)).replace(_STAND_IN, _BACKSLASH)
