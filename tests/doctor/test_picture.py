"""The picture that a model is shown."""

from __future__ import annotations

import struct
import zlib
from base64 import b64decode

from claude_bridge.doctor.probing import picture
from claude_bridge.wire.anthropic import Base64Source

SIDE, GREEN = 224, bytes((0, 170, 0))


def test_it_is_a_whole_png_of_one_colour() -> None:
    source = picture().source
    assert isinstance(source, Base64Source)
    assert source.media_type == "image/png"
    png = b64decode(source.data)
    signature, rest, chunks = png[:8], png[8:], {}
    while rest:
        (length,) = struct.unpack(">I", rest[:4])
        name, data, crc = rest[4:8], rest[8 : 8 + length], rest[8 + length : 12 + length]
        assert crc == struct.pack(">I", zlib.crc32(name + data))
        chunks[name], rest = data, rest[12 + length :]
    assert signature == b"\x89PNG\r\n\x1a\n"
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    assert chunks[b"IHDR"] == struct.pack(">II", SIDE, SIDE) + bytes((8, 2, 0, 0, 0))
    assert zlib.decompress(chunks[b"IDAT"]) == (b"\0" + GREEN * SIDE) * SIDE


def test_it_is_small() -> None:
    source = picture().source
    assert isinstance(source, Base64Source)
    assert len(source.data) < 2_000
