"""What bytes are, by how they begin: clients and servers name the wrong media type often enough."""

from __future__ import annotations

import base64
from typing import TypeGuard

from claude_bridge.wire.anthropic import Base64Source

_LOOKED_AT_CHARS = 64
"""Characters of base64; a multiple of four."""

PDF = "application/pdf"

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"%PDF-", PDF),
)


def media_type_of(head: bytes) -> str | None:
    """Return what a file is that begins with these bytes, or None for one that is not known."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((media_type for signature, media_type in _SIGNATURES if head.startswith(signature)), None)


def media_type_of_base64(data: str) -> str | None:
    """Return what the encoded file is, or None for one that is not known, or is no base64."""
    try:
        return media_type_of(base64.b64decode(data[:_LOOKED_AT_CHARS]))
    except ValueError:
        return None


def is_pdf(source: object) -> TypeGuard[Base64Source]:
    """Return whether the source brings a PDF with it, whatever it calls itself."""
    if not isinstance(source, Base64Source):
        return False
    found = media_type_of_base64(source.data)
    return found == PDF or (found is None and source.media_type == PDF)
