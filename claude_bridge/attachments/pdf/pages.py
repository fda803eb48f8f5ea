"""How a PDF that was read stands in the prompt: its pages with their numbers, and what is missing of it."""

from __future__ import annotations

from msgspec import Struct

from claude_bridge.attachments.pdf.reader import PdfPage, PdfReading
from claude_bridge.wire.anthropic import Base64Source, Block, ImageBlock, TextBlock

INSTALL_HINT = "`pipx inject claude-bridge-cli pypdf pypdfium2 pillow`, or `pip install '.[pdf]'` in a checkout"

_TROUBLES = {
    "missing": f"the bridge can't read PDFs until it has the extra pdf: {INSTALL_HINT}",
    "encrypted": "it is protected with a password",
    "broken": "it is damaged or not a PDF",
    "empty": "it has no pages",
    "slow": "it could not be read in time",
}


class Share(Struct, frozen=True, kw_only=True):
    """How much of the prompt one document may take."""

    chars: int
    images: int


class ShownPdf(Struct, frozen=True, kw_only=True):
    """What stands in the prompt, and what of the document does not (None: all of it does)."""

    blocks: list[Block]
    lost: str | None = None


def why_unreadable(reading: PdfReading) -> str | None:
    """Return why nothing at all can be shown, or None."""
    if not reading.pages:
        return _TROUBLES[reading.trouble or "slow"]
    if any(page.text or page.jpeg for page in reading.pages):
        return None
    pages = "its page holds" if reading.all_pages == 1 else f"its {reading.all_pages} pages hold"
    missing = f"; to show pictures of them: {INSTALL_HINT}" if reading.trouble == "missing" else ""
    return f"{pages} no text, only pictures, and the model can't be shown them{missing}"


def shown_pages(reading: PdfReading, share: Share) -> ShownPdf:
    """Return the pages as blocks, neighbouring texts in one; what does not fit the share is named at the end."""
    blocks: list[Block] = []
    texts: list[str] = []
    chars, images, wordless = share.chars, share.images, 0
    shown = 0
    for page in reading.pages:
        if chars <= 0:
            break
        shown = page.number
        heading = f"[page {page.number} of {reading.all_pages}]"
        if page.jpeg and images > 0:
            images -= 1
            blocks += [TextBlock("\n\n".join([*texts, heading])), _picture(page)]
            texts = []
        elif page.text:
            texts.append(f"{heading}\n{page.text[:chars]}")
            chars -= len(page.text)
        elif page.jpeg == "":
            texts.append(f"{heading}\n(empty)")
        else:
            wordless += 1
            texts.append(f"{heading}\n(no text; a picture of it is not shown)")
    lost = _what_is_missing(reading, shown, is_cut=chars < 0)
    if lost:
        texts.append(f"[{lost}]")
    if wordless and lost is None:
        lost = f"{wordless} of {reading.all_pages} pages hold no text, and are not shown as pictures"
    if texts:
        blocks.append(TextBlock("\n\n".join(texts)))
    return ShownPdf(blocks=blocks, lost=lost)


def _what_is_missing(reading: PdfReading, shown: int, *, is_cut: bool) -> str | None:
    if shown < reading.all_pages:
        first = shown + 1
        which = f"page {first} is" if first == reading.all_pages else f"pages {first} to {reading.all_pages} are"
        reason = "reading took too long" if reading.is_cut else "the document is too long"
        return f"{which} left out: {reason}"
    return f"the rest of page {shown} is left out: the document is too long" if is_cut else None


def _picture(page: PdfPage) -> ImageBlock:
    assert page.jpeg is not None, "checked before"
    return ImageBlock(Base64Source("image/jpeg", page.jpeg))
