"""Damage done to good bytes, as a fuzzer does it: hypothesis strategies, so that a failure is small and comes again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

NASTY = [
    b"\x00",
    b"\xff\xfe",
    b"\xed\xa0\x80",  # half of a pair, as if it were UTF-8
    b"\xf0\x9f\x98",  # a letter that was cut
    b"\xef\xbb\xbf",
    b"\r",
    b"\n",
    b"\n\n",
    b"\r\n\r\n",
    b"\\ud83d",
    b"\\u0000",
    b"\\",
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"-0.0",
    b"0.1e-400",
    b"9" * 400,
    b"9007199254740993",
    b'"x"',
    b"{}",
    b"[]",
    b"[" * 600 + b"]" * 600,
    b'{"a":' * 600 + b"1" + b"}" * 600,
    b'"' + b"y" * 70_000 + b'"',
    b"data:",
    b"data: [DONE]\n\n",
    b"event: error\n",
    b": comment\n",
    b'{"error":"no"}\n',
    b"<html>",
    b"<think>",
    b"</think>",
    b"<tool_call>",
]

places = st.integers(0, 10_000)


def _cut_out(data: bytes, at: int, length: int) -> bytes:
    return data[:at] + data[at + length :]


def _repeat(data: bytes, at: int, length: int) -> bytes:
    return data[: at + length] + data[at:]


def _swap(data: bytes, at: int, length: int) -> bytes:
    return data[:at] + data[at + length : at + 2 * length] + data[at : at + length] + data[at + 2 * length :]


def _reverse(data: bytes, at: int, length: int) -> bytes:
    return data[:at] + data[at : at + length][::-1] + data[at + length :]


def _flip(data: bytes, at: int, length: int) -> bytes:
    return data[:at] + bytes(byte ^ (1 << length % 8) for byte in data[at : at + 1]) + data[at + 1 :]


_MOVES: list[Callable[[bytes, int, int], bytes]] = [_cut_out, _repeat, _swap, _reverse, _flip]


@st.composite
def damaged(draw: st.DrawFn, good: Sequence[bytes]) -> bytes:
    """Return one of the good documents with a few things done to it."""
    data = draw(st.sampled_from(good))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(places) % (len(data) + 1)
        what = draw(st.integers(0, 7))
        if what < len(_MOVES):
            data = _MOVES[what](data, at, draw(st.integers(1, 40)))
        elif what == len(_MOVES):
            data = data[:at] + draw(st.sampled_from(NASTY)) + data[at:]
        elif what == len(_MOVES) + 1:
            data = data[:at] + draw(st.binary(min_size=1, max_size=8)) + data[at:]
        else:
            other = draw(st.sampled_from(good))
            data = data[:at] + other[draw(places) % (len(other) + 1) :]
    return data


odd_values: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        0.5,
        2**53,
        2**70,
        -(10**400),
        1e308,
        "",
        " ",
        "x",
        "\ud7ff",
        "y" * 5_000,
        "\x00",
        [],
        {},
        [None],
        [[]],
        {"": {}},
        {"type": None},
        {"type": "text"},
        {"type": "image"},
        [{"type": "tool_use", "id": "", "name": "", "input": []}],
        {"a": {"b": [{"c": None}]}},
    ]
)


@st.composite
def with_odd_values(draw: st.DrawFn, good: Sequence[Any]) -> Any:
    """Return one of the good JSON values with something else in a few of its places, or with places taken out."""
    value = draw(st.sampled_from(good))
    for _ in range(draw(st.integers(1, 3))):
        value = _changed(draw, value)
    return value


def _changed(draw: st.DrawFn, value: Any) -> Any:
    """Return the value with one change somewhere inside."""
    if not isinstance(value, dict | list) or not value or draw(st.integers(0, 9)) == 0:
        return draw(odd_values)
    if isinstance(value, dict):
        key = draw(st.sampled_from(list(value)))
        if draw(st.integers(0, 5)) == 0:
            return {name: inner for name, inner in value.items() if name != key}
        return value | {key: _changed(draw, value[key])}
    at = draw(st.integers(0, len(value) - 1))
    what = draw(st.integers(0, 7))
    if what == 0:
        return value[:at] + value[at + 1 :]
    if what == 1:
        return [*value, value[at]]
    return [*value[:at], _changed(draw, value[at]), *value[at + 1 :]]
