"""Where the parts of a JSON document stand, and that all but the edited ones stay as they are."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.errors import InvalidRequestError
from claude_bridge.wire.json_splice import Edit, Span, item_spans, member_spans, splice

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), lambda inner: st.lists(inner, max_size=4)
)


@given(st.dictionaries(st.text(), values, max_size=6), st.sampled_from([None, 1, "\t"]), st.booleans())
def test_each_span_holds_the_value_of_its_key(document: dict[str, Any], indent: Any, ascii_only: bool) -> None:
    body = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode()
    spans = member_spans(body)
    assert {key: json.loads(body[span.start : span.end]) for key, span in spans.items()} == document


@given(st.lists(values, max_size=6), st.sampled_from([None, 1]))
def test_each_span_holds_an_item(items: list[Any], indent: int | None) -> None:
    body = b'{"a" : %b}' % json.dumps(items, indent=indent).encode()
    within = member_spans(body)["a"]
    assert [json.loads(body[span.start : span.end]) for span in item_spans(body, within)] == items


def test_only_the_edited_bytes_change() -> None:
    body = b'{ "a":1.0, "b" : [ "x" ,"y"]  }\n'
    spans = member_spans(body)
    edits = [Edit(spans["b"], b"[]"), Edit(spans["a"], b"2")]
    assert splice(body, edits) == b'{ "a":2, "b" : []  }\n'
    assert splice(body, []) is body


def test_an_object_within_another_is_found() -> None:
    body = b'{"outer": {"inner": 7}}'
    (inner,) = member_spans(body, member_spans(body)["outer"]).values()
    assert inner == Span(20, 21)


_IN_A_STRING = b"""{"messages":[{"role":"user","content":""}],
  "model": "m",
  "max_tokens": 100,
  "messages": [
    {
      "role": "system",
      "content": ""
    }
  ],
  "tools": null
}"""


@pytest.mark.parametrize("body", [b'{"a":1,"b":2,"a":333}', _IN_A_STRING], ids=["short", "up to within a string"])
def test_a_key_that_is_given_twice_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        member_spans(body)


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b'{"a":', b'{"a":' * 100_000])
def test_what_is_no_object_is_reported(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        member_spans(body)
