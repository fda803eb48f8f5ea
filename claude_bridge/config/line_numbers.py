"""On which line of a TOML text each key is set; tomllib does not keep that."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cached_property
from typing import Any

KeyPath = tuple[str | int, ...]
"""Where a value is: names of keys, and positions in lists from 0."""


class Lines:
    """The lines of a valid TOML text. Nothing is computed before it is asked for."""

    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n")

    def line_of(self, path: KeyPath) -> int | None:
        """Return the line, from 1, where the statement begins that sets the value; None: nothing sets it."""
        return self._line_of_each.get(path)

    def nearest_line(self, path: KeyPath) -> int:
        """Return the line of the value, else that of the nearest table around it, else the first."""
        return next((line for end in range(len(path), 0, -1) if (line := self.line_of(path[:end]))), 1)

    @cached_property
    def _line_of_each(self) -> dict[KeyPath, int]:
        found: dict[KeyPath, int] = {}
        sizes: dict[KeyPath, int] = {}  # of the lists that [[headers]] make
        table: KeyPath = ()
        for line, text, content in _statements(self._text.split("\n")):
            if text.lstrip().startswith("["):
                table = _table_of(content, sizes)
                paths = [table]
            else:
                paths = [table + path for path in _paths_in(content)]
            for path in paths:
                for end in range(1, len(path) + 1):
                    found.setdefault(path[:end], line)
        return found


def line_of_error(error: tomllib.TOMLDecodeError) -> int | None:
    """Return the line that a syntax error names; None: the end of the text."""
    named = re.search(r"\(at line (\d+), column \d+\)$", str(error))
    return int(named[1]) if named else None


def _statements(lines: list[str]) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Yield each statement with its first line and what it sets; it is over as soon as it parses by itself."""
    text, first = "", 1
    for number, line in enumerate(lines, 1):
        text += line + "\n"
        if line.endswith(",") and "#" not in line:  # inside a list; without this a long one is parsed for every line
            continue
        try:
            content = tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            continue
        yield first, text, content
        text, first = "", number + 1


def _table_of(header: dict[str, Any], sizes: dict[KeyPath, int]) -> KeyPath:
    """Return where the keys below a header belong; a [[header]] adds one to its list."""
    path: KeyPath = ()
    content: Any = header
    while isinstance(content, dict) and content:
        ((key, content),) = content.items()
        path += (key,)
        if isinstance(content, list):
            sizes[path] = sizes.get(path, 0) + 1
        if path in sizes:
            path += (sizes[path] - 1,)
    return path


def _paths_in(value: Any) -> Iterator[KeyPath]:  # noqa: ANN401 - whatever TOML holds
    """Yield the path of every value inside this one."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (key,)
        yield from ((key, *path) for path in _paths_in(inner))
