"""Tool JSON Schemas made fit for engines that compile them to a grammar.

llama.cpp turns every schema into GBNF; patterns it does not know, formats and huge bounds make it refuse the whole
request ("failed to parse grammar", llama.cpp#21943 and #20867). What is taken out moves into the description, so
the model still reads it. Enums and required lists are never touched.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from claude_bridge.wire.surrogates import replace_lone_surrogates

EMPTY_SCHEMA = b'{"type":"object","properties":{}}'

MAX_REPETITION = 1_000
"""Larger minLength, maxLength, minItems and maxItems exceed what grammar compilers repeat."""

_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""What holds schemas by names of the user's choice: "format" is no keyword there."""
_ANNOTATIONS = ("$schema", "$id", "$comment")
_BREAKING = ("pattern", "format", "propertyNames")
_BOUNDS = ("minLength", "maxLength", "minItems", "maxItems")
_NUMBER_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_MAX_NUMBER = 2**31


@lru_cache(maxsize=1024)
def compact_schema(schema: bytes) -> bytes:
    """Return the schema in one fixed formatting, without lone surrogates; a pure function of its bytes."""
    return msgspec.json.format(replace_lone_surrogates(schema), indent=-1)


@lru_cache(maxsize=1024)
def schema_for_grammar(schema: bytes) -> bytes:
    """Return the schema without the keywords that grammar compilers choke on; a pure function of its bytes."""
    return msgspec.json.encode(_simplify(msgspec.json.decode(replace_lone_surrogates(schema))))


def _simplify(node: Any) -> Any:  # noqa: ANN401 - a JSON Schema is any JSON
    if isinstance(node, list):
        return [_simplify(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept: dict[str, Any] = {}
    told: list[str] = []
    for key, value in node.items():
        if key in _ANNOTATIONS and isinstance(value, str):
            continue
        if _breaks_grammar(key, value):
            told.append(f"{key}: {msgspec.json.encode(value).decode()}")
        elif key in _BY_NAME and isinstance(value, dict):
            kept[key] = {name: _simplify(schema) for name, schema in value.items()}
        elif key in ("enum", "const", "default", "required", "examples"):
            kept[key] = value
        else:
            kept[key] = _simplify(value)
    if told and not all(note.startswith("propertyNames") for note in told):
        description = kept.get("description", "")
        kept["description"] = f"{description} ({'; '.join(told)})".strip()
    return kept


def _breaks_grammar(key: str, value: Any) -> bool:  # noqa: ANN401 - as above
    if key in _BREAKING:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return (key in _BOUNDS and value > MAX_REPETITION) or (key in _NUMBER_BOUNDS and abs(value) > _MAX_NUMBER)
