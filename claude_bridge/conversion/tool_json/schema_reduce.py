"""Tool JSON Schemas made fit for a given engine: without what breaks its grammar, or in the few keywords that it keeps.

llama.cpp turns every schema into GBNF; patterns it does not know, formats and huge bounds make it refuse the whole
request ("failed to parse grammar", llama.cpp#21943 and #20867). What is taken out moves into the description, so
the model still reads it. Enums and required lists are never touched.

Ollama reads tools into Go structs that know type, description, enum, anyOf, items, properties and required: all else
is gone before the model sees it, ``$ref`` included, and a value of another type refuses the whole request.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import msgspec
from msgspec import Struct

from claude_bridge.wire.surrogates import replace_lone_surrogates

EMPTY_SCHEMA = b'{"type":"object","properties":{}}'

MAX_REPETITION = 1_000
"""Larger minLength, maxLength, minItems and maxItems exceed what grammar compilers repeat."""

_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""What holds schemas by names of the user's choice: "format" is no keyword there."""
_ANNOTATIONS = ("$schema", "$id", "$comment")
_PLAIN_VALUED = ("enum", "const", "default", "required", "examples")
"""What holds values, in which nothing is a keyword."""
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
        elif key in _PLAIN_VALUED:
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


def holds_strictly(schema: bytes) -> bool:
    """Return whether OpenAI can hold a call strictly to it: each object closed, and each property required."""
    return _is_strict(msgspec.json.decode(replace_lone_surrogates(schema)))


def _is_strict(node: Any) -> bool:  # noqa: ANN401 - a JSON Schema is any JSON
    if isinstance(node, list):
        return all(map(_is_strict, node))
    if not isinstance(node, dict):
        return True
    properties, required = node.get("properties"), node.get("required", [])
    if isinstance(properties, dict) and not (isinstance(required, list) and set(properties) <= set(required)):
        return False
    if ("properties" in node or node.get("type") == "object") and node.get("additionalProperties") is not False:
        return False
    inner = [of for key in _BY_NAME if isinstance(node.get(key), dict) for of in node[key].values()]
    return all(map(_is_strict, inner + [of for key, of in node.items() if key not in (*_BY_NAME, *_PLAIN_VALUED)]))


# --- few keywords -------------------------------------------------------------------------------------------

MAX_NARROW_NODES = 2_000
"""Definitions that refer to each other can multiply without end; past this a reference is not followed any more."""

_SILENT = (*_ANNOTATIONS, "$defs", "definitions", "$anchor", "$dynamicAnchor", "$vocabulary", "title", "readOnly")
"""What says nothing to a model."""
_TYPES = ("string", "integer", "number", "boolean", "null", "object", "array")
_SCHEMA_VALUED = ("additionalProperties", "contains", "else", "if", "not", "propertyNames", "then")


_Place = Literal["top", "property", "whole"]
"""Where a schema stands: at the top of a tool's, in a property, or where Ollama passes all of it on (``items``)."""


class NarrowSchema(Struct, frozen=True):
    """An object schema in few keywords; ``notes`` is what its top level can't say, for the tool's description."""

    schema: bytes
    notes: str


@lru_cache(maxsize=1024)
def narrow_schema(schema: bytes) -> NarrowSchema:
    """Return an object schema in the keywords that Ollama keeps; a pure function of its bytes.

    References are put in place, ``const`` becomes an enum, ``oneOf`` becomes ``anyOf``, ``allOf`` is merged. The rest
    moves into the description beside it.

    Raises:
        RecursionError: it is nested too deeply.
    """
    root = msgspec.json.decode(replace_lone_surrogates(schema))
    top = _Narrowing(root).narrowed(root, (), "top")
    properties = dict(top.get("properties", {}))
    for alternative in top.get("anyOf", ()):
        for name, of in alternative.get("properties", {}).items():
            properties.setdefault(name, of)
    notes = [top["description"]] if "description" in top else []
    if "anyOf" in top:
        notes.append(f"(one of: {_json(top['anyOf'])})")
    narrow: dict[str, Any] = {"type": "object", "properties": properties}
    if "required" in top:
        narrow["required"] = top["required"]
    return NarrowSchema(msgspec.json.encode(narrow), " ".join(notes))


@lru_cache(maxsize=1024)
def plain_schema(schema: bytes) -> bytes:
    """Return any schema in the same few keywords, its top level included; a pure function of its bytes.

    Raises:
        RecursionError: it is nested too deeply.
    """
    root = msgspec.json.decode(replace_lone_surrogates(schema))
    return msgspec.json.encode(_Narrowing(root).narrowed(root, (), "whole"))


class _Narrowing:
    """One schema on its way through: where its references lead, and how much of it there is by now."""

    def __init__(self, root: Any) -> None:  # noqa: ANN401 - a JSON Schema is any JSON
        self._root = root
        self._nodes = 0

    def narrowed(self, node: Any, followed: tuple[str, ...], place: _Place) -> dict[str, Any]:  # noqa: ANN401
        """Return one schema; ``followed`` are the references that led here."""
        self._nodes += 1
        if not isinstance(node, dict):
            return {"description": "(no value is allowed)"} if node is False else {}
        node, followed = self._merged(node, followed)
        kept: dict[str, Any] = {}
        told: list[str] = []
        for key, value in node.items():
            self._take(key, value, followed, place, kept, told)
        if "type" not in kept and "enum" in kept and all(isinstance(value, str) for value in kept["enum"]):
            kept["type"] = "string"  # chat templates show the type before anything else
        if "required" in kept and place == "property":  # not all versions have a place for it there
            told.append(f"required: {_json(kept['required'])}")
        if told:
            kept["description"] = f"{kept.get('description', '')} ({'; '.join(told)})".strip()
        return kept

    def _take(
        self,
        key: str,
        value: Any,  # noqa: ANN401
        followed: tuple[str, ...],
        place: _Place,
        kept: dict[str, Any],
        told: list[str],
    ) -> None:
        match key, value:
            case "type", str() if value in _TYPES:
                kept[key] = value
            case "type", list() if value and all(name in _TYPES for name in value):
                kept[key] = value
            case ("description", str()) | ("enum", [_, *_]):
                kept[key] = value
            case "required", list():
                kept[key] = [name for name in value if isinstance(name, str)]
            case "const", _:
                kept.setdefault("enum", [value])
            case "properties", dict():
                inner: _Place = "whole" if place == "whole" else "property"
                kept[key] = {name: self.narrowed(of, followed, inner) for name, of in value.items()}
            case "items", dict() | bool():
                kept[key] = self.narrowed(value, followed, "whole")
            case (("anyOf" | "oneOf"), list()):
                kept["anyOf"] = kept.get("anyOf", []) + self._all(value, followed, place)
            case (("additionalProperties" | "unevaluatedProperties"), bool()):
                pass  # models add no properties of their own, and clients check
            case (("items" | "prefixItems"), list()):
                told.append(f"{key}: {_json(self._all(value, followed, 'whole'))}")
            case (("patternProperties" | "dependentSchemas"), dict()):
                named = {name: self.narrowed(of, followed, "whole") for name, of in value.items()}
                told.append(f"{key}: {_json(named)}")
            case _ if key in _SCHEMA_VALUED:
                told.append(f"{key}: {_json(self.narrowed(value, followed, 'whole'))}")
            case _ if key not in _SILENT:
                told.append(f"{key}: {_json(value)}")

    def _all(self, nodes: list[Any], followed: tuple[str, ...], place: _Place) -> list[dict[str, Any]]:
        return [self.narrowed(node, followed, place) for node in nodes]

    def _merged(self, node: dict[str, Any], followed: tuple[str, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return a schema with what its reference and its ``allOf`` mean put in place."""
        while isinstance(name := node.get("$ref"), str):
            beside = {key: value for key, value in node.items() if key != "$ref"}
            target = self._target(name)
            if target is None:
                return beside | {"refers to": name}, followed
            if name in followed or self._nodes > MAX_NARROW_NODES:
                beside = {key: target[key] for key in ("type", "description") if key in target} | beside
                return beside | {"the same again as": name.rpartition("/")[2]}, followed
            followed = (*followed, name)
            node = target | beside
        parts = node.get("allOf")
        if not isinstance(parts, list):
            return node, followed
        merged = {key: value for key, value in node.items() if key != "allOf"}
        for part in parts:
            self._nodes += 1
            if isinstance(part, dict):
                more, followed = self._merged(part, followed)
                merged = _joined(merged, more)
        return merged, followed

    def _target(self, reference: str) -> dict[str, Any] | None:
        """Return the schema that a reference within the document names."""
        found = self._root
        if not reference.startswith("#"):
            return None
        for step in filter(None, reference[1:].split("/")):
            name = step.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and name.isdigit() and int(name) < len(found):
                found = found[int(name)]
            elif isinstance(found, dict) and name in found:
                found = found[name]
            else:
                return None
        return found if isinstance(found, dict) else None


def _joined(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return two schemas that both hold as one; what they say differently is added to the description."""
    joined = other | one
    notes: list[str] = []
    for key in [key for key in one if key in other and one[key] != other[key]]:
        first, second = one[key], other[key]
        if key == "properties" and isinstance(first, dict) and isinstance(second, dict):
            joined[key] = first | {name: _both(first[name], of) if name in first else of for name, of in second.items()}
        elif key == "required" and isinstance(first, list) and isinstance(second, list):
            joined[key] = first + [name for name in second if name not in first]
        elif key == "description":
            notes.insert(0, str(second))
        elif key not in _SILENT:
            notes.append(f"({key}: {_json(second)})")
    if notes:
        joined["description"] = " ".join([str(joined.get("description", "")), *notes]).strip()
    return joined


def _both(one: Any, other: Any) -> Any:  # noqa: ANN401 - a JSON Schema is any JSON
    return _joined(one, other) if isinstance(one, dict) and isinstance(other, dict) else one


def _json(value: Any) -> str:  # noqa: ANN401
    return msgspec.json.encode(value).decode()
