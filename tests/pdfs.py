"""PDFs made by hand, small enough to read: pages of text, scans, blank pages, and what hostile people send."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence

from msgspec import Struct

from claude_bridge.attachments.pdf.reader import PdfReader, PdfReading

WIDTH, HEIGHT = 300, 400


class Scan(Struct, frozen=True):
    """A page that is nothing but a picture: of so many grey pixels a side."""

    pixels: int = 32


class Blank(Struct, frozen=True):
    """A page with nothing on it."""


class Bomb(Struct, frozen=True):
    """A page whose instructions unpack into so many bytes."""

    unpacked_bytes: int


Page = str | Scan | Blank | Bomb


def pdf(*pages: Page, title: str | None = None) -> bytes:
    """Return a PDF with these pages; a text is one line, in Helvetica."""
    objects: list[bytes] = [b"", b"", b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    kids: list[int] = []
    for page in pages:
        content, resources = _content(page, objects)
        objects.append(content)
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 %d %d]/Contents %d 0 R/Resources<<%b>>>>"
            % (WIDTH, HEIGHT, len(objects), resources)
        )
        kids.append(len(objects))
    objects[0] = b"<</Type/Catalog/Pages 2 0 R>>"
    objects[1] = b"<</Type/Pages/Count %d/Kids[%b]>>" % (len(kids), b" ".join(b"%d 0 R" % kid for kid in kids))
    info = b""
    if title is not None:
        objects.append(b"<</Title(%b)>>" % title.encode("latin-1"))
        info = b"/Info %d 0 R" % len(objects)
    return _file(objects, info)


def as_base64(file: bytes) -> str:
    """Return the file as a request brings it."""
    return base64.b64encode(file).decode()


def _content(page: Page, objects: list[bytes]) -> tuple[bytes, bytes]:
    """Return a page's instructions and resources; what they need is added to the objects."""
    match page:
        case str():
            escaped = page.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)").encode("latin-1")
            return _stream(b"BT /F1 12 Tf 20 350 Td (%b) Tj ET" % escaped), b"/Font<</F1 3 0 R>>"
        case Scan(pixels):
            picture = bytes((x * y) % 256 for y in range(pixels) for x in range(pixels))
            head = b"/Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace/DeviceGray/BitsPerComponent 8"
            objects.append(_stream(picture, head % (pixels, pixels)))
            return _stream(b"q 300 0 0 400 0 0 cm /I Do Q"), b"/XObject<</I %d 0 R>>" % len(objects)
        case Blank():
            return _stream(b""), b""
        case Bomb(unpacked_bytes):
            packer = zlib.compressobj()
            chunk = b"q Q " * 2**18
            packed = b"".join(packer.compress(chunk) for _ in range(unpacked_bytes // len(chunk))) + packer.flush()
            return b"<</Filter/FlateDecode/Length %d>>stream\n%b\nendstream" % (len(packed), packed), b""


def _stream(data: bytes, head: bytes = b"") -> bytes:
    return b"<<%b/Length %d>>stream\n%b\nendstream" % (head, len(data), data)


def _file(objects: Sequence[bytes], info: bytes) -> bytes:
    out = bytearray(b"%PDF-1.4\n")
    places = []
    for number, content in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<</Size %d/Root 1 0 R%b>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, info, table)
    return bytes(out)


_READINGS: dict[tuple[str, bool], PdfReading] = {}


class OnceReader(PdfReader):
    """Starts a process for each PDF once, for all tests whose subject is not how it is read."""

    async def read(self, base64_data: str, *, with_images: bool) -> PdfReading:
        key = (base64_data, with_images)
        if key not in _READINGS:
            _READINGS[key] = await super().read(base64_data, with_images=with_images)
        return _READINGS[key]
