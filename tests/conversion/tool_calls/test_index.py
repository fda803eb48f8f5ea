"""Which call a fragment belongs to."""

from __future__ import annotations

import pytest

from claude_bridge.conversion.deltas import Delta, ToolCallArguments, ToolCallStart
from claude_bridge.conversion.tool_calls.index import NO_NAME, ToolCallIndex

Fragment = tuple[int | None, str, str, str]  # index, id, name, arguments


def _calls(*fragments: Fragment) -> list[tuple[str, str]]:
    """Return the name and the arguments of each call."""
    calls = ToolCallIndex()
    out: list[Delta] = []
    for fragment in fragments:
        out += calls.add(*fragment)
    out += calls.close()
    output: dict[int, list[str]] = {}
    for delta in out:
        if isinstance(delta, ToolCallStart):
            output[delta.key] = [delta.name, ""]
        elif isinstance(delta, ToolCallArguments):
            output[delta.key][1] += delta.fragment
    return [(name, arguments) for name, arguments in output.values()]


CASES: dict[str, tuple[list[Fragment], list[tuple[str, str]]]] = {
    "index tells": ([(0, "", "A", ""), (1, "", "B", ""), (0, "", "", "1"), (1, "", "", "2")], [("A", "1"), ("B", "2")]),
    "id tells": ([(None, "a", "A", ""), (None, "b", "B", ""), (None, "a", "", "1")], [("A", "1"), ("B", "")]),
    "newest without any": (
        [(None, "a", "A", "1"), (None, "b", "B", "2"), (None, "", "", "3")],
        [("A", "1"), ("B", "23")],
    ),
    "index colliding, ids differ": (
        [(0, "a", "A", '{"x":1}'), (0, "b", "A", '{"x":'), (0, "", "", "2}")],
        [("A", '{"x":1}'), ("A", '{"x":2}')],
    ),
    "index colliding, back to the first id": (
        [(0, "a", "A", '{"x":1'), (0, "b", "A", '{"x":2}'), (0, "a", "", "1}")],
        [("A", '{"x":11}'), ("A", '{"x":2}')],
    ),
    "index colliding, names differ": ([(0, "", "A", "{}"), (0, "", "B", "{}")], [("A", "{}"), ("B", "{}")]),
    "index colliding, arguments differ": (
        [(0, "", "A", '{"a":1}'), (0, "", "A", '{"a":2}')],
        [("A", '{"a":1}'), ("A", '{"a":2}')],
    ),
    "id repeated, index tells": (
        [(0, "c", "A", "1"), (1, "c", "A", "2"), (1, "c", "", "3")],
        [("A", "1"), ("A", "23")],
    ),
    "id repeated, snapshots grow": ([(0, "c", "A", '{"a":1}'), (0, "c", "A", '{"b":1}')], [("A", '{"a":1}{"b":1}')]),
    "name on each": ([(0, "", "A", '{"a"'), (0, "", "A", ":1"), (0, "", "A", "}")], [("A", '{"a":1}')]),
    "name late": ([(0, "", "", "1"), (0, "", "A", "2")], [("A", "12")]),
    "id late": ([(0, "", "A", "1"), (0, "a", "", "2")], [("A", "12")]),
    "index late": ([(None, "", "A", "1"), (0, "", "", "2"), (0, "", "", "3")], [("A", "123")]),
    "index only at first": ([(0, "a", "A", "1"), (None, "", "", "2"), (None, "a", "", "3")], [("A", "123")]),
    "index counts up under one id": ([(0, "a", "A", "1"), (1, "a", "", "2")], [("A", "12")]),
    "never a name": ([(0, "a", "", "1"), (1, "b", "", "")], [(NO_NAME, "1")]),
    "a new id on each": (
        [(0, "a", "A", ""), (0, "b", "", '{"x"'), (0, "c", "", ':"{"'), (0, "d", "", "}")],
        [("A", '{"x":"{"}')],
    ),
    "a new id on each, name too": (
        [(0, "a", "A", ""), (0, "b", "A", "{"), (0, "c", "A", '"x":"'), (0, "d", "A", "{"), (0, "e", "A", '"}')],
        [("A", '{"x":"{"}')],
    ),
    "a new id on each, name too, objects in lists": (
        [(0, "a", "A", '{"x":['), (0, "b", "A", '{"y":1}'), (0, "c", "A", ","), (0, "d", "A", '{"y":2}]}')],
        [("A", '{"x":[{"y":1},{"y":2}]}')],
    ),
    "a new id and a new index on each": (
        [(0, "a", "A", '{"x"'), (1, "b", "", ":1"), (2, "c", "", "}")],
        [("A", '{"x":1}')],
    ),
    "a new id on each, no index": (
        [(None, "a", "A", '{"x"'), (None, "b", "", ":1"), (None, "c", "", "}")],
        [("A", '{"x":1}')],
    ),
    "a new id on each, name too, no index": (
        [(None, "a", "A", '{"x"'), (None, "b", "A", ":1"), (None, "c", "A", "}"), (None, "d", "A", '{"x":2}')],
        [("A", '{"x":1}'), ("A", '{"x":2}')],
    ),
    "a new id on each, two calls": (
        [(0, "a", "A", '{"x"'), (0, "b", "", ":1}"), (1, "c", "B", '{"y"'), (1, "d", "", ":2}")],
        [("A", '{"x":1}'), ("B", '{"y":2}')],
    ),
    "whole once more with the name": (
        [(0, "", "A", '{"x":1}'), (0, "", "A", '{"x":1}'), (0, "", "A", '{"x":1}')],
        [("A", '{"x":1}' * 3)],
    ),
    "nameless behind a whole call": ([(0, "a", "A", "{}"), (1, "b", "", "{}")], [("A", "{}"), (NO_NAME, "{}")]),
}


@pytest.mark.parametrize(("fragments", "calls"), CASES.values(), ids=CASES.keys())
def test_fragments_find_their_call(fragments: list[Fragment], calls: list[tuple[str, str]]) -> None:
    assert _calls(*fragments) == calls


def test_a_call_is_reported_as_soon_as_it_has_a_name() -> None:
    assert ToolCallIndex().add(0, "a", "A", "{") == [ToolCallStart(0, "A", "a"), ToolCallArguments(0, "{")]


def test_a_thousand_calls_in_pieces_take_no_time() -> None:
    calls = ToolCallIndex()
    for round_ in range(50):
        for index in range(1_000):
            calls.add(index, f"call_{index}", "A" if round_ == 0 else "", '{"' if round_ == 0 else "x")
    assert len(calls.close()) == 0
