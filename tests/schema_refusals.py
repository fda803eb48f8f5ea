"""Schemas that are hard to send on: what services say to those that they refuse, and some that would grow for ever."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator

_ALTERNATIVES = ("oneOf", "anyOf", "allOf", "enum", "not")
_META = Draft202012Validator(Draft202012Validator.META_SCHEMA)

_GEMINI_KEYWORDS = frozenset({"type", "description", "enum", "items", "properties", "required"})


def openai_refusal(tools: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the body of OpenAI's 400 for the first tool of a Chat Completions request that it does not take."""
    for index, tool in enumerate(tools):
        function = tool["function"]
        for fault in _faults(function["parameters"]):
            return {
                "error": {
                    "message": f"Invalid schema for function '{function['name']}': {fault}",
                    "type": "invalid_request_error",
                    "param": f"tools[{index}].function.parameters",
                    "code": "invalid_function_parameters",
                }
            }
    return None


def gemini_refusal(tools: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the body of Gemini's 400, as gateways in OpenAI's style hand it on."""
    faults = [
        f"Invalid JSON payload received. Unknown name \"{key}\" at 'tools[0].function_declarations[{index}].{place}': "
        "Cannot find field."
        for index, tool in enumerate(tools)
        for key, place in _unknown_to_gemini(tool["function"]["parameters"], "parameters")
    ]
    if not faults:
        return None
    return {"error": {"code": 400, "message": "\n".join(faults), "status": "INVALID_ARGUMENT"}}


def _faults(schema: Any) -> Iterator[str]:
    kind = schema.get("type") if isinstance(schema, dict) else None
    if kind != "object":
        yield f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
        return
    if any(keyword in schema for keyword in _ALTERNATIVES):
        yield "schema must have type 'object' and not have 'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level."
    if "properties" not in schema:
        yield "In context=(), object schema missing properties."
    for error in _META.iter_errors(schema):
        yield error.message
    yield from _faults_inside(schema, ())


def _faults_inside(node: Any, context: tuple[str, ...]) -> Iterator[str]:
    if isinstance(node, list):
        for at, inner in enumerate(node):
            yield from _faults_inside(inner, (*context, str(at)))
    if not isinstance(node, dict):
        return
    kinds = node.get("type")
    if (kinds == "array" or (isinstance(kinds, list) and "array" in kinds)) and "items" not in node:
        yield f"In context={context!r}, array schema missing items."
    if node.get("enum") == []:
        yield f"In context={context!r}, [] should be non-empty."
    pattern = node.get("pattern")
    if isinstance(pattern, str):
        try:
            re.compile(pattern)
        except re.error:
            yield f"In context={context!r}, '{pattern}' is not a 'regex'."
    for key, inner in node.items():
        if key not in ("enum", "const", "default", "examples", "required"):
            yield from _faults_inside(inner, (*context, key))


def _unknown_to_gemini(node: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
    for key in node:
        if key not in _GEMINI_KEYWORDS:
            yield key, place
    if isinstance(node.get("type"), list):
        yield "type", place
    for number, inner in enumerate(node.get("properties", {}).values()):
        yield from _unknown_to_gemini(inner, f"{place}.properties[{number}].value")
    if isinstance(node.get("items"), dict):
        yield from _unknown_to_gemini(node["items"], f"{place}.items")


ODD_SCHEMAS: dict[str, Any] = {
    "no properties": {"type": "object"},
    "an array without items": {"type": "object", "properties": {"paths": {"type": "array"}}},
    "alternatives at the top": {"anyOf": [{"properties": {"id": {"type": "string"}}, "required": ["id"]}, {}]},
    "one of several objects": {
        "type": "object",
        "oneOf": [
            {"properties": {"url": {"type": "string"}}, "required": ["url"]},
            {"properties": {"path": {"type": "string"}}, "required": ["path"]},
        ],
    },
    "nothing": {},
    "no type": {"properties": {"a": {"type": "string"}}},
    "a text": {"type": "string"},
    "null in place of lists and objects": {"type": "object", "properties": None, "required": None},
    "types in other languages": {
        "type": "Object",
        "properties": {
            "n": {"type": "int"},
            "f": {"type": "FLOAT"},
            "b": {"type": ["bool", "null"]},
            "x": {"type": "any"},
        },
    },
    "a pattern of another language": {
        "type": "object",
        "properties": {"name": {"type": "string", "pattern": r"^\p{L}+$"}},
    },
    "draft 4": {
        "type": "object",
        "properties": {
            "n": {"type": "integer", "minimum": 0, "exclusiveMinimum": True, "required": True},
            "pair": {"type": "array", "items": [{"type": "string"}, {"type": "number"}]},
        },
    },
    "an empty enum": {"type": "object", "properties": {"e": {"type": "string", "enum": []}}},
    "keywords of the wrong type": {
        "type": "object",
        "properties": {"a": {"type": "string", "minLength": "1", "description": 3, "enum": "abc"}},
        "additionalProperties": "no",
    },
    "a reference to nowhere": {"type": "object", "properties": {"a": {"$ref": "#/$defs/gone"}}},
    "all of several objects": {
        "allOf": [{"$ref": "#/$defs/base"}, {"properties": {"b": {"type": "array"}}}],
        "$defs": {"base": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}},
    },
    "a reference at the top": {
        "$ref": "#/definitions/input",
        "definitions": {"input": {"type": "object", "properties": {"q": {"type": "string"}}}},
    },
}
"""Input schemas as MCP servers have them, each of which OpenAI refuses as it is."""


# --- what would grow ------------------------------------------------------------------------------------------


def nested(keyword: str, inner: Any, depth: int) -> Any:
    for _ in range(depth):
        inner = {keyword: inner}
    return inner


def _doubling(keyword: str, depth: int = 40) -> dict[str, Any]:
    def twice(name: str) -> Any:
        reference = {"$ref": f"#/$defs/{name}"}
        return {keyword: {"a": reference, "b": reference} if keyword == "properties" else [reference, reference]}

    defs = {f"d{at}": twice(f"d{at + 1}") for at in range(depth)} | {f"d{depth}": {"type": "string"}}
    return {"properties": {"p": {"$ref": "#/$defs/d0"}}, "$defs": defs}


BOMBS: dict[str, Any] = {
    "not within not": {"properties": {"a": nested("not", {"pattern": '"'}, 100)}},
    "if within if": {"properties": {"a": nested("if", {"pattern": '"\\'}, 100)}},
    "properties that multiply": _doubling("properties"),
    "alternatives that multiply": _doubling("anyOf"),
    "parts that multiply": _doubling("allOf"),
    "many references to one large definition": {
        "properties": {f"p{at}": {"$ref": "#/$defs/x"} for at in range(300)},
        "$defs": {"x": {"enum": ["x" * 20_000]}},
    },
    "many parts of one property": {"allOf": [{"properties": {"p": {"minLength": at}}} for at in range(2_000)]},
    "many parts": {"allOf": [{"properties": {f"p{at}": {}}, "required": [f"p{at}"]} for at in range(5_000)]},
    "nothing is allowed": {"properties": {f"p{at}": False for at in range(3_000)}},
    "quotes and backslashes": {"properties": {"a": {"pattern": '"\\' * 5_000}}},
    "a quote in each property": {"properties": {f"p{at}": {"pattern": '"'} for at in range(3_000)}},
    "numbers": {"properties": {"a": {"default": [1e15] * 5_000}}},
    "alternatives of many properties": {"anyOf": [{"properties": {f"p{at}": {"const": 1}}} for at in range(2_000)]},
    "references at the top": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
    "references in alternatives": {"anyOf": [{"$ref": "#"}] * 2_000, "properties": {"x": {"enum": ["x" * 500]}}},
}
