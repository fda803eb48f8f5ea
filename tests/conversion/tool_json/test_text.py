"""JSON as text: one formatting on the way in; on the way out fragments become inputs, which are always objects."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from claude_bridge.clients.claude_code import UNPARSED_KEY
from claude_bridge.conversion.tool_json.text import (
    compact_json,
    input_json,
    is_json,
    open_input_json,
    split_calls,
)
from claude_bridge.errors import InvalidRequestError

FRAGMENTS: dict[str, tuple[list[str], list[str]]] = {
    "none": ([], [""]),
    "pieces": (['{"a":', "1}"], ['{"a":1}']),
    "snapshots": (['{"a', '{"a":1', '{"a":1}'], ['{"a":1}']),
    "snapshots, cut off": (['{"a', '{"a":"', '{"a":"x'], ['{"a":"x']),
    "whole once more": (['{"a":', "1}", '{"a":1}'], ['{"a":1}']),
    "cut off, once more": (['{"file', '": "', '{"file": "'], ['{"file": "']),
    "whole twice": (['{"a":1}', '{"a":1}'], ['{"a":1}']),
    "whole three times in one": (['{"a":1}{"a":1} {"a":1}'], ['{"a":1}']),
    "whole snapshots": (['{"a":1}', '{"a":1,"b":2}'], ['{"a":1,"b":2}']),
    "whole snapshots of a text": (['{"a":"r"}', '{"a":"rm"}', '{"a":"rm x"}'], ['{"a":"rm x"}']),
    "empty object first": (["{}", '{"a":', "1}"], ['{"a":1}']),
    "empty object first, cut off": (["{}", '{"a":'], ['{"a":']),
    "empty object behind": (['{"a":1}', "{}"], ['{"a":1}']),
    "braces in a string": (['{"a":"', '{"b":1}', '"}'], ['{"a":"{"b":1}"}']),
    "small pieces": (["{", '"a":{', "}}"], ['{"a":{}}']),
    "cut off behind an inner object": (['{"a":', '{"b":1}'], ['{"a":{"b":1}']),
    "several in one": (['{"a":"1"}{"a":"2"}\n{"a":"3"}'], ['{"a":"1"}', '{"a":"2"}', '{"a":"3"}']),
    "several in pieces": (['{"a":"1"}{"a', '":"2"}'], ['{"a":"1"}', '{"a":"2"}']),
    "several, each whole": (['{"a":"1"}', '{"a":"2"}'], ['{"a":"1"}', '{"a":"2"}']),
    "several, the last one cut off": (['{"a":"1"}{"a":"2'], ['{"a":"1"}', '{"a":"2']),
    "something else behind": (['{"a":"1"} | grep x'], ['{"a":"1"} | grep x']),
    "a list behind": (['{"a":"1"}[2]'], ['{"a":"1"}[2]']),
    "a bracket too many": (['{"a":"1"}}'], ['{"a":"1"}}']),
    "brackets in brackets": (['{{"a":1}}'], ['{{"a":1}}']),
}


@pytest.mark.parametrize(("fragments", "calls"), FRAGMENTS.values(), ids=FRAGMENTS.keys())
def test_fragments_are_joined_however_the_engine_cut_them(fragments: list[str], calls: list[str]) -> None:
    assert split_calls(fragments) == calls


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        ('{"a": 1}', {"a": 1}),
        ("42", {"input": 42}),
        ('"x"', {"input": "x"}),
        ("x", {UNPARSED_KEY: {"raw": "x", "len": 1}}),
        ("[" * 101 + "]" * 101, {UNPARSED_KEY: {"raw": "[" * 101 + "]" * 101, "len": 202}}),
    ],
)
def test_an_input_is_always_an_object(text: str, value: object) -> None:
    assert json.loads(input_json(text)) == value


@pytest.mark.parametrize("text", ['{"a": "x', '{"a": ["\\ud83d', '{"a":1,"b'])
def test_half_an_object_is_left_open(text: str) -> None:
    assert open_input_json(text) == text


@pytest.mark.parametrize("text", ["nope", '"a', "[1", '{"a":\n"b\nc', "{'a", '{"a":' + "[" * 150, '{"a":-'])
def test_half_of_anything_else_is_reported_as_text(text: str) -> None:
    assert json.loads(open_input_json(text)) == {UNPARSED_KEY: {"raw": text, "len": len(text)}}


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
