"""Adaptation: what gives way after an upstream refused a request, so that the next one is taken.

Gateways do not say which model stands behind them, and models refuse what their neighbours need. So an upstream's own
words decide: one table for all adapters says what is left out or sent otherwise. Nothing gives way twice, and what an
upstream is known to refuse is not sent to it again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from claude_bridge.adapters.base import EngineModel
from claude_bridge.conversion.opaque_reasoning import is_ours, reasoning_digest
from claude_bridge.conversion.profile import SchemaDialect
from claude_bridge.conversion.prompt.context_budget import LEAST_ANSWER_TOKENS
from claude_bridge.conversion.reasoning import EFFORTS
from claude_bridge.conversion.tool_json.simpler_schemas import with_simpler_schemas
from claude_bridge.conversion.tool_names import engine_name
from claude_bridge.errors import BridgeError, UpstreamReport
from claude_bridge.wire.anthropic import CountTokensRequest, MessagesRequest, RedactedThinkingBlock

MAX_ADAPTATIONS = 5
"""How often one request is adapted: most upstreams name one refused field at a time."""

_READ_CHARS = 8_000
"""How much of an upstream's words is read."""

_LEAST_LIMIT = 512
"""A smaller number in a refusal of ``max_tokens`` is not taken for the limit."""

Changes = Mapping[str, Any]
"""Fields of Profile and of its parts, with their new values; empty: nothing can give way."""


class Adaptation(Struct, frozen=True, kw_only=True):
    """How an upstream is asked from now on."""

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
    refused = _Refused(engine, report, request, body)
    return (
        (
            refused.by_reasoning()
            or refused.by_special_words()
            or refused.by_schema()
            or refused.by_limit()
            or refused.by_field()
        )
        if body
        else None
    )


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


class _Refused(Struct, frozen=True):
    """A request that was refused, and the upstream's reasons."""

    engine: EngineModel
    report: UpstreamReport
    request: CountTokensRequest
    body: bytes

    @property
    def words(self) -> str:
        """The upstream's error text, as far as it is read."""
        return self.report.words[:_READ_CHARS]

    def by_reasoning(self) -> Adaptation | None:
        """Return the engine without the sealed reasoning of this request, if it does not take that back.

        Ciphers of another organisation or resource are refused for ever, and sometimes those of one's own; what the
        model thinks from here on goes back again.
        """
        if not _SEALED_REASONING_WORDS.search(self.words):
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
        """Return the first row of SPECIAL_WORDS whose words the error holds, and which changes anything."""
        for row in SPECIAL_WORDS:
            match = row.words.search(self.words)
            if match is not None and (adapted := self._with_profile(row.changes(self, match), row.reason)) is not None:
                return replace(adapted, warning=row.warning.format(where=self.engine.where))
        return None

    def by_schema(self) -> Adaptation | None:
        """Return the engine with simpler schemas, if it refused one."""
        found = next((dialect for words, dialect in SCHEMA_WORDS if words.search(self.words)), None)
        if found is None and (self.report.field or "").startswith("tools") and _UNSUPPORTED.search(self.words):
            found = "few-keywords"
        if found is None:
            return None
        known, usual = self.engine.simpler_schemas, self.engine.profile.schema_dialect
        for dialect in (found, *(() if _GRAMMAR.search(self.words) else ("openapi",))):
            simpler = with_simpler_schemas(known, self.request, usual, dialect)
            if simpler != known:
                engine = replace(self.engine, simpler_schemas=simpler)
                names = ", ".join(self._named_tools())
                what = f"the schema of {names}" if names else "a schema"
                warning = f"{engine.where} refused {what}. It is sent in a simpler form from now on." if names else ""
                return Adaptation(engine=engine, reason=f"{what} was refused; sent more simply", warning=warning)
        return None

    def by_limit(self) -> Adaptation | None:
        """Return the engine with the longest answer that it named, if the one that was asked for is too long."""
        if not _LIMIT_WORDS.search(self.words) or not isinstance(self.request, MessagesRequest):
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
        is_unsupported, is_bad_value = _UNSUPPORTED.search(self.words), _BAD_VALUE.search(self.words)
        for name in self._named_fields():
            concession = FIELDS.get(name)
            if not is_unsupported and not (is_bad_value and concession is not None and concession.gives_way_to_values):
                continue
            if concession is not None:
                adapted = self._with_profile(concession.changes(self), f"{name} was refused; {concession.instead}")
            else:
                adapted = self._without(name)
            if adapted is not None:
                return adapted
        return None

    def _with_profile(self, changes: Changes, reason: str) -> Adaptation | None:
        profile = self.engine.profile.with_changes(changes)
        if profile == self.engine.profile:
            return None
        return Adaptation(engine=replace(self.engine, profile=profile), reason=reason)

    def _without(self, name: str) -> Adaptation | None:
        omitted = self.engine.omitted_fields | {name}
        if name in NEEDED_FIELDS or omitted == self.engine.omitted_fields:
            return None
        return Adaptation(engine=replace(self.engine, omitted_fields=omitted), reason=f"{name} was refused; left out")

    def _named_fields(self) -> Iterator[str]:
        """Yield the fields of the request that the upstream named, its own word for the culprit first."""
        in_request = [
            *_top_level_fields(self.body),
            *(name for name in _INNER_FIELDS if b'"%b"' % name.encode() in self.body),
        ]
        by_name = dict.fromkeys(in_request)
        named = [part for part in re.split(r"[.\[\]]+", self.report.field or "") if part in by_name]
        mentions = sorted((at, name) for name in by_name if (at := _mention(self.words, name)) is not None)
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


def _top_level_fields(body: bytes) -> list[str]:
    try:
        return list(msgspec.json.decode(body, type=dict[str, Raw]))
    except (msgspec.DecodeError, RecursionError):
        return []


class _Function(Struct, frozen=True):
    name: str = ""


class _SentTool(Struct, frozen=True):
    name: str = ""
    function: _Function = _Function()


class _SentTools(Struct, frozen=True):
    tools: list[_SentTool] = []


def _sent_tools(body: bytes) -> list[str]:
    """Return the names of the tools in the order in which they were sent."""
    try:
        sent = msgspec.json.decode(body, type=_SentTools)
    except (msgspec.DecodeError, RecursionError):
        return []
    return [tool.function.name or tool.name for tool in sent.tools]


def _mention(words: str, name: str) -> int | None:
    """Return where a field is named; a name that is an ordinary word counts only where it is marked as a name."""
    pattern = rf"(?<!\w){re.escape(name)}(?!\w)"
    if name in _ORDINARY_WORDS:
        quoted = rf"['\"`](?:[\w\[\]]+\.)*{name}['\"`]"
        pattern = rf"{quoted}|(?<!\w){name}: |(?:parameter|field|argument|key|name|property)s?:? {name}(?!\w)"
    found = re.search(pattern, words, re.IGNORECASE)
    return None if found is None else found.start()


_ORDINARY_WORDS = frozenset(
    {"user", "thinking", "reasoning", "think", "format", "options", "strict", "tools", "stream", "text", "effort"}
    | {"phase", "input", "include", "store", "summary"}
)
_INNER_FIELDS = (
    *("strict", "reasoning_content", "reasoning_details", "extra_content", "json_schema"),
    *("effort", "phase", "prompt_cache_breakpoint", "additional_tools", "configuration_update"),
)
"""Fields inside messages and tools that may give way too."""

NEEDED_FIELDS = frozenset(
    {"model", "messages", "stream", "system", "tools", "max_tokens", "stop_sequences", "options"}
    | {"input", "instructions", "store"}
)
"""Without these a request is no request, or another one; without ``store`` it is kept."""


def _words(*wordings: str) -> re.Pattern[str]:
    return re.compile("|".join(wordings), re.IGNORECASE | re.DOTALL)


_UNSUPPORTED = _words(
    r"unsupported",
    r"not (?:\w+ )?(?:support|permit|allow|accept|available|applicable|implemented|recogni[sz]ed|valid|compatible)",
    r"n't (?:\w+ )?(?:support|permit|allow|accept)",
    r"unknown|unrecogni[sz]ed|unexpected|unavailable|incompatible|disallowed|deprecated|no longer",
    r"extra[_ ](?:inputs|forbidden|fields)|additional properties",
    r"cannot find field|cannot be (?:\w+ )?(?:used|set|specified|combined)",
    r"only the default|may only be|must not be|invalid (?:parameter|field|argument|property)",
)
"""That something of the request is not for this upstream, whatever its value."""

_BAD_VALUE = _words(r"invalid|must be|should be|one of|expected|only \W?\w+\W? (?:is|are)|not one of")

_SEALED_REASONING_WORDS = _words(
    # OpenAI and Azure, Claude at OpenRouter where a tool was loaded midway
    r"invalid_encrypted_content",
    r"encrypted[_ ]content.{0,80}could not be (?:verified|decrypted|parsed)",
    r"prefix_binding_mismatch",
    r"invalid [`'\"]?signature[`'\"]? in [`'\"]?thinking",
)
"""That an upstream does not take back what it, or another, sealed of its reasoning."""

_MAX_REFUSED_REASONING = 10_000

_LIMIT_WORDS = _words(
    r"(?:max_(?:completion_|output_|new_)?tokens|num_predict|max(?:imum)? (?:output|completion) tokens).{0,120}"
    r"(?:too (?:large|high|big|long)|exceed|at most|less than|<=|>|maximum|up to|range|greater than|limit|between)",
    r"(?:at most|maximum of|up to|limit of) [\d,]+ (?:completion|output) tokens",
)


# --- rows -----------------------------------------------------------------------------------------------------

_GRAMMAR = _words(
    # llama.cpp, LM Studio
    r"failed to (?:parse|initialize) (?:grammar|samplers)",
    r"error parsing grammar",
    r"JSON schema (?:error at|conversion failed)",
    r"json[-_]schema[-_]to[-_]grammar",
    # vLLM and SGLang with xgrammar, guidance or outlines
    r"schema contains features not supported by",
    r"(?:compile|convert|build) (?:the |json )?(?:grammar|schema)",
    r"grammar (?:error|compilation)",
    r"grammar .{0,80}(?:invalid|too complex)",
)

SCHEMA_WORDS: tuple[tuple[re.Pattern[str], SchemaDialect], ...] = (
    (
        # Gemini, by itself and behind gateways; Vertex
        _words(
            r"function_?declarations?\b",
            r"GenerateContentRequest\.tools",
            r"unknown name .{0,200}\b(?:parameters|properties|items)\b",
            r"schema didn't specify",
            r"other fields alongside any_of",
            r"proto field is not repeating",
            r"only allowed for STRING type|should be non-empty for OBJECT type",
        ),
        "openapi",
    ),
    (_GRAMMAR, "few-keywords"),
    (
        _words(
            r"invalid schema|invalid_function_parameters|invalid (?:json )?schema|unsupported (?:json )?schema",
            r"invalid (?:tool|function)(?:'s)? (?:schema|parameters|definition)",
            r"schema (?:is )?(?:invalid|not valid|unsupported|not supported)",
            r"(?:tools?|function)\b.{0,120}\b(?:input_?schema|parameters)\b.{0,200}(?:invalid|required|support|must|valid)",
            r"not a valid .{0,40}json schema",
            r"toolSpec\.inputSchema",
            r"schema .{0,200} is not (?:of type|valid under)",
        ),
        "few-keywords",
    ),
)
"""How upstreams refuse a tool's schema or an answer's, and the dialect in which they get it then."""


class _SpecialWords(Struct, frozen=True, kw_only=True):
    """Words that mean something else than that the named field is unknown."""

    words: re.Pattern[str]
    changes: Callable[[_Refused, re.Match[str]], Changes]
    reason: str
    warning: str = ""
    """What the user should know; may hold {where}."""


def _always(**changes: Any) -> Callable[[object, object], Changes]:  # noqa: ANN401 - any field of a profile
    return lambda _, __: changes


def _forces(refused: _Refused) -> bool:
    choice = refused.request.tool_choice
    return choice is not None and choice.type in ("any", "tool")


def _plus_refused(refused: _Refused, *names: str) -> Changes:
    return {"refuses": tuple(dict.fromkeys((*refused.engine.profile.chat.refuses, *names)))}


SPECIAL_WORDS: tuple[_SpecialWords, ...] = (
    _SpecialWords(
        # DeepSeek, DashScope, Moonshot, Anthropic behind gateways
        words=_words(
            r"think\w*.{0,80}tool_choice", r"tool_choice.{0,160}think", r"tool_choice.{0,40}reasoning.{0,20}mode"
        ),
        changes=lambda refused, _: {"forces_while_thinking": False} if _forces(refused) else {},
        reason="a tool can't be forced while the model thinks; it is asked for in words",
    ),
    _SpecialWords(
        # OpenAI, some models: continuedev/continue#9544 and many others
        words=_words(r"verified to generate reasoning summar", r"reasoning\.summary"),
        changes=_always(asks_for_summary=False),
        reason="summaries of reasoning were refused; none are asked for",
        warning="{where} shows no thoughts: the organization must be verified for that.",
    ),
    _SpecialWords(
        words=_words(r"additional_tools"),
        changes=_always(keeps_tool_list=False),
        reason="tools that are added in place were refused; they are added to the list",
    ),
    _SpecialWords(
        words=_words(r"configuration_update"),
        changes=_always(reads_effort_changes=False),
        reason="changes of the effort in place were refused; they are left out",
    ),
    _SpecialWords(
        # GPT-5.4 and later in Chat Completions
        words=_words(
            r"tools?\b.{0,60}\breasoning_effort\b.{0,120}not supported", r"reasoning_effort.{0,80}with.{0,20}tools"
        ),
        changes=_always(effort_beside_tools="none"),
        reason="reasoning_effort beside tools was refused; none is sent",
    ),
    _SpecialWords(
        # Claude behind gateways
        words=_words(r"temperature.{0,20}top_p.{0,60}(?:both|together|only one|not)"),
        changes=lambda refused, _: _plus_refused(refused, "top_p"),
        reason="top_p beside temperature was refused; left out",
    ),
    _SpecialWords(
        words=_words(r"reasoning_content.{0,80}(?:must be (?:passed|sent|included)|is (?:missing|required))"),
        changes=_always(reasoning_field="reasoning_content", reasoning_placeholder=" "),
        reason="earlier reasoning was missed; it is sent back from now on",
    ),
    _SpecialWords(
        words=_words(r"missing.{0,20}thought_signature", r"thought_signature.{0,60}(?:missing|required)"),
        changes=_always(sealed_thoughts="thought_signature", thought_signature="skip_thought_signature_validator"),
        reason="thought signatures were missed; they are sent from now on",
    ),
    _SpecialWords(
        # Mistral behind gateways
        words=_words(r"tool call id.{0,160}length of (?P<length>[1-9]\d?)\b"),
        changes=lambda _, match: {"tool_id_length": int(match["length"])},
        reason="ids of tool calls were refused; shorter ones are sent",
    ),
    _SpecialWords(
        words=_words(r"role ['\"]?user['\"]?.{0,10} after role ['\"]?tool"),
        changes=_always(user_follows_tool=False),
        reason="a user's message behind a tool's was refused; the assistant says a word between them",
    ),
    _SpecialWords(
        words=_words(
            r"(?:must|should) end with a user message", r"not support.{0,20}(?:assistant )?(?:message )?prefill"
        ),
        changes=_always(continues_prefill=False),
        reason="a last message of the assistant was refused; its text is asked for in words",
    ),
    _SpecialWords(
        words=_words(r"(?:at most|maximum of|up to|limit(?: of|:)?) (?P<images>[1-9]\d{0,3}) images?\b"),
        changes=lambda _, match: {"max_images": int(match["images"])},
        reason="so many images were refused; the oldest are left out",
    ),
    _SpecialWords(
        words=_words(
            r"image input is not supported",
            r"is not a multimodal model",
            r"at most 0 image",
            r"not support (?:image|vision|multimodal)",
            r"support image input",
        ),
        changes=_always(sees_images=False),
        reason="the model can't see images; they are left out",
    ),
    _SpecialWords(
        words=_words(r"not support thinking", r"thinking is not supported"),
        changes=_always(thinks=False, think_levels=(), thinking_switch=None, budget_place=None, effort_levels=()),
        reason="the model can't think; it is not asked to",
    ),
    _SpecialWords(
        # MiniMax M3.1
        words=_words(r"requires? (?:adaptive )?thinking", r"thinking (?:can't|cannot) be (?:disabled|turned off)"),
        changes=_always(thinking_switch=None),
        reason="the model can't stop thinking; it is not asked to",
    ),
    _SpecialWords(
        words=_words(r"invalid think value", r"think value.{0,40}not supported"),
        changes=_always(think_levels=()),
        reason="the level of thinking was refused; thinking is switched on or off",
    ),
    _SpecialWords(
        # Groq, Gemini
        words=_words(r"(?:json mode|response.?format|mime.?type|structured output).{0,120}\b(?:tools?|function)\b"),
        changes=lambda refused, _: {"structured_beside_tools": False} if refused.request.tools else {},
        reason="response_format beside tools was refused; the schema is asked for in words",
    ),
)
"""The first row that fits and changes anything counts."""


class _Concession(Struct, frozen=True, kw_only=True):
    """What gives way where one field was refused."""

    changes: Callable[[_Refused], Changes]
    instead: str
    gives_way_to_values: bool = False
    """Whether it gives way too where only its value was refused; else the client must correct it."""


def _off(**changes: Any) -> Callable[[object], Changes]:  # noqa: ANN401 - any field of a profile
    return lambda _: changes


def _other_limit_field(refused: _Refused) -> Changes:
    is_old = refused.engine.profile.chat.max_tokens_field == "max_tokens"
    return {"max_tokens_field": "max_completion_tokens" if is_old else "max_tokens"}


def _fewer_tool_choices(refused: _Refused) -> Changes:
    choice = refused.request.tool_choice
    forms = refused.engine.profile.chat.tool_choices
    by_name = choice is not None and choice.type == "tool" and choice.name and "named" in forms
    return {"tool_choices": ("required",) if by_name and "required" in forms else ()}


def _simpler_answer_format(refused: _Refused) -> Changes:
    is_schema = refused.engine.profile.chat.structured_output == "json_schema"
    return {"structured_output": "json_object" if is_schema else None}


def _other_efforts(refused: _Refused) -> Changes:
    """Return the levels that the upstream named as its own, or none."""
    levels = refused.engine.profile.chat.effort_levels
    _, named, rest = refused.words.rpartition("upported values")
    if not named:
        found = re.search(r"(?:should be|must be|one of|expected)(.*)", refused.words, re.IGNORECASE | re.DOTALL)
        rest = found[1] if found else ""
    listed = tuple(level for level in EFFORTS if re.search(rf"\b{level}\b", rest))
    return {"effort_levels": listed if listed and listed != levels else ()}


def _no_thinking_fields(refused: _Refused) -> Changes:
    chat = refused.engine.profile.chat
    changes: dict[str, Any] = {"thinking_switch": None}
    if chat.effort_place != "reasoning_effort":
        changes["effort_levels"] = ()
    if chat.budget_place == "reasoning":
        changes["budget_place"] = None
    return changes


FIELDS: Mapping[str, _Concession] = {
    "max_tokens": _Concession(changes=_other_limit_field, instead="max_completion_tokens is sent"),
    "max_completion_tokens": _Concession(changes=_other_limit_field, instead="max_tokens is sent"),
    "temperature": _Concession(changes=lambda refused: _plus_refused(refused, "temperature"), instead="left out"),
    "top_p": _Concession(changes=lambda refused: _plus_refused(refused, "top_p"), instead="left out"),
    "top_k": _Concession(changes=_off(has_top_k=False), instead="left out"),
    "stream_options": _Concession(
        changes=_off(has_stream_options=False, has_obfuscation_switch=False), instead="left out"
    ),
    "include": _Concession(changes=_off(asks_for_ciphers=False), instead="left out"),
    "phase": _Concession(changes=_off(reads_phases=False), instead="left out", gives_way_to_values=True),
    "prompt_cache_breakpoint": _Concession(changes=_off(marks_cache=False), instead="left out"),
    "effort": _Concession(changes=_other_efforts, instead="another level or none is sent", gives_way_to_values=True),
    "text": _Concession(
        changes=_simpler_answer_format, instead="the schema is asked for in words", gives_way_to_values=True
    ),
    "parallel_tool_calls": _Concession(changes=_off(has_parallel_switch=False), instead="left out"),
    "tool_choice": _Concession(
        changes=_fewer_tool_choices, instead="asked for in other ways", gives_way_to_values=True
    ),
    "response_format": _Concession(
        changes=_simpler_answer_format, instead="the schema is asked for in words", gives_way_to_values=True
    ),
    "json_schema": _Concession(changes=_simpler_answer_format, instead="the schema is asked for in words"),
    "reasoning_effort": _Concession(
        changes=_other_efforts, instead="another level or none is sent", gives_way_to_values=True
    ),
    "reasoning": _Concession(changes=_no_thinking_fields, instead="left out"),
    "thinking": _Concession(changes=_no_thinking_fields, instead="left out"),
    "chat_template_kwargs": _Concession(changes=_no_thinking_fields, instead="left out"),
    "return_progress": _Concession(changes=_off(reports_progress=False), instead="left out"),
    "thinking_budget_tokens": _Concession(changes=_off(budget_place=None), instead="left out"),
    "prompt_cache_key": _Concession(changes=_off(session_field=None), instead="left out"),
    "session_id": _Concession(changes=_off(session_field=None), instead="left out"),
    "safety_identifier": _Concession(changes=_off(user_field=None), instead="left out"),
    "user": _Concession(changes=_off(user_field=None, session_field=None), instead="left out"),
    "cache_control": _Concession(changes=_off(asks_for_cache=False), instead="left out"),
    "strict": _Concession(changes=_off(has_strict=False), instead="left out"),
    "reasoning_content": _Concession(changes=_off(reasoning_field=None), instead="earlier reasoning is left out"),
    "reasoning_details": _Concession(changes=_off(sealed_thoughts=None), instead="earlier reasoning is left out"),
    "extra_content": _Concession(
        changes=_off(sealed_thoughts=None, thought_signature=None), instead="thought signatures are left out"
    ),
    "think": _Concession(changes=_off(thinks=False, think_levels=()), instead="left out"),
}
"""By field of the request; any other field that may be missing is left out."""
