"""JSON Schemas and values for them, and what a real validator says of the two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError

NAMES = ("path", "limit", "Limit", "file_path", "filePath", "tags", "on")
TYPES = ("string", "integer", "number", "boolean", "null", "object", "array")
WORDS = ("", " ", "5", "-1.50", "true", "False", "null", "a", "a b", "red", "RED", '{"path":"x"}', "[1]", "['a',]")
SCALARS = (*WORDS, None, True, False, 0, 1, 5, -2, 30, 0.5, 1.0, -2.5, 1e21)


def a_value(chance: Random, depth: int = 3) -> Any:
    """Return what a model may write where it should have written something else."""
    match chance.randrange(6 if depth else 4):
        case 4:
            return [a_value(chance, depth - 1) for _ in range(chance.randrange(3))]
        case 5:
            return {name: a_value(chance, depth - 1) for name in chance.sample(NAMES, chance.randrange(4))}
        case _:
            return chance.choice(SCALARS)


def a_tool_schema(chance: Random) -> dict[str, Any]:
    """Return a schema of an object, with keywords of all kinds and references into its own definitions."""
    definitions = {"b": _a_schema(chance, 1, ()), "a": _a_schema(chance, 2, ("b",))}
    schema = _an_object_schema(chance, 3, ("a", "b"))
    return {**schema, "type": "object", "$defs": definitions}


def _a_schema(chance: Random, depth: int, references: tuple[str, ...]) -> Any:
    kind = chance.randrange(10)
    if kind == 0:
        return chance.random() < 0.8
    if kind == 1 and references:
        return {"$ref": f"#/$defs/{chance.choice(references)}"}
    if kind < 6 or not depth:
        return _some(chance, 2, _simple_keywords(chance))
    if kind < 8:
        return _an_object_schema(chance, depth, references)
    inner = [_a_schema(chance, depth - 1, references) for _ in range(2)]
    lists = {"type": "array", "items": inner[0], "prefixItems": inner[1:], "minItems": 1, "uniqueItems": True}
    joins = {"anyOf": inner, "oneOf": inner, "allOf": inner, "if": inner[0], "then": inner[1]}
    return _some(chance, 2, chance.choice([lists, joins]))


def _an_object_schema(chance: Random, depth: int, references: tuple[str, ...]) -> dict[str, Any]:
    properties = {name: _a_schema(chance, depth - 1, references) for name in chance.sample(NAMES, 3)}
    always = {"properties": properties, "required": chance.sample(NAMES, chance.randrange(3))}
    return always | _some(
        chance,
        2,
        {
            "type": chance.choice(["object", ["object", "string"]]),
            "additionalProperties": chance.choice([False, False, True, {"type": chance.choice(TYPES)}]),
            "patternProperties": {chance.choice(["^f", "mit"]): _a_schema(chance, 0, references)},
            "anyOf": [{"required": [chance.choice(NAMES)]}, {"required": [chance.choice(NAMES)]}],
            "allOf": [_a_schema(chance, 0, references)],
            "dependentRequired": {"path": ["limit"]},
            "propertyNames": {"maxLength": chance.randrange(3, 9)},
            "maxProperties": chance.randrange(2, 4),
        },
    )


def _simple_keywords(chance: Random) -> dict[str, Any]:
    return {
        "type": chance.choice([*TYPES, chance.sample(TYPES, 2)]),
        "enum": chance.sample(SCALARS, 2),
        "const": chance.choice(SCALARS),
        "minimum": chance.randrange(-3, 9),
        "exclusiveMaximum": chance.randrange(1, 20),
        "minLength": chance.randrange(3),
        "maxLength": chance.randrange(1, 5),
        "pattern": chance.choice(["^[a-z]+$", "a|^$", r"^\d{1,3}$"]),
        "multipleOf": chance.choice([1, 2, 0.5]),
        "not": {"type": chance.choice(TYPES)},
    }


def _some(chance: Random, at_most: int, keywords: dict[str, Any]) -> dict[str, Any]:
    kept = chance.sample(list(keywords), chance.randrange(1, at_most + 1))
    return {keyword: keywords[keyword] for keyword in keywords if keyword in kept}


def a_value_for(chance: Random, schema: Any, definitions: dict[str, Any]) -> Any:
    """Return a value that the schema may well accept."""
    if isinstance(schema, bool) or chance.random() < 0.1:
        return a_value(chance, 1)
    if "$ref" in schema:
        return a_value_for(chance, definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else chance.choice(schema["enum"])
    for keyword in ("anyOf", "oneOf", "allOf"):
        if keyword in schema and "properties" not in schema:
            return a_value_for(chance, chance.choice(schema[keyword]), definitions)
    if "properties" in schema:
        wanted = [name for name in schema["properties"] if name in schema["required"] or chance.random() < 0.5]
        return {name: a_value_for(chance, schema["properties"][name], definitions) for name in wanted}
    kinds = schema.get("type", chance.choice(TYPES))
    match kinds if isinstance(kinds, str) else chance.choice(kinds):
        case "array":
            inner = schema.get("items", True)
            return [a_value_for(chance, inner, definitions) for _ in range(chance.randrange(3))]
        case "object":
            return {}
        case kind:
            return chance.choice([one for one in SCALARS if _KINDS[kind](one)])


_KINDS: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def _a_schema_and_a_value(chance: Random) -> tuple[dict[str, Any], dict[str, Any]]:
    schema = a_tool_schema(chance)
    value = a_value_for(chance, schema, schema["$defs"])
    return schema, value if isinstance(value, dict) else {}


# From a seed: drawing each choice from hypothesis takes a hundred times as long.
schemas_and_values = st.integers(0, 2**32).map(lambda seed: _a_schema_and_a_value(Random(seed)))
plain_schemas_and_values = schemas_and_values.map(lambda made: (without_rare_keywords(made[0]), made[1]))
"""Schemas of nothing but what tools are declared with."""

RARE = frozenset(
    ("not", "if", "then", "prefixItems", "patternProperties", "dependentRequired", "propertyNames", "uniqueItems")
)


def without_rare_keywords(schema: Any) -> Any:
    """Return a schema with the keywords that nearly no tool has left out."""
    if isinstance(schema, list):
        return [without_rare_keywords(one) for one in schema]
    if isinstance(schema, dict):
        return {keyword: without_rare_keywords(given) for keyword, given in schema.items() if keyword not in RARE}
    return schema


def faults(value: Any, schema: Any) -> int:
    """Return in how many places a real validator finds fault with the value; 0 where it is valid.

    A validator tells only of the type where that is wrong, and of several properties too many in one error: places
    can be compared before and after a repair, and errors can't.
    """
    return len({place for error in Draft202012Validator(schema).iter_errors(value) for place in _places(error)})


def _places(error: ValidationError) -> Iterator[tuple[str | int, ...]]:
    path, given, wanted = tuple(error.absolute_path), error.instance, error.validator_value
    match error.validator:
        case "additionalProperties" if wanted is False:
            assert isinstance(given, dict)
            assert isinstance(error.schema, dict)
            yield from ((*path, name) for name in given.keys() - error.schema.get("properties", {}))
        case "required":
            assert isinstance(given, dict)
            assert isinstance(wanted, list)
            yield from ((*path, name) for name in wanted if name not in given)
        case _:
            yield path
