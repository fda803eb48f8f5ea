"""Schemas for engines that compile them to a grammar, and for Ollama, which keeps few keywords."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.conversion.tool_json.schema_reduce import (
    MAX_NARROW_NODES,
    NarrowSchema,
    holds_strictly,
    narrow_schema,
    plain_schema,
    schema_for_grammar,
)


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


# --- few keywords -------------------------------------------------------------------------------------------


def _narrow(schema: Any) -> NarrowSchema:
    return narrow_schema(msgspec.json.encode(schema))


def _property(schema: Any, **top: Any) -> Any:
    """Return what becomes of a schema as a property."""
    narrow = msgspec.json.decode(_narrow({"type": "object", "properties": {"p": schema}} | top).schema)
    return narrow["properties"]["p"]


@pytest.mark.parametrize(
    ("schema", "narrow"),
    [
        ({"type": "string", "description": "d"}, {"type": "string", "description": "d"}),
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
        ({"const": "a"}, {"enum": ["a"], "type": "string"}),
        ({"const": 1}, {"enum": [1]}),
        ({"enum": ["a", "b"]}, {"enum": ["a", "b"], "type": "string"}),
        ({"oneOf": [{"type": "string"}, {"const": None}]}, {"anyOf": [{"type": "string"}, {"enum": [None]}]}),
        ({"anyOf": [{}], "oneOf": [True]}, {"anyOf": [{}, {}]}),
        ({"type": "string", "pattern": "^a"}, {"type": "string", "description": '(pattern: "^a")'}),
        ({"description": "d", "default": 1, "minimum": 0}, {"description": "d (default: 1; minimum: 0)"}),
        ({"additionalProperties": False, "title": "T", "$comment": "c"}, {}),
        ({"additionalProperties": {"const": 1}}, {"description": '(additionalProperties: {"enum":[1]})'}),
        ({"patternProperties": {"a": {"const": 1}}}, {"description": '(patternProperties: {"a":{"enum":[1]}})'}),
        ({"items": {"minLength": 1}}, {"items": {"description": "(minLength: 1)"}}),
        ({"items": {"required": ["a"]}}, {"items": {"required": ["a"]}}),
        ({"prefixItems": [{"const": 1}]}, {"description": '(prefixItems: [{"enum":[1]}])'}),
        ({"required": ["a"]}, {"required": ["a"], "description": '(required: ["a"])'}),
        (True, {}),
        (False, {"description": "(no value is allowed)"}),
        ("odd", {}),
        ({"type": 3, "enum": "odd"}, {"description": '(type: 3; enum: "odd")'}),
    ],
)  # fmt: skip
def test_a_property_says_in_few_keywords_what_it_said_in_many(schema: Any, narrow: Any) -> None:
    assert _property(schema) == narrow


def test_references_are_put_in_place() -> None:
    defs = {"a/b": {"type": "string", "description": "theirs"}, "c": {"$ref": "#/$defs/a~1b"}}
    assert _property({"$ref": "#/$defs/c"}, **{"$defs": defs}) == defs["a/b"]
    assert _property({"$ref": "#/$defs/c", "description": "mine"}, **{"$defs": defs})["description"] == "mine"
    assert _property({"$ref": "#/definitions/0"}, definitions=[{"type": "null"}]) == {"type": "null"}


@pytest.mark.parametrize("reference", ["https://e.com/a.json", "#/$defs/none", "#/definitions/7", "#anchor"])
def test_a_reference_that_leads_nowhere_is_told(reference: str) -> None:
    assert _property({"$ref": reference, "type": "object"}, definitions=[]) == {
        "type": "object",
        "description": f'(refers to: "{reference}")',
    }


def test_a_reference_to_what_holds_it_is_cut() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}, "name": {"type": "string"}}}
    found = _property({"$ref": "#/$defs/node"}, **{"$defs": {"node": node}})
    assert found["properties"]["name"] == {"type": "string"}
    assert found["properties"]["next"] == {"type": "object", "description": '(the same again as: "node")'}
    assert _property({"$ref": "#/$defs/me"}, **{"$defs": {"me": {"$ref": "#/$defs/me"}}}) == {
        "description": '(the same again as: "me")'
    }
    assert _property({"$ref": "#"})["properties"]["p"] == {"type": "object", "description": '(the same again as: "#")'}


@pytest.mark.parametrize("keyword", ["properties", "allOf", "anyOf"])
def test_definitions_that_multiply_do_not_grow_without_end(keyword: str) -> None:
    def twice(name: str) -> Any:
        reference = {"$ref": f"#/$defs/{name}"}
        return {keyword: {"a": reference, "b": reference} if keyword == "properties" else [reference, reference]}

    defs = {f"d{at}": twice(f"d{at + 1}") for at in range(40)} | {"d40": {"type": "string"}}
    narrow = _narrow({"properties": {"p": {"$ref": "#/$defs/d0"}}, "$defs": defs})
    assert len(narrow.schema) < 100 * MAX_NARROW_NODES


def test_what_all_of_several_schemas_say_is_merged() -> None:
    parts = [
        {"properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"properties": {"b": {}}, "required": ["b", "a"]},
    ]
    found = _property({"allOf": parts, "type": "object", "required": ["c"]})
    assert found["properties"] == {"a": {"type": "string"}, "b": {}}
    assert found["required"] == ["c", "a", "b"]


def test_what_all_of_several_schemas_say_differently_is_told() -> None:
    # As Claude Code's SendMessage has it.
    parts: list[Any] = [
        {"pattern": "^a"},
        {"pattern": "b$", "type": "string"},
        {"description": "More.", "minLength": 1},
    ]
    found = _property({"type": "string", "description": "To whom.", "allOf": parts})
    assert found == {"type": "string", "description": 'To whom. (pattern: "b$") More. (minLength: 1; pattern: "^a")'}
    parts = [{"properties": {"a": {"description": "One."}}}, {"properties": {"a": {"description": "Two."}}}]
    assert _property({"allOf": parts})["properties"] == {"a": {"description": "One. Two."}}


def test_a_schema_whose_grammar_was_simplified_says_the_same_in_few_keywords() -> None:
    schema = {"properties": {"to": {"description": "To whom.", "allOf": [{"pattern": "^a"}, {"pattern": "b$"}]}}}
    narrow = narrow_schema(schema_for_grammar(msgspec.json.encode(schema)))
    told = msgspec.json.decode(narrow.schema)["properties"]["to"]["description"]
    assert told == 'To whom. (pattern: "^a") (pattern: "b$")'


def test_the_top_is_always_an_object_and_what_it_cant_say_goes_to_the_tool() -> None:
    assert _narrow({}) == NarrowSchema(b'{"type":"object","properties":{}}', "")
    narrow = _narrow({"description": "d", "minProperties": 1, "required": ["a", 1], "type": ["object", "null"]})
    assert narrow == NarrowSchema(b'{"type":"object","properties":{},"required":["a"]}', "d (minProperties: 1)")
    either = _narrow({"anyOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}, "required": ["b"]}]})
    assert either.schema == b'{"type":"object","properties":{"a":{},"b":{}}}'
    assert either.notes == '(one of: [{"properties":{"a":{}}},{"properties":{"b":{}},"required":["b"]}])'


_keywords = st.sampled_from(
    ["type", "description", "enum", "const", "items", "required", "$ref", "format", "default", "additionalProperties"]
)
_names = st.sampled_from(["string", "object", "#/$defs/a", "#/$defs/b", "#", "a", ""])
_schemas = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | _names,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_keywords, inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["properties", "$defs", "patternProperties"]),
            st.dictionaries(st.sampled_from(["a", "b", "type"]), inner, max_size=3),
            max_size=2,
        )
        | st.dictionaries(st.sampled_from(["anyOf", "oneOf", "allOf"]), st.lists(inner, max_size=3), max_size=2)
    ),
    max_leaves=25,
)


@given(st.dictionaries(_keywords, _schemas, max_size=3), st.dictionaries(st.sampled_from("ab"), _schemas, max_size=2))
def test_any_schema_becomes_one_that_ollamas_structs_can_read(top: dict[str, Any], defs: dict[str, Any]) -> None:
    schema = top | {"properties": defs, "$defs": defs}
    narrow = msgspec.json.decode(_narrow(schema).schema)
    assert set(narrow) <= {"type", "properties", "required"}
    assert narrow["type"] == "object"
    assert list(narrow["properties"]) == list(defs)
    for found in narrow["properties"].values():
        _assert_readable(found)


def _assert_readable(found: Any) -> None:
    """Assert that Go's decoder takes a property, and loses nothing of it."""
    assert set(found) <= {"type", "description", "enum", "anyOf", "items", "properties", "required"}
    kinds = found.get("type", "")
    assert isinstance(kinds, str) or all(isinstance(kind, str) for kind in kinds)
    assert isinstance(found.get("description", ""), str)
    assert isinstance(found.get("enum", []), list)
    assert all(isinstance(name, str) for name in found.get("required", []))
    for inner in [*found.get("anyOf", []), *found.get("properties", {}).values()]:
        _assert_readable(inner)
    if "items" in found:
        _assert_readable(found["items"])


@pytest.mark.parametrize(
    ("schema", "is_strict"),
    [
        ({"type": "object", "properties": {}, "additionalProperties": False}, True),
        ({"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False}, True),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": False}, False),
        ({"type": "object", "properties": {"a": {}}, "required": ["a"]}, False),
        ({"type": "object"}, False),
        ({"type": "array", "items": {"type": "object"}}, False),
        ({"anyOf": [{"type": "string"}, {"properties": {}}]}, False),
        ({"$defs": {"a": {"type": "object"}}, "$ref": "#/$defs/a"}, False),
        ({"enum": [{"type": "object"}], "default": {"properties": {}}}, True),
    ],
)
def test_a_schema_can_be_held_to_strictly_if_nothing_is_left_open(schema: Any, is_strict: bool) -> None:
    assert holds_strictly(json.dumps(schema).encode()) is is_strict


@pytest.mark.parametrize(
    ("schema", "plain"),
    [
        ({"type": "wat"}, {"description": '(type: "wat")'}),
        ({"type": ["string", "wat"]}, {"description": '(type: ["string","wat"])'}),
        ({"enum": []}, {"description": "(enum: [])"}),
        ({"$ref": "#/$defs/nowhere"}, {"description": '(refers to: "#/$defs/nowhere")'}),
        ({"type": "array", "minItems": 5000}, {"type": "array", "description": "(minItems: 5000)"}),
        ({"anyOf": [{"pattern": "x"}]}, {"anyOf": [{"description": '(pattern: "x")'}]}),
    ],
)
def test_a_plain_schema_holds_nothing_that_a_grammar_could_not_take(schema: Any, plain: Any) -> None:
    assert json.loads(plain_schema(json.dumps(schema).encode())) == plain
