"""On which line of a TOML text a key is given: tomllib does not tell."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import cache
from typing import Any

KeyPath = tuple[str | int, ...]
"""Where a value is: names of keys, and numbers in lists from 0."""


class Lines:
    """The lines of a text that parses. Nothing is worked out before it is asked for."""

    def __init__(self, text: str) -> None:
        self._lines = text.replace("\r\n", "\n").split("\n")
        self._parsed_until = cache(self._parse)

    def line_of(self, path: KeyPath) -> int | None:
        """Return the line from 1 on which the statement begins that gives the value; None: nothing gives it.

        A statement begins behind the longest beginning of the text that parses and does not have the value.
        """
        low, high = 0, len(self._lines)
        if not _has(self._parsed_until(high), path):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            end = next((end for end in range(middle, high) if self._parsed_until(end) is not None), high)
            if end == high or _has(self._parsed_until(end), path):
                high = middle
            else:
                low = end
        return high

    def nearest_line(self, path: KeyPath) -> int:
        """Return the line of the value, else that of the nearest table around it, else the first."""
        return next((line for end in range(len(path), 0, -1) if (line := self.line_of(path[:end]))), 1)

    def _parse(self, end: int) -> dict[str, Any] | None:
        try:
            return tomllib.loads("\n".join(self._lines[:end]))
        except tomllib.TOMLDecodeError:  # a list or a text over several lines, cut in two
            return None


def line_of_error(error: tomllib.TOMLDecodeError) -> int | None:
    """Return the line that a syntax error names; None: the end of the text."""
    told = re.search(r"\(at line (\d+), column \d+\)$", str(error))
    return int(told[1]) if told else None


def _has(document: Any, path: Sequence[str | int]) -> bool:  # noqa: ANN401 - whatever TOML holds
    for key in path:
        if isinstance(key, str):
            if not isinstance(document, dict) or key not in document:
                return False
        elif not isinstance(document, list) or len(document) <= key:
            return False
        document = document[key]
    return True
