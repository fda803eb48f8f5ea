"""JSON Schemas in the few keywords that Ollama or Gemini knows; the rest becomes words.

Ollama reads tools into Go structs that know type, description, enum, anyOf, items, properties and required: all else
is gone before the model sees it, ``$ref`` included, and a value of another type refuses the whole request. Gemini's
``Schema`` knows neither anyOf beside anything else nor lists of types, and wants a type everywhere.
"""

from __future__ import annotations

from typing import Literal

from claude_bridge.conversion.tool_json.schema_check import TYPES
from claude_bridge.conversion.tool_json.schema_merge import SILENT, GrowthBudget, SchemaParts, json_text, with_notes
from claude_bridge.conversion.tool_json.text import Json

_Place = Literal["top", "property", "inner"]
"""Where a schema stands: at the top of a tool's, in a property, or where Ollama passes all of it on (``items``)."""

_NO_VALUE: dict[str, Json] = {"description": "(no value is allowed)"}
_NO_VALUE_BYTES = 40
_TYPE_BYTES = 32


class FewKeywords:
    """One schema on its way into few keywords.

    References are put in place, ``const`` becomes an enum, ``oneOf`` becomes ``anyOf``, ``allOf`` is merged.
    """

    def __init__(self, root: Json, budget: GrowthBudget, *, is_openapi: bool) -> None:
        self._root = root
        self._budget = budget
        self._parts = SchemaParts(root, budget)
        self._is_openapi = is_openapi

    def tool(self) -> tuple[dict[str, Json], str]:
        """Return the schema of a tool, an object, and what its top level can't say."""
        top = self._reduced(self._root, (), "top")
        notes = [top["description"]] if "description" in top else []
        properties = dict(top.get("properties", {}))
        alternatives = top.get("anyOf", [])
        for alternative in alternatives:
            for name, schema in alternative.get("properties", {}).items():
                properties.setdefault(name, schema)
        if alternatives and self._budget.take(len(json_text(alternatives)) * 2):
            notes.append(f"(one of: {json_text(alternatives)})")
        reduced: dict[str, Json] = {"type": "object", "properties": properties}
        if "required" in top:
            reduced["required"] = top["required"]
        return reduced, " ".join(notes)

    def whole(self) -> dict[str, Json]:
        """Return any schema in the few keywords, its top level included."""
        return self._reduced(self._root, (), "inner")

    def _reduced(self, node: Json, followed: tuple[str, ...], place: _Place) -> dict[str, Json]:
        """Return one schema; ``followed`` are the references that led here."""
        if not isinstance(node, dict):
            return dict(_NO_VALUE) if node is False and self._budget.take(_NO_VALUE_BYTES) else {}
        node, followed = self._parts.merged(node, followed)
        kept: dict[str, Json] = {}
        notes: list[str] = []
        for key, value in node.items():
            found = self._keyword(key, value, followed, place)
            if isinstance(found, list):
                notes += found
            elif found[0] == "anyOf":
                kept.setdefault("anyOf", []).extend(found[1])
            else:
                kept[found[0]] = found[1]
        if "type" not in kept and "enum" in kept and all(isinstance(value, str) for value in kept["enum"]):
            kept["type"] = "string"  # chat templates show the type before anything else
        if self._is_openapi and place != "top":
            kept, more = self._in_openapi(kept)
            notes += more
        elif "required" in kept and place == "property":  # not all versions of Ollama have a place for it there
            notes += self._parts.note("required", kept["required"])
        if "items" not in kept and kept.get("type") == "array":
            kept["items"] = {}
        return with_notes(kept, notes)

    def _keyword(self, key: str, value: Json, followed: tuple[str, ...], place: _Place) -> tuple[str, Json] | list[str]:
        """Return what becomes of a keyword: one of the few with its value, or notes."""
        match key, value:
            case "type", str() | list() if types := known_types(value):
                return key, types[0] if isinstance(value, str) else types
            case ("description", str()) | ("enum", [_, *_]):
                return key, value
            case "required", list():
                return key, [name for name in value if isinstance(name, str)]
            case "const", _:
                return "enum", [value]
            case "properties", dict():
                inner: _Place = "inner" if place == "inner" else "property"
                return key, {name: self._reduced(schema, followed, inner) for name, schema in value.items()}
            case "items", dict() | bool():
                return key, self._reduced(value, followed, "inner")
            case (("anyOf" | "oneOf"), list()):
                # For Gemini one of them is chosen later, and must still show whether it is null.
                inside: _Place = "top" if self._is_openapi else place
                return "anyOf", [self._reduced(schema, followed, inside) for schema in value]
            case (("additionalProperties" | "unevaluatedProperties"), bool()):
                return []  # models add no properties of their own, and clients check
            case _ if key in SILENT:
                return []
            case _:
                return self._parts.note(key, value)

    def _in_openapi(self, schema: dict[str, Json]) -> tuple[dict[str, Json], list[str]]:
        """Return a schema as Gemini's ``Schema`` has it, one type and enums of text, and the rest in words."""
        notes: list[str] = []
        while alternatives := schema.pop("anyOf", None):
            chosen: dict[str, Json] = next((one for one in alternatives if one.get("type") != "null"), {})
            others = [one for one in alternatives if one is not chosen]
            notes += self._parts.note("or", others) if others else []
            schema = chosen | schema
        types = schema.get("type", [])
        if isinstance(types, list) and types:
            schema["type"] = next((one for one in types if one != "null"), "string")
            notes += self._parts.note("or", [one for one in types if one != schema["type"]])
        if "enum" in schema and not all(isinstance(value, str) for value in schema["enum"]):
            notes += self._parts.note("enum", schema.pop("enum"))
        if schema.get("type", "null") == "null" and self._budget.take(_TYPE_BYTES):
            schema["type"] = "object" if "properties" in schema else "array" if "items" in schema else "string"
        if schema.get("type") == "object" and not schema.get("properties"):
            schema = {key: value for key, value in schema.items() if key not in ("properties", "required")}
            schema["type"] = "string"
            notes += ["a JSON object"] if self._budget.take(_NO_VALUE_BYTES) else []
        elif schema.get("type") == "array" and "items" not in schema:
            schema["items"] = {"type": "string"} if self._budget.take(_TYPE_BYTES) else {}
        return schema, notes


def known_types(value: str | list[Json]) -> list[str]:
    """Return the types that a ``type`` names, each once; empty where it names anything else."""
    named = [value] if isinstance(value, str) else value
    known = [_TYPE_NAMES.get(name.lower(), "") if isinstance(name, str) else "" for name in named]
    return list(dict.fromkeys(known)) if all(known) else []


_TYPE_NAMES = {name: name for name in TYPES} | {
    "str": "string",
    "int": "integer",
    "float": "number",
    "double": "number",
    "bool": "boolean",
    "dict": "object",
    "list": "array",
}
"""Types by the names that servers give them in other languages' words, in small letters."""
