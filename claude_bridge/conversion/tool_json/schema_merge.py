"""References, ``allOf`` and alternatives of a JSON Schema put together, within a budget of bytes.

A schema of a few hundred bytes can refer to itself so often that it would become gigabytes. So whatever makes it
longer than it was is paid for: a reference that is put in place with the size of its target, a note with its length.
"""

from __future__ import annotations

from collections.abc import Sequence

from claude_bridge.conversion.tool_json.schema_check import resolve_reference
from claude_bridge.conversion.tool_json.text import Json, encode_exactly

ANNOTATIONS = ("$schema", "$id", "$comment")
SILENT = frozenset(
    {*ANNOTATIONS, "$defs", "definitions", "$anchor", "$dynamicAnchor", "$vocabulary", "title", "readOnly"}
)
"""Keywords that say nothing to a model."""

MAX_HOPS = 64
"""Through how many references, one inside the target of the other, a schema is followed."""

_LEAST_COST = 16
"""What the smallest target or note costs: an empty schema takes bytes too."""


class GrowthBudget:
    """How many bytes a schema may still grow by."""

    def __init__(self, bytes_left: int) -> None:
        self._bytes_left = bytes_left
        self.is_exceeded = False
        """Whether anything was left out for want of bytes."""

    def take(self, size_bytes: int) -> bool:
        """Return whether so many bytes were left; then they are spent."""
        size_bytes = max(size_bytes, _LEAST_COST)
        if size_bytes > self._bytes_left:
            self.is_exceeded = True
            return False
        self._bytes_left -= size_bytes
        return True


def json_text(value: Json) -> str:
    """Return a value as JSON text."""
    return encode_exactly(value).decode()


class SchemaParts:
    """The parts of one schema document: what its references name, and what becomes of several parts together."""

    def __init__(self, root: Json, budget: GrowthBudget) -> None:
        self._root = root
        self._budget = budget
        self._sizes: dict[str, int] = {}

    def note(self, key: str, value: Json) -> list[str]:
        """Return a keyword in words, as a list of one; of none where the budget is spent."""
        text = f"{key}: {json_text(value)}"
        growth = len(encode_exactly(text)) - len(text)
        return [text] if self._budget.take(growth + _LEAST_COST) else []

    def merged(self, node: dict[str, Json], followed: tuple[str, ...]) -> tuple[dict[str, Json], tuple[str, ...]]:
        """Return a schema with what its reference and its ``allOf`` mean put in place.

        ``followed`` are the references that led here; what is returned with it are those that lead on.
        """
        node, followed = self._dereferenced(node, followed)
        parts = node.get("allOf")
        if not isinstance(parts, list):
            return node, followed
        schemas = [{key: value for key, value in node.items() if key != "allOf"}]
        for part in parts:
            if isinstance(part, dict):
                more, followed = self.merged(part, followed)
                schemas.append(more)
        return _joined(schemas, self), followed

    def _dereferenced(
        self, node: dict[str, Json], followed: tuple[str, ...]
    ) -> tuple[dict[str, Json], tuple[str, ...]]:
        while isinstance(name := node.get("$ref"), str):
            beside = {key: value for key, value in node.items() if key != "$ref"}
            target = resolve_reference(self._root, name)
            if not isinstance(target, dict):
                return beside | {"refers to": name}, followed
            if name in followed or len(followed) >= MAX_HOPS or not self._can_repeat(name, target):
                hint = {key: target[key] for key in ("type",) if key in target}
                return hint | beside | {"the same again as": name.rpartition("/")[2]}, followed
            followed = (*followed, name)
            node = target | beside
        return node, followed

    def _can_repeat(self, name: str, target: dict[str, Json]) -> bool:
        size = self._sizes.get(name)
        if size is None:
            size = self._sizes[name] = len(encode_exactly(target))
        return self._budget.take(size)


def with_notes(schema: dict[str, Json], notes: Sequence[str]) -> dict[str, Json]:
    """Return the schema with notes behind its description."""
    if not notes:
        return schema
    return schema | {"description": f"{schema.get('description', '')} ({'; '.join(notes)})".strip()}


def _joined(schemas: Sequence[dict[str, Json]], parts: SchemaParts) -> dict[str, Json]:
    """Return one schema in place of several that must all hold; what conflicts goes into the description."""
    joined: dict[str, Json] = {}
    properties: dict[str, list[Json]] = {}
    required: dict[str, None] = {}
    texts: list[str] = []
    for schema in schemas:
        notes: list[str] = []
        for key, value in schema.items():
            present = joined.setdefault(key, value)
            if key == "properties" and isinstance(present, dict) and isinstance(value, dict):
                for name, inner in value.items():
                    properties.setdefault(name, []).append(inner)
            elif key == "required" and isinstance(present, list) and isinstance(value, list):
                required |= dict.fromkeys(name for name in value if isinstance(name, str))
            elif present == value or key in SILENT:
                continue
            elif key == "description":
                notes.insert(0, str(value))
            else:
                notes += [f"({note})" for note in parts.note(key, value)]
        texts += notes
    if properties:
        joined["properties"] = {name: _property(of, parts) for name, of in properties.items()}
    if required:
        joined["required"] = list(required)
    if texts:
        joined["description"] = " ".join([str(joined.get("description", "")), *texts]).strip()
    return joined


def _property(schemas: list[Json], parts: SchemaParts) -> Json:
    """Return several schemas of one property as one; a schema that is not an object stays alone."""
    first, *others = schemas
    objects = [one for one in others if isinstance(one, dict)]
    return _joined([first, *objects], parts) if objects and isinstance(first, dict) else first
