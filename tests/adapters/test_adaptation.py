"""What gives way when an upstream refuses a request: by its own words, for every kind of upstream."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from claude_bridge.adapters.adaptation import Adaptation, adapt, concessions
from claude_bridge.adapters.base import EngineModel, TokenLimits
from claude_bridge.adapters.engine_profiles import ANTHROPIC, LLAMA_CPP, OLLAMA_THINKING, OPENAI, OPENROUTER, UNKNOWN
from claude_bridge.adapters.ollama_chat.errors import explain_refusal as explain_ollama
from claude_bridge.conversion.opaque_reasoning import Unsealed, seal
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.upstream_errors.translate import explain_error_object, explain_refusal
from claude_bridge.wire import openai, responses
from claude_bridge.wire.anthropic import MessagesRequest
from tests.dialogues import OLLAMA_CHAT, OPENAI_CHAT, TRANSLATING, a_request

TOOL = {"name": "Read", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}}
ODD_TOOL = {
    "name": "mcp__db__query",
    "input_schema": {"type": "object", "properties": {"limit": {"type": ["integer", "null"], "exclusiveMinimum": 0}}},
}
FORMAT = {"format": {"type": "json_schema", "schema": {"type": "object", "properties": {"a": {"type": "string"}}}}}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": ""}
USER_ID = json.dumps({"session_id": "s"})

EVERYTHING = OPENAI.with_changes(
    {
        "reasoning_field": "reasoning_content",
        "has_top_k": True,
        "reports_progress": True,
        "thinking_switch": "chat_template_kwargs",
        "budget_place": "thinking_budget_tokens",
        "effort_levels": ("minimal", "low", "medium", "high"),
        "asks_for_cache": True,
        "max_tokens_field": "max_tokens",
    }
)
"""A profile with which as much is sent as Chat Completions has fields for."""


def a_full_request(**fields: Any) -> MessagesRequest:
    full = {
        "max_tokens": 32_000,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 4,
        "tools": [TOOL | {"strict": False}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 5_000},
        "output_config": FORMAT,
        "metadata": {"user_id": USER_ID},
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": [THOUGHT, {"type": "text", "text": "Hello."}]},
            {"role": "user", "content": "And now?"},
        ],
    }
    return a_request(**full | fields)


def an_engine(profile: Profile = EVERYTHING, **fields: Any) -> EngineModel:
    return EngineModel(where="Gateway at http://gateway", model="m", profile=profile, **fields)


def after(
    refusal: Any,
    *,
    status: int = 400,
    profile: Profile = EVERYTHING,
    request: MessagesRequest | None = None,
    kind: str = OPENAI_CHAT,
    **fields: Any,
) -> tuple[Adaptation | None, dict[str, Any], dict[str, Any]]:
    """Return what a refusal leads to, what was sent before, and what is sent then; text stands for OpenAI's shape."""
    engine, request = an_engine(profile, **fields), request or a_full_request()
    before = TRANSLATING[kind].prepare(request, None, engine).outgoing.body
    document = {"error": {"message": refusal, "type": "invalid_request_error"}} if isinstance(refusal, str) else refusal
    explain = explain_ollama if kind == OLLAMA_CHAT else explain_refusal
    error = explain(status, {}, json.dumps(document).encode(), engine.where)
    adapted = adapt(engine, error, request, before)
    now = TRANSLATING[kind].prepare(request, None, adapted.engine if adapted else engine).outgoing.body
    return adapted, msgspec.json.decode(before), msgspec.json.decode(now)


def changed(before: dict[str, Any], now: dict[str, Any]) -> set[str]:
    """Return the fields at the top that differ."""
    return {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}


# Wordings as services and gateways have them, and the fields that differ in the next request.
REFUSALS: dict[str, tuple[Any, set[str]]] = {
    "OpenAI: max_tokens": (
        {
            "error": {
                "message": "Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead.",
                "type": "invalid_request_error",
                "param": "max_tokens",
                "code": "unsupported_parameter",
            }
        },
        {"max_tokens", "max_completion_tokens"},
    ),
    "a gateway that quotes it": (
        {"detail": "Error code: 400 - {'error': {'message': \"Unsupported parameter: 'max_tokens'\"}}"},
        {"max_tokens", "max_completion_tokens"},
    ),
    "OpenAI: temperature": (
        {
            "error": {
                "message": "Unsupported value: 'temperature' does not support 0.5 with this model. "
                "Only the default (1) value is supported.",
                "param": "temperature",
                "code": "unsupported_value",
            }
        },
        {"temperature"},
    ),
    "Anthropic behind a gateway: temperature while thinking": (
        "`temperature` may only be set to 1 when thinking is enabled.",
        {"temperature"},
    ),
    "Claude behind a gateway: temperature and top_p": (
        "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
        {"top_p"},
    ),
    "Unknown field": ("Unknown field: stream_options", {"stream_options"}),
    "Go": ('json: unknown field "parallel_tool_calls"', {"parallel_tool_calls"}),
    "OpenAI, older": ("Unrecognized request argument supplied: parallel_tool_calls", {"parallel_tool_calls"}),
    "pydantic": (
        {
            "detail": [
                {"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}
            ]
        },
        {"stream_options"},
    ),
    "Fireworks": ("Extra inputs are not permitted, field: 'top_k'", {"top_k"}),
    "Mistral": (
        {
            "object": "error",
            "message": {
                "detail": [
                    {"type": "extra_forbidden", "loc": ["body", "user"], "msg": "Extra inputs are not permitted"}
                ]
            },
            "type": "invalid_request_error",
        },
        {"user", "prompt_cache_key"},
    ),
    "Gemini": (
        'Invalid JSON payload received. Unknown name "chat_template_kwargs": Cannot find field.',
        {"chat_template_kwargs"},
    ),
    "Groq": ("property 'prompt_cache_key' is unsupported", {"prompt_cache_key"}),
    "LiteLLM": (
        "litellm.UnsupportedParamsError: openai does not support parameters: ['reasoning_effort'], for model=m",
        {"reasoning_effort"},
    ),
    "xAI": ("Argument not supported on this model: reasoning_effort", {"reasoning_effort"}),
    "OpenAI: an effort": (
        (
            "Unsupported value: 'reasoning_effort' does not support 'medium' with this model. "
            "Supported values are: 'low' and 'high'."
        ),
        {"reasoning_effort"},
    ),
    "vLLM: an effort": ("reasoning_effort: Input should be 'low' or 'high'", {"reasoning_effort"}),
    "GPT-5.4": (
        (
            "Function tools with reasoning_effort are not supported for m in /v1/chat/completions. "
            "Please use /v1/responses, or set reasoning_effort to 'none'."
        ),
        {"reasoning_effort"},
    ),
    "DeepSeek": ("Thinking mode does not support this tool_choice", {"tool_choice", "messages"}),
    "DashScope": (
        "The tool_choice parameter does not support being set to required or object in thinking mode",
        {"tool_choice", "messages"},
    ),
    "Moonshot": ("tool_choice 'required' is incompatible with thinking enabled", {"tool_choice", "messages"}),
    "Anthropic behind a gateway: a forced tool": (
        "Thinking may not be enabled when tool_choice forces tool use.",
        {"tool_choice", "messages"},
    ),
    "OpenRouter": (
        "No endpoints found that support the provided 'tool_choice' value. To learn more, visit …",
        {"tool_choice", "messages"},
    ),
    "DeepSeek: an answer's schema": ("This response_format type is unavailable now", {"response_format", "messages"}),
    "Groq: JSON beside tools": (
        "json mode cannot be combined with tool/function calling",
        {"response_format", "messages"},
    ),
    "MiniMax M3.1": ("invalid params, model requires adaptive thinking (2013)", {"chat_template_kwargs"}),
    "a budget": ("Unknown parameter: 'thinking_budget_tokens'.", {"thinking_budget_tokens"}),
    "a cache mark": ("cache_control: Extra inputs are not permitted", {"cache_control"}),
    "reasoning in messages": ("messages.1.reasoning_content: Extra inputs are not permitted", {"messages"}),
    "strict": ("Unknown parameter: 'tools[0].function.strict'.", {"tools"}),
    "max_tokens is too large": (
        "max_tokens is too large: 32000. This model supports at most 16384 completion tokens.",
        {"max_tokens"},
    ),
    "Groq: the limit": ("`max_tokens` must be less than or equal to `8192`", {"max_tokens"}),
    "DeepSeek: the limit": ("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", {"max_tokens"}),
    "Anthropic behind a gateway: the limit": (
        "max_tokens: 32000 > 8192, which is the maximum allowed number of output tokens for m",
        {"max_tokens"},
    ),
    "images": ("image input is not supported by this model", {"messages"}),
    "a number of images": ("At most 1 image may be provided in one request.", {"messages"}),
    "Mistral: tool ids": (
        "Tool call id was call_abc but must be a-z, A-Z, 0-9, with a length of 9.",
        {"messages"},
    ),
    "Mistral: a user after a tool": ("Unexpected role 'user' after role 'tool'", {"messages"}),
}

WITH_CALLS = [
    {"role": "user", "content": [IMAGE, IMAGE]},
    {"role": "assistant", "content": [THOUGHT, {"type": "tool_use", "id": "call_abc", "name": "Read", "input": {}}]},
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "call_abc", "content": "x"},
            {"type": "text", "text": "So?"},
        ],
    },
]


@pytest.mark.parametrize("status", [400, 422, 500])
@pytest.mark.parametrize(("refusal", "fields"), REFUSALS.values(), ids=REFUSALS)
def test_what_is_refused_gives_way_and_nothing_else_does(refusal: Any, fields: set[str], status: int) -> None:
    request = a_full_request(messages=WITH_CALLS)
    adapted, before, now = after(refusal, status=status, request=request)
    assert adapted is not None
    assert changed(before, now) == fields
    again, *_ = after(
        refusal, status=status, request=request, profile=adapted.engine.profile, limits=adapted.engine.limits
    )
    assert again is None or again.engine != adapted.engine, "nothing gives way twice"


def test_a_model_that_thinks_unasked_and_can_not_be_forced_meanwhile_is_asked_in_words() -> None:
    refusal = "Thinking mode does not support this tool_choice"
    adapted, before, now = after(refusal, request=a_full_request(thinking={"type": "disabled"}))
    assert adapted is not None
    assert changed(before, now) == {"tool_choice", "messages"}


def test_an_error_inside_an_answer_is_read_as_well() -> None:
    engine, request = an_engine(), a_full_request()
    body = TRANSLATING[OPENAI_CHAT].prepare(request, None, engine).outgoing.body
    adapted = adapt(engine, explain_error_object({"message": "Unknown field: stream_options"}, "E"), request, body)
    assert adapted is not None
    assert not adapted.engine.profile.chat.has_stream_options
    assert adapted.reason == "stream_options was refused; left out"


@pytest.mark.parametrize(
    ("refusal", "limit"),
    [
        (REFUSALS["max_tokens is too large"][0], 16_384),
        (REFUSALS["Groq: the limit"][0], 8_192),
        (REFUSALS["DeepSeek: the limit"][0], 8_192),
        ("max_completion_tokens must be at most 65,536", None),
        ("max_tokens must be greater than thinking.budget_tokens", None),
    ],
)
def test_the_longest_answer_is_the_one_that_the_upstream_names(refusal: str, limit: int | None) -> None:
    adapted, *_ = after(refusal)
    assert (adapted.engine.limits.max_output_tokens if adapted else None) == limit


@pytest.mark.parametrize(
    ("refusal", "levels"),
    [
        (REFUSALS["OpenAI: an effort"][0], ("low", "high")),
        (REFUSALS["vLLM: an effort"][0], ("low", "high")),
        ("reasoning_effort is not supported with this model", ()),
        ("Invalid reasoning_effort 'medium'. Must be one of: none, default", ("none",)),
    ],
)
def test_efforts_are_those_that_the_upstream_names(refusal: str, levels: tuple[str, ...]) -> None:
    adapted, *_ = after(refusal)
    assert adapted is not None
    assert adapted.engine.profile.chat.effort_levels == levels


@pytest.mark.parametrize(
    "refusal",
    [
        "temperature must be between 0 and 2",
        "Invalid value for top_p: must be less than 1",
        "The server had an error while processing your request",
        "The user message is not supported in this region",
        "Something about thinking is invalid",
        "model: m is not available",
        "Provider returned error",
        "",
    ],
)
def test_what_is_not_about_a_field_of_the_request_changes_nothing(refusal: str) -> None:
    adapted, before, now = after(refusal)
    assert adapted is None
    assert before == now


def test_a_field_that_was_not_sent_does_not_give_way() -> None:
    request = a_request(messages=[{"role": "user", "content": "Hi"}])
    assert after("Unknown field: top_k", request=request)[0] is None
    assert after("Unknown field: stream_options", request=request)[0] is not None


def test_every_field_of_the_table_is_one_that_the_adapters_send() -> None:
    kinds = (openai.ChatRequest, responses.ResponsesRequest)
    sent = {field.encode_name for kind in kinds for field in msgspec.structs.fields(kind)} | {"think"}
    inside = {"strict", "json_schema", "reasoning_content", "reasoning_details", "extra_content"}
    assert set(concessions().field) <= sent | inside | {"effort", "phase", "prompt_cache_breakpoint"}
    left_out = {"max_output_tokens", "max_tool_calls"}  # as any field that has no row
    assert sent - concessions().needed_fields - left_out <= set(concessions().field), "whatever is sent can give way"


# --- schemas --------------------------------------------------------------------------------------------------

SCHEMA_REFUSALS: dict[str, str] = {
    "OpenAI": "Invalid schema for function 'mcp__db__query': In context=('properties', 'limit'), …",
    "Gemini": 'Invalid JSON payload received. Unknown name "exclusiveMinimum" at '
    "'tools[0].function_declarations[1].parameters.properties[0].value': Cannot find field.",
    "Vertex": "Unable to submit request because `mcp__db__query` functionDeclaration `parameters.limit` schema didn't "
    "specify the schema type field.",
    "Anthropic": "tools.1.custom.input_schema: JSON schema is invalid. It must match JSON Schema draft 2020-12",
    "Groq": "invalid JSON schema for tool mcp__db__query, tools[1].function.parameters: `/properties/limit/type`",
    "Bedrock": "The value at toolConfig.tools.1.toolSpec.inputSchema.json.type is not supported.",
}


@pytest.mark.parametrize("refusal", SCHEMA_REFUSALS.values(), ids=SCHEMA_REFUSALS)
def test_a_refused_schema_is_sent_more_simply_and_its_tool_is_named(refusal: str) -> None:
    request = a_request(tools=[TOOL, ODD_TOOL])
    adapted, before, now = after(refusal, request=request, profile=UNKNOWN)
    assert adapted is not None
    assert changed(before, now) == {"tools"}
    assert "exclusiveMinimum" not in json.dumps(
        [tool["function"]["parameters"]["properties"] for tool in now["tools"]]
    ).replace('"(exclusiveMinimum: 0', "")
    assert "the schema of mcp__db__query" in adapted.warning


def test_what_gemini_refuses_is_sent_in_its_own_keywords() -> None:
    adapted, _, now = after(SCHEMA_REFUSALS["Gemini"], request=a_request(tools=[ODD_TOOL]), profile=UNKNOWN)
    assert adapted is not None
    assert now["tools"][0]["function"]["parameters"]["properties"]["limit"] == {
        "type": "integer",
        "description": '(exclusiveMinimum: 0; or: ["null"])',
    }


def test_a_schema_that_is_refused_even_so_is_sent_more_simply_still() -> None:
    request = a_request(tools=[ODD_TOOL])
    adapted, *_ = after(SCHEMA_REFUSALS["OpenAI"], request=request, profile=UNKNOWN)
    assert adapted is not None
    again, _, now = after(
        SCHEMA_REFUSALS["OpenAI"], request=request, profile=UNKNOWN, simpler_schemas=adapted.engine.simpler_schemas
    )
    assert again is not None
    assert now["tools"][0]["function"]["parameters"]["properties"]["limit"]["type"] == "integer"
    last, *_ = after(
        SCHEMA_REFUSALS["OpenAI"], request=request, profile=UNKNOWN, simpler_schemas=again.engine.simpler_schemas
    )
    assert last is None


def test_a_grammar_that_can_not_be_made_names_nobody() -> None:
    adapted, *_ = after("failed to parse grammar", request=a_request(tools=[ODD_TOOL]), profile=LLAMA_CPP)
    assert adapted is not None
    assert adapted.warning == ""


# --- windows --------------------------------------------------------------------------------------------------

TOO_LONG_TOGETHER = (
    "This model's maximum context length is 65536 tokens. However, you requested 76543 tokens (44543 in the messages, "
    "32000 in the completion). Please reduce the length of the messages or completion."
)


def test_a_window_that_the_upstream_names_is_kept_where_the_prompt_fits() -> None:
    adapted, *_ = after(TOO_LONG_TOGETHER)
    assert adapted is not None
    assert (adapted.engine.limits.window_tokens, adapted.prompt_tokens) == (65_536, 44_543)


def test_a_window_that_the_user_gave_stays_where_it_is_smaller() -> None:
    adapted, *_ = after(TOO_LONG_TOGETHER, limits=TokenLimits(window_tokens=50_000))
    assert adapted is not None
    assert adapted.engine.limits.window_tokens == 50_000


@pytest.mark.parametrize("prompt", [65_000, 65_536, 70_000])
def test_a_prompt_that_leaves_no_room_for_an_answer_is_for_the_client_to_shorten(prompt: int) -> None:
    assert after(TOO_LONG_TOGETHER.replace("44543", str(prompt)))[0] is None


# --- other kinds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refusal", "think"),
    [
        ('registry.ollama.ai/library/m "m" does not support thinking', None),
        ('invalid think value: "medium" (must be "high", "medium", "low", true, or false)', True),
    ],
)
def test_ollamas_think_gives_way(refusal: str, think: bool | None) -> None:
    profile = OLLAMA_THINKING.with_changes({"think_levels": ("low", "medium", "high")})
    adapted, before, now = after({"error": refusal}, profile=profile, kind=OLLAMA_CHAT)
    assert adapted is not None
    assert changed(before, now) >= {"think"}
    assert now.get("think") == think


def test_a_field_that_no_adapter_can_replace_is_left_out() -> None:
    adapted, *_ = after({"error": 'json: unknown field "truncate"'}, profile=OLLAMA_THINKING, kind=OLLAMA_CHAT)
    assert adapted is not None
    assert adapted.engine.omitted_fields == {"truncate"}


def test_a_field_without_which_there_is_no_request_stays() -> None:
    assert after("Unknown field: messages")[0] is None
    assert after("Unknown parameter: 'tools'")[0] is None


def test_anthropics_own_refusals_are_for_its_clients() -> None:
    assert after("temperature: Extra inputs are not permitted", profile=ANTHROPIC)[0] is None


def test_signed_thoughts_of_claude_at_openrouter_give_way_where_a_tool_was_loaded_before_them() -> None:
    """The newest Claude models answer 400 where what stands before a signed thought is not what it was."""
    detail = {"type": "reasoning.text", "text": "Hm.", "signature": "EqQB", "format": "anthropic-claude-v1", "index": 0}
    sealed = {"type": "redacted_thinking", "data": seal(Unsealed([detail]))}
    later = {"name": "Later", "input_schema": {"type": "object"}, "defer_loading": True}
    loads = {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "Later"}}
    request = a_request(
        tools=[TOOL, later],
        messages=[
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": [sealed, {"type": "text", "text": "Hello."}]},
            {"role": "user", "content": [loads, {"type": "text", "text": "Go on."}]},
        ],
    )
    refusal = "messages.1.content.0: thinking block: prefix_binding_mismatch: the tools before it have changed"
    adapted, before, now = after(refusal, request=request, profile=OPENROUTER)
    assert adapted is not None
    assert [message.get("reasoning_details") for message in before["messages"]] == [None, [detail], None]
    assert "reasoning_details" not in json.dumps(now)
    assert [tool["function"]["name"] for tool in now["tools"]] == [TOOL["name"], "Later"]
    assert adapted.engine.profile == OPENROUTER, "what the model thinks from here on goes back again"


def test_reasoning_of_openrouter_gives_way() -> None:
    adapted, before, now = after("Unknown parameter: 'reasoning'.", profile=OPENROUTER)
    assert adapted is not None
    assert "reasoning" in before
    assert "reasoning" not in now
