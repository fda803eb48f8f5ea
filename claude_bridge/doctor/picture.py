"""A picture of one colour, made in code: small enough to send, and there is one right word for it."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode

from claude_bridge.wire.anthropic import Base64Source, ImageBlock

SIDE = 224
"""Pixels. What many models cut their pictures to; some engines refuse much smaller ones."""


def picture_of(red: int, green: int, blue: int) -> ImageBlock:
    """Return a square PNG of one colour, each part from 0 to 255."""
    row = b"\0" + bytes((red, green, blue)) * SIDE  # each row of a PNG begins with its filter: none
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)  # 8 bits for each of red, green and blue
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row * SIDE)), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)
    return ImageBlock(Base64Source("image/png", b64encode(png).decode()))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
