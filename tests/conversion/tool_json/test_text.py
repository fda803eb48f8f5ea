"""JSON as text: one formatting on the way in, joined and mended on the way out."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from claude_bridge.conversion.tool_json.text import as_json_text, compact_json, is_json, join_arguments
from claude_bridge.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("fragments", "joined"),
    [
        ([], ""),
        (['{"a":', "1}"], '{"a":1}'),
        (['{"a', '{"a":1', '{"a":1}'], '{"a":1}'),
        (['{"a":', "1}", '{"a":1}'], '{"a":1}'),
        (['{"a":1}', '{"a":1}'], '{"a":1}'),
        (['{"a":1}', '{"a":1,"b":2}'], '{"a":1,"b":2}'),
        (["{}", '{"a":', "1}"], '{"a":1}'),
        (['{"a":"', '{"b":1}', '"}'], '{"a":"{"b":1}"}'),
        (["{", '"a":{', "}}"], '{"a":{}}'),
        (['{"a":', '{"b":1}'], '{"a":{"b":1}'),
    ],
    ids=[
        "none",
        "pieces",
        "snapshots",
        "whole once more",
        "whole twice",
        "whole snapshots",
        "empty object first",
        "braces in a string",
        "small pieces",
        "cut off behind an inner object",
    ],
)
def test_fragments_are_joined_however_the_engine_cut_them(fragments: list[str], joined: str) -> None:
    assert join_arguments(fragments) == joined


def test_half_of_some_json_is_left_open() -> None:
    assert as_json_text('{"a": "x') == '{"a": "x'
    assert as_json_text("nope") == '"nope"'


def test_deep_nesting_is_no_json() -> None:
    assert not is_json("[" * 100_000)


def test_an_input_has_one_formatting_and_keeps_its_order() -> None:
    assert compact_json(Raw(b'{ "b": [1, 2.50],\n "a" : "\\u00e4 \xc3\xa4" }')) == '{"b":[1,2.50],"a":"\\u00e4 ä"}'


def test_an_input_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="deeply"):
        compact_json(Raw(b"[" * 100_000 + b"]" * 100_000))


@given(
    st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner), max_leaves=5)
)
def test_an_input_means_what_it_meant(value: object) -> None:
    assert json.loads(compact_json(Raw(json.dumps(value, indent=3).encode()))) == value
