"""What stands behind a URL, in the form in which a request could have brought it itself."""

from __future__ import annotations

import base64
import codecs
from typing import Protocol

from claude_bridge.attachments.public_web import WebDocument
from claude_bridge.conversion.media_types import media_type_of
from claude_bridge.wire.anthropic import Base64Source, PlainTextSource

_NO_CHARSETS = frozenset({"idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined", "utf-7"})
"""Codecs of Python that no page is written in."""

Fetched = Base64Source | PlainTextSource | str
"""A source, or the reason why there is none: the end of a sentence that begins with the URL."""


class WebFetcher(Protocol):
    """What fetches documents: a PublicWeb, or a test's."""

    async def fetch(self, url: str) -> WebDocument:
        """Return the document; raises FetchError."""


def source_of(document: WebDocument) -> Fetched:
    """Return the document as what it is, whatever its server calls it."""
    media_type = media_type_of(document.body)
    if media_type is not None:
        return Base64Source(media_type, base64.b64encode(document.body).decode("ascii"))
    if document.is_text:
        return PlainTextSource(decoded(document.body, [document.charset]))
    return f"is neither an image, nor a PDF, nor text (its server calls it {document.media_type or 'nothing'!r})"


def decoded(body: bytes, charsets: list[str | None], *, is_cut: bool = False) -> str:
    """Return the text of a body: in the first of the character sets in which it makes sense.

    ``is_cut`` says that it may end in the middle of a character.
    """
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return body.decode("utf-16", "replace")
    for charset in (*charsets, "utf-8-sig"):
        if charset and _is_charset(charset):
            try:
                return codecs.getincrementaldecoder(charset)().decode(body, not is_cut)
            except UnicodeError:
                continue
    return body.decode("cp1252", "replace")


def _is_charset(name: str) -> bool:
    try:
        b"a".decode(name)
        return codecs.lookup(name).name not in _NO_CHARSETS
    except (LookupError, ValueError):
        return False
