"""How far JSON has come: the same for any cuts, and what a parser says of it."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.conversion.tool_json.progress import JsonProgress, nesting_depth

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('a"\\{}[]\n é', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a"\\{', max_size=3), inner, max_size=3),
    max_leaves=8,
)


def _state(progress: JsonProgress) -> tuple[bool, bool, bool]:
    return progress.is_closed, progress.in_string, progress.awaits_value


@given(st.dictionaries(st.text(max_size=4), values), st.integers(0, 200), st.lists(st.integers(0, 100), max_size=5))
def test_the_state_does_not_depend_on_the_cuts(value: object, length: int, places: list[int]) -> None:
    text = json.dumps(value, ensure_ascii=False)[:length]
    pieces = JsonProgress()
    for start, end in pairwise(sorted({0, *places, 300})):
        pieces.feed(text[start:end])
    assert _state(pieces) == _state(JsonProgress(text))


@given(st.dictionaries(st.text(max_size=4), values))
def test_only_the_whole_is_closed(value: object) -> None:
    text = json.dumps(value)
    assert [at for at in range(len(text) + 1) if JsonProgress(text[:at]).is_closed] == [len(text)]


@pytest.mark.parametrize(
    ("text", "in_string"),
    [('{"a', True), ('{"a"', False), ('{"a\\"', True), ('{"a\\\\"', False), ('{"a":"b\\', True), ("{'a", False)],
)
def test_a_string_ends_at_a_quote_that_is_not_escaped(text: str, in_string: bool) -> None:
    assert JsonProgress(text).in_string is in_string


@pytest.mark.parametrize(
    ("text", "awaits_value"),
    [("", True), ('{"a":', True), ('{"a": ', True), ("[", True), ("[1,", True), ("[1", False), ('{"a":"x:', False)],
)
def test_a_value_may_follow_a_colon_a_comma_and_a_bracket(text: str, awaits_value: bool) -> None:
    assert JsonProgress(text).awaits_value is awaits_value


@pytest.mark.parametrize(("text", "depth"), [("1", 0), ("[]", 1), ('{"[[[":[{}]}', 3), ("[[],[[]]]", 3)])
def test_the_depth_is_that_of_the_brackets_outside_of_strings(text: str, depth: int) -> None:
    assert nesting_depth(text.encode()) == depth


@given(values, st.integers(1, 20))
def test_the_depth_does_not_depend_on_where_a_document_is_divided(value: object, slice_bytes: int) -> None:
    def depth(part: object) -> int:
        inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else None
        return 0 if inner is None else 1 + max(map(depth, inner), default=0)

    assert nesting_depth(json.dumps(value).encode(), slice_bytes=slice_bytes) == depth(value)
