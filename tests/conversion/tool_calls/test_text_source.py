"""Text that is read as it comes: marks, and JSON up to its end or its first fault, wherever the text is cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.conversion.tool_calls.text_source import (
    JsonText,
    Marks,
    NeedMoreError,
    NotACallError,
    TextSource,
    fold,
    read_json,
)


def _read(source: TextSource, read: Callable[[TextSource], Any], *pieces: str) -> Any:
    """Return what is read of the pieces, each time from the beginning; a NotACallError is returned too."""
    for piece in (*pieces, None):
        start = source.at
        if piece is None:
            source.is_closed = True
        else:
            source.feed(piece)
            start = source.at
        try:
            return read(source)
        except NeedMoreError:
            source.at = start
        except NotACallError as error:
            return error
    raise AssertionError("it reads on behind the end")


def _read_json(*pieces: str) -> tuple[JsonText | None, str]:
    """Return the JSON that is read, None if it is not whole, and what of the last piece is left."""
    source = TextSource()
    found = _read(source, read_json, *pieces)
    return (None if isinstance(found, NotACallError) else found), source.text[source.at :]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
documents = st.lists(values, max_size=4) | st.dictionaries(st.text(max_size=5), values, max_size=4)


def _cut(text: str, places: list[int]) -> list[str]:
    cuts = sorted({0, *(place % (len(text) + 1) for place in places), len(text)})
    return [text[start:end] for start, end in pairwise(cuts)] or [""]


@given(documents, st.sampled_from([None, 1]), st.booleans(), st.lists(st.integers(0, 999), max_size=5))
def test_json_is_read_up_to_its_end(value: Any, indent: int | None, is_ascii: bool, places: list[int]) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=is_ascii)
    for piece in (_cut(f"{text}  behind", places), list(text)):
        found, _ = _read_json(*piece)
        assert found == JsonText(text, value)


@given(
    documents, st.integers(0, 999), st.sampled_from(list("{}[],:\"\\1a' ")), st.lists(st.integers(0, 999), max_size=5)
)
def test_a_fault_is_found_just_where_pythons_json_finds_one(
    value: Any, place: int, stray: str, places: list[int]
) -> None:
    whole = json.dumps(value)
    at = 1 + place % (len(whole) - 1)
    text = whole[:at] + stray + whole[at:]
    found, _ = _read_json(*_cut(text, places))
    assert found == _read_json(text)[0]
    try:
        read, end = json.JSONDecoder(strict=False).raw_decode(text)
        expected = JsonText(text[:end], read)
    except json.JSONDecodeError as error:
        expected = JsonText(text[: error.pos], None)
    assert found == expected or (found is None and expected.value is None)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"a": "b"c}', 9),
        ("{'a': 1}", 1),
        ('{"a" 1}', 5),
        ('{"a": 1,}', 8),
        ("[1, 02]", 5),
        ("[1 2]", 3),
        ('{"a": }', 6),
        ('{"a": 1]', 7),
    ],
)
def test_what_is_no_json_is_a_fault(text: str, fault: int) -> None:
    for pieces in ([text], list(text)):
        found, _ = _read_json(*pieces)
        assert found == JsonText(text[:fault], None)


@pytest.mark.parametrize("text", ['{"a": "b', "{", '{"a": tru', '["\\', '["a\\"'])
def test_json_that_ends_in_the_middle_is_none(text: str) -> None:
    assert _read_json(text)[0] is None
    assert _read_json(*text)[0] is None


@pytest.mark.parametrize(
    "text", ["[" * 101 + "]" * 101, "[" * 100_000, '{"a": NaN}', "[-Infinity]", f"[{'1' * 5_000}]"]
)
def test_what_no_tool_takes_is_no_call(text: str) -> None:
    assert _read_json(text)[0] is None
    assert _read_json("[" * 100 + "]" * 100)[0] is not None


def test_marks_are_found_in_either_kind_of_bars() -> None:
    marks = Marks(["<|tool_sep|>", "<|tool|>"])
    for text in ("<｜tool▁sep｜>a", "<|tool_sep|>a", "<|tool▁sep｜>a"):
        assert marks.at(fold(text), 0) == "<|tool_sep|>"
        source = TextSource()
        assert _read(source, lambda text: text.mark(marks), *text) == "<|tool_sep|>"


def test_the_longest_mark_is_meant() -> None:
    marks = Marks(["<a", "<ab>"])
    for pieces in (["<ab>c"], list("<ab>c")):
        source = TextSource()
        assert _read(source, lambda text: text.until(marks), *pieces) == ("", "<ab>")
        source = TextSource()
        assert _read(source, lambda text: text.until(marks), "x", *pieces) == ("x", "<ab>")
    source = TextSource()
    assert _read(source, lambda text: text.until(marks), *"xx<a") == ("xx", "<a")


@given(st.text("ab<>|", max_size=30), st.lists(st.integers(0, 99), max_size=6))
def test_where_a_mark_is_found_does_not_depend_on_the_pieces(text: str, places: list[int]) -> None:
    marks = Marks(["<a>", "<ab", "||", "|a|b"])
    source, other = TextSource(), TextSource()
    found = _read(source, lambda text: text.until(marks, may_end=True), *_cut(text, places))
    assert found == _read(other, lambda text: text.until(marks, may_end=True), text)
    assert source.offset == other.offset


def test_text_beyond_a_limit_is_none() -> None:
    source = TextSource()
    error = _read(source, lambda text: text.until(Marks([">"]), 5), *"abcdefgh>")
    assert isinstance(error, NotACallError)
    assert error.offset == 5
