"""Adaptation: what gives way after an upstream refused a request, so that the next one is taken.

Gateways do not say which model stands behind them, and models refuse what their neighbours need. So an upstream's own
words decide: one table for all adapters (``concessions.toml``) says what is left out or sent otherwise. Nothing gives
way twice, and what an upstream is known to refuse is not sent to it again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from claude_bridge.adapters.base import EngineModel
from claude_bridge.conversion.opaque_reasoning import is_ours, reasoning_digest
from claude_bridge.conversion.profile import SchemaDialect, checked_changes
from claude_bridge.conversion.prompt.context_budget import LEAST_ANSWER_TOKENS
from claude_bridge.conversion.reasoning import EFFORTS, preferred_thinking
from claude_bridge.conversion.tool_json.simpler_schemas import with_simpler_schemas
from claude_bridge.conversion.tool_names import engine_name
from claude_bridge.conversion.upstream_errors.rules import refusals
from claude_bridge.data_files import read_rows
from claude_bridge.errors import BridgeError, UpstreamReport
from claude_bridge.wire.anthropic import CountTokensRequest, MessagesRequest, RedactedThinkingBlock
from claude_bridge.wire.lenient_json import parse_object, read_or_none

MAX_ADAPTATIONS = 10
"""How often one request is adapted: most upstreams name one refused field at a time."""

_LEAST_LIMIT = 512
"""A smaller number in a refusal of ``max_tokens`` is not taken for the limit."""
_MAX_REFUSED_REASONING = 10_000
_READ_CHARS = 8_000
"""How much of an upstream's words is read."""

_NOT_ABOUT_A_FIELD = frozenset({401, 402, 404, 429, 503, 529})
"""Statuses about the key, the account, the model or the moment: their words name fields by chance, or for limits."""

_ECHO = re.compile(
    r"input_value=.*?(?=, input_type=|\Z)"
    r"""|['"]input['"]:.*?(?=\}[\s,\]]{0,4}\{['"](?:type|loc|msg)['"]|\Z)"""
    r"|\bmessages = \[.*\Z",
    re.DOTALL,
)
"""What the client sent, as pydantic's and llama.cpp's errors quote it."""

_Changes = Mapping[str, Any]
"""Fields of Profile and of its parts, with their new values; empty: nothing can give way."""


class Adaptation(Struct, frozen=True, kw_only=True):
    """How requests to an upstream are made from now on."""

    engine: EngineModel
    reason: str
    """What was refused, and what is sent instead; for the log."""
    warning: str = ""
    """What the user should know even if nobody reads the log."""
    prompt_tokens: int | None = None
    """How long the prompt is, where the upstream reported it."""


def adapt(engine: EngineModel, error: BridgeError, request: CountTokensRequest, body: bytes) -> Adaptation | None:
    """Return how to ask after ``body``, made of ``request``, was refused; None: nothing of it can give way."""
    report = error.report
    if report is None or engine.profile.messages.is_anthropic:  # its clients know its refusals themselves
        return None
    if report.prompt_tokens is not None and report.window_tokens is not None:
        return _with_window(engine, report.prompt_tokens, report.window_tokens)
    refused = find_refused(engine, error, request, body)
    if refused is None:
        return None
    kinds = (refused.by_reasoning, refused.by_special_words, refused.by_schema, refused.by_limit, refused.by_field)
    return next((adaptation for kind in kinds if (adaptation := kind()) is not None), None)


def find_refused(engine: EngineModel, error: BridgeError, request: CountTokensRequest, body: bytes) -> Refused | None:
    """Return the request that was refused, with the upstream's own words; None: nothing of it can give way."""
    report = error.report
    if report is None or not body or engine.profile.messages.is_anthropic or error.status in _NOT_ABOUT_A_FIELD:
        return None
    words = _ECHO.sub("", report.words[:_READ_CHARS])
    return Refused(engine, report._replace(words=words), request, body)


def _with_window(engine: EngineModel, prompt_tokens: int, window_tokens: int) -> Adaptation | None:
    """Return the engine with the window that it reported, if the prompt fits it and only the answer was too long."""
    if window_tokens - prompt_tokens < min(LEAST_ANSWER_TOKENS, window_tokens // 4):
        return None
    known = engine.limits.window_tokens
    window = window_tokens if known is None else min(known, window_tokens)
    return Adaptation(
        engine=replace(engine, limits=replace(engine.limits, window_tokens=window)),
        reason=f"the answer's limit did not fit the window of {window_tokens:,} tokens beside the prompt; lowered",
        prompt_tokens=prompt_tokens,
    )


class Refused(Struct, frozen=True):
    """A request that was refused with the upstream's reasons: finds what of it gives way."""

    engine: EngineModel
    report: UpstreamReport
    request: CountTokensRequest
    body: bytes

    @property
    def words(self) -> str:
        """The upstream's error text, as far as it is read, without what it quotes of the request."""
        return self.report.words

    def reports(self, what: str) -> bool:
        """Return whether the upstream's words mean this; see ``general`` in ``concessions.toml``."""
        return concessions().general[what].search(self.words) is not None

    def by_reasoning(self) -> Adaptation | None:
        """Return the engine without the sealed reasoning of this request, if it does not take that back.

        Ciphers of another organisation or resource are refused for ever, and sometimes those of one's own; what the
        model thinks from here on goes back again.
        """
        if not self.reports("sealed reasoning"):
            return None
        contents = [message.content for message in self.request.messages if isinstance(message.content, list)]
        sealed = [block for blocks in contents for block in blocks if isinstance(block, RedactedThinkingBlock)]
        refused = frozenset(reasoning_digest(block) for block in sealed if is_ours(block))
        known = self.engine.refused_reasoning
        if refused <= known:
            return None
        kept = known if len(known) < _MAX_REFUSED_REASONING else frozenset()
        engine = replace(self.engine, refused_reasoning=kept | refused)
        return Adaptation(engine=engine, reason="earlier reasoning was refused; it is left out")

    def by_special_words(self) -> Adaptation | None:
        """Return what the first row does whose words the error holds, and which changes anything."""
        for row in concessions().words:
            if (adapted := self._with_profile(row.changes(self), row.reason)) is not None:
                return replace(adapted, warning=row.warning.format(where=self.engine.where))
        return None

    def by_schema(self) -> Adaptation | None:
        """Return the engine with simpler schemas, if it refused one."""
        rows = [row for row in concessions().schema if row.words.search(self.words)]
        found = rows[0].dialect if rows else None
        if found is None and (self.report.field or "").startswith("tools") and self.reports("unsupported"):
            found = "few-keywords"
        if found is None:
            return None
        known, usual = self.engine.simpler_schemas, self.engine.profile.schema_dialect
        for dialect in (found, *(() if any(row.is_grammar for row in rows) else ("openapi",))):
            simpler = with_simpler_schemas(known, self.request, usual, dialect)
            if simpler != known:
                engine = replace(self.engine, simpler_schemas=simpler)
                names = ", ".join(self._named_tools())
                what = f"the schema of {names}" if names else "a schema"
                warning = f"{engine.where} refused {what}. It is sent in a simpler form from now on." if names else ""
                return Adaptation(engine=engine, reason=f"{what} was refused; sent more simply", warning=warning)
        return None

    def by_limit(self) -> Adaptation | None:
        """Return the engine with the longest answer that it named, if the requested one is too long."""
        if not self.reports("limit of the answer") or not isinstance(self.request, MessagesRequest):
            return None
        limits = self.engine.limits
        sent = min(self.request.max_tokens, limits.max_output_tokens or self.request.max_tokens)
        numbers = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]{2,11}", self.words)]
        lower = max((number for number in numbers if _LEAST_LIMIT <= number < sent), default=None)
        if lower is None:
            return None
        engine = replace(self.engine, limits=replace(limits, max_output_tokens=lower))
        return Adaptation(engine=engine, reason=f"answers of {sent:,} tokens were refused; lowered to {lower:,}")

    def by_field(self) -> Adaptation | None:
        """Return the engine without the first field that the upstream named as refused."""
        is_unsupported, is_bad_value = self.reports("unsupported"), self.reports("bad value")
        for name in self._named_fields():
            concession = concessions().field.get(name)
            if not is_unsupported and not (is_bad_value and concession is not None and concession.gives_way_to_values):
                continue
            if concession is not None:
                adapted = self._with_profile(concession.changes(self), f"{name} was refused; {concession.instead}")
            else:
                adapted = self._without(name)
            if adapted is not None:
                return adapted
        return None

    def _with_profile(self, changes: _Changes, reason: str) -> Adaptation | None:
        profile = self.engine.profile.with_changes(changes)
        if profile == self.engine.profile:
            return None
        return Adaptation(engine=replace(self.engine, profile=profile), reason=reason)

    def _without(self, name: str) -> Adaptation | None:
        omitted = self.engine.omitted_fields | {name}
        if name in concessions().needed_fields or omitted == self.engine.omitted_fields:
            return None
        return Adaptation(engine=replace(self.engine, omitted_fields=omitted), reason=f"{name} was refused; left out")

    def _named_fields(self) -> Iterator[str]:
        """Yield the fields of the request that the upstream named, its own word for the culprit first."""
        in_request = [
            *parse_object(self.body),
            *(name for name in concessions().inner_fields if b'"%b"' % name.encode() in self.body),
        ]
        by_name = dict.fromkeys(in_request)
        named = [part for part in re.split(r"[.\[\]]+", self.report.field or "") if part in by_name]
        mentions = sorted((at, name) for name in by_name if (at := mention(self.words, name)) is not None)
        yield from dict.fromkeys([*named, *(name for _, name in mentions)])

    def _named_tools(self) -> list[str]:
        """Return the client's names of the tools that the upstream named, or gave the number of."""
        declared = {
            name: tool.name for tool in self.request.tools or () for name in (tool.name, engine_name(tool.name))
        }
        quoted = [name for name in re.findall(r"['\"`]([\w.:-]{1,128})['\"`]", self.words) if name in declared]
        sent = _sent_tools(self.body)
        numbers = re.findall(r"(?:function_declarations\[|tools\[(?!0\]\.function_decl)|tools\.)(\d+)", self.words)
        numbered = [sent[int(number)] for number in numbers if len(number) < 6 and int(number) < len(sent)]
        return list(dict.fromkeys(declared.get(name, name) for name in (*quoted, *numbered)))[:5]


class _Function(Struct, frozen=True):
    name: str = ""


class _SentTool(Struct, frozen=True):
    name: str = ""
    function: _Function = _Function()


class _SentTools(Struct, frozen=True):
    tools: list[_SentTool] = []


def _sent_tools(body: bytes) -> list[str]:
    """Return the names of the tools in the order in which they were sent."""
    sent = read_or_none(msgspec.json.Decoder(_SentTools).decode, body) or _SentTools()
    return [tool.function.name or tool.name for tool in sent.tools]


def mention(words: str, name: str) -> int | None:
    """Return where a field is named; a name that is an ordinary word counts only where it is marked as a name."""
    pattern = rf"(?<!\w){re.escape(name)}(?!\w)"
    if name in concessions().ordinary_words:
        quoted = rf"['\"`](?:[\w\[\]]+\.)*{name}['\"`]"
        pattern = rf"{quoted}|(?<!\w){name}: |(?:parameter|field|argument|key|name|property)s?:? {name}(?!\w)"
    found = re.search(pattern, words, re.IGNORECASE)
    return None if found is None else found.start()


# --- the rows of concessions.toml ---------------------------------------------------------------------------------


def _words_of(*wordings: str) -> re.Pattern[str]:
    """Return a pattern that finds one of the wordings."""
    return re.compile("|".join(wordings), re.IGNORECASE | re.DOTALL)


class Concession(Struct, frozen=True, kw_only=True):
    """What gives way for some words (None: for a field); see ``concessions.toml``."""

    words: re.Pattern[str] | None = None
    only_if: Callable[[Refused], bool] = lambda _: True
    rule: Callable[[Refused], _Changes] | None = None
    fixed: _Changes
    refuses: Sequence[str] = ()
    reason: str = ""
    warning: str = ""
    instead: str = "left out"
    gives_way_to_values: bool = False

    def changes(self, refused: Refused) -> _Changes:
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


class PassthroughRow(Struct, frozen=True, kw_only=True):
    """What is left out of a passed-on request, or replaced in it, after a refusal; see ``concessions.toml``."""

    words: re.Pattern[str]
    omits: Sequence[str] = ()
    drops_blocks: Sequence[str] = ()
    set: _Changes = {}
    refuses_betas: bool = False
    reason: str


class Concessions(Struct, frozen=True, kw_only=True):
    """All rows."""

    general: Mapping[str, re.Pattern[str]]
    ordinary_words: frozenset[str]
    inner_fields: Sequence[str]
    needed_fields: frozenset[str]
    needed_inside: frozenset[str]
    schema: Sequence[SchemaWords]
    words: Sequence[Concession]
    field: Mapping[str, Concession]
    passthrough: Sequence[PassthroughRow]


@cache
def concessions() -> Concessions:
    """Return the rows; read at the first refusal."""
    document = read_rows("adapters/concessions.toml")
    return Concessions(
        general={name: _words_of(*words) for name, words in document["general"].items()},
        ordinary_words=frozenset(document["ordinary_words"]),
        inner_fields=document["inner_fields"],
        needed_fields=frozenset(document["needed_fields"]),
        needed_inside=frozenset(document["needed_inside"]),
        schema=[SchemaWords(**_with_words(row)) for row in document["schema"]],
        words=[_concession(row) for row in document["words"]],
        field={name: _concession(row) for name, row in document["field"].items()},
        passthrough=[PassthroughRow(**_with_words(row)) for row in document["passthrough"]],
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
    return fields | {"words": _words_of(*words)} if words else fields


# --- what depends on the request ------------------------------------------------------------------------------------


def _forces_and_thinks(refused: Refused) -> bool:
    """Return whether the request is one that ``forces_while_thinking`` is about; other models think unasked."""
    choice = refused.request.tool_choice
    return choice is not None and choice.type in ("any", "tool") and preferred_thinking(refused.request).thinks


def _other_limit_field(refused: Refused) -> _Changes:
    is_old = refused.engine.profile.chat.max_tokens_field == "max_tokens"
    return {"max_tokens_field": "max_completion_tokens" if is_old else "max_tokens"}


def _fewer_tool_choices(refused: Refused) -> _Changes:
    choice = refused.request.tool_choice
    forms = refused.engine.profile.chat.tool_choices
    by_name = choice is not None and choice.type == "tool" and choice.name and "named" in forms
    return {"tool_choices": ("required",) if by_name and "required" in forms else ()}


def _simpler_answer_format(refused: Refused) -> _Changes:
    is_schema = refused.engine.profile.chat.structured_output == "json_schema"
    return {"structured_output": "json_object" if is_schema else None}


def _other_efforts(refused: Refused) -> _Changes:
    """Return the levels that the upstream named as its own, or none."""
    levels = refused.engine.profile.chat.effort_levels
    _, named, rest = refused.words.rpartition("upported values")
    if not named:
        found = re.search(r"(?:should be|must be|one of|expected)(.*)", refused.words, re.IGNORECASE | re.DOTALL)
        rest = found[1] if found else ""
    listed = tuple(level for level in EFFORTS if re.search(rf"\b{level}\b", rest))
    return {"effort_levels": listed if listed and listed != levels else ()}


def _no_thinking_fields(refused: Refused) -> _Changes:
    chat = refused.engine.profile.chat
    changes: dict[str, Any] = {"thinking_switch": None}
    if chat.effort_place != "reasoning_effort":
        changes["effort_levels"] = ()
    if chat.budget_place == "reasoning":
        changes["budget_place"] = None
    return changes


_CONDITIONS: Mapping[str, Callable[[Refused], bool]] = {
    "a tool is forced, and thinking was requested": _forces_and_thinks,
    "there are tools": lambda refused: bool(refused.request.tools),
}
_RULES: Mapping[str, Callable[[Refused], _Changes]] = {
    "other limit field": _other_limit_field,
    "fewer tool choices": _fewer_tool_choices,
    "simpler answer format": _simpler_answer_format,
    "other efforts": _other_efforts,
    "no thinking fields": _no_thinking_fields,
}
