"""A tool call's input: repaired where it is malformed, or where the tool's declared schema refuses it.

An input that the schema accepts is never changed, but for the few that a client is known to refuse all the same.
Nothing is invented: what can't be repaired is handed on, and the client's own validation answers the model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from claude_bridge.clients.claude_code import EXCLUSIVE_INPUTS, REFUSED_WHEN_EMPTY
from claude_bridge.conversion.bounded_cache import BoundedCache
from claude_bridge.conversion.tool_calls.coercion import RawValue, meanings
from claude_bridge.conversion.tool_calls.text_formats import FORMATS, Parameters
from claude_bridge.conversion.tool_calls.text_source import fold
from claude_bridge.conversion.tool_json.repair import NotRepaired, RepairedJson, read_object
from claude_bridge.conversion.tool_json.schema_check import (
    SchemaCheck,
    TooMuchWorkError,
    WorkBudget,
    has_type,
    item_schema,
    type_of,
    types_in,
)
from claude_bridge.conversion.tool_json.text import Json, begins_json, input_json, is_json, open_input_json
from claude_bridge.conversion.tool_names import folded_name
from claude_bridge.wire.lenient_json import as_object, list_in, object_in, replace_lone_surrogates

_WRAPPERS = frozenset(("arguments", "args", "input", "parameters", "params", "tool_input"))
"""What models put around an input, as if they wrote the whole call."""
_NAMES = frozenset(("name", "tool", "tool_name", "function", "type"))

_NOTHING = frozenset(("", "null", "none", "undefined"))

_MAX_ROUNDS = 3
"""How often what was repaired is looked at again: a reference and an alternative may each find something."""

_STEPS_OF_MATCH = 3
_CHARS_PER_STEP = 16
_MAX_NOTES = 20

_BYTES_OF_PARSED = 10
"""How many times as large as its text a schema is, with the text."""

_parsed_schemas: BoundedCache[tuple[Json]] = BoundedCache(16 * 1024 * 1024)


class RepairedArguments(NamedTuple):
    """The input of a tool use as JSON text, and how it was repaired."""

    text: str
    notes: tuple[str, ...] = ()
    is_cut_off: bool = False
    """Whether the arguments end in the middle; ``text`` is left open then, or says that it could not be parsed."""


def repair_arguments(
    text: str, schema: bytes, tool_name: str, *, may_repair: bool = True, budget: WorkBudget | None = None
) -> RepairedArguments:
    """Return the arguments of a call as JSON, such that the tool's schema has as little against them as possible.

    ``schema`` is what the client declared. ``may_repair`` says that the model ended its answer by itself, so that
    malformed JSON is a mistake of its own. ``budget`` is what all calls of an answer share; past it arguments are
    handed on as they are. The notes say each repair in a few words.
    """
    budget = budget or WorkBudget()
    text = text.strip()
    if not text or text == "null":
        return RepairedArguments("{}")
    text = replace_lone_surrogates(text.encode()).decode()
    notes: tuple[str, ...] = ()
    if not is_json(text):
        found = _read(text, schema, budget)
        if not isinstance(found, RepairedJson):
            return _unrepaired(text, found, may_repair=may_repair)
        if not may_repair or not _has_likely_keys(found.text, schema):
            is_open = found.lacked_end and not may_repair
            return _unrepaired(text, NotRepaired.CUT_OFF if is_open else NotRepaired.UNSURE, may_repair=may_repair)
        text, notes = found.text, ("malformed JSON was repaired",)
    elif text.startswith('"') and (inner := _object_in(text)) is not None:
        text, notes = inner, ("arguments given as text that holds JSON were unpacked",)
    try:
        matched = _matched_to_schema(text, parsed_schema(schema), tool_name, budget)
    except (TooMuchWorkError, RecursionError):
        matched = RepairedArguments(text, ("not compared with the schema: that would take too long",))
    if not matched.text.startswith("{"):
        notes += ("arguments that are no object were handed on inside one",)
    return RepairedArguments(input_json(matched.text), notes + matched.notes)


def accepts(text: str, schema: bytes, budget: WorkBudget) -> bool:
    """Return whether a tool's schema has nothing against an input."""
    document = parsed_schema(schema)
    try:
        return is_json(text) and not SchemaCheck(document, budget).refusals(msgspec.json.decode(text), document)
    except (TooMuchWorkError, RecursionError):
        return False


def _unrepaired(text: str, why: NotRepaired, *, may_repair: bool) -> RepairedArguments:
    if why is NotRepaired.CUT_OFF:
        note = "cut off in the middle, though the engine says that the model ended: not run"
        return RepairedArguments(open_input_json(text), (note,) if may_repair else (), is_cut_off=True)
    if why is NotRepaired.TOO_LARGE:
        reason = "repairing it would take too long"
    else:
        reason = "it is not sure what it means" if may_repair else "the answer may have been cut off"
    return RepairedArguments(input_json(text), (f"malformed JSON was handed on as text: {reason}",))


def parsed_schema(schema: bytes) -> Json:
    """Return the schema as values; one that can't be read accepts all."""
    if schema == b"{}":
        return {}
    known = _parsed_schemas.get(schema)
    if known is None:
        try:
            known = (msgspec.json.decode(replace_lone_surrogates(schema)),)
        except (msgspec.DecodeError, RecursionError):
            known = (True,)
        _parsed_schemas.put(schema, known, size_bytes=len(schema) * _BYTES_OF_PARSED)
    return known[0]


def _object_in(text: str) -> str | None:
    """Return the object that a JSON string holds, or None."""
    inner = msgspec.json.decode(text, type=str).strip()
    return inner if inner.startswith("{") and is_json(inner) else None


def _declared_names(schema: bytes) -> frozenset[str]:
    return frozenset(object_in(as_object(parsed_schema(schema)), "properties"))


def _has_likely_keys(text: str, schema: bytes) -> bool:
    """Return whether a repaired object has no keys but declared ones: others may come from inside a broken string."""
    declared = {folded_name(name) for name in _declared_names(schema)}
    return not declared or {folded_name(key) for key in msgspec.json.decode(text)} <= declared


def _read(text: str, schema: bytes, budget: WorkBudget) -> RepairedJson | NotRepaired:
    try:
        budget.spend(len(text) // _CHARS_PER_STEP)
        found = read_object(text, _declared_names(schema))
    except TooMuchWorkError:
        found = NotRepaired.TOO_LARGE
    return NotRepaired.CUT_OFF if found is NotRepaired.TOO_LARGE and begins_json(text) else found


def _matched_to_schema(text: str, schema: Json, tool_name: str, budget: WorkBudget) -> RepairedArguments:
    value, notes = _without_tags_of_formats(msgspec.json.decode(text))
    if notes:
        text = json.dumps(value, ensure_ascii=False)
    check = SchemaCheck(schema, budget)
    raw = RawValue(value, lambda: text, check.budget)
    matched, match_notes = _SchemaMatcher(check, tool_name).closest(raw, schema, "")
    matched, client_notes = _without_what_clients_refuse(matched, schema, tool_name)
    notes += match_notes + client_notes
    if not notes:
        return RepairedArguments(text)
    if len(notes) > _MAX_NOTES:
        notes = (*notes[:_MAX_NOTES], f"and {len(notes) - _MAX_NOTES} more")
    return RepairedArguments(json.dumps(matched, ensure_ascii=False, separators=(",", ":")), notes)


def _without_tags_of_formats(value: Json) -> tuple[Json, tuple[str, ...]]:
    """Return an input without what an engine's parser left of a chat format at the end of its values."""
    if not isinstance(value, dict):
        return value, ()
    cut = {key: _without_closing_tags(inner) for key, inner in value.items() if isinstance(inner, str)}
    changed = {key: inner for key, inner in cut.items() if inner != value[key]}
    return value | changed, tuple(f"{key}: closing tags of the chat format were cut off" for key in changed)


def _closing_pattern() -> re.Pattern[str]:
    """Return what finds closing tags at the end of a value, the last one perhaps cut in the middle.

    Qwen's ``</parameter>`` is none of them: files that are edited may end with it.
    """
    stems = set()
    for row in FORMATS:
        if isinstance(row.input, Parameters) and (row.is_token or row.input.before_value):
            ends = (row.input.behind_value, *((row.behind_call, row.closing) if row.is_token else ()))
            stems |= {re.escape(end.removesuffix(">")).replace(r"\{key\}", r"[\w-]+") for end in ends if end}
    either = "|".join(sorted(stems, key=len, reverse=True))
    return re.compile(rf"(?:\s*(?:{either})>?)+\s*\Z")


_CLOSING_TAGS = _closing_pattern()
_MAX_LEFT_CHARS = 200
_TAG_CHARS = 6
"""So much of a tag distinguishes its format: ``|DSML|``, ``minima``, ``arg_va``."""


def _without_closing_tags(value: str) -> str:
    """Return a value of a structured call without the closing tags of its chat format, which a parser left on it.

    A value that holds such a tag elsewhere too is about the format.
    """
    start = max(0, len(value) - _MAX_LEFT_CHARS)
    found = _CLOSING_TAGS.search(fold(value[start:])) if "<" in value[start:] else None
    if found is None:
        return value
    kept, tag = value[: start + found.start()], found[0].strip().lstrip("<]/")[:_TAG_CHARS]
    return value if tag in fold(kept) else kept


def _without_what_clients_refuse(value: Json, schema: Json, tool_name: str) -> tuple[Json, tuple[str, ...]]:
    if not isinstance(value, dict) or not isinstance(schema, dict):
        return value, ()
    declared, required = object_in(schema, "properties"), list_in(schema, "required")
    notes = []
    for name in REFUSED_WHEN_EMPTY.get(tool_name, ()):
        is_optional = not schema or (name in declared and name not in required)
        is_blank = name in value and (not value[name] or (isinstance(value[name], list) and not any(value[name])))
        if is_blank and is_optional:
            value = {key: inner for key, inner in value.items() if key != name}
            notes.append(f"{name}: an empty value that the client refuses was left out")
    first, second = EXCLUSIVE_INPUTS.get(tool_name, ("", ""))
    # Claude Code 2.1.330 names this tool in a text, and declares it only once it was looked for.
    are_known = not schema or {first, second} <= declared.keys()
    if first in value and second in value and are_known and second not in required:
        value = {key: inner for key, inner in value.items() if key != second}
        notes.append(f"{second}: left out, since the client takes only one of it and {first}")
    return value, tuple(notes)


class _Match(NamedTuple):
    value: Json
    notes: tuple[str, ...] = ()


class _SchemaMatcher:
    """Tries what a value may have meant, and keeps what the schema has the least against."""

    def __init__(self, check: SchemaCheck, tool_name: str) -> None:
        self._check = check
        self._tool_name = tool_name

    def closest(self, raw: RawValue, schema: Json, path: str) -> _Match:
        """Return the value that the schema refuses least; the given one unless another is refused less."""
        self._check.budget.spend(_STEPS_OF_MATCH)
        best, refusals = _Match(raw.value), self._check.refusals(raw.value, schema)
        for _ in range(_MAX_ROUNDS):
            before, notes = refusals, best.notes
            for candidate in self._candidates(raw, self._check.resolved(schema), path) if refusals else ():
                left = self._check.refusals(candidate.value, schema)
                if left < refusals:
                    best, refusals = _Match(candidate.value, notes + candidate.notes), left
                if not refusals:
                    break
            if refusals == before:
                break
            raw = raw.becomes(best.value)
        return best

    def _candidates(self, raw: RawValue, schema: Json, path: str) -> Iterator[_Match]:
        if not isinstance(schema, dict):
            return
        if not has_type(raw.value, schema) or list_in(schema, "enum") or "const" in schema:
            yield from self._converted(raw, schema, path)
        elif isinstance(raw.value, dict):
            yield self._closest_object(raw, schema, path)
            if not path:
                yield from self._unwrapped(raw, schema)
        elif isinstance(raw.value, list):
            yield self._closest_list(raw, schema, path)
        for branch in list_in(schema, "anyOf") + list_in(schema, "oneOf") + list_in(schema, "allOf"):
            yield self.closest(raw, branch, path)

    def _converted(self, raw: RawValue, schema: dict[str, Json], path: str) -> Iterator[_Match]:
        """Yield what the value is as another type, for each type that the schema allows, or as one of its options."""
        place = f"{path}: " if path else ""
        options = [*list_in(schema, "enum"), *([schema["const"]] if "const" in schema else [])]
        self._check.budget.spend(len(options))
        types = types_in(schema) or {type_of(option) for option in options}
        for meaning in meanings(raw, types):
            inner = self.closest(meaning.raw, schema, path)
            yield _Match(inner.value, (place + meaning.what, *inner.notes))
        folded = raw.value.strip().casefold() if isinstance(raw.value, str) else None
        near = [option for option in options if isinstance(option, str) and option.casefold() == folded]
        if len(near) == 1:
            yield _Match(near[0], (f"{place}one of the options in another spelling",))

    def _closest_list(self, raw: RawValue, schema: dict[str, Json], path: str) -> _Match:
        matches = [self.closest(raw.part(at), item_schema(schema, at), f"{path}[{at}]") for at in range(len(raw.value))]
        return _Match([match.value for match in matches], tuple(note for match in matches for note in match.notes))

    def _closest_object(self, raw: RawValue, schema: dict[str, Json], path: str) -> _Match:
        required = list_in(schema, "required")
        names = self._meant_names(raw.value, schema)
        value: dict[str, Json] = {}
        notes: list[str] = []
        for key in raw.value:
            name = names.get(key, key)
            inner_path = f"{path}.{name}" if path else name
            inner_schema = self._check.member_schema(schema, name)
            match = self.closest(raw.part(key), inner_schema, inner_path)
            if self._is_refused_and_empty(match.value, inner_schema) and name not in required:
                notes.append(f"{inner_path}: an empty value was left out")
                continue
            if name != key:
                notes.append(f"{inner_path}: given as {key!r}")
            notes += match.notes
            value[name] = match.value
        return _Match(value, tuple(notes))

    def _meant_names(self, value: dict[str, Json], schema: dict[str, Json]) -> dict[str, str]:
        """Return the declared name for each key that is refused, or missed, and can mean no other."""
        declared = object_in(schema, "properties")
        strangers = _by_folded_name(key for key in value if key not in declared)
        if not strangers:
            return {}
        self._check.budget.spend(len(declared) + len(value))
        missing = _by_folded_name(name for name in declared if name not in value)
        required = list_in(schema, "required")
        names: dict[str, str] = {}
        for folded, keys in strangers.items():
            near = missing.get(folded, [])
            if len(near) != 1 or len(keys) != 1:
                continue
            is_refused = self._check.refusals(value[keys[0]], self._check.member_schema(schema, keys[0])) > 0
            if is_refused or near[0] in required:
                names[keys[0]] = near[0]
        return names

    def _is_refused_and_empty(self, value: Json, schema: Json) -> bool:
        is_empty = value.strip().lower() in _NOTHING if isinstance(value, str) else value in (None, [], {})
        return is_empty and self._check.refusals(value, schema) > 0

    def _unwrapped(self, raw: RawValue, schema: dict[str, Json]) -> Iterator[_Match]:
        """Yield the input inside what looks like a whole call of this tool."""
        wrappers = [key for key in raw.value if key in _WRAPPERS and key not in object_in(schema, "properties")]
        others = raw.value.keys() - wrappers
        is_consistent = all(raw.value[key] in (self._tool_name, "function", "tool_use") for key in others)
        if len(wrappers) == 1 and others <= _NAMES and is_consistent:
            inner = raw.part(wrappers[0])
            meant = [inner] if isinstance(inner.value, dict) else [one.raw for one in meanings(inner, ["object"])]
            for one in meant:
                match = self.closest(one, schema, "")
                yield _Match(match.value, (f"the input was given inside {wrappers[0]!r}", *match.notes))


def _by_folded_name(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(folded_name(name), []).append(name)
    return found
