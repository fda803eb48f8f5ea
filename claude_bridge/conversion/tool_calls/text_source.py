"""Text that is read as it comes, from left to right, whatever pieces it is cut into.

A reader that needs more text than has come raises NeedMoreError; whoever called it goes back, and tries again later.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from claude_bridge.conversion.tool_json.progress import nesting_depth
from claude_bridge.conversion.tool_json.text import Json, loose_decoder

_FOLDED = str.maketrans({"｜": "|", "▁": "_"})
"""DeepSeek's tokens have full-width bars and spaces of their own; engines, and models, write them in ASCII too."""

_SPACE = re.compile(r"\s*")


def fold(text: str) -> str:
    """Return the text, as long as it is, with DeepSeek's bars and spaces in ASCII: marks are looked for in it."""
    return text if text.isascii() else text.translate(_FOLDED)


class NeedMoreError(Exception):
    """The text so far ends in the middle of what is read."""


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
        found = self.pattern.match(text, place)
        return found[0] if found else None

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
        self.is_closed = False
        """Whether no more text comes."""
        self._taken = 0

    @property
    def offset(self) -> int:
        """Where in the whole text the reader stands."""
        return self._taken + self.at

    @property
    def offset_of_end(self) -> int:
        """Where in the whole text the end of what has come is."""
        return self._taken + len(self.text)

    def feed(self, text: str) -> None:
        """Add more text."""
        self._taken += self.at
        self.text = self.text[self.at :] + text
        self.folded = self.folded[self.at :] + fold(text)
        self.at = 0

    def peek(self) -> str:
        """Return the next character; empty at the end."""
        if self.at == len(self.text) and not self.is_closed:
            raise NeedMoreError
        return self.folded[self.at : self.at + 1]

    def space(self) -> str:
        """Read white space, and return it."""
        match = _SPACE.match(self.text, self.at)
        assert match is not None, "it matches nothing at least"
        self.at = match.end()
        self.peek()
        return match[0]

    def mark(self, marks: Marks, *, keep: bool = False) -> str | None:
        """Read the longest of the marks that stands here, and return it; with ``keep`` it is still to be read."""
        if self.folded[self.at : self.at + marks.max_chars] in marks.beginnings and not self.is_closed:
            raise NeedMoreError
        found = marks.at(self.folded, self.at)
        if found is not None and not keep:
            self.at += len(found)
        return found

    def until(self, stops: Marks, limit: int | None = None, *, may_end: bool = False) -> tuple[str, str]:
        """Read up to one of the marks and behind it; return the text before it, and the mark (empty at the end).

        Raises:
            NotACallError: there is none before the end, unless it ``may_end``, or none within ``limit`` characters.
        """
        found = stops.pattern.search(self.folded, self.at)
        if found and not self.is_closed and stops.may_grow(self.folded, found.start()):
            raise NeedMoreError  # it may become a longer one
        end = found.start() if found else len(self.text) - stops.overlap(self.folded, self.at)
        if limit is not None and end - self.at > limit:
            raise NotACallError(self.offset + limit)
        if not found and not self.is_closed:
            raise NeedMoreError
        if not found and not may_end:
            raise NotACallError(self.offset_of_end)
        end = found.start() if found else len(self.text)
        text, self.at = self.text[self.at : end], found.end() if found else end
        return text, found[0] if found else ""


class JsonText(NamedTuple):
    """The text of a JSON value, and the value; None: something else stands behind the text than JSON allows."""

    text: str
    value: Json | None


_MAX_DEPTH = 100
_HALF_SCALAR = re.compile(r"[-+.\w]{0,64}")
"""What is no value yet and may become one, at the end of the text; of an escape in a string as well."""


def read_json(source: TextSource) -> JsonText:
    """Read an object or a list, up to its end or to what is no JSON; line ends inside strings are JSON.

    Raises:
        NotACallError: the text ends in the middle, or the value is too much for a call.
    """
    start = source.at
    try:
        value, end = loose_decoder.raw_decode(source.text, start)
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Unterminated string") and not _HALF_SCALAR.fullmatch(source.text, error.pos):
            source.at = error.pos
            return JsonText(source.text[start : error.pos], None)
    except RecursionError:
        pass  # brackets without end
    except ValueError:  # NaN, or thousands of digits
        raise NotACallError(source.offset) from None
    else:
        text = source.text[start:end]
        if nesting_depth(text.encode(errors="replace")) > _MAX_DEPTH:
            raise NotACallError(source.offset)
        source.at = end
        return JsonText(text, value)
    if source.is_closed:
        raise NotACallError(source.offset_of_end)
    raise NeedMoreError
