"""What a JSON value means as a value of another type, where a model confused the two."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

import msgspec

from claude_bridge.conversion.tool_json.repair import repair_object
from claude_bridge.conversion.tool_json.text import Json, is_json

_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,17})(?:\.\d{1,17})?(?:[eE][+-]?\d{1,2})?")
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}
_NULLS = ("null", "none")
_SEVERAL = re.compile(r"[,;|\s]")
"""What stands between the items of a list that was written as text: how it is to be cut is anybody's guess."""


class Given(NamedTuple):
    """A value, and the JSON text that the model wrote for it: a number's digits, an object's own formatting."""

    value: Json
    text: Callable[[], str]

    @classmethod
    def of(cls, value: Json) -> Given:
        """Return a value that no model wrote."""
        return cls(value, lambda: json.dumps(value, ensure_ascii=False))

    def member(self, name: str) -> Given:
        """Return one member of an object."""
        return Given(self.value[name], lambda: _raw_text(msgspec.json.decode(self.text(), type=_RawMembers)[name]))

    def item(self, at: int) -> Given:
        """Return one item of a list."""
        return Given(self.value[at], lambda: _raw_text(msgspec.json.decode(self.text(), type=_RawItems)[at]))


class Meaning(NamedTuple):
    """What a value means, and how it was given, in a few words."""

    given: Given
    what: str


_RawMembers = dict[str, msgspec.Raw]
_RawItems = list[msgspec.Raw]


def meanings(given: Given, types: Collection[str]) -> Iterator[Meaning]:
    """Yield what the value means in each of the JSON types that can be meant."""
    for name, means in _MEANINGS.items():
        if name in types:
            yield from means(given)


def _raw_text(raw: msgspec.Raw) -> str:
    return bytes(raw).decode().strip()


def _objects(given: Given) -> Iterator[Meaning]:
    if isinstance(given.value, str) and (found := _json_in(given.value, "{")) is not None:
        yield Meaning(found, "an object given as text")
    elif isinstance(given.value, list) and len(given.value) == 1 and isinstance(given.value[0], dict):
        yield Meaning(given.item(0), "an object given as a list")


def _lists(given: Given) -> Iterator[Meaning]:
    value = given.value
    if isinstance(value, str) and (found := _json_in(value, "[")) is not None:
        yield Meaning(found, "a list given as text")
    elif value is not None and not (isinstance(value, str) and (_is_nothing(value) or _SEVERAL.search(value))):
        yield Meaning(Given([value], lambda: f"[{given.text()}]"), "a list of one given as its item")


def _is_nothing(text: str) -> bool:
    return not text or text.lower() in _NULLS


def _numbers(given: Given) -> Iterator[Meaning]:
    text = given.value.strip() if isinstance(given.value, str) else ""
    if _NUMBER.fullmatch(text):
        number: float = float(text)
        whole = int(number) if text.lstrip("-").isdecimal() or number == number // 1 else None
        exact = int(text) if text.lstrip("-").isdecimal() else whole
        yield Meaning(Given(number if exact is None else exact, lambda: text), "a number given as text")
    yield from _only_items(given)


def _booleans(given: Given) -> Iterator[Meaning]:
    said = given.value.strip().lower() if isinstance(given.value, str) else str(given.value)
    if said in _BOOLEANS:
        what = "text" if isinstance(given.value, str) else "a number"
        yield Meaning(Given.of(_BOOLEANS[said]), f"true or false given as {what}")
    yield from _only_items(given)


def _nulls(given: Given) -> Iterator[Meaning]:
    if isinstance(given.value, str) and given.value.strip().lower() in _NULLS:
        yield Meaning(Given.of(None), "null given as text")


def _texts(given: Given) -> Iterator[Meaning]:
    value = given.value
    if isinstance(value, int | float):
        kind = "true or false" if isinstance(value, bool) else "a number"
        yield Meaning(Given.of(given.text()), f"text given as {kind}")
    elif isinstance(value, dict) or (isinstance(value, list) and value and all(isinstance(one, dict) for one in value)):
        # The content of a JSON file, for one: as the model wrote it, not in a formatting of ours.
        yield Meaning(Given.of(given.text()), "text given as JSON")
    else:
        yield from _only_items(given)


def _only_items(given: Given) -> Iterator[Meaning]:
    if isinstance(given.value, list) and len(given.value) == 1 and not isinstance(given.value[0], list | dict):
        yield Meaning(given.item(0), "one value given as a list")


_MEANINGS: dict[str, Callable[[Given], Iterator[Meaning]]] = {
    "object": _objects,
    "array": _lists,
    "integer": _numbers,
    "number": _numbers,
    "boolean": _booleans,
    "null": _nulls,
    "string": _texts,
}
"""In the order of how much a meaning is to be believed: nearly anything could be meant as text."""


def _json_in(text: str, opening: str) -> Given | None:
    """Return the object or list that a text holds, perhaps malformed."""
    text = text.strip()
    if not text.startswith(opening):
        return None
    if not is_json(text):
        # Mending knows objects only.
        mended = repair_object(text if opening == "{" else f'{{"list":{text}}}')
        if mended is None:
            return None
        found = Given(msgspec.json.decode(mended), lambda: mended)
        return found if opening == "{" else found.member("list")
    return Given(msgspec.json.decode(text), lambda: text)
