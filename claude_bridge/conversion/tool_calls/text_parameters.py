"""Reads the parameters of a printed call, each between tags, by the rows of the formats."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from claude_bridge.conversion.tool_calls.text_formats import CallFormat, Parameters
from claude_bridge.conversion.tool_calls.text_json import declares
from claude_bridge.conversion.tool_calls.text_source import Marks, NotACallError, TextSource, marks_of
from claude_bridge.conversion.tool_json.text import Json, loose_decoder
from claude_bridge.wire.anthropic import Tool

MAX_HEADER_CHARS = 200
_MAX_NESTED = 20

_HEADER = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^"'>]*))""")
_RECIPIENT = re.compile(r"\bto=([^\s<]+)")
_HOLDS_JSON = re.compile(r"""\bstring=["']false|\btype=["'](?!string)""")


class ParameterReader:
    """Reads the parameters of one call, whose format is one of these rows; all rows have the same tags."""

    def __init__(self, source: TextSource, rows: Sequence[CallFormat]) -> None:
        tags = rows[0].input
        assert isinstance(tags, Parameters)
        self._source = source
        self._tags = tags
        self._ends = marks_of(*(end for row in rows for end in (row.behind_call, row.closing)))
        self._beginnings = beginnings(tuple(rows))
        # GLM forgets the tag before its first key, writes another in its place, and closes what it never opened.
        self._strays = (tags.behind_key, tags.behind_value) if tags.before_value else ()
        self._in_place = rows[0].opening if tags.before_value else ""

    def read(self, tool: Tool) -> dict[str, Json]:
        """Return the parameters by their names, up to the end of their call."""
        source, tags = self._source, self._tags
        expected = marks_of(tags.before_key, *self._ends.marks, *self._strays, self._in_place)
        values: dict[str, Json] = {}
        while True:
            source.space()
            start = source.offset
            mark = source.mark(expected)
            if mark in self._ends.marks:
                source.at -= len(mark or "")
                return values
            if mark in self._strays:
                source.space()
                if not source.peek():
                    return values
                continue
            is_first_forgotten = bool(tags.before_value) and not values and mark in (self._in_place, None)
            if mark != tags.before_key and not is_first_forgotten:
                raise NotACallError(start)
            header, _ = source.until(marks_of(tags.behind_key), MAX_HEADER_CHARS)
            key = name_in(header.rpartition(tags.before_key)[2])
            if is_first_forgotten and not declares(tool, [key]):
                raise NotACallError(start)
            value = self._value(key)
            values[key] = _json_or_text(value) if isinstance(value, str) and _HOLDS_JSON.search(header) else value

    def _value(self, key: str, depth: int = 0) -> Json:
        """Read a value: text up to its closing tag, behind which the next tag of the call stands."""
        source, tags = self._source, self._tags
        parts = [source.space()]
        end, inner_end = tags.behind_value.format(key=key), f"{tags.before_key}/"
        if "{key}" in tags.behind_value and (mark := source.mark(marks_of(tags.before_key, inner_end))):
            if mark == tags.before_key:
                return self._elements(end, depth)
            source.at -= len(mark)
        if tags.before_value:
            while source.mark(marks_of(tags.behind_key)):
                source.space()
            if source.mark(marks_of(tags.before_value)):
                parts.clear()
        stem = end.removesuffix(">")
        followers = marks_of(tags.before_key, *([inner_end] if depth else self._ends.marks))
        while True:
            text, mark = source.until(marks_of(stem, *self._beginnings.marks))
            if mark != stem:
                raise NotACallError(source.offset - len(mark))  # this call was cut off before that one began
            parts += (text, source.text[source.at - len(mark) : source.at])
            if stem != end and source.peek() == ">":
                source.at += 1
                parts.append(">")
            is_whole = stem == end or parts[-1] == ">"
            space = source.space()
            if (is_whole or space) and source.mark(followers, keep=True):
                value = "".join(parts[: -2 if parts[-1] == ">" and stem != end else -1])
                return value.removeprefix("\n").removesuffix("\n") if tags.has_own_lines else value
            parts.append(space)

    def _elements(self, end: str, depth: int) -> Json:
        """Read a value that is made of elements with tags of their own: an object, or a list of what is called item."""
        source, tags, start = self._source, self._tags, self._source.offset
        if depth >= _MAX_NESTED:
            raise NotACallError(start)
        elements: list[tuple[str, Json]] = []
        while True:
            key = name_in(source.until(marks_of(tags.behind_key), MAX_HEADER_CHARS)[0])
            elements.append((key, self._value(key, depth + 1)))
            source.space()
            mark = source.mark(marks_of(tags.before_key, end))
            if mark is None:
                raise NotACallError(start)
            if mark == end:
                is_list = all(key == "item" for key, _ in elements)
                return [value for _, value in elements] if is_list else dict(elements)


@lru_cache(maxsize=128)
def beginnings(formats: tuple[CallFormat, ...]) -> Marks:
    """Return what shows inside a value that the call was cut off, and another one or another parameter begins.

    A file that is written may hold tags; those that are meant stand at the beginning of a line, or behind other tags.
    """
    marks = {mark for row in formats for mark in (row.opening, row.before_name) if mark}
    if formats[0].is_token:
        return Marks(marks)
    marks |= {row.input.before_key for row in formats if isinstance(row.input, Parameters)}
    return Marks(before + mark for mark in marks for before in ("\n", ">"))


def name_in(header: str) -> str:
    """Return the name in a tag, with or without quotes, and without other attributes; in a header, the recipient."""
    found = _RECIPIENT.search(header) or _HEADER.match(header)
    return next((part.strip() for part in found.groups() if part is not None), "") if found else ""


def _json_or_text(text: str) -> Json:
    try:
        return loose_decoder.decode(text)
    except (ValueError, RecursionError):
        return text
