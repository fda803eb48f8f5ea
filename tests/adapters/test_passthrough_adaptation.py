"""What gives way where an engine of the Messages API refuses the client's own bytes: by the engine's own words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.adaptation import Adaptation
from claude_bridge.adapters.base import ClientRequest, EngineModel, OutgoingRequest
from claude_bridge.adapters.engine_profiles import ANTHROPIC, LLAMA_CPP, UNKNOWN
from claude_bridge.adapters.passthrough_adaptation import adapt_passthrough
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.upstream_errors.translate import explain_refusal
from claude_bridge.wire.anthropic_codec import parse_messages_request
from claude_bridge.wire.json_splice import without_paths
from tests.growth import assert_linear

MESSAGES = ADAPTERS["anthropic-messages"]
SCHEMA = {"type": "object", "properties": {"path": {"type": "string", "strict": True, "pattern": "^[a-z]+$"}}}
CACHED = {"type": "ephemeral", "ttl": "1h", "scope": "global"}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
TEXT_FILE = {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "Hello."}}
REFERENCE = {"type": "tool_reference", "tool_name": "Read"}
BODY: dict[str, Any] = {
    "model": "m",
    "max_tokens": 32_000,
    "temperature": 1,
    "top_p": 0.9,
    "thinking": {"type": "adaptive", "display": "omitted"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "output_config": {"effort": "high"},
    "system": [{"type": "text", "text": "Help.", "cache_control": CACHED}],
    "tools": [
        {"name": "Bash", "input_schema": SCHEMA, "strict": True, "eager_input_streaming": True},
        {"name": "Read", "input_schema": SCHEMA, "defer_loading": True, "cache_control": CACHED},
        {"name": "Write", "input_schema": SCHEMA, "defer_loading": True},
    ],
    "messages": [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "short"},
                {"type": "tool_use", "id": "t", "name": "ToolSearch", "input": {"strict": True}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t", "content": [REFERENCE, IMAGE]},
                TEXT_FILE | {"citations": {"enabled": True}},
            ],
        },
    ],
}
HEADERS = {"anthropic-beta": "effort-2025-11-24, context-management-2025-06-27", "x-app": "cli"}
EXTRA = "Extra inputs are not permitted"


def refusal(words: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": "invalid_request_error", "message": words}}


def after(answer: dict[str, Any] | str, *, status: int = 400, profile: Profile = UNKNOWN) -> Adaptation | None:
    """Return what a refusal of BODY leads to."""
    engine = EngineModel(where="Gateway at http://gateway", model="", profile=profile)
    document = refusal(answer) if isinstance(answer, str) else answer
    body = json.dumps(BODY).encode()
    error = explain_refusal(status, {}, json.dumps(document).encode(), engine.where)
    return adapt_passthrough(engine, error, parse_messages_request(body), body)


def sent_after(answer: dict[str, Any] | str, **known: Any) -> tuple[OutgoingRequest, dict[str, Any]]:
    """Return the request that follows a refusal, as the bridge sends it, and its body."""
    adapted = after(answer, **known)
    assert adapted is not None
    body = json.dumps(BODY).encode()
    raw = ClientRequest(body=body, headers=HEADERS)
    outgoing = MESSAGES.prepare(parse_messages_request(body), raw, adapted.engine).outgoing
    return outgoing, json.loads(without_paths(outgoing.body, adapted.engine.omitted_fields))


LEFT_OUT: dict[str, tuple[dict[str, Any] | str, set[str]]] = {
    "claude-code#31033": (f"tools.1.custom.defer_loading: {EXTRA}", {"tools.*.defer_loading"}),
    "litellm#23825": (
        {"error": {"message": json.dumps({"message": f"tools.0.custom.eager_input_streaming: {EXTRA}"})}},
        {"tools.*.eager_input_streaming"},
    ),
    "claude-code#41966": (
        f"system.0.cache_control.ephemeral.scope: {EXTRA}",
        {"system.*.cache_control.scope"},
    ),
    "litellm#38790": (
        "`cache_control.ttl: 1h` is not supported",
        {"system.*.cache_control.ttl", "tools.*.cache_control.ttl"},
    ),
    "9router#1468": (f"context_management: {EXTRA}", {"context_management"}),
    "a name without its place": ("json: unknown field `eager_input_streaming`", {"tools.*.eager_input_streaming"}),
    "pydantic": (
        {"detail": [{"type": "extra_forbidden", "loc": ["body", "tools", 0, "strict"], "msg": EXTRA}]},
        {"tools.*.strict"},
    ),
    "inside a block": (
        f"messages.2.content.1.document.citations: {EXTRA}",
        {"messages.*.content.*.citations"},
    ),
    "a field of an object": (f"thinking.adaptive.display: {EXTRA}", {"thinking.display"}),
    "SGLang": (
        {
            "detail": [
                {"type": "literal_error", "loc": ["body", "thinking", "type"], "msg": "Input should be 'enabled'"}
            ]
        },
        {"thinking", "context_management"},
    ),
    "Claude before 4.6": ("adaptive thinking is not supported on this model", {"thinking", "context_management"}),
    "an effort": ("This model does not support the effort parameter.", {"output_config.effort"}),
    "sampling": ("`temperature` and `top_p` cannot both be specified for this model.", {"top_p"}),
}


@pytest.mark.parametrize(("answer", "paths"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_what_an_engine_names_is_left_out_wherever_it_stands(answer: dict[str, Any] | str, paths: set[str]) -> None:
    adapted = after(answer)
    assert adapted is not None
    assert adapted.engine.omitted_fields == paths


@pytest.mark.parametrize(
    "words",
    [
        f"messages.0.content: {EXTRA}",
        f"messages.1.content.0.thinking: {EXTRA}",
        "messages.1.content.1.tool_use.input: Field required",
        "max_tokens must be positive",
        "Please consult docs.example.com. The tools of this account are not available.",
        "",
    ],
)
def test_what_a_request_needs_stays(words: str) -> None:
    assert after(words) is None


@pytest.mark.parametrize("status", [401, 402, 404, 429, 503, 529])
@pytest.mark.parametrize(
    "words",
    [
        f"context_management: {EXTRA}",
        "thinking is not supported on your plan",
        "This would go beyond 8,000 output tokens per minute: reduce max_tokens, the limit is 8,000",
    ],
)
def test_an_error_about_the_key_the_plan_or_the_moment_changes_nothing(status: int, words: str) -> None:
    assert after(words, status=status) is None


QUOTED = "context_management is not supported, thinking is not supported, image input is not supported"


@pytest.mark.parametrize(
    "answer",
    [
        {
            "detail": [
                {"type": "string_type", "loc": ["body", "system", "str"], "msg": "A text", "input": [{"text": QUOTED}]},
                {"type": "string_type", "loc": ["body", "system", 0], "msg": "A text", "input": {"text": QUOTED}},
            ]
        },
        f"Input should be a valid string [type=string_type, input_value='{QUOTED}', input_type=str]",
        f"1 validation error: {{'type': 'string_type', 'loc': ('body', 'x'), 'msg': 'A text', 'input': '{QUOTED}'}}",
        f'Failed to parse messages: Missing role; messages = [{{"content": "{QUOTED}"}}]',
    ],
    ids=["FastAPI", "pydantic", "vLLM", "llama.cpp"],
)
def test_what_an_error_quotes_of_the_request_is_no_word_of_the_engine(answer: dict[str, Any] | str) -> None:
    assert after(answer) is None


def test_what_an_engine_says_behind_a_quote_counts() -> None:
    location = {"type": "extra_forbidden", "loc": ["body", "tools", 0, "strict"], "msg": EXTRA, "input": True}
    adapted = after({"detail": [{"loc": ["body", "x"], "msg": EXTRA, "input": {"text": QUOTED}}, location]})
    assert adapted is not None
    assert adapted.engine.omitted_fields == {"tools.*.strict"}


@pytest.mark.parametrize("words", ["messages.² is not supported", f"messages.{'1' * 5_000} is not supported"])
def test_a_place_that_is_no_number_is_none(words: str) -> None:
    assert after(words) is None


@pytest.mark.parametrize("repeated", ["think", "a.", "'", '"input": ', "messages.0.content."])
def test_words_of_any_length_are_read_in_linear_time(repeated: str) -> None:
    assert_linear(lambda size: lambda: after("unsupported " + repeated * (size // len(repeated))), 8_000, 0.3)


def test_a_body_of_many_fields_is_looked_through_in_linear_time() -> None:
    engine = EngineModel(where="Gateway at http://gateway", model="", profile=UNKNOWN)
    words = "unsupported: " + " ".join(f"messages.{number}.text" for number in range(400))
    error = explain_refusal(400, {}, json.dumps(refusal(words)).encode(), engine.where)

    def adapting(size: int) -> Callable[[], object]:
        blocks = [{"type": "text", "text": "Hi", f"f{number}": 1} for number in range(size)]
        body = json.dumps(BODY | {"messages": [{"role": "user", "content": [block]} for block in blocks]}).encode()
        request = parse_messages_request(body)
        return lambda: adapt_passthrough(engine, error, request, body)

    assert_linear(adapting, 2_000, 0.3)


def test_anthropics_own_refusals_are_for_its_clients() -> None:
    assert after(f"thinking.adaptive.display: {EXTRA}", profile=ANTHROPIC) is None


def test_beta_features_that_are_refused_by_name_leave_the_header_and_all_of_them_where_none_is_named() -> None:
    named, _ = sent_after("Unexpected value(s) `effort-2025-11-24` for the `anthropic-beta` header.")
    assert named.headers == HEADERS | {"anthropic-beta": "context-management-2025-06-27"}
    unnamed, _ = sent_after("invalid beta flag")
    assert unnamed.headers == {"x-app": "cli"}


UNKNOWN_TAG = (
    "messages.2.content.1: Input tag 'document' found using 'type' does not match any of the expected tags: 'text'"
)
VLLM_PLACE = ["body", "messages", 2, "content", "list[AnthropicContentBlock]", 1, "type"]
BLOCKS: dict[str, dict[str, Any] | str] = {
    "Anthropic's words": UNKNOWN_TAG,
    "vLLM": {
        "detail": [
            {
                "type": "literal_error",
                "loc": VLLM_PLACE,
                "msg": "Input should be 'text', 'image', 'tool_use', 'tool_result', 'tool_reference' or 'thinking'",
                "input": "document",
            }
        ]
    },
    "LM Studio": {
        "error": {
            "message": "Invalid discriminator value. Expected 'text' | 'image' | 'tool_use'",
            "param": "messages.2.content.1.type",
        }
    },
    "Rust": "messages[2].content[1]: unknown variant `document`, expected one of `text`, `image`, `tool_use`",
}


@pytest.mark.parametrize("answer", BLOCKS.values(), ids=BLOCKS)
def test_a_block_of_a_type_that_an_engine_does_not_know_becomes_its_text(answer: dict[str, Any] | str) -> None:
    _, body = sent_after(answer)
    content = body["messages"][2]["content"]
    assert content[1] == {"type": "text", "text": "T\n\nHello."}
    assert content[0] == BODY["messages"][2]["content"][0]


@pytest.mark.parametrize(
    "words",
    [
        "Deferred custom tools are only supported on Anthropic models and on endpoints that implement deferral.",
        "Tool reference 'mcp__db__query' not found in available tools",
    ],
)
def test_an_engine_without_deferred_tools_gets_those_that_are_loaded(words: str) -> None:
    _, body = sent_after(words)
    assert body["tools"] == [BODY["tools"][0], {k: v for k, v in BODY["tools"][1].items() if k != "defer_loading"}]
    result = body["messages"][2]["content"][0]
    assert result == {
        "type": "tool_result",
        "tool_use_id": "t",
        "content": [{"type": "text", "text": "Loaded tools: Read"}, IMAGE],
    }


def test_a_model_that_sees_no_images_gets_none_from_then_on() -> None:
    words = "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"
    _, body = sent_after({"error": {"code": 500, "message": words, "type": "server_error"}}, status=500)
    placeholder = {"type": "text", "text": "[image omitted: the model cannot see images]"}
    assert body["messages"][2]["content"][0]["content"] == [REFERENCE, placeholder]


@pytest.mark.parametrize(
    "words",
    [
        "messages.1.content.0: Invalid `signature` in `thinking` block",
        "messages.1.content.0.thinking.signature: Field required",
    ],
)
def test_thoughts_of_another_model_are_left_out_where_signatures_are_checked(words: str) -> None:
    _, body = sent_after(words)
    assert body["messages"][1]["content"] == BODY["messages"][1]["content"][1:]


@pytest.mark.parametrize(
    "answer",
    [
        "Engine protocol predict request returned 400: Failed to initialize samplers: failed to parse grammar",
        "tools.0.custom.input_schema: JSON schema is invalid. It must match JSON Schema draft 2020-12.",
    ],
    ids=["LM Studio", "Anthropic's words"],
)
def test_a_schema_that_is_refused_is_written_more_simply(answer: str) -> None:
    """LM Studio makes one grammar of all tools (lmstudio-bug-tracker#2220): nothing of a session would go through."""
    _, body = sent_after(answer)
    bash, read, _ = body["tools"]
    assert bash["input_schema"]["properties"]["path"]["type"] == "string"
    assert "pattern" not in bash["input_schema"]["properties"]["path"]
    assert {name: bash[name] for name in bash if name not in ("input_schema", "description")} == {
        "name": "Bash",
        "strict": True,
        "eager_input_streaming": True,
    }
    assert read["input_schema"] == bash["input_schema"]


FORMAT = {"type": "json_schema", "schema": {"type": "object", "properties": {"title": {"type": "string"}}}}
WISHES: dict[str, tuple[str, dict[str, Any], str]] = {
    "DeepSeek": (
        "deepseek-reasoner does not support this tool_choice",
        {"tool_choice": {"type": "tool", "name": "Bash"}},
        "Answer by calling the tool Bash, not with text alone.",
    ),
    "Alibaba": (
        "This response_format type is unavailable now",
        {"output_config": {"format": FORMAT}},
        '{"type":"object","properties":{"title":{"type":"string"}}}',
    ),
}


@pytest.mark.parametrize("system", [None, "Help.", [], [{"type": "text", "text": "Help."}]], ids=str)
@pytest.mark.parametrize(("words", "fields", "instruction"), WISHES.values(), ids=WISHES)
def test_what_can_not_be_set_is_requested_behind_the_system_prompt(
    words: str, fields: dict[str, Any], instruction: str, system: Any
) -> None:
    adapted = after(words)
    assert adapted is not None
    given = BODY | fields | {"system": system}
    if system is None:
        del given["system"]
    body = json.dumps(given).encode()
    outgoing = MESSAGES.prepare(parse_messages_request(body), ClientRequest(body=body), adapted.engine).outgoing
    sent = json.loads(without_paths(outgoing.body, adapted.engine.omitted_fields))
    *before, last = sent["system"]
    assert before == ([{"type": "text", "text": system}] if isinstance(system, str) else system or [])
    assert last["text"].endswith(instruction)
    assert "tool_choice" not in sent
    assert "format" not in sent.get("output_config", {})


@pytest.mark.parametrize(
    "words",
    [
        "The text field in the ContentBlock object at messages.3.content.0 is blank. Add text to the text field.",
        "messages: text content blocks must contain non-whitespace text",
        "messages.3.content.0.text: cache_control cannot be set for empty text blocks",
    ],
)
def test_blank_text_is_left_out_where_it_is_refused(words: str) -> None:
    blank = {"type": "text", "text": "\n\n", "cache_control": {"type": "ephemeral"}}
    call = {"type": "tool_use", "id": "u", "name": "Bash", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "u", "content": "ok"}
    turns = [{"role": "assistant", "content": [blank, call]}, {"role": "user", "content": [result]}]
    messages = [*BODY["messages"], *turns]
    body = json.dumps(BODY | {"messages": messages}).encode()
    adapted = after(words)
    assert adapted is not None
    sent = json.loads(
        MESSAGES.prepare(parse_messages_request(body), ClientRequest(body=body), adapted.engine).outgoing.body
    )
    assert sent["messages"] == [*BODY["messages"], {"role": "assistant", "content": [call]}, turns[1]]


def test_the_longest_answer_is_the_one_that_the_engine_names() -> None:
    _, body = sent_after(
        "max_tokens: 32000 > 8192, which is the maximum allowed number of output tokens for this model"
    )
    assert body == BODY | {"max_tokens": 8192}


def test_nothing_gives_way_twice() -> None:
    for answer in (*(answer for answer, _ in LEFT_OUT.values()), *BLOCKS.values(), "invalid beta flag"):
        adapted = after(answer)
        assert adapted is not None
        document = refusal(answer) if isinstance(answer, str) else answer
        error = explain_refusal(400, {}, json.dumps(document).encode(), "Gateway")
        body = json.dumps(BODY).encode()
        again = adapt_passthrough(adapted.engine, error, parse_messages_request(body), body)
        assert again is None or again.engine != adapted.engine, answer


def test_an_engine_that_is_known_to_read_few_blocks_gets_the_others_as_text_at_once() -> None:
    body = json.dumps(BODY).encode()
    engine = EngineModel(where="llama.cpp", model="", profile=LLAMA_CPP)
    sent = json.loads(MESSAGES.prepare(parse_messages_request(body), ClientRequest(body=body), engine).outgoing.body)
    assert [tool["name"] for tool in sent["tools"]] == ["Bash", "Read"]
    results, texts = sent["messages"][2:]
    assert results["content"][0]["content"][0] == {"type": "text", "text": "Loaded tools: Read"}
    assert texts["content"] == [{"type": "text", "text": "T\n\nHello."}]
