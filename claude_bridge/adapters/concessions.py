"""What gives way where an upstream refuses something: the rows of ``concessions.toml``, by words and by fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from msgspec import Struct

from claude_bridge.adapters.base import EngineModel
from claude_bridge.conversion.profile import SchemaDialect, checked_changes
from claude_bridge.conversion.reasoning import EFFORTS
from claude_bridge.conversion.upstream_errors.rules import refusals
from claude_bridge.data_files import read_rows
from claude_bridge.errors import UpstreamReport
from claude_bridge.wire.anthropic import CountTokensRequest

_READ_CHARS = 8_000
"""How much of an upstream's words is read."""

Changes = Mapping[str, Any]
"""Fields of Profile and of its parts, with their new values; empty: nothing can give way."""


class RefusedRequest(Struct, frozen=True):
    """A request that was refused, and the upstream's reasons."""

    engine: EngineModel
    report: UpstreamReport
    request: CountTokensRequest
    body: bytes

    @property
    def words(self) -> str:
        """The upstream's error text, as far as it is read."""
        return self.report.words[:_READ_CHARS]

    def reports(self, what: str) -> bool:
        """Return whether the upstream's words mean this; see ``general`` in ``concessions.toml``."""
        return concessions().general[what].search(self.words) is not None


def words_of(*wordings: str) -> re.Pattern[str]:
    """Return a pattern that finds one of the wordings."""
    return re.compile("|".join(wordings), re.IGNORECASE | re.DOTALL)


class Concession(Struct, frozen=True, kw_only=True):
    """What gives way for some words (None: for a field); see ``concessions.toml``."""

    words: re.Pattern[str] | None = None
    only_if: Callable[[RefusedRequest], bool] = lambda _: True
    rule: Callable[[RefusedRequest], Changes] | None = None
    fixed: Changes
    refuses: Sequence[str] = ()
    reason: str = ""
    warning: str = ""
    instead: str = "left out"
    gives_way_to_values: bool = False

    def changes(self, refused: RefusedRequest) -> Changes:
        """Return what changes for this request."""
        match = self.words.search(refused.words) if self.words is not None else None
        if not self.only_if(refused) or (self.words is not None and match is None):
            return {}
        found = {name: int(number) for name, number in (match.groupdict() if match else {}).items()}
        chat = refused.engine.profile.chat
        more = {"refuses": tuple(dict.fromkeys((*chat.refuses, *self.refuses)))} if self.refuses else {}
        return {**self.fixed, **found, **more, **(self.rule(refused) if self.rule else {})}


class SchemaWords(Struct, frozen=True, kw_only=True):
    """How upstreams refuse a schema, and the dialect in which they get it then."""

    words: re.Pattern[str]
    dialect: SchemaDialect
    is_grammar: bool = False


class Concessions(Struct, frozen=True, kw_only=True):
    """All rows."""

    general: Mapping[str, re.Pattern[str]]
    ordinary_words: frozenset[str]
    inner_fields: Sequence[str]
    needed_fields: frozenset[str]
    schema: Sequence[SchemaWords]
    words: Sequence[Concession]
    field: Mapping[str, Concession]


@cache
def concessions() -> Concessions:
    """Return the rows; read at the first refusal."""
    document = read_rows("adapters/concessions.toml")
    return Concessions(
        general={name: words_of(*words) for name, words in document["general"].items()},
        ordinary_words=frozenset(document["ordinary_words"]),
        inner_fields=document["inner_fields"],
        needed_fields=frozenset(document["needed_fields"]),
        schema=[SchemaWords(**_with_words(row)) for row in document["schema"]],
        words=[_concession(row) for row in document["words"]],
        field={name: _concession(row) for name, row in document["field"].items()},
    )


def _concession(row: Mapping[str, Any]) -> Concession:
    fields = _with_words(row)
    fixed = checked_changes(fields.pop("set", {}), fields.pop("unset", ()))
    for name, table in (("rule", _RULES), ("only_if", _CONDITIONS)):
        if name in fields:
            fields[name] = table[fields[name]]
    return Concession(fixed=fixed, **fields)


def _with_words(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with its words as a pattern, those of the refusals that it names among them."""
    named = [refusal.words.pattern for refusal in refusals() if refusal.name and refusal.name == row.get("refusal")]
    words = [*row.get("words", ()), *named]
    fields = {name: value for name, value in row.items() if name not in ("words", "refusal")}
    return fields | {"words": words_of(*words)} if words else fields


# --- what depends on the request ------------------------------------------------------------------------------------


def _forces(refused: RefusedRequest) -> bool:
    choice = refused.request.tool_choice
    return choice is not None and choice.type in ("any", "tool")


def _other_limit_field(refused: RefusedRequest) -> Changes:
    is_old = refused.engine.profile.chat.max_tokens_field == "max_tokens"
    return {"max_tokens_field": "max_completion_tokens" if is_old else "max_tokens"}


def _fewer_tool_choices(refused: RefusedRequest) -> Changes:
    choice = refused.request.tool_choice
    forms = refused.engine.profile.chat.tool_choices
    by_name = choice is not None and choice.type == "tool" and choice.name and "named" in forms
    return {"tool_choices": ("required",) if by_name and "required" in forms else ()}


def _simpler_answer_format(refused: RefusedRequest) -> Changes:
    is_schema = refused.engine.profile.chat.structured_output == "json_schema"
    return {"structured_output": "json_object" if is_schema else None}


def _other_efforts(refused: RefusedRequest) -> Changes:
    """Return the levels that the upstream named as its own, or none."""
    levels = refused.engine.profile.chat.effort_levels
    _, named, rest = refused.words.rpartition("upported values")
    if not named:
        found = re.search(r"(?:should be|must be|one of|expected)(.*)", refused.words, re.IGNORECASE | re.DOTALL)
        rest = found[1] if found else ""
    listed = tuple(level for level in EFFORTS if re.search(rf"\b{level}\b", rest))
    return {"effort_levels": listed if listed and listed != levels else ()}


def _no_thinking_fields(refused: RefusedRequest) -> Changes:
    chat = refused.engine.profile.chat
    changes: dict[str, Any] = {"thinking_switch": None}
    if chat.effort_place != "reasoning_effort":
        changes["effort_levels"] = ()
    if chat.budget_place == "reasoning":
        changes["budget_place"] = None
    return changes


_CONDITIONS: Mapping[str, Callable[[RefusedRequest], bool]] = {
    "a tool is forced": _forces,
    "there are tools": lambda refused: bool(refused.request.tools),
}
_RULES: Mapping[str, Callable[[RefusedRequest], Changes]] = {
    "other limit field": _other_limit_field,
    "fewer tool choices": _fewer_tool_choices,
    "simpler answer format": _simpler_answer_format,
    "other efforts": _other_efforts,
    "no thinking fields": _no_thinking_fields,
}
