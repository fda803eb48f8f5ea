"""What a JSON Schema surely refuses of a value.

Not a validator: keywords that are not known here refuse nothing, and of ``oneOf`` only that one must hold. So a value
that a real validator accepts is never called refused, whichever draft it goes by.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from decimal import Decimal
from functools import lru_cache
from math import prod
from urllib.parse import unquote

from claude_bridge.conversion.tool_json.text import Json
from claude_bridge.wire.lenient_json import list_in, object_in

MAX_STEPS = 40_000
"""Of the work on the inputs of one answer, each some two microseconds; an input of 500 edits takes 1,500 of them."""

_NAMES_PER_STEP = 16
_REFERENCE_STEPS = 10


class TooMuchWorkError(Exception):
    """The schema and the value are too much for each other."""


class WorkBudget:
    """Counts the steps of the work on the inputs of one answer."""

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self._left = steps

    def spend(self, steps: int) -> None:
        """Take note of work; raises TooMuchWorkError once it is more than there may be."""
        self._left -= steps
        if self._left < 0:
            raise TooMuchWorkError


def is_number(value: Json) -> bool:
    """Return whether the value is a JSON number."""
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


TYPES: dict[str, Callable[[Json], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: is_number(value) and value == value // 1,
    "number": is_number,
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
}

_ODD_IN_SETS = ("[[", "--", "&&", "~~", "||")
"""In sets of characters Python means to give these a meaning of their own one day, and warns of it."""


_MAX_PATTERN_CHARS = 200
_MAX_REPETITIONS = 1_000
_REPETITIONS = re.compile(r"\{(\d+)")


@lru_cache(maxsize=256)
def _refuses_nothing_written(pattern: str) -> bool:
    """Return whether an empty text surely does not match; others are not tried, since that can take for ever."""
    repetitions = prod(int(digits[:9]) or 1 for digits in _REPETITIONS.findall(pattern[:_MAX_PATTERN_CHARS]))
    if len(pattern) > _MAX_PATTERN_CHARS or repetitions > _MAX_REPETITIONS:
        return False  # nested, they take for ever even on nothing
    if any(odd in pattern for odd in _ODD_IN_SETS):
        return False
    try:
        return re.search(pattern, "") is None
    except (re.error, RecursionError, OverflowError):  # other languages' patterns
        return False


_REFUSES: dict[str, Callable[[Json, Json], bool]] = {
    "minimum": lambda value, limit: _are_numbers(value, limit) and value < limit,
    "maximum": lambda value, limit: _are_numbers(value, limit) and value > limit,
    "exclusiveMinimum": lambda value, limit: _are_numbers(value, limit) and value <= limit,
    "exclusiveMaximum": lambda value, limit: _are_numbers(value, limit) and value >= limit,
    "minLength": lambda value, limit: _has_size(value, str, limit) and len(value) < limit,
    "maxLength": lambda value, limit: _has_size(value, str, limit) and len(value) > limit,
    "minItems": lambda value, limit: _has_size(value, list, limit) and len(value) < limit,
    "maxItems": lambda value, limit: _has_size(value, list, limit) and len(value) > limit,
    "minProperties": lambda value, limit: _has_size(value, dict, limit) and len(value) < limit,
    "maxProperties": lambda value, limit: _has_size(value, dict, limit) and len(value) > limit,
    "pattern": lambda value, pattern: value == "" and isinstance(pattern, str) and _refuses_nothing_written(pattern),
}
"""Whether a keyword with its argument refuses a value."""


class SchemaCheck:
    """Counts refusals by one schema document, in which references are looked up, within a budget."""

    def __init__(self, document: Json, budget: WorkBudget | None = None) -> None:
        self.budget = budget or WorkBudget()
        self._document = document
        self._resolved: dict[str, Json] = {}
        self._options: dict[int, frozenset[Hashable]] = {}  # by the identity of a list in the document

    def refusals(self, value: Json, schema: Json) -> int:
        """Return how many faults the schema surely finds in the value; 0 where it may accept it.

        Raises:
            TooMuchWorkError: the budget is spent.
        """
        self.budget.spend(1)
        schema = self.resolved(schema)
        if not isinstance(schema, dict):
            return int(schema is False)
        if not has_type(value, schema):
            return 1
        found = sum(_REFUSES[keyword](value, schema[keyword]) for keyword in _REFUSES.keys() & schema.keys())
        found += "enum" in schema and self._is_no_option(value, schema["enum"])
        found += "const" in schema and _distinct(value) != _distinct(schema["const"])
        for keyword in ("anyOf", "oneOf"):
            if branches := list_in(schema, keyword):
                found += min(self.refusals(value, branch) for branch in branches)
        for part in list_in(schema, "allOf"):
            found += self.refusals(value, part)
        if isinstance(value, dict):
            found += self._refusals_of_members(value, schema)
        elif isinstance(value, list):
            found += sum(self.refusals(item, item_schema(schema, at)) for at, item in enumerate(value))
        return found

    def resolved(self, schema: Json) -> Json:
        """Return the schema that a reference names, and any other as it is.

        What stands beside a reference counts for newer drafts only, and is left out. A reference that leads out of
        the document, or in a circle, accepts all.
        """
        if not isinstance(schema, dict) or not isinstance(first := schema.get("$ref"), str):
            return schema
        if first not in self._resolved:
            self._resolved[first] = self._followed(first)
        return self._resolved[first]

    def _followed(self, name: str) -> Json:
        followed: set[str] = set()
        while name not in followed:
            followed.add(name)
            self.budget.spend(_REFERENCE_STEPS + len(name) // _NAMES_PER_STEP)
            target = resolve_reference(self._document, name)
            if not isinstance(target, dict) or not isinstance(target.get("$ref"), str):
                return True if target is None else target
            name = target["$ref"]
        return True

    def _is_no_option(self, value: Json, options: Json) -> bool:
        """Return whether a value is surely none of the options."""
        if not isinstance(options, list):
            return False
        known = self._options.get(id(options))
        if known is None:
            self.budget.spend(len(options) // _NAMES_PER_STEP)
            known = self._options[id(options)] = frozenset(map(_distinct, options))
        return _distinct(value) not in known

    def _refusals_of_members(self, value: dict[str, Json], schema: dict[str, Json]) -> int:
        required = list_in(schema, "required")
        self.budget.spend(len(required) // _NAMES_PER_STEP)
        found = sum(name not in value for name in required if isinstance(name, str))
        return found + sum(self.refusals(inner, self.member_schema(schema, name)) for name, inner in value.items())

    def member_schema(self, schema: dict[str, Json], name: str) -> Json:
        """Return the schema for a property, declared or not."""
        properties = object_in(schema, "properties")
        if name in properties:
            return properties[name]
        # A name that a pattern may match has a schema that is not looked for.
        return True if object_in(schema, "patternProperties") else schema.get("additionalProperties", True)


def resolve_reference(document: Json, reference: str) -> Json:
    """Return the value that a JSON pointer such as ``#/$defs/node`` names, or None where it names nothing.

    References to other documents and to anchors name nothing here (RFC 6901, section 6).
    """
    if not reference.startswith("#") or (reference[1:2] not in ("", "/")):
        return None
    found = document
    for step in unquote(reference[1:]).split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict):
            found = found.get(name)
        elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            return None
    return found


def has_type(value: Json, schema: dict[str, Json]) -> bool:
    """Return whether the value may be of the type that the schema names; a type that is not known may be any."""
    names = types_in(schema)
    return not names or any(name not in TYPES or TYPES[name](value) for name in names)


def type_of(value: Json) -> str:
    """Return the name of a value's type; "integer" for whole numbers."""
    return next(name for name, is_one in TYPES.items() if is_one(value))


def types_in(schema: dict[str, Json]) -> list[str]:
    """Return the names of the types that a schema allows; none where it names none."""
    named = schema.get("type")
    names = [named] if isinstance(named, str) else list_in(schema, "type")
    names = [name for name in names if isinstance(name, str)]
    return [*names, "null"] if names and schema.get("nullable") is True else names  # OpenAPI's way


def item_schema(schema: dict[str, Json], at: int) -> Json:
    """Return the schema for the item at a place of a list."""
    # Drafts disagree about what is given for each place; a list of schemas, as older ones have it, refuses nothing.
    return True if at < len(list_in(schema, "prefixItems")) else schema.get("items", True)


def _are_numbers(value: Json, limit: Json) -> bool:
    return is_number(value) and is_number(limit)


def _has_size(value: Json, kind: type, limit: Json) -> bool:
    return isinstance(value, kind) and isinstance(limit, int)


def _distinct(value: Json) -> Hashable:
    """Return a key that distinguishes scalars as JSON does, where true is not 1; all objects and lists are alike."""
    return None if isinstance(value, dict | list) else (isinstance(value, bool), value)
