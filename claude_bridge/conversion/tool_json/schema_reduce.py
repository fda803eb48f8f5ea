"""JSON Schemas of tools and answers, rewritten into what a given engine takes.

Engines differ in what they refuse, and one schema that is refused costs the whole request:

- OpenAI and services behind it take JSON Schema, but check it: a tool's schema is an object with ``properties``, has no
  alternatives at its top, and every array has ``items``.
- llama.cpp compiles a grammar, and fails on patterns, formats and large bounds (llama.cpp#21943 and #20867).
- Ollama reads tools into Go structs that know seven keywords (see ``schema_keywords``), and Gemini behind gateways
  refuses all others by name.

What can't stay moves into the description beside it, so that the model still reads it. Enums are never shortened.
The result is a function of the schema's bytes alone, and never much longer than twice as long: notes and expanded
references have a budget.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from claude_bridge.conversion.bounded_cache import BoundedCache
from claude_bridge.conversion.profile import SchemaDialect
from claude_bridge.conversion.tool_json.schema_check import is_number, resolve_reference
from claude_bridge.conversion.tool_json.schema_keywords import FewKeywords, known_types
from claude_bridge.conversion.tool_json.schema_merge import (
    ANNOTATIONS,
    GrowthBudget,
    SchemaParts,
    json_text,
    with_notes,
)
from claude_bridge.conversion.tool_json.text import Json, check_depth, decode_exactly, encode_exactly
from claude_bridge.errors import InvalidRequestError
from claude_bridge.wire.lenient_json import replace_lone_surrogates

EMPTY_SCHEMA = b'{"type":"object","properties":{}}'

MAX_REPETITION = 1_000
"""Larger minLength, maxLength, minItems and maxItems exceed what grammar compilers repeat."""

MAX_NUMBER = 2**31
"""Larger bounds of numbers overflow in grammar compilers."""

MAX_PATTERN_CHARS = 1_000
"""Longer patterns are not compiled, since that takes too long; they go into the description."""

GROWTH_BYTES = 256
"""How much longer than twice as long a schema may become."""

MAX_SCHEMA_BYTES = 2 * 1024 * 1024
"""Of one tool, or of an answer: nothing interrupts the decoder, and objects take it long."""

_CACHE_BYTES = 8 * 1024 * 1024


class ReducedSchema(Struct, frozen=True):
    """A schema for one engine; ``notes`` is what its top level can't say, for the tool's description.

    ``is_cut`` says that notes or references were left out, since the schema would have become too long.
    """

    schema: bytes
    notes: str = ""
    is_cut: bool = False


reduced_schemas: BoundedCache[ReducedSchema] = BoundedCache(_CACHE_BYTES)


def reduce_tool_schema(schema: bytes, dialect: SchemaDialect) -> ReducedSchema:
    """Return the schema of a tool's input: always an object, whatever it was before.

    Raises:
        msgspec.DecodeError: it is no JSON.
        RecursionError: it is nested too deeply.
        InvalidRequestError: it is too long.
    """
    return _remembered(schema, dialect, is_tool=True)


def reduce_answer_schema(schema: bytes, dialect: SchemaDialect) -> ReducedSchema:
    """Return the schema of an answer, which may describe any JSON; raises as ``reduce_tool_schema`` does."""
    return _remembered(schema, dialect, is_tool=False)


def _remembered(schema: bytes, dialect: SchemaDialect, *, is_tool: bool) -> ReducedSchema:
    key = (schema, dialect, is_tool)
    found = reduced_schemas.get(key)
    if found is None:
        found = _reduce(schema, dialect, is_tool=is_tool)
        reduced_schemas.put(key, found, len(schema) + len(found.schema) + len(found.notes))
    return found


def _reduce(schema: bytes, dialect: SchemaDialect, *, is_tool: bool) -> ReducedSchema:
    if len(schema) > MAX_SCHEMA_BYTES:
        raise InvalidRequestError(f"A schema takes at most {MAX_SCHEMA_BYTES:,} bytes, and this one {len(schema):,}.")
    check_depth(schema)
    document = replace_lone_surrogates(schema)
    root = decode_exactly(document)
    budget = GrowthBudget(len(schema) + GROWTH_BYTES)
    if dialect in ("few-keywords", "openapi"):
        few = FewKeywords(root, budget, is_openapi=dialect == "openapi")
        if is_tool:
            reduced, notes = few.tool()
            return ReducedSchema(encode_exactly(reduced), notes, budget.is_exceeded)
        return ReducedSchema(encode_exactly(few.whole()), is_cut=budget.is_exceeded)
    tidying = _Tidying(root, budget, for_grammar=dialect == "grammar")
    reduced, notes = tidying.tool() if is_tool else (tidying.tidy(root), "")
    if reduced == root:
        return ReducedSchema(msgspec.json.format(document, indent=-1))  # its numbers as they are written
    return ReducedSchema(encode_exactly(reduced), notes, budget.is_exceeded)


# --- what JSON Schema and grammars take ---------------------------------------------------------------------


def _are_texts(value: Json) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_pattern(value: Json) -> bool:
    """Return whether Python can compile it: OpenAI checks patterns so, and refuses others as no 'regex'."""
    if not isinstance(value, str) or len(value) > MAX_PATTERN_CHARS:
        return False
    try:
        re.compile(value)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


_LEGAL: Mapping[str, Callable[[Json], bool]] = {
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), is_number),
    "multipleOf": lambda value: is_number(value) and value > 0,
    **dict.fromkeys(
        ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
        lambda value: type(value) is int and value >= 0,
    ),
    **dict.fromkeys(("title", "description", "format", *ANNOTATIONS), lambda value: isinstance(value, str)),
    **dict.fromkeys(("uniqueItems", "deprecated", "readOnly", "writeOnly"), lambda value: isinstance(value, bool)),
    "pattern": _is_pattern,
    "enum": lambda value: isinstance(value, list) and bool(value),
    "required": _are_texts,
    "dependentRequired": lambda value: isinstance(value, dict) and all(map(_are_texts, value.values())),
}
"""By keyword, whether its value is legal. What is missing here is not looked into."""

_NO_GRAMMAR = frozenset({"pattern", "format"})
_REPETITIONS = frozenset({"minLength", "maxLength", "minItems", "maxItems"})
_NUMBER_BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})


def _breaks_grammar(key: str, value: Json) -> bool:
    if key in _NO_GRAMMAR:
        return True
    if not is_number(value):
        return False
    return (key in _REPETITIONS and value > MAX_REPETITION) or (key in _NUMBER_BOUNDS and abs(value) > MAX_NUMBER)


_SINGLE_SCHEMAS = frozenset((
    "items", "additionalItems", "additionalProperties", "unevaluatedItems", "unevaluatedProperties", "contains",
    "propertyNames", "not", "if", "then", "else",
))  # fmt: skip
_SCHEMA_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_NAMED_SCHEMAS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
"""What holds schemas by names of the user's choice: "format" is no keyword there."""

_STRUCTURE = _SINGLE_SCHEMAS | _SCHEMA_LISTS | _NAMED_SCHEMAS | {"type", "$ref"}

_NOT_AT_THE_TOP = frozenset({"$ref", "allOf", "anyOf", "oneOf", "enum", "const", "not"})


class _Tidying:
    """One schema on its way: it keeps its keywords, but for those that the engine would refuse."""

    def __init__(self, root: Json, budget: GrowthBudget, *, for_grammar: bool) -> None:
        self._root = root
        self._budget = budget
        self._parts = SchemaParts(root, budget)
        self._for_grammar = for_grammar

    def tool(self) -> tuple[dict[str, Json], str]:
        """Return the schema of a tool, an object, and what its top level can't say."""
        top, notes = self._root, list[str]()
        if not isinstance(top, dict):
            top = {}
        if not self._for_grammar and not _NOT_AT_THE_TOP.isdisjoint(top):
            top, notes = self._without_alternatives(top)
        tidy = self.tidy(top)
        holds_all = self._for_grammar and not _NOT_AT_THE_TOP.isdisjoint(tidy)  # a grammar can be made of these
        if tidy.get("type") != "object" and not holds_all:
            tidy = {"type": "object"} | {key: value for key, value in tidy.items() if key != "type"}
        if "properties" not in tidy and not holds_all:
            tidy["properties"] = {}
            if self._for_grammar:  # without this a grammar would allow for no properties
                tidy.setdefault("additionalProperties", True)
        return tidy, " ".join(notes)

    def tidy(self, node: Json) -> Any:  # noqa: ANN401 - a schema is an object or a boolean
        """Return one schema."""
        if not isinstance(node, dict):
            return node if isinstance(node, bool) else {}
        node = _in_todays_words(node)
        kept: dict[str, Json] = {}
        notes: list[str] = []
        for key, value in node.items():
            found = self._keyword(key, value)
            if isinstance(found, list):
                notes += found
            else:
                kept[key] = found[0]
        types = kept.get("type")
        is_array = "array" in (types if isinstance(types, list) else [types])
        if not self._for_grammar and "items" not in kept and is_array:
            kept["items"] = {}
        return with_notes(kept, notes)

    def _keyword(self, key: str, value: Json) -> tuple[Json] | list[str]:
        """Return what becomes of a keyword: its value in a tuple, or notes."""
        if key in _NAMED_SCHEMAS and isinstance(value, dict):
            return ({name: self.tidy(schema) for name, schema in value.items()},)
        if key in _SINGLE_SCHEMAS and isinstance(value, dict | bool):
            is_any = key == "items" and value is True and not self._for_grammar
            return [] if self._for_grammar and key == "propertyNames" else ({} if is_any else self.tidy(value),)
        if key in _SCHEMA_LISTS and isinstance(value, list) and value:
            return ([self.tidy(schema) for schema in value],)
        if key == "items" and isinstance(value, list):
            # Of each place of a list: as they are for a grammar, else as alternatives for any place.
            tidy = [self.tidy(schema) for schema in value]
            return (tidy if self._for_grammar else {"anyOf": tidy} if tidy else {},)
        if key == "type" and isinstance(value, str | list) and (types := known_types(value)):
            return (types[0] if isinstance(value, str) else types,)
        if key == "$ref" and isinstance(value, str):
            leads_somewhere = isinstance(resolve_reference(self._root, value), dict | bool)
            return (value,) if leads_somewhere else self._parts.note("refers to", value)
        if self._for_grammar and key in ANNOTATIONS:
            return []
        is_legal = _LEGAL[key](value) if key in _LEGAL else key not in _STRUCTURE
        if is_legal and not (self._for_grammar and _breaks_grammar(key, value)):
            return (value,)
        return [] if value is None else self._parts.note(key, value)

    def _without_alternatives(self, top: dict[str, Json]) -> tuple[dict[str, Json], list[str]]:
        """Return an object schema that can stand without what may not be at the top, and that in words."""
        merged, _ = self._parts.merged(top, ())
        kept = {key: value for key, value in merged.items() if key not in _NOT_AT_THE_TOP}
        properties = dict(kept["properties"]) if isinstance(kept.get("properties"), dict) else {}
        notes: list[str] = []
        for key in ("anyOf", "oneOf"):
            alternatives = merged[key] if isinstance(merged.get(key), list) else []
            for alternative in (one for one in alternatives if isinstance(one, dict)):
                of, _ = self._parts.merged(alternative, ())
                more = of.get("properties")
                for name, schema in more.items() if isinstance(more, dict) else ():
                    if name not in properties and self._budget.take(len(json_text(schema))):
                        properties[name] = schema
            notes += [f"({note})" for note in (self._parts.note("one of", alternatives) if alternatives else ())]
        for key in ("enum", "const", "not"):
            notes += [f"({note})" for note in (self._parts.note(key, merged[key]) if key in merged else ())]
        return kept | {"properties": properties}, notes


def _in_todays_words(node: dict[str, Json]) -> dict[str, Json]:
    """Return a schema without what drafts 3 and 4 wrote differently: exclusive bounds, and what is required."""
    changes: dict[str, Json] = {}
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(node.get(exclusive), bool):
            changes |= {exclusive: node.get(bound) if node[exclusive] else None}
            changes |= {bound: None} if node[exclusive] else {}
    if isinstance(node.get("required"), bool):
        changes["required"] = None  # listed by the object that holds it
    properties = node.get("properties")
    if isinstance(properties, dict) and not isinstance(node.get("required"), list):
        required = [name for name, of in properties.items() if isinstance(of, dict) and of.get("required") is True]
        changes |= {"required": required} if required else {}
    return node | changes  # a keyword of null is none


# --- strict tools -------------------------------------------------------------------------------------------


def can_be_strict(schema: bytes) -> bool:
    """Return whether OpenAI can hold a call strictly to it: each object closed, and each property required."""
    return _is_closed(decode_exactly(replace_lone_surrogates(schema)))


def _is_closed(node: Json) -> bool:
    if isinstance(node, list):
        return all(map(_is_closed, node))
    if not isinstance(node, dict):
        return True
    properties, required = node.get("properties"), node.get("required", [])
    if isinstance(properties, dict) and not (isinstance(required, list) and set(properties) <= set(required)):
        return False
    if ("properties" in node or node.get("type") == "object") and node.get("additionalProperties") is not False:
        return False
    inner = [schema for key in _NAMED_SCHEMAS if isinstance(node.get(key), dict) for schema in node[key].values()]
    inner += [node[key] for key in (*_SINGLE_SCHEMAS, *_SCHEMA_LISTS) if key in node]
    return all(map(_is_closed, inner))
