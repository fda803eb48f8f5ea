"""Lone surrogates in JSON text: escapes that name no character are replaced, wherever they stand.

JavaScript and Python cut strings between UTF-16 halves, and their JSON encoders then write half a pair: legal JSON
that no decoder of UTF-8 can represent.
"""

from __future__ import annotations

import re

_HIGH = rb"\\u[dD][89abAB][0-9a-fA-F]{2}"
_LOW = rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE = re.compile(rb"%b(?!%b)|(?<!%b)%b" % (_HIGH, _LOW, _HIGH, _LOW))

_BACKSLASH = rb"\\"
_STAND_IN = b"\x00\x01"
"""For a quoted backslash, so that what follows it is not taken for an escape; no JSON text holds these bytes."""


def replace_lone_surrogates(document: bytes) -> bytes:
    """Return the JSON text with U+FFFD in place of each half of a pair that stands alone; of the same length."""
    if (b"\\ud" not in document and b"\\uD" not in document) or b"\x00" in document:
        return document
    masked = document.replace(_BACKSLASH, _STAND_IN)
    return _LONE.sub(rb"\\ufffd", masked).replace(_STAND_IN, _BACKSLASH)
