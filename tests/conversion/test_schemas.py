"""Schemas for engines that compile them to a grammar."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from claude_bridge.conversion.schemas import schema_for_grammar


def _simple(schema: Any) -> Any:
    return msgspec.json.decode(schema_for_grammar(msgspec.json.encode(schema)))


@pytest.mark.parametrize(
    ("schema", "simple"),
    [
        ({"type": "string", "pattern": "^\\w+$"}, {"type": "string", "description": '(pattern: "^\\\\w+$")'}),
        (
            {"type": "string", "format": "uri", "description": "A link."},
            {"type": "string", "description": 'A link. (format: "uri")'},
        ),
        ({"type": "string", "maxLength": 1000}, {"type": "string", "maxLength": 1000}),
        ({"type": "string", "maxLength": 1001}, {"type": "string", "description": "(maxLength: 1001)"}),
        ({"type": "array", "minItems": 5000}, {"type": "array", "description": "(minItems: 5000)"}),
        ({"type": "integer", "maximum": 2**53}, {"type": "integer", "description": f"(maximum: {2**53})"}),
        ({"type": "integer", "maximum": 2**70}, {"type": "integer", "description": f"(maximum: {2**70})"}),
        ({"type": "integer", "minimum": 0}, {"type": "integer", "minimum": 0}),
        ({"$schema": "x", "$id": "y", "$comment": "z", "type": "object"}, {"type": "object"}),
        ({"type": "object", "propertyNames": {"pattern": "a"}}, {"type": "object"}),
        ({"properties": {"format": {"type": "string"}}}, {"properties": {"format": {"type": "string"}}}),
        ({"$defs": {"pattern": {"format": "x"}}}, {"$defs": {"pattern": {"description": '(format: "x")'}}}),
        ({"anyOf": [{"format": "x"}, True]}, {"anyOf": [{"description": '(format: "x")'}, True]}),
        ({"enum": [{"format": "x"}], "required": ["format"]}, {"enum": [{"format": "x"}], "required": ["format"]}),
        ({"default": {"pattern": "x"}, "const": 2**40}, {"default": {"pattern": "x"}, "const": 2**40}),
    ],
)
def test_what_breaks_a_grammar_moves_into_the_description(schema: Any, simple: Any) -> None:
    assert _simple(schema) == simple


def test_enums_are_never_cut_and_keys_keep_their_order() -> None:
    schema = {"type": "object", "required": ["b", "a"], "properties": {"b": {"enum": list(range(500))}, "a": {}}}
    assert schema_for_grammar(msgspec.json.encode(schema)) == msgspec.json.encode(schema)
