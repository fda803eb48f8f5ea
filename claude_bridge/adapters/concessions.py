"""What gives way where an upstream refuses something: rows of words, and of fields of the request."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from claude_bridge.adapters.base import EngineModel
from claude_bridge.conversion.profile import SchemaDialect
from claude_bridge.conversion.reasoning import EFFORTS
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


ORDINARY_WORDS = frozenset(
    {"user", "thinking", "reasoning", "think", "format", "options", "strict", "tools", "stream", "text", "effort"}
    | {"phase", "input", "include", "store", "summary"}
)
INNER_FIELDS = (
    *("strict", "reasoning_content", "reasoning_details", "extra_content", "json_schema"),
    *("effort", "phase", "prompt_cache_breakpoint", "additional_tools", "configuration_update"),
)
"""Fields inside messages and tools that may give way too."""

NEEDED_FIELDS = frozenset(
    {"model", "messages", "stream", "system", "tools", "max_tokens", "stop_sequences", "options"}
    | {"input", "instructions", "store"}
)
"""Without these a request is no request, or another one; without ``store`` it is kept."""


def words_of(*wordings: str) -> re.Pattern[str]:
    """Return a pattern that finds one of the wordings."""
    return re.compile("|".join(wordings), re.IGNORECASE | re.DOTALL)


GRAMMAR_WORDS = words_of(
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
        words_of(
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
    (GRAMMAR_WORDS, "few-keywords"),
    (
        words_of(
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
    changes: Callable[[RefusedRequest, re.Match[str]], Changes]
    reason: str
    warning: str = ""
    """What the user should know; may hold {where}."""


def _always(**changes: Any) -> Callable[[object, object], Changes]:  # noqa: ANN401 - any field of a profile
    return lambda _, __: changes


def _forces(refused: RefusedRequest) -> bool:
    choice = refused.request.tool_choice
    return choice is not None and choice.type in ("any", "tool")


def _plus_refused(refused: RefusedRequest, *names: str) -> Changes:
    return {"refuses": tuple(dict.fromkeys((*refused.engine.profile.chat.refuses, *names)))}


SPECIAL_WORDS: tuple[_SpecialWords, ...] = (
    _SpecialWords(
        # DeepSeek, DashScope, Moonshot, Anthropic behind gateways
        words=words_of(
            r"think\w*.{0,80}tool_choice", r"tool_choice.{0,160}think", r"tool_choice.{0,40}reasoning.{0,20}mode"
        ),
        changes=lambda refused, _: {"forces_while_thinking": False} if _forces(refused) else {},
        reason="a tool can't be forced while the model thinks; it is asked for in words",
    ),
    _SpecialWords(
        # OpenAI, some models: continuedev/continue#9544 and many others
        words=words_of(r"verified to generate reasoning summar", r"reasoning\.summary"),
        changes=_always(asks_for_summary=False),
        reason="summaries of reasoning were refused; none are asked for",
        warning="{where} shows no thoughts: the organization must be verified for that.",
    ),
    _SpecialWords(
        # Gemini, beside a level for one
        words=words_of(r"thinking_config", r"include_?thoughts"),
        changes=_always(asks_for_thoughts=False),
        reason="the wish for thoughts was refused; none are asked for",
    ),
    _SpecialWords(
        words=words_of(r"additional_tools"),
        changes=_always(keeps_tool_list=False),
        reason="tools that are added in place were refused; they are added to the list",
    ),
    _SpecialWords(
        words=words_of(r"configuration_update"),
        changes=_always(reads_effort_changes=False),
        reason="changes of the effort in place were refused; they are left out",
    ),
    _SpecialWords(
        # GPT-5.4 and later in Chat Completions
        words=words_of(
            r"tools?\b.{0,60}\breasoning_effort\b.{0,120}not supported", r"reasoning_effort.{0,80}with.{0,20}tools"
        ),
        changes=_always(effort_beside_tools="none"),
        reason="reasoning_effort beside tools was refused; none is sent",
    ),
    _SpecialWords(
        # Claude behind gateways
        words=words_of(r"temperature.{0,20}top_p.{0,60}(?:both|together|only one|not)"),
        changes=lambda refused, _: _plus_refused(refused, "top_p"),
        reason="top_p beside temperature was refused; left out",
    ),
    _SpecialWords(
        words=words_of(r"reasoning_content.{0,80}(?:must be (?:passed|sent|included)|is (?:missing|required))"),
        changes=_always(reasoning_field="reasoning_content", reasoning_placeholder=" "),
        reason="earlier reasoning was missed; it is sent back from now on",
    ),
    _SpecialWords(
        words=words_of(r"missing.{0,20}thought_signature", r"thought_signature.{0,60}(?:missing|required)"),
        changes=_always(opaque_reasoning="thought_signature", thought_signature="skip_thought_signature_validator"),
        reason="thought signatures were missed; they are sent from now on",
    ),
    _SpecialWords(
        # Mistral behind gateways
        words=words_of(r"tool call id.{0,160}length of (?P<length>[1-9]\d?)\b"),
        changes=lambda _, match: {"tool_id_length": int(match["length"])},
        reason="ids of tool calls were refused; shorter ones are sent",
    ),
    _SpecialWords(
        words=words_of(r"role ['\"]?user['\"]?.{0,10} after role ['\"]?tool"),
        changes=_always(user_follows_tool=False),
        reason="a user's message behind a tool's was refused; the assistant says a word between them",
    ),
    _SpecialWords(
        words=words_of(
            r"(?:must|should) end with a user message", r"not support.{0,20}(?:assistant )?(?:message )?prefill"
        ),
        changes=_always(continues_prefill=False),
        reason="a last message of the assistant was refused; its text is asked for in words",
    ),
    _SpecialWords(
        words=words_of(r"(?:at most|maximum of|up to|limit(?: of|:)?) (?P<images>[1-9]\d{0,3}) images?\b"),
        changes=lambda _, match: {"max_images": int(match["images"])},
        reason="so many images were refused; the oldest are left out",
    ),
    _SpecialWords(
        words=words_of(
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
        words=words_of(r"not support thinking", r"thinking is not supported"),
        changes=_always(thinks=False, think_levels=(), thinking_switch=None, budget_place=None, effort_levels=()),
        reason="the model can't think; it is not asked to",
    ),
    _SpecialWords(
        # MiniMax M3.1
        words=words_of(r"requires? (?:adaptive )?thinking", r"thinking (?:can't|cannot) be (?:disabled|turned off)"),
        changes=_always(thinking_switch=None),
        reason="the model can't stop thinking; it is not asked to",
    ),
    _SpecialWords(
        words=words_of(r"invalid think value", r"think value.{0,40}not supported"),
        changes=_always(think_levels=()),
        reason="the level of thinking was refused; thinking is switched on or off",
    ),
    _SpecialWords(
        # Groq, Gemini
        words=words_of(r"(?:json mode|response.?format|mime.?type|structured output).{0,120}\b(?:tools?|function)\b"),
        changes=lambda refused, _: {"structured_beside_tools": False} if refused.request.tools else {},
        reason="response_format beside tools was refused; the schema is asked for in words",
    ),
)
"""The first row that fits and changes anything counts."""


class _Concession(Struct, frozen=True, kw_only=True):
    """What gives way where one field was refused."""

    changes: Callable[[RefusedRequest], Changes]
    instead: str
    gives_way_to_values: bool = False
    """Whether it gives way too where only its value was refused; else the client must correct it."""


def _off(**changes: Any) -> Callable[[object], Changes]:  # noqa: ANN401 - any field of a profile
    return lambda _: changes


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
    "extra_body": _Concession(changes=_off(asks_for_thoughts=False), instead="left out"),
    "thinking_budget_tokens": _Concession(changes=_off(budget_place=None), instead="left out"),
    "prompt_cache_key": _Concession(changes=_off(session_field=None), instead="left out"),
    "session_id": _Concession(changes=_off(session_field=None), instead="left out"),
    "safety_identifier": _Concession(changes=_off(user_field=None), instead="left out"),
    "user": _Concession(changes=_off(user_field=None, session_field=None), instead="left out"),
    "cache_control": _Concession(changes=_off(asks_for_cache=False), instead="left out"),
    "strict": _Concession(changes=_off(has_strict=False), instead="left out"),
    "reasoning_content": _Concession(changes=_off(reasoning_field=None), instead="earlier reasoning is left out"),
    "reasoning_details": _Concession(changes=_off(opaque_reasoning=None), instead="earlier reasoning is left out"),
    "extra_content": _Concession(
        changes=_off(opaque_reasoning=None, thought_signature=None), instead="thought signatures are left out"
    ),
    "think": _Concession(changes=_off(thinks=False, think_levels=()), instead="left out"),
}
"""By field of the request; any other field that may be missing is left out."""
