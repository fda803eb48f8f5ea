"""How a PDF stands in the prompt: every page with its number, and a word for all that is missing."""

from __future__ import annotations

import pytest

from claude_bridge.attachments.pdf.reader import INSTALL_HINT, PdfPage, PdfReading, Share, shown_pages, why_unreadable
from claude_bridge.wire.anthropic import (
    Base64Source,
    ImageBlock,
    TextBlock,
)

MUCH = Share(chars=1000, images=9)


def reading(*pages: tuple[str, str | None], all_pages: int | None = None, is_cut: bool = False) -> PdfReading:
    read = tuple(PdfPage(number, text, jpeg) for number, (text, jpeg) in enumerate(pages, start=1))
    return PdfReading(all_pages=len(read) if all_pages is None else all_pages, pages=read, is_cut=is_cut)


def shown(read: PdfReading, share: Share = MUCH) -> list[str]:
    """Return the blocks as text, and behind them what is lost."""
    found, lost = shown_pages(read, share)
    blocks = []
    for block in found:
        match block:
            case TextBlock(text):
                blocks.append(text)
            case ImageBlock(Base64Source(media_type, data)):
                blocks.append(f"<{media_type} {data}>")
    return [*blocks, f"lost: {lost}"]


def test_pages_of_text_are_one_block() -> None:
    assert shown(reading(("a", None), ("b", None))) == ["[page 1 of 2]\na\n\n[page 2 of 2]\nb", "lost: None"]


def test_a_picture_stands_behind_its_number_and_between_its_neighbours() -> None:
    assert shown(reading(("a", None), ("", "JPEG"), ("c", None))) == [
        "[page 1 of 3]\na\n\n[page 2 of 3]",
        "<image/jpeg JPEG>",
        "[page 3 of 3]\nc",
        "lost: None",
    ]


def test_a_blank_page_is_empty() -> None:
    assert shown(reading(("a", None), ("", ""))) == ["[page 1 of 2]\na\n\n[page 2 of 2]\n(empty)", "lost: None"]


def test_a_page_that_can_not_be_shown_is_named_and_lost() -> None:
    assert shown(reading(("a", None), ("", None))) == [
        "[page 1 of 2]\na\n\n[page 2 of 2]\n(no text; a picture of it is not shown)",
        "lost: 1 of 2 pages hold no text, and are not shown as pictures",
    ]


def test_pictures_beyond_the_share_are_not_shown() -> None:
    assert shown(reading(("", "A"), ("", "B")), Share(chars=9, images=1)) == [
        "[page 1 of 2]",
        "<image/jpeg A>",
        "[page 2 of 2]\n(no text; a picture of it is not shown)",
        "lost: 1 of 2 pages hold no text, and are not shown as pictures",
    ]


CUTS = {
    "in a page": (reading(("abc", None), ("d", None)), 2, "[page 1 of 2]\nab", "page 2 is left out"),
    "in the last page": (reading(("abc", None)), 2, "[page 1 of 1]\nab", "the rest of page 1 is left out"),
    "after a page": (
        reading(("abc", None), ("d", None), ("e", None)),
        3,
        "[page 1 of 3]\nabc",
        "pages 2 to 3 are left out",
    ),
    "by the limit of pages": (
        reading(("abc", None), all_pages=500),
        9,
        "[page 1 of 500]\nabc",
        "pages 2 to 500 are left out",
    ),
}


@pytest.mark.parametrize(("read", "chars", "text", "lost"), CUTS.values(), ids=CUTS.keys())
def test_what_is_too_long_is_cut_and_reported(read: PdfReading, chars: int, text: str, lost: str) -> None:
    why = f"{lost}: the document is too long"
    assert shown(read, Share(chars=chars, images=0)) == [f"{text}\n\n[{why}]", f"lost: {why}"]


def test_what_was_not_read_in_time_is_reported() -> None:
    why = "pages 2 to 3 are left out: reading took too long"
    assert shown(reading(("a", None), all_pages=3, is_cut=True)) == [f"[page 1 of 3]\na\n\n[{why}]", f"lost: {why}"]


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("missing", INSTALL_HINT),
        ("encrypted", "protected with a password"),
        ("broken", "damaged or not a PDF"),
        ("empty", "no pages"),
        ("", "not be read in time"),
    ],
)
def test_a_pdf_of_which_nothing_was_read_has_a_reason(trouble: str, words: str) -> None:
    assert words in (why_unreadable(PdfReading(trouble=trouble)) or "")


def test_a_scan_for_a_model_that_sees_nothing_has_a_reason() -> None:
    assert "its page holds no text, only pictures" in (why_unreadable(reading(("", None))) or "")
    several = why_unreadable(reading(("", None), ("", None))) or ""
    assert "its 2 pages hold no text, only pictures" in several
    assert INSTALL_HINT not in several


def test_a_scan_that_could_be_shown_names_what_is_missing_for_that() -> None:
    read = PdfReading(all_pages=1, pages=(PdfPage(1, ""),), trouble="missing")
    assert INSTALL_HINT in (why_unreadable(read) or "")


def test_a_pdf_with_any_page_to_show_needs_no_reason() -> None:
    assert why_unreadable(reading(("a", None), ("", None))) is None
    assert why_unreadable(reading(("", "JPEG"))) is None
