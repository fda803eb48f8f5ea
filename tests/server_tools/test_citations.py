"""Citations: only where the model marks words, only of results that it was shown, and wherever the text is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.server_tools.message_writer import CitationReader

SOURCES = [{"url": f"https://{letter}.example", "title": letter} for letter in "ab"]


def read(*pieces: str) -> list[tuple[str, str]]:
    """Return the blocks that a text becomes: each with the titles of its sources."""
    reader = CitationReader(SOURCES)
    blocks = [("", "")]
    for piece in [one for text in pieces for one in reader.feed(text)] + reader.close():
        titles = "".join(source["title"] for source in piece.sources)
        if piece.begins:
            blocks.append(("", ""))
        blocks[-1] = (blocks[-1][0] + piece.text, titles)
    return [block for block in blocks if block[0]]


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("no mark", [("no mark", "")]),
        ('A <cite source="1">b</cite> c', [("A ", ""), ("b", "a"), (" c", "")]),
        ("<cite source=2>b</cite>", [("b", "b")]),
        ("<cite source='1, 2'>b</cite>.", [("b", "ab"), (".", "")]),
        ('<cite source="9">b</cite> c', [("b c", "")]),
        ('<cite source="1">never closed', [("never closed", "a")]),
        ("HTML: <cite>Moby Dick</cite>", [("HTML: <cite>Moby Dick</cite>", "")]),
        ("a < b </cite> <c", [("a < b </cite> <c", "")]),
        ('<cite source="1">a</cite><cite source="1">b</cite>', [("a", "a"), ("b", "a")]),
    ],
)
def test_marks_become_blocks(text: str, blocks: list[tuple[str, str]]) -> None:
    assert read(text) == blocks


texts = st.lists(
    st.sampled_from(['<cite source="1">', "<cite source=2>", "</cite>", "<", "cite", "a b", "\n", ">"])
).map("".join)


@given(texts, st.data())
def test_it_does_not_matter_where_the_text_is_cut(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(*pieces) == read(text)
