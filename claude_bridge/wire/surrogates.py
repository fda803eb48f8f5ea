"""Lone surrogates in JSON text: escapes that name no character are replaced, wherever they stand.

JavaScript and Python cut strings between UTF-16 halves, and their JSON encoders then write half a pair: legal JSON
that no decoder of UTF-8 can represent.
"""

from __future__ import annotations

import re

# The last alternative steps over other escapes, so that a quoted backslash is not misread.
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}(?P<low>\\u[dD][c-fC-F][0-9a-fA-F]{2})?|u[dD][c-fC-F][0-9a-fA-F]{2}|.)",
    re.DOTALL,
)


def replace_lone_surrogates(document: bytes) -> bytes:
    """Return the JSON text with U+FFFD in place of each half of a pair that stands alone."""
    if b"\\ud" not in document and b"\\uD" not in document:
        return document
    return _ESCAPE.sub(_replaced, document)


def _replaced(match: re.Match[bytes]) -> bytes:
    escape = match[0]
    is_lone = len(escape) == len(rb"\ud800") and match["low"] is None
    return rb"\ufffd" if is_lone else escape
