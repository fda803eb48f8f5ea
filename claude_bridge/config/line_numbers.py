"""Keys, and in which file and on which line each is set; tomllib does not keep that."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

KeyPath = tuple[str | int, ...]
"""Where a value is: names of keys, and positions in lists from 0."""


MAX_DEPTH = 50
"""Of tables and lists in each other."""


def key_text(path: KeyPath) -> str:
    """Return a whole key as one writes it: ``providers."a.b".models[0].id``."""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        else:
            text += ("." if text else "") + (
                key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)
            )
    return text


def value_at(document: Any, path: Iterable[str | int]) -> Any:  # noqa: ANN401 - whatever TOML holds
    """Return the value at a path."""
    for key in path:
        document = document[key]
    return document


def values_in(value: Any) -> Iterator[tuple[KeyPath, Any]]:  # noqa: ANN401 - whatever TOML holds
    """Yield the path of every value inside this one, and that value."""
    for key, inner in _items(value):
        yield (key,), inner
        yield from (((key, *path), deeper) for path, deeper in values_in(inner))


class Source(NamedTuple):
    """A TOML file that was read."""

    file: Path
    text: str
    document: Mapping[str, Any]
    """What the text sets."""


class SettingLocation(NamedTuple):
    """Where a value is set: on the line, from 1, where its statement begins."""

    file: Path
    line: int


class Places:
    """Where the values of files are set that are merged in their order. Nothing is computed before it is needed."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources

    def of(self, path: KeyPath) -> SettingLocation | None:
        """Return where the value is set; None: nothing sets it."""
        return self._of_each.get(path)

    def nearest(self, path: KeyPath) -> SettingLocation:
        """Return the place of the value, else that of the nearest table around it, else where the first file begins."""
        found = (self.of(path[:end]) for end in range(len(path), 0, -1))
        return next((place for place in found if place), SettingLocation(self._sources[0].file, 1))

    @cached_property
    def _of_each(self) -> dict[KeyPath, SettingLocation]:
        places: dict[KeyPath, SettingLocation] = {}
        for source in self._sources:
            lines = _lines_of(source.text.replace("\r\n", "\n"))
            replaced = {
                path for path in lines if path in places and not isinstance(value_at(source.document, path), dict)
            }
            kept = {
                path: place
                for path, place in places.items()
                if replaced.isdisjoint(path[:end] for end in range(1, len(path) + 1))
            }
            places = kept | {path: SettingLocation(source.file, line) for path, line in lines.items()}
        return places


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return both documents in one: tables are merged, and of other values that of ``above`` counts."""
    both = {
        key: merged(below[key], value)
        for key, value in above.items()
        if isinstance(value, dict) and isinstance(below.get(key), dict)
    }
    return {**below, **above, **both}


class TomlError(ValueError):
    """A text is not TOML; ``line`` says where it is wrong."""

    def __init__(self, what: str, line: int) -> None:
        super().__init__(what)
        self.line = line


def parse_toml(text: str) -> dict[str, Any]:
    """Return what a text sets; raises TomlError."""
    try:
        document = tomllib.loads(text)
        level: list[Any] = [document]
        for _ in range(MAX_DEPTH):
            level = [one for value in level for _, one in _items(value)]
        if level:
            raise RecursionError
    except (ValueError, RecursionError) as error:  # besides its own error: of numbers and of nesting without end
        named = re.search(r"\(at line (\d+), column \d+\)$", str(error))
        what = "it is nested too deeply" if isinstance(error, RecursionError) else str(error).partition(" (at ")[0]
        raise TomlError(what, int(named[1]) if named else text.count("\n") + 1) from error
    return document


def _lines_of(text: str) -> dict[KeyPath, int]:
    """Return the line of each value."""
    found: dict[KeyPath, int] = {}
    sizes: dict[KeyPath, int] = {}  # of the lists that [[headers]] make
    table: KeyPath = ()
    for line, statement, content in _statements(text.split("\n")):
        if statement.lstrip().startswith("["):
            table = _table_of(content, sizes)
            paths = [table]
        else:
            paths = [table + path for path, _ in values_in(content)]
        for path in paths:
            for end in range(1, len(path) + 1):
                found.setdefault(path[:end], line)
    return found


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


def _items(value: Any) -> Iterable[tuple[str | int, Any]]:  # noqa: ANN401 - whatever TOML holds
    return value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
