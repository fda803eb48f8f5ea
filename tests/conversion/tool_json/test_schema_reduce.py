"""Schemas in each dialect: as OpenAI checks them, for grammars, in Ollama's few keywords, in Gemini's."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.conversion.profile import SchemaDialect
from claude_bridge.conversion.tool_json.schema_reduce import (
    GROWTH_BYTES,
    MAX_SCHEMA_BYTES,
    ReducedSchema,
    can_be_strict,
    reduce_answer_schema,
    reduce_tool_schema,
    reduced_schemas,
)
from claude_bridge.errors import InvalidRequestError
from tests.growth import assert_linear
from tests.schema_refusals import BOMBS, ODD_SCHEMAS, gemini_refusal, nested, openai_refusal
from tests.schemas import a_tool_schema

ONE_OF = (
    '(one of: [{"properties":{"url":{"type":"string"}},"required":["url"]},'
    '{"properties":{"path":{"type":"string"}},"required":["path"]}])'
)
DIALECTS: tuple[SchemaDialect, ...] = ("json-schema", "grammar", "few-keywords", "openapi")
every_dialect = pytest.mark.parametrize("dialect", DIALECTS)


def _tool(schema: Any, dialect: SchemaDialect) -> ReducedSchema:
    return reduce_tool_schema(msgspec.json.encode(schema), dialect)


def _declared(schema: Any, dialect: SchemaDialect) -> list[dict[str, Any]]:
    parameters = json.loads(_tool(schema, dialect).schema)
    return [{"type": "function", "function": {"name": "mcp__a__b", "parameters": parameters}}]


# --- as OpenAI checks it --------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", ODD_SCHEMAS.values(), ids=ODD_SCHEMAS)
def test_what_openai_would_refuse_it_gets_in_a_form_that_it_takes(schema: Any) -> None:
    assert openai_refusal([{"function": {"name": "a", "parameters": schema}}]) or "$ref" in json.dumps(schema)
    assert openai_refusal(_declared(schema, "json-schema")) is None


@given(st.integers(0, 2**32))
def test_any_schema_is_one_that_openai_takes(seed: int) -> None:
    assert openai_refusal(_declared(_an_odd_schema(Random(seed)), "json-schema")) is None


def test_a_schema_that_openai_takes_stays_as_it_is() -> None:
    schema = (
        b'{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"object","properties":{"a":{"type":"array",'
        b'"items":{"type":"string","pattern":"^a"},"maxItems":5},"n":{"type":["number","null"],"minimum":1e-3,"default"'
        b':1.10},"o":{"type":"object"},"r":{"$ref":"#/$defs/x"}},"required":["a"],"additionalProperties":false,"$defs":'
        b'{"x":{"anyOf":[{"const":1},{"type":"null"}]}}}'
    )
    spaced = schema.replace(b":", b" : ").replace(b"https : ", b"https:")
    assert reduce_tool_schema(spaced, "json-schema") == ReducedSchema(schema)


@pytest.mark.parametrize(
    ("schema", "parameters", "notes"),
    [
        ({}, {"type": "object", "properties": {}}, ""),
        ({"type": "string"}, {"type": "object", "properties": {}}, ""),
        (True, {"type": "object", "properties": {}}, ""),
        ({"enum": [{}], "const": {}}, {"type": "object", "properties": {}}, "(enum: [{}]) (const: {})"),
        (
            {"anyOf": [{"properties": {"a": {"type": "string"}}}, {"properties": {"a": {"type": "integer"}}}]},
            {"properties": {"a": {"type": "string"}}, "type": "object"},
            '(one of: [{"properties":{"a":{"type":"string"}}},{"properties":{"a":{"type":"integer"}}}])',
        ),
        (
            {"properties": {"a": {"required": True}, "b": {"type": ["array", "null"]}}, "required": ["b"]},
            {
                "type": "object",
                "properties": {"a": {}, "b": {"type": ["array", "null"], "items": {}}},
                "required": ["b"],
            },
            "",
        ),
        (
            ODD_SCHEMAS["one of several objects"],
            {"type": "object", "properties": {"url": {"type": "string"}, "path": {"type": "string"}}},
            ONE_OF,
        ),
        (
            ODD_SCHEMAS["draft 4"],
            {
                "type": "object",
                "properties": {
                    "n": {"type": "integer", "exclusiveMinimum": 0},
                    "pair": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "number"}]}},
                },
                "required": ["n"],
            },
            "",
        ),
        (
            {"properties": {"n": {"minimum": 3, "exclusiveMinimum": False, "maximum": 5, "exclusiveMaximum": True}}},
            {"type": "object", "properties": {"n": {"minimum": 3, "exclusiveMaximum": 5}}},
            "",
        ),
        (
            {"not": {"required": ["a"]}, "anyOf": [{"properties": {"a": {"$ref": "#/$defs/x"}}}], "$defs": {"x": {}}},
            {"$defs": {"x": {}}, "type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}},
            '(one of: [{"properties":{"a":{"$ref":"#/$defs/x"}}}]) (not: {"required":["a"]})',
        ),
        (
            ODD_SCHEMAS["types in other languages"],
            {
                "type": "object",
                "properties": {
                    "n": {"type": "integer"},
                    "f": {"type": "number"},
                    "b": {"type": ["boolean", "null"]},
                    "x": {"description": '(type: "any")'},
                },
            },
            "",
        ),
        (
            ODD_SCHEMAS["keywords of the wrong type"],
            {
                "type": "object",
                "properties": {"a": {"type": "string", "description": '(minLength: "1"; description: 3; enum: "abc")'}},
                "description": '(additionalProperties: "no")',
            },
            "",
        ),
    ],
    ids=[
        *(
            "nothing",
            "a text",
            "anything",
            "options",
            "the same property twice",
            "draft 3",
            "alternatives",
            "draft 4",
            "bounds of draft 4",
            "what an object is not",
            "types",
        ),
        "keywords of the wrong type",
    ],
)
def test_what_openai_can_not_take_is_expressed_otherwise(schema: Any, parameters: Any, notes: str) -> None:
    reduced = _tool(schema, "json-schema")
    assert (json.loads(reduced.schema), reduced.notes) == (parameters, notes)


@pytest.mark.parametrize(
    ("keyword", "legal", "illegal"),
    [
        *((bound, 1.5, "1") for bound in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")),
        *((f"{end}{what}", 0, -1) for end in ("min", "max") for what in ("Length", "Items", "Properties")),
        *((flag, True, "yes") for flag in ("uniqueItems", "deprecated", "readOnly", "writeOnly")),
        *((text, "a", 5) for text in ("title", "description", "format", "$schema", "$id", "$comment", "pattern")),
        ("multipleOf", 0.5, 0),
        ("multipleOf", 2, "2"),
        ("minLength", 0, True),
        ("$ref", "#", 5),
        ("pattern", "a" * 1_000, "a" * 1_001),
        ("pattern", "a{2}", "a{99999999999999999999}"),
        ("required", ["a"], ["a", 1]),
        ("dependentRequired", {"a": ["b"]}, {"a": "b"}),
        ("enum", [1], {}),
        ("items", {}, []),
    ],
)
def test_a_keyword_stays_where_openai_takes_its_value(keyword: str, legal: Any, illegal: Any) -> None:
    def found(value: Any) -> Any:
        reduced = json.loads(reduce_answer_schema(msgspec.json.encode({keyword: value}), "json-schema").schema)
        return reduced.get(keyword)

    assert found(legal) == legal
    assert found(illegal) != illegal


# --- as Gemini takes it ---------------------------------------------------------------------------------------


@given(st.integers(0, 2**32))
def test_any_schema_is_one_that_gemini_takes(seed: int) -> None:
    assert gemini_refusal(_declared(_an_odd_schema(Random(seed)), "openapi")) is None


@pytest.mark.parametrize(
    ("schema", "reported"),
    [
        ({"type": "integer", "exclusiveMinimum": 0}, {"type": "integer", "description": "(exclusiveMinimum: 0)"}),
        ({"type": ["string", "null"]}, {"type": "string", "description": '(or: ["null"])'}),
        ({"type": ["null", "integer"]}, {"type": "integer", "description": '(or: ["null"])'}),
        ({"anyOf": [{"type": "integer"}]}, {"type": "integer"}),
        ({"items": {"type": "integer"}}, {"type": "array", "items": {"type": "integer"}}),
        (
            {"type": "object", "properties": {"a": {"type": "integer"}}},
            {"type": "object", "properties": {"a": {"type": "integer"}}},
        ),
        (
            {"type": "object", "properties": {}, "required": ["a"]},
            {"type": "string", "description": "(a JSON object)"},
        ),
        (
            {"anyOf": [{"type": "null"}, {"type": "integer"}, {"type": "string"}]},
            {"type": "integer", "description": '(or: [{"type":"null"},{"type":"string"}])'},
        ),
        ({"enum": [1, 2], "type": "integer"}, {"type": "integer", "description": "(enum: [1,2])"}),
        ({"type": "object"}, {"type": "string", "description": "(a JSON object)"}),
        ({"type": "array"}, {"type": "array", "items": {"type": "string"}}),
        ({}, {"type": "string"}),
    ],
)
def test_a_property_has_one_type_and_few_keywords_for_gemini(schema: Any, reported: Any) -> None:
    (tool,) = _declared({"type": "object", "properties": {"p": schema}}, "openapi")
    assert tool["function"]["parameters"]["properties"]["p"] == reported


# --- grammars -------------------------------------------------------------------------------------------------


def _simple(schema: Any) -> Any:
    return msgspec.json.decode(reduce_answer_schema(msgspec.json.encode(schema), "grammar").schema)


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
        *(
            ({bound: -(2**31) - 1}, {"description": f"({bound}: {-(2**31) - 1})"})
            for bound in ("minimum", "exclusiveMinimum", "exclusiveMaximum")
        ),
        *(
            ({place: {"format": "x"}}, {place: {"description": '(format: "x")'}})
            for place in (
                *("items", "additionalItems", "additionalProperties", "unevaluatedItems", "unevaluatedProperties"),
                *("contains", "not", "if", "then", "else"),
            )
        ),
        *(
            ({place: [{"format": "x"}]}, {place: [{"description": '(format: "x")'}]})
            for place in ("items", "anyOf", "oneOf", "allOf", "prefixItems")
        ),
        *(
            ({place: {"a": {"format": "x"}}}, {place: {"a": {"description": '(format: "x")'}}})
            for place in ("properties", "patternProperties", "definitions", "dependentSchemas")
        ),
        ({"items": True}, {"items": True}),
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
    assert _tool(schema, "grammar").schema == msgspec.json.encode(schema)


@pytest.mark.parametrize(
    ("schema", "parameters"),
    [
        ({"type": "object"}, {"type": "object", "properties": {}, "additionalProperties": True}),
        ({"type": "string"}, {"type": "object", "properties": {}, "additionalProperties": True}),
        ({"anyOf": [{"properties": {"a": {}}}, {}]}, {"anyOf": [{"properties": {"a": {}}}, {}]}),
    ],
    ids=["any object", "no object", "alternatives"],
)
def test_a_grammar_holds_a_tools_input_to_an_object(schema: Any, parameters: Any) -> None:
    assert json.loads(_tool(schema, "grammar").schema) == parameters


# --- few keywords -------------------------------------------------------------------------------------------


def _narrow(schema: Any) -> ReducedSchema:
    return _tool(schema, "few-keywords")


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
        ({"type": ["string", "null"], "enum": ["a"]}, {"type": ["string", "null"], "enum": ["a"]}),
        ({"type": ["string", 5]}, {"description": '(type: ["string",5])'}),
        ({"additionalProperties": False, "unevaluatedProperties": False}, {}),
        ({"title": "T", "readOnly": True, "$defs": {}, "definitions": {}}, {}),
        (dict.fromkeys(("$schema", "$id", "$comment", "$anchor", "$dynamicAnchor", "$vocabulary"), "x"), {}),
        ({"additionalProperties": {"const": 1}}, {"description": '(additionalProperties: {"const":1})'}),
        ({"patternProperties": {"a": {"const": 1}}}, {"description": '(patternProperties: {"a":{"const":1}})'}),
        ({"items": {"minLength": 1}}, {"items": {"description": "(minLength: 1)"}}),
        ({"items": {"required": ["a"]}}, {"items": {"required": ["a"]}}),
        (
            {"items": {"properties": {"b": {"required": ["a"]}}}},
            {"items": {"properties": {"b": {"required": ["a"]}}}},
        ),
        ({"prefixItems": [{"const": 1}]}, {"description": '(prefixItems: [{"const":1}])'}),
        ({"required": ["a"]}, {"required": ["a"], "description": '(required: ["a"])'}),
        ({"maximum": 1e15, "default": 1.50}, {"description": "(maximum: 1000000000000000.0; default: 1.5)"}),
        (True, {}),
        (False, {"description": "(no value is allowed)"}),
        ("odd", {}),
        ({"type": 3, "enum": "odd"}, {"description": '(type: 3; enum: "odd")'}),
    ],
)
def test_a_property_keeps_its_meaning_in_fewer_keywords(schema: Any, narrow: Any) -> None:
    assert _property(schema) == narrow


def test_types_go_by_the_names_of_other_languages() -> None:
    names = {
        "str": "string",
        "int": "integer",
        "double": "number",
        "Bool": "boolean",
        "dict": "object",
        "list": "array",
    }
    types = [json.loads(_tool({"properties": {"p": {"type": name}}}, "json-schema").schema) for name in names]
    assert [tool["properties"]["p"]["type"] for tool in types] == list(names.values())


def test_a_chain_of_references_is_followed_only_so_far() -> None:
    chain = {f"{at}": {"type": "object", "properties": {"p": {"$ref": f"#/$defs/{at + 1}"}}} for at in range(300)}
    narrow = _narrow({"properties": {"p": {"$ref": "#/$defs/0"}}, "$defs": chain | {"300": {}}})
    assert b"(the same again as: " in narrow.schema


def test_numbers_keep_their_digits() -> None:
    reduced = reduce_tool_schema(b'{"properties":{"a":{"enum":[1e15,1.10,-0.0],"maximum":1e2}}}', "few-keywords")
    assert b'"enum":[1E+15,1.10,-0.0],"description":"(maximum: 1E+2)"' in reduced.schema
    assert reduce_tool_schema(b'{"properties":{"a":{"maximum":1e%s}}}' % (b"9" * 20), "few-keywords").schema


def test_references_are_put_in_place() -> None:
    defs = {"a/b": {"type": "string", "description": "theirs"}, "c": {"$ref": "#/$defs/a~1b"}}
    assert _property({"$ref": "#/$defs/c"}, **{"$defs": defs}) == defs["a/b"]
    assert _property({"$ref": "#/$defs/c", "description": "mine"}, **{"$defs": defs})["description"] == "mine"
    assert _property({"$ref": "#/definitions/0"}, definitions=[{"type": "null"}]) == {"type": "null"}
    assert _property({"$ref": "#/$defs/a%2Fb"}, **{"$defs": {"a": {"b": {"type": "null"}}}}) == {"type": "null"}


@pytest.mark.parametrize("reference", ["https://e.com/a.json", "#/$defs/none", "#/definitions/7", "#anchor"])
def test_a_reference_that_leads_nowhere_is_reported(reference: str) -> None:
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
    both = {"a": {"properties": {"b": {"$ref": "#/$defs/b"}}}, "b": {"properties": {"a": {"$ref": "#/$defs/a"}}}}
    assert _property({"$ref": "#/$defs/a"}, **{"$defs": both}) == {
        "properties": {"b": {"properties": {"a": {"description": '(the same again as: "a")'}}}}
    }
    assert _property({"$ref": "#"})["properties"]["p"] == {"type": "object", "description": '(the same again as: "#")'}


def test_what_all_of_several_schemas_say_is_merged() -> None:
    parts = [
        {"properties": {"a": {"type": "string"}}, "required": ["a"]},
        {"properties": {"a": True, "b": {}}, "required": ["b", "a"]},
        {"properties": 3, "required": "d"},
    ]
    found = _property({"allOf": parts, "type": "object", "required": ["c"]})
    assert found["properties"] == {"a": {"type": "string"}, "b": {}}
    assert found["required"] == ["c", "a", "b"]


def test_what_all_of_several_schemas_say_differently_is_reported() -> None:
    # As Claude Code's SendMessage has it.
    parts: list[Any] = [
        {"pattern": "^a"},
        {"pattern": "b$", "type": "string"},
        {"type": "string", "minLength": 1, "description": "More."},
    ]
    found = _property({"type": "string", "description": "To whom.", "allOf": parts})
    assert found == {"type": "string", "description": 'To whom. (pattern: "b$") More. (pattern: "^a"; minLength: 1)'}
    parts = [{"properties": {"a": {"description": text}}} for text in ("One.", "Two.", "Three.")]
    assert _property({"allOf": parts})["properties"] == {"a": {"description": "One. Two. Three."}}
    assert _property({"allOf": [{"enum": ["a", "b"]}, {"enum": ["b"]}]}) == {
        "enum": ["a", "b"],
        "type": "string",
        "description": '(enum: ["b"])',
    }
    assert _property({"allOf": [{"items": {"type": "string"}}, {"items": {"enum": ["a"]}}]}) == {
        "items": {"type": "string"},
        "description": '(items: {"enum":["a"]})',
    }


def test_the_top_is_always_an_object_and_what_it_cant_say_goes_to_the_tool() -> None:
    assert _narrow({}) == ReducedSchema(b'{"type":"object","properties":{}}')
    narrow = _narrow({"description": "d", "minProperties": 1, "required": ["a", 1], "type": ["object", "null"]})
    assert narrow == ReducedSchema(b'{"type":"object","properties":{},"required":["a"]}', "d (minProperties: 1)")
    either = _narrow(
        {"description": "d", "anyOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}, "required": ["b"]}]}
    )
    assert either.schema == b'{"type":"object","properties":{"a":{},"b":{}}}'
    assert either.notes == 'd (one of: [{"properties":{"a":{}}},{"properties":{"b":{}},"required":["b"]}])'


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
    assert list(narrow["properties"])[: len(defs)] == list(defs)
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
    ("schema", "plain"),
    [
        ({"type": "wat"}, {"description": '(type: "wat")'}),
        ({"type": ["string", "wat"]}, {"description": '(type: ["string","wat"])'}),
        ({"enum": []}, {"description": "(enum: [])"}),
        ({"$ref": "#/$defs/nowhere"}, {"description": '(refers to: "#/$defs/nowhere")'}),
        ({"type": "array", "minItems": 5000}, {"type": "array", "description": "(minItems: 5000)", "items": {}}),
        ({"anyOf": [{"pattern": "x"}]}, {"anyOf": [{"description": '(pattern: "x")'}]}),
    ],
)
def test_an_answers_schema_holds_nothing_that_a_grammar_could_not_take(schema: Any, plain: Any) -> None:
    assert json.loads(reduce_answer_schema(json.dumps(schema).encode(), "few-keywords").schema) == plain


# --- strict ---------------------------------------------------------------------------------------------------


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
    assert can_be_strict(json.dumps(schema).encode()) is is_strict


# --- how long it may become -----------------------------------------------------------------------------------


def _an_odd_schema(chance: Random) -> dict[str, Any]:
    """Return a schema of an object, in which some keywords have the values of others."""
    schema = a_tool_schema(chance)
    if chance.random() < 0.3:
        schema |= chance.choice(list(ODD_SCHEMAS.values()))
    for name in chance.sample(list(schema), chance.randrange(min(3, len(schema)))):
        if name != "$defs":
            schema[name] = chance.choice([None, True, 3, 1e15, "x", [], {}, ["a"], {"a": 1}, [{}], schema.get("type")])
    return schema


@every_dialect
@pytest.mark.parametrize("schema", BOMBS.values(), ids=BOMBS)
def test_no_schema_becomes_much_longer_than_twice_as_long(schema: Any, dialect: SchemaDialect) -> None:
    _assert_short(schema, dialect)


@every_dialect
@given(st.integers(0, 2**32))
def test_any_schema_becomes_no_longer_than_that(dialect: SchemaDialect, seed: int) -> None:
    _assert_short(_an_odd_schema(Random(seed)), dialect)


def _assert_short(schema: Any, dialect: SchemaDialect) -> None:
    document = json.dumps(schema, separators=(",", ":"), ensure_ascii=False).encode()
    for reduced in (reduce_tool_schema(document, dialect), reduce_answer_schema(document, dialect)):
        notes = len(msgspec.json.encode(reduced.notes))
        assert len(reduced.schema) + notes <= 2 * len(document) + GROWTH_BYTES, (document, reduced)


def test_what_was_left_out_is_reported() -> None:
    assert _narrow(BOMBS["alternatives that multiply"]).is_cut
    assert not _narrow({"properties": {"a": {"pattern": "x"}}}).is_cut


def test_references_that_fit_are_all_put_in_place() -> None:
    schema = {
        "properties": {"a": {"$ref": "#/$defs/x"}, "b": {"type": "string", "description": "An address. " * 20}},
        "$defs": {"x": {"type": "object", "properties": {"street": {"type": "string"}}, "required": ["street"]}},
    }
    reduced = _narrow(schema)
    assert not reduced.is_cut
    assert json.loads(reduced.schema)["properties"]["a"]["properties"] == {"street": {"type": "string"}}


@every_dialect
@pytest.mark.parametrize("bomb", ["not within not", "properties", "allOf", "patterns", "alternatives"])
def test_the_time_grows_with_the_length_and_no_faster(bomb: str, dialect: SchemaDialect) -> None:
    spaces = count()

    def work(size: int) -> Callable[[], object]:
        names = [f"p{at}" for at in range(size)]
        schema = {
            "not within not": {"properties": {name: nested("not", {"pattern": '"'}, 20) for name in names}},
            "properties": {"properties": {name: {"type": "string", "format": "uri"} for name in names}},
            "allOf": {"allOf": [{"properties": {"p": {"minLength": at}, f"p{at}": {}}} for at in range(size)]},
            "patterns": {"properties": {"p": {"anyOf": [{"pattern": name} for name in names]}}},
            "alternatives": {"anyOf": [{"properties": {name: {}}, "required": [name]} for name in names]},
        }[bomb]
        document = json.dumps(schema).encode() + b" " * next(spaces)  # else it would be known from the time before
        return lambda: reduce_tool_schema(document, dialect)

    assert_linear(work, 1_200)


def test_what_was_reduced_before_is_kept_within_a_limit_of_bytes() -> None:
    for at in range(64):
        schema = {"properties": {"a": {"enum": [f"{at}" + "x" * 600_000]}}}
        _tool(schema, "json-schema")
    assert 0 < reduced_schemas.size_bytes <= 8 * 1024 * 1024


def test_a_schema_that_is_nested_too_deeply_is_refused() -> None:
    deep = b'{"items":' * 300 + b"{}" + b"}" * 300
    for dialect in DIALECTS:
        with pytest.raises(RecursionError):
            reduce_tool_schema(deep, dialect)
    shallow = b'{"properties":{"a":' + b'{"items":' * 200 + b'{"enum":["{[{[{["]}' + b"}" * 200 + b"}}"
    assert reduce_tool_schema(shallow, "json-schema").schema == shallow.replace(b'{"prop', b'{"type":"object","prop', 1)


def test_a_schema_that_takes_the_decoder_long_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="A schema takes at most 2,097,152 bytes"):
        _tool({"description": "a" * MAX_SCHEMA_BYTES}, "json-schema")
