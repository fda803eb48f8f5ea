"""What a JSON Schema surely refuses of a value.

Not a validator: keywords that are not known here refuse nothing, and of ``oneOf`` only that one must hold. So a value
that a real validator accepts is never called refused, whichever draft it goes by.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from claude_bridge.conversion.tool_json.refs import resolve_reference
from claude_bridge.conversion.tool_json.text import Json

MAX_STEPS = 50_000
"""With schemas that refer to themselves a small value can go a long way."""


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: dict[str, Callable[[Json], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: _is_number(value) and value == value // 1,
    "number": _is_number,
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
}

_ODD_IN_SETS = ("[[", "--", "&&", "~~", "||")
"""In sets of characters Python means to give these a meaning of their own one day, and warns of it."""


_REFUSES: dict[str, Callable[[Json, Json], bool]] = {
    "enum": lambda value, options: isinstance(options, list) and not any(_is_same(value, one) for one in options),
    "const": lambda value, only: not _is_same(value, only),
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
    "pattern": lambda value, pattern: value == "" and _refuses_nothing_written(pattern),
}
"""Whether a keyword with its argument refuses a value."""


class EndlessCheckError(Exception):
    """The schema and the value are too much for each other."""


class SchemaCheck:
    """Counts refusals by one schema document, in which references are looked up; good for MAX_STEPS values."""

    def __init__(self, document: Json) -> None:
        self._document = document
        self._steps_left = MAX_STEPS

    def refusals(self, value: Json, schema: Json) -> int:
        """Return how many faults the schema surely finds in the value; 0 where it may accept it.

        Raises:
            EndlessCheckError: there is no end to it.
        """
        self._steps_left -= 1
        if self._steps_left < 0:
            raise EndlessCheckError
        schema = self.resolved(schema)
        if not isinstance(schema, dict):
            return int(schema is False)
        if not has_type(value, schema):
            return 1
        found = sum(keyword in _REFUSES and _REFUSES[keyword](value, given) for keyword, given in schema.items())
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
        followed: set[str] = set()
        while isinstance(schema, dict) and isinstance(name := schema.get("$ref"), str):
            if name in followed:
                return True
            followed.add(name)
            target = resolve_reference(self._document, name)
            schema = True if target is None else target
        return schema

    def _refusals_of_members(self, value: dict[str, Json], schema: dict[str, Json]) -> int:
        found = sum(name not in value for name in list_in(schema, "required") if isinstance(name, str))
        return found + sum(self.refusals(inner, self.member_schema(schema, name)) for name, inner in value.items())

    def member_schema(self, schema: dict[str, Json], name: str) -> Json:
        """Return the schema for a property, declared or not."""
        properties = dict_in(schema, "properties")
        if name in properties:
            return properties[name]
        # A name that a pattern may match has a schema that is not looked for.
        return True if dict_in(schema, "patternProperties") else schema.get("additionalProperties", True)


def has_type(value: Json, schema: dict[str, Json]) -> bool:
    """Return whether the value may be of the type that the schema names; a type that is not known may be any."""
    names = types_in(schema)
    return not names or any(name not in _TYPES or _TYPES[name](value) for name in names)


def type_of(value: Json) -> str:
    """Return the name of a value's type; "integer" for whole numbers."""
    return next(name for name, is_one in _TYPES.items() if is_one(value))


def types_in(schema: dict[str, Json]) -> list[str]:
    """Return the names of the types that a schema allows; none where it names none."""
    named = schema.get("type")
    names = [named] if isinstance(named, str) else list_in(schema, "type")
    names = [name for name in names if isinstance(name, str)]
    return [*names, "null"] if names and schema.get("nullable") is True else names  # OpenAPI's way


def item_schema(schema: dict[str, Json], at: int) -> Json:
    """Return the schema for the item at a place of a list."""
    items = schema.get("items", True)
    # Drafts disagree about what is given for each place.
    return True if isinstance(items, list) or at < len(list_in(schema, "prefixItems")) else items


def list_in(schema: dict[str, Json], keyword: str) -> list[Json]:
    """Return a keyword's list, empty where it has none."""
    found = schema.get(keyword)
    return found if isinstance(found, list) else []


def dict_in(schema: dict[str, Json], keyword: str) -> dict[str, Json]:
    """Return a keyword's object, empty where it has none."""
    found = schema.get(keyword)
    return found if isinstance(found, dict) else {}


def _are_numbers(value: Json, limit: Json) -> bool:
    return _is_number(value) and _is_number(limit)


def _has_size(value: Json, kind: type, limit: Json) -> bool:
    return isinstance(value, kind) and isinstance(limit, int)


def _is_same(one: Json, other: Json) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _refuses_nothing_written(pattern: Json) -> bool:
    """Return whether an empty text does not match; of others it isn't asked, since that can take for ever."""
    if not isinstance(pattern, str) or any(odd in pattern for odd in _ODD_IN_SETS):
        return False
    try:
        return re.search(pattern, "") is None
    except (re.error, RecursionError, OverflowError):  # other languages' patterns
        return False
