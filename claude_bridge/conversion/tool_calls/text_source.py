"""Text that is read as it comes: once, from left to right, whatever pieces it is cut into.

Readers are generators: they yield where they need more text than has come, and go on behind it. What they have read
is not looked at again, so that reading takes a time that grows with the length of the text alone.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from functools import lru_cache
from typing import NamedTuple, TypeVar

_T = TypeVar("_T")
Reading = Generator[None, None, _T]
"""What reads a T."""

_FOLDED = str.maketrans({"｜": "|", "▁": "_"})
"""DeepSeek's tokens have full-width bars and spaces of their own; engines, and models, write them in ASCII too."""

_SPACE = re.compile(r"\s*")


def fold(text: str) -> str:
    """Return the text, as long as it is, with DeepSeek's bars and spaces in ASCII: marks are looked for in it."""
    return text if text.isascii() else text.translate(_FOLDED)


class NotACallError(Exception):
    """What is read is no call; ``offset`` is where in the text a call may begin again."""

    def __init__(self, offset: int) -> None:
        super().__init__()
        self.offset = offset


class Marks:
    """Some literals, of which the longest that stands at a place is meant."""

    def __init__(self, marks: Iterable[str]) -> None:
        self.marks = tuple(sorted({mark for mark in marks if mark}, key=len, reverse=True))
        self.max_chars = max(map(len, self.marks), default=0)
        self.beginnings = frozenset(mark[:length] for mark in self.marks for length in range(len(mark)))
        self.pattern = re.compile("|".join(map(re.escape, self.marks)) or r"(?!)")
        self._first = frozenset(mark[0] for mark in self.marks)

    def at(self, text: str, place: int) -> str | None:
        """Return the mark that stands there."""
        if text[place : place + 1] not in self._first:
            return None
        return next((mark for mark in self.marks if text.startswith(mark, place)), None)

    def may_begin(self, text: str) -> bool:
        """Return whether the text begins with a mark, or is the beginning of one."""
        return text in self.beginnings or text.startswith(self.marks)

    def may_grow(self, text: str, place: int) -> bool:
        """Return whether the end of the text from there on is the beginning of a mark, and not all of it."""
        return len(text) - place < self.max_chars and text[place:] in self.beginnings

    def are_absent(self, text: str) -> bool:
        """Return whether no mark can begin in the text."""
        return self._first.isdisjoint(text)

    def overlap(self, text: str, start: int = 0) -> int:
        """Return how many characters at the end of the text, from ``start`` on, may be the beginning of a mark."""
        start = max(start, len(text) - self.max_chars + 1)
        if self._first.isdisjoint(text[start:]):
            return 0
        return next((len(text) - place for place in range(start, len(text)) if text[place:] in self.beginnings), 0)


@lru_cache(maxsize=512)
def marks_of(*marks: str) -> Marks:
    """Return some literals as Marks."""
    return Marks(marks)


class TextSource:
    """The text that has come and was not yet read."""

    def __init__(self) -> None:
        self.text = ""
        self.folded = ""
        self.at = 0
        self.piece = ""
        """What came last."""
        self.is_closed = False
        self._taken = 0

    @property
    def offset(self) -> int:
        """Where in the whole text the reader stands."""
        return self._taken + self.at

    @property
    def is_at_end(self) -> bool:
        """Whether nothing is left, and nothing more comes."""
        return self.is_closed and self.at == len(self.text)

    def feed(self, text: str) -> None:
        """Add more text."""
        self.piece = text
        self._taken += self.at
        self.text = self.text[self.at :] + text
        self.folded = fold(self.text)
        self.at = 0

    def close(self) -> None:
        """Say that no more text comes."""
        self.piece, self.is_closed = "", True

    def peek(self) -> Reading[str]:
        """Return the next character; empty at the end."""
        while self.at == len(self.text) and not self.is_closed:
            yield
        return self.folded[self.at : self.at + 1]

    def space(self) -> Reading[str]:
        """Read white space, and return it."""
        found: list[str] = []
        while True:
            match = _SPACE.match(self.text, self.at)
            assert match is not None, "it matches nothing at least"
            found.append(match[0])
            self.at = match.end()
            if self.at < len(self.text) or self.is_closed:
                return "".join(found)
            yield

    def mark(self, marks: Marks, *, keep: bool = False) -> Reading[str | None]:
        """Read the longest of the marks that stands here, and return it; with ``keep`` it is still to be read."""
        while True:
            window = self.folded[self.at : self.at + marks.max_chars]
            if window not in marks.beginnings or self.is_closed:
                break
            yield
        found = marks.at(self.folded, self.at)
        if found is not None and not keep:
            self.at += len(found)
        return found

    def until_or_end(self, stops: Marks) -> Reading[str]:
        """Read up to one of the marks and behind it, or up to the end; return the text before it."""
        text, _ = yield from self.until(stops, may_end=True)
        return text

    def until(self, stops: Marks, limit: int | None = None, *, may_end: bool = False) -> Reading[tuple[str, str]]:
        """Read up to one of the marks and behind it; return the text before it, and the mark (empty at the end).

        Raises:
            NotACallError: there is none before the end, unless it ``may_end``, or none within ``limit`` characters.
        """
        parts: list[str] = []
        chars = 0
        while True:
            found = stops.pattern.search(self.folded, self.at)
            if found and not self.is_closed and stops.may_grow(self.folded, found.start()):
                end, found = found.start(), None  # it may become a longer one
            else:
                end = found.start() if found else len(self.text) - stops.overlap(self.folded, self.at)
            parts.append(self.text[self.at : end])
            chars += end - self.at
            self.at = found.end() if found else end
            if limit is not None and chars > limit:
                raise NotACallError(self.offset - (chars - limit))
            if found:
                return "".join(parts), found[0]
            if self.is_closed and may_end:
                return "".join(parts), ""
            if self.is_closed:
                raise NotACallError(self.offset)
            yield


class JsonText(NamedTuple):
    """The text of a JSON value; ``fault`` is where in it something else stands than JSON allows (None: nowhere)."""

    text: str
    fault: int | None


_MAX_DEPTH = 100
_MAX_TOKENS = 100_000
"""Of a value that a model prints; each is looked at in Python."""

_STRING_BODY = re.compile(r'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_SCALAR = re.compile(r"[-+.\w]{0,64}")
_SCALARS = re.compile(r"true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?")

_CLOSERS = {"{": "}", "[": "]"}
_VALUE, _VALUE_OR_END, _KEY, _KEY_OR_END, _COLON, _COMMA_OR_END = range(6)


def read_json(source: TextSource) -> Reading[JsonText]:
    """Read an object or a list, up to its end or to what is no JSON; line ends inside strings are JSON.

    Raises:
        NotACallError: the text ends in the middle.
    """
    parts: list[str] = []
    stack: list[str] = []
    expected, start = _VALUE, source.offset
    for _ in range(_MAX_TOKENS):
        parts.append((yield from source.space()))
        character = yield from source.peek()
        if not character:
            raise NotACallError(source.offset)
        opens_value, end = expected in (_VALUE, _VALUE_OR_END), source.at + 1
        match character:
            case '"' if opens_value and stack:
                expected, end = _COMMA_OR_END, (yield from _string_end(source, parts))
            case '"' if expected in (_KEY, _KEY_OR_END):
                expected, end = _COLON, (yield from _string_end(source, parts))
            case "{" | "[" if opens_value and len(stack) < _MAX_DEPTH:
                stack.append(_CLOSERS[character])
                expected = _KEY_OR_END if character == "{" else _VALUE_OR_END
            case "}" | "]" if stack[-1:] == [character] and expected in (_COMMA_OR_END, _KEY_OR_END, _VALUE_OR_END):
                stack.pop()
                expected = _COMMA_OR_END
            case "," if expected == _COMMA_OR_END:
                expected = _KEY if stack[-1] == "}" else _VALUE
            case ":" if expected == _COLON:
                expected = _VALUE
            case _ if opens_value and stack:
                expected, end = _COMMA_OR_END, (yield from _scalar_end(source))
                if end == len(source.text):
                    raise NotACallError(source.offset)
                if not _SCALARS.fullmatch(source.text, source.at, end):
                    break
            case _:
                break
        parts.append(source.text[source.at : end])
        source.at = end
        if not stack:
            return JsonText("".join(parts), None)
    return JsonText("".join(parts), source.offset - start)


def _string_end(source: TextSource, parts: list[str]) -> Reading[int]:
    """Return where the string that stands here ends; what of it has come already is added to the parts."""
    parts.append('"')
    source.at += 1
    while True:
        body = _STRING_BODY.match(source.text, source.at)
        assert body is not None, "it matches nothing at least"
        if source.text.startswith('"', body.end()):
            return body.end() + 1
        if source.is_closed:
            raise NotACallError(source.offset)
        parts.append(body[0])
        source.at = body.end()
        yield  # for the rest, or for what a backslash escapes


def _scalar_end(source: TextSource) -> Reading[int]:
    """Return where the number or word that stands here ends."""
    while True:
        scalar = _SCALAR.match(source.text, source.at)
        assert scalar is not None, "it matches nothing at least"
        if scalar.end() < len(source.text) or source.is_closed:
            return scalar.end()
        yield
