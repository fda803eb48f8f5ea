"""Structs from JSON of unexpected types."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw, Struct

from claude_bridge.wire.lenient_json import parse_any, parse_leniently


class Inner(Struct, frozen=True):
    name: str
    count: int | None = None


class Outer(Struct, frozen=True):
    text: str | list[Any] | None = None
    inner: Inner | None = None
    items: list[Inner] | None = None
    share: float | None = None
    raw: Raw = Raw(b"")


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({"text": 5}, Outer(text="5")),
        ({"text": True}, Outer()),
        ({"text": {"a": 1}}, Outer(text=[{"a": 1}])),
        ({"inner": []}, Outer()),
        ({"inner": {"name": "a", "count": "7"}}, Outer(inner=Inner("a", 7))),
        ({"inner": {"name": "a", "count": 7.0}}, Outer(inner=Inner("a", 7))),
        ({"inner": {"name": "a", "count": "many"}}, Outer(inner=Inner("a"))),
        ({"inner": {"name": "a", "count": True}}, Outer(inner=Inner("a"))),
        ({"inner": {"count": 7}}, Outer()),
        ({"items": {"name": "a"}}, Outer(items=[Inner("a")])),
        ({"items": [None, {"name": "a"}, 3, {"count": 1}]}, Outer(items=[Inner("a")])),
        ({"items": "a"}, Outer()),
        ({"share": "0.5"}, Outer(share=0.5)),
        ({"novelty": 1}, Outer()),
    ],
)
def test_what_can_be_read_is_and_the_rest_counts_as_not_given(given: dict[str, Any], read: Outer) -> None:
    assert parse_leniently(msgspec.json.encode(given), Outer) == read


def test_raw_fields_keep_what_they_were() -> None:
    assert bytes(parse_leniently(b'{"raw":{"b":1,"a":[2]}}', Outer).raw) == b'{"b":1,"a":[2]}'


def test_bytes_that_are_no_text_become_replacement_characters() -> None:
    assert parse_leniently(b'{"text":"a\xffb\\ud800c"}', Outer).text == "a\ufffdb\ufffdc"


@pytest.mark.parametrize("document", [b"[]", b"3", b"null", b"", b"{", b"[" * 5000 + b"]" * 5000])
def test_what_is_no_object_is_refused(document: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        parse_leniently(document, Outer)


def test_an_object_without_its_required_field_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError, match="no Inner"):
        parse_leniently(b'{"count":1}', Inner)


def test_any_json_has_a_plain_value() -> None:
    assert parse_any(b'{"a":["\\ud800",null]}') == {"a": ["\ufffd", None]}
