"""What a schema surely refuses: never what a real validator accepts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from claude_bridge.conversion.tool_json.schema_check import SchemaCheck, TooMuchWorkError
from tests.examples import examples
from tests.schemas import faults, schemas_and_values


def _refusals(value: Any, schema: Any) -> int:
    return SchemaCheck(schema).refusals(value, schema)


@given(schemas_and_values)
@examples(1000)
def test_what_a_validator_accepts_is_never_refused(made: tuple[dict[str, Any], Any]) -> None:
    schema, value = made
    if faults(value, schema) == 0:
        assert _refusals(value, schema) == 0


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        ("a", {"type": "integer"}),
        (True, {"type": "integer"}),
        (1.5, {"type": "integer"}),
        (1, {"type": ["string", "null"]}),
        (None, {"type": "string"}),
        ("b", {"enum": ["a"]}),
        (True, {"enum": [1]}),
        (2, {"const": 1}),
        (0, {"minimum": 1}),
        (1, {"exclusiveMinimum": 1}),
        (3, {"maximum": 2}),
        (3, {"exclusiveMaximum": 3}),
        ("", {"minLength": 1}),
        ("ab", {"maxLength": 1}),
        ([], {"minItems": 1}),
        ([1, 2], {"maxItems": 1}),
        ({}, {"minProperties": 1}),
        ({"a": 1, "b": 2}, {"maxProperties": 1}),
        ("", {"pattern": "^a"}),
        ({}, {"required": ["a"]}),
        ({"a": "x"}, {"properties": {"a": {"type": "integer"}}}),
        ({"b": 1}, {"properties": {"a": {}}, "additionalProperties": False}),
        ({"b": 1}, {"additionalProperties": {"type": "string"}}),
        ([1, "x"], {"items": {"type": "integer"}}),
        ("a", {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ("a", {"oneOf": [{"type": "integer"}]}),
        ("a", {"allOf": [{"type": "string"}, {"minLength": 2}]}),
        ({"a": {"a": 1}}, {"properties": {"a": {"$ref": "#"}}, "additionalProperties": False, "maxProperties": 0}),
        ("a", {"$ref": "#/$defs/x~1y/anyOf/1", "$defs": {"x/y": {"anyOf": [True, {"type": "integer"}]}}}),
        ("a", {"$ref": "#/$defs/x", "$defs": {"x": {"$ref": "#/$defs/y"}, "y": {"type": "integer"}}}),
        (["a"], {"enum": ["a"]}),
        ({}, {"const": 1}),
        (1, False),
    ],
    ids=json.dumps,
)
def test_what_is_refused(value: Any, schema: Any) -> None:
    assert _refusals(value, schema) > 0
    assert faults(value, schema) > 0


BOUNDS = (
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
)


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (2, {"minimum": 2, "maximum": 2}),
        ("ab", {"minLength": 2, "maxLength": 2}),
        ([1], {"minItems": 1, "maxItems": 1}),
        ({"a": 1}, {"minProperties": 1, "maxProperties": 1}),
        *((value, dict.fromkeys(BOUNDS, "x")) for value in (2, "a", [1], {"a": 1})),
        *((value, dict.fromkeys(BOUNDS, bound)) for value in (None, True) for bound in (0, 5)),
        ("a", dict.fromkeys(BOUNDS[:4] + BOUNDS[6:], 5)),
        (5.0, {"type": "integer"}),
        (None, {"type": "string", "nullable": True}),
        ("a", {"nullable": True}),
        ("a", {"type": "any"}),
        ("a", {"type": [{"not": 1}]}),
        ("aaa", {"pattern": "^b"}),
        *(("", {"pattern": f"[{odd}a]"}) for odd in ("[", "b--", "b&&", "b~~", "b||")),
        ("", {"pattern": "a" * 201}),
        ("", {"pattern": "^$"}),
        *((value, {"enum": ["a", inner], "const": inner}) for value, inner in (({}, {"a": 1}), ([], [1]))),
        ("", {"pattern": "a{1001}"}),
        ("", {"pattern": "\\p{L}+"}),
        ("a", {"format": "uri"}),
        ("a", {"$ref": "https://example.com/schema"}),
        ("a", {"$ref": "#/nowhere"}),
        ("a", {"$ref": "#/anyOf/1", "anyOf": [False]}),
        ("a", {"$ref": "#/n/0", "n": 5}),
        ("a", {"$ref": "#"}),
        ({"ab": 1}, {"patternProperties": {"a": {}}, "additionalProperties": False}),
        ([1], {"items": [{"type": "string"}]}),
        ([1], {"prefixItems": [{"type": "string"}]}),
        ([1, "a"], {"prefixItems": [{"type": "integer"}], "items": {"type": "string"}}),
        (1, {"type": 5, "enum": "a", "required": 1, "properties": [], "minimum": "x", "anyOf": {}}),
        (1, "no schema"),
    ],
    ids=json.dumps,
)
def test_what_is_in_doubt_is_not_refused(value: Any, schema: Any) -> None:
    assert _refusals(value, schema) == 0


def test_each_fault_counts() -> None:
    schema = {"properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["c"]}
    assert _refusals({"a": "x", "b": "y"}, schema) == 3


def test_of_alternatives_the_one_with_the_fewest_faults_counts() -> None:
    alternatives = [{"required": ["a", "b"]}, {"required": ["a"]}]
    assert _refusals({}, {"anyOf": alternatives}) == 1


def test_a_check_without_end_is_given_up() -> None:
    schema = {"anyOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]}
    value: list[Any] = []
    for _ in range(60):
        value = [value]
    with pytest.raises(TooMuchWorkError):
        _refusals(value, schema)
