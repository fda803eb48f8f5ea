"""What a JSON value means as a value of another type, where a model confused the two."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import msgspec

from claude_bridge.conversion.tool_json.repair import repair_object
from claude_bridge.conversion.tool_json.schema_check import WorkBudget
from claude_bridge.conversion.tool_json.text import Json, is_json

_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,17})(?:\.\d{1,17})?(?:[eE][+-]?\d{1,2})?")
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}
_NULLS = ("null", "none")
_SEVERAL = re.compile(r"[,;|\s]")
"""What stands between the items of a list that was written as text: how it is to be cut is anybody's guess."""

_DECODED_CHARS_PER_STEP = 256
_REPAIRED_CHARS_PER_STEP = 32


class RawValue:
    """A value, and the JSON text that the model wrote for it: a number's digits, an object's own formatting."""

    def __init__(self, value: Json, text: Callable[[], str], budget: WorkBudget) -> None:
        self.value = value
        self.text = text
        self.budget = budget
        self._parts: Any = None

    def becomes(self, value: Json) -> RawValue:
        """Return a value in this one's place that no model wrote."""
        return RawValue(value, lambda: json.dumps(value, ensure_ascii=False), self.budget)

    def part(self, key: str | int) -> RawValue:
        """Return one member of an object, or one item of a list."""
        return RawValue(self.value[key], lambda: self._part_text(key), self.budget)

    def _part_text(self, key: str | int) -> str:
        if self._parts is None:
            text = self.text()
            self.budget.spend(len(text) // _DECODED_CHARS_PER_STEP)
            kind = dict[str, msgspec.Raw] if isinstance(self.value, dict) else list[msgspec.Raw]
            self._parts = msgspec.json.decode(text, type=kind)
        return bytes(self._parts[key]).decode().strip()


class Meaning(NamedTuple):
    """What a value means, and how it was given, in a few words."""

    raw: RawValue
    what: str


def meanings(raw: RawValue, types: Collection[str]) -> Iterator[Meaning]:
    """Yield what the value means in each of the JSON types that can be meant."""
    for name, means in _MEANINGS.items():
        if name in types:
            yield from means(raw)


def _objects(raw: RawValue) -> Iterator[Meaning]:
    if isinstance(raw.value, str) and (found := _json_in(raw, "{")) is not None:
        yield Meaning(found, "an object given as text")
    elif isinstance(raw.value, list) and len(raw.value) == 1 and isinstance(raw.value[0], dict):
        yield Meaning(raw.part(0), "an object given as a list")


def _lists(raw: RawValue) -> Iterator[Meaning]:
    value = raw.value
    if isinstance(value, str) and (found := _json_in(raw, "[")) is not None:
        yield Meaning(found, "a list given as text")
    elif value is not None and not (
        isinstance(value, str) and (value.lower() in ("", *_NULLS) or _SEVERAL.search(value))
    ):
        yield Meaning(RawValue([value], lambda: f"[{raw.text()}]", raw.budget), "a list of one given as its item")


def _numbers(raw: RawValue) -> Iterator[Meaning]:
    text = raw.value.strip() if isinstance(raw.value, str) else ""
    if _NUMBER.fullmatch(text):
        number: float = int(text) if text.lstrip("-").isdecimal() else float(text)
        whole_or_not = int(number) if number == number // 1 else number
        yield Meaning(RawValue(whole_or_not, lambda: text, raw.budget), "a number given as text")
    yield from _only_items(raw)


def _booleans(raw: RawValue) -> Iterator[Meaning]:
    value = raw.value
    text = value.strip().lower() if isinstance(value, str) else str(value) if isinstance(value, int | float) else ""
    if text in _BOOLEANS:
        what = "text" if isinstance(value, str) else "a number"
        yield Meaning(raw.becomes(_BOOLEANS[text]), f"true or false given as {what}")
    yield from _only_items(raw)


def _nulls(raw: RawValue) -> Iterator[Meaning]:
    if isinstance(raw.value, str) and raw.value.strip().lower() in _NULLS:
        yield Meaning(raw.becomes(None), "null given as text")


def _texts(raw: RawValue) -> Iterator[Meaning]:
    value = raw.value
    if isinstance(value, int | float):
        kind = "true or false" if isinstance(value, bool) else "a number"
        yield Meaning(raw.becomes(raw.text()), f"text given as {kind}")
    elif isinstance(value, dict) or (isinstance(value, list) and value and all(isinstance(one, dict) for one in value)):
        # The content of a JSON file, for one: as the model wrote it, not in a formatting of ours.
        yield Meaning(raw.becomes(raw.text()), "text given as JSON")
    else:
        yield from _only_items(raw)


def _only_items(raw: RawValue) -> Iterator[Meaning]:
    if isinstance(raw.value, list) and len(raw.value) == 1 and not isinstance(raw.value[0], list | dict):
        yield Meaning(raw.part(0), "one value given as a list")


_MEANINGS: dict[str, Callable[[RawValue], Iterator[Meaning]]] = {
    "object": _objects,
    "array": _lists,
    "integer": _numbers,
    "number": _numbers,
    "boolean": _booleans,
    "null": _nulls,
    "string": _texts,
}
"""In the order of how much a meaning is to be believed: nearly anything could be meant as text."""


def _json_in(raw: RawValue, opening: str) -> RawValue | None:
    """Return the object or list that a text holds, perhaps malformed."""
    text = raw.value.strip()
    if not text.startswith(opening):
        return None
    if is_json(text):
        return RawValue(msgspec.json.decode(text), lambda: text, raw.budget)
    raw.budget.spend(len(text) // _REPAIRED_CHARS_PER_STEP)
    # Repair knows objects only.
    repaired = repair_object(text if opening == "{" else f'{{"list":{text}}}')
    if repaired is None:
        return None
    found = RawValue(msgspec.json.decode(repaired), lambda: repaired, raw.budget)
    return found if opening == "{" else found.part("list")
