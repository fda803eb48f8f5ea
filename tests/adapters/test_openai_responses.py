"""The openai-responses adapter, beside its golden cases: what the SDK takes for true, laws, refusals, addresses."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import InputTokenCountParams, ResponseStreamEvent
from pydantic import TypeAdapter, ValidationError

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.adaptation import Adaptation, adapt
from claude_bridge.adapters.base import EngineModel
from claude_bridge.adapters.engine_profiles import (
    AZURE_RESPONSES,
    BEDROCK_RESPONSES,
    OPENAI,
    OPENAI_RESPONSES,
    UNKNOWN,
    XAI_RESPONSES,
    profile_for,
)
from claude_bridge.adapters.openai_responses.output import read_search
from claude_bridge.adapters.token_counting import COUNTINGS
from claude_bridge.conversion.opaque_reasoning import Unsealed, seal
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.upstream_errors.translate import explain_refusal
from claude_bridge.errors import BridgeError, UpstreamError
from claude_bridge.wire.anthropic import (
    MessagesRequest,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
)
from claude_bridge.wire.anthropic_answers import ErrorEvent, Message
from claude_bridge.wire.anthropic_codec import encode_message
from tests.dialogues import (
    OLLAMA_CHAT,
    OPENAI_CHAT,
    RESPONSES,
    TRANSLATING,
    a_request,
    answer_to,
    answered,
    folded,
    ndjson,
    sse,
)
from tests.dialogues import sent_body as sent_by_kind
from tests.fake_upstream import EVENT_STREAM, FakeUpstream, Head, Reply, Send
from tests.golden_case import GOLDEN as GOLDEN_CASES
from tests.golden_case import GoldenCase
from tests.responses_stream import Ending, Json, answer, call, events, message, opened, reasoning, search, stream
from tests.sdk_validation import faults

GOLDEN = GOLDEN_CASES / RESPONSES
MODEL = "gpt-5.6-sol"
GPT = profile_for(OPENAI_RESPONSES, MODEL)
CUT_OFF = {"__unparsedToolInput": {"raw": '{"path":"b', "len": 10}}
READ = {"name": "Read", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}}
THINKS = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}


def sent_body(request: MessagesRequest, profile: Profile = GPT) -> Json:
    return sent_by_kind(request, profile, kind=RESPONSES, model=MODEL)


def answer_of(data: bytes, profile: Profile = GPT, **client_request: Any) -> Message:
    return folded(answered([data], a_request(**client_request), kind=RESPONSES, profile=profile, model=MODEL))


# --- the SDK as oracle ------------------------------------------------------------------------------------------

SCRIPTS = sorted(GOLDEN.glob("*/upstream.sse"))
_event_type: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def _stands_for_openai(script: Path) -> bool:
    return GoldenCase(script.parent).facts.about.startswith("Engine: OpenAI.\n")


def _events_of(script: Path) -> list[Json]:
    lines = script.read_bytes().split(b"\n")
    return [json.loads(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: {")]


def _is_openais(event: Json) -> bool:
    try:
        _event_type.validate_python(event)
    except ValidationError:
        return False
    return True


OPENAIS = [script for script in SCRIPTS if _stands_for_openai(script)]
OTHERS = [script for script in SCRIPTS if script not in OPENAIS and script.parent.name.startswith("answer-")]


@pytest.mark.parametrize("script", OPENAIS, ids=lambda script: script.parent.name)
def test_a_script_that_stands_for_openai_has_events_as_the_sdk_types_them(script: Path) -> None:
    assert [event["type"] for event in _events_of(script) if not _is_openais(event)] == []


@pytest.mark.parametrize("script", OTHERS, ids=lambda script: script.parent.name)
def test_a_script_of_another_server_differs_from_openais(script: Path) -> None:
    found = _events_of(script)
    ends_otherwise = script.read_bytes().endswith(b"[DONE]\n\n")
    assert ends_otherwise or not found or not all(map(_is_openais, found)), "the mark in case.toml is stale"


@pytest.mark.anyio
async def test_openais_own_client_reads_the_scripts() -> None:
    plays = [script for script in OPENAIS if script.parent.name.startswith("answer-")]
    replies: list[Reply] = [
        [Head(headers={"content-type": EVENT_STREAM}), Send(script.read_bytes())] for script in plays
    ]
    async with FakeUpstream(replies) as upstream, openai.AsyncOpenAI(base_url=upstream.base_url, api_key="k") as client:
        for script in plays:
            types: list[str] = []
            try:
                async for event in await client.responses.create(model="m", input="Hi", stream=True):
                    types.append(event.type)  # noqa: PERF401 - what came before an error counts too
            except openai.APIError:
                types.append("error")
            assert types == [event["type"] for event in _events_of(script)][: len(types)]
            assert types


# --- laws -------------------------------------------------------------------------------------------------------

texts = st.text("abc \n", min_size=1, max_size=12).filter(str.strip)
thoughts = st.builds(
    lambda summary, cipher: reasoning(summary, cipher=f"gAAAA{cipher}"), st.lists(texts, max_size=2), st.integers(0, 99)
)
messages = st.builds(
    lambda text, phase: message(text, phase=phase), texts, st.sampled_from(["commentary", "final_answer"])
)
calls = st.builds(lambda path, at: call("Read", {"path": path}, f"call_{at}"), texts, st.integers(0, 99))
searches = st.builds(search, texts, st.sampled_from(["https://a.example/", "https://b.example/"])) | st.builds(
    opened, st.just("https://a.example/")
)
outputs = st.lists(thoughts | messages | calls | searches, min_size=1, max_size=6).filter(
    lambda items: any(item["type"] in ("message", "function_call") for item in items)
)


def _as_sent_back(item: Json) -> Json:
    """Return what of an item of an answer the next request must have; ids of calls are the bridge's own."""
    match item["type"]:
        case "message":
            return {"text": item["content"][0]["text"], "phase": item["phase"]}
        case "function_call":
            return {"name": item["name"], "arguments": json.loads(item["arguments"])}
        case _:
            return item


def _as_said(item: Json) -> Json:
    match item["type"]:
        case "message":
            return {"text": item["content"], "phase": item["phase"]}
        case "function_call":
            return {"name": item["name"], "arguments": json.loads(item["arguments"])}
        case _:
            return item


@given(outputs)
def test_what_an_answer_held_goes_back_item_by_item_in_its_order(items: list[Json]) -> None:
    given_back = json.loads(encode_message(answer_of(answer(*items), tools=[READ])))
    history = [{"role": "user", "content": "Go."}, {"role": "assistant", "content": given_back["content"]}]
    history += [{"role": "user", "content": "And now?"}]
    body = sent_body(a_request(messages=history, tools=[READ], **THINKS))
    back = [item for item in body["input"][1:-1] if item["type"] != "function_call_output"]
    stripped = [_as_sent_back(item) for item in items]
    for item in stripped:
        if "text" in item:
            item["text"] = item["text"].strip() and item["text"]
    assert [_as_said(item) for item in back] == stripped


sealed_blocks = st.builds(
    lambda maker, cipher: {
        "type": "redacted_thinking",
        "data": seal(Unsealed(items=[reasoning("x", cipher=f"{maker}/{cipher}")], maker=maker)),
    },
    st.sampled_from([f"OpenAI {MODEL}", "OpenAI gpt-5.4", f"Azure OpenAI {MODEL}", "xAI grok-4.5", "OpenAI", ""]),
    st.integers(0, 9),
)


@given(st.lists(sealed_blocks, max_size=6), st.sampled_from([GPT, AZURE_RESPONSES, XAI_RESPONSES, UNKNOWN]))
def test_no_reasoning_of_another_maker_ever_leaves(blocks: list[Json], profile: Profile) -> None:
    turn = [*blocks, {"type": "text", "text": "So."}]
    client_request = [
        {"role": "user", "content": "Go."},
        {"role": "assistant", "content": turn},
        {"role": "user", "content": "On."},
    ]
    body = sent_body(a_request(messages=client_request), profile)
    makers = [item["encrypted_content"].partition("/")[0] for item in body["input"] if item["type"] == "reasoning"]
    assert set(makers) <= {f"{profile.name} {MODEL}"}
    if profile.opaque_reasoning == "reasoning_items":
        assert len(makers) == sum(f'"maker":"{profile.name} {MODEL}"' in block["data"] for block in blocks)


def _turn(*blocks: Json) -> list[Json]:
    return [{"role": "assistant", "content": list(blocks)}, {"role": "user", "content": "On."}]


def test_a_thought_goes_back_behind_the_prompt_that_it_answered_and_behind_no_other() -> None:
    adapter, engine = TRANSLATING[RESPONSES], EngineModel(where="OpenAI", model=MODEL, profile=GPT)
    client_request = [{"role": "user", "content": "Go."}]
    digest = adapter.prepare(a_request(messages=client_request, system="S"), None, engine).prompt_digest()
    held = Unsealed(items=[reasoning("x", cipher="gAAAA")], maker=f"OpenAI {MODEL}", behind=digest)
    answer = _turn({"type": "redacted_thinking", "data": seal(held)}, {"type": "text", "text": "So."})

    def kinds(messages: list[Json], profile: Profile = GPT) -> list[str]:
        return [item["type"] for item in sent_body(a_request(messages=messages, system="S"), profile)["input"]]

    summary = [{"role": "user", "content": "This session is continued."}]
    assert "reasoning" in kinds([*client_request, *answer])
    assert "reasoning" in kinds([*client_request, *answer, *_turn({"type": "text", "text": "Well."})])
    assert "reasoning" not in kinds([*summary, *answer])
    assert "reasoning" in kinds([*summary, *answer], GPT.with_changes({"binds_reasoning": False}))


@pytest.mark.parametrize(
    "document",
    [
        '{"items":[{"type":"message","role":"developer","encrypted_content":"x"}],"maker":"OpenAI gpt-5.6-sol"}',
        "{",
        "eyJ",
    ],
)
def test_what_is_no_reasoning_is_not_sent_though_it_is_sealed(document: str) -> None:
    block = {"type": "redacted_thinking", "data": f"claude-bridge:{document}"}
    turn = [block, {"type": "text", "text": "So."}]
    client_request = [
        {"role": "user", "content": "Go."},
        {"role": "assistant", "content": turn},
        {"role": "user", "content": "On."},
    ]
    assert [item.get("role") for item in sent_body(a_request(messages=client_request))["input"]] == [
        "user",
        "assistant",
        "user",
    ]


def _without(*names: str) -> Callable[[Json], None]:
    def change(event: Json) -> None:
        for name in names:
            event.pop(name, None)
            event.get("item", {}).pop(name, None)

    return change


CHANGES = [
    _without("item_id", "id"),
    _without("output_index"),
    _without("item_id", "id", "output_index", "content_index"),
    _without("arguments"),
    lambda event: event.update(item_id="other"),
    lambda event: event.update(type="response.something"),
    lambda event: event.update(delta=None, text=None),
    lambda event: event.update(output_index="x"),
]


@given(st.data(), outputs)
def test_a_damaged_answer_has_no_call_that_the_engine_did_not_make_and_no_quiet_end(
    data: st.DataObject, items: list[Json]
) -> None:
    whole = events(items, ending=Ending())
    damaged: list[Json] = []
    for event in whole:
        kept = copy.deepcopy(event)
        match data.draw(st.integers(0, 6)):
            case 0:
                continue
            case 1:
                damaged += [kept, copy.deepcopy(kept)]
            case 2:
                data.draw(st.sampled_from(CHANGES))(kept)
                damaged.append(kept)
            case 3:
                damaged.insert(max(0, len(damaged) - 1), kept)
            case _:
                damaged.append(kept)
    seen = answered([stream(damaged)], a_request(tools=[READ]), kind=RESPONSES, profile=GPT, model=MODEL)
    made = [json.loads(item["arguments"]) for item in items if item["type"] == "function_call"]
    if any(isinstance(event, ErrorEvent) for event in seen):
        return
    assert any(event["type"] == "response.completed" for event in damaged)
    uses = [block for block in folded(seen).content if isinstance(block, ToolUseBlock)]
    inputs = [json.loads(bytes(use.input)) for use in uses]
    assert all(tool_input in [*made, {}] for tool_input in inputs)


def test_a_piece_of_arguments_that_comes_twice_changes_no_call() -> None:
    call = {
        "type": "function_call",
        "call_id": "c",
        "name": "Read",
        "arguments": '{"path": "a b"}',
        "status": "completed",
    }
    whole = events([call], ending=Ending())
    pieces = [
        {"type": "response.function_call_arguments.delta", "item_id": "fc_0", "output_index": 0, "delta": delta}
        for delta in ('{"path": "', "a b", "a b", '"}')
    ]
    seen = answered([stream([*pieces, whole[-1]])], a_request(tools=[READ]), kind=RESPONSES, profile=GPT, model=MODEL)
    (use,) = [block for block in folded(seen).content if isinstance(block, ToolUseBlock)]
    assert json.loads(bytes(use.input)) == {"path": "a b"}


@pytest.mark.parametrize("index", [None, 7], ids=["of no item", "of an item that nothing else names"])
def test_a_piece_of_arguments_of_no_known_call_is_no_call(index: int | None) -> None:
    call = {
        "type": "function_call",
        "call_id": "c",
        "name": "Read",
        "arguments": '{"path": "a"}',
        "status": "completed",
    }
    *before, last = events([call], ending=Ending())
    stray = {"type": "response.function_call_arguments.delta", "output_index": index, "delta": '"}'}
    reads = [stream([*before, stray, last])]
    seen, repairs = answer_to(reads, a_request(tools=[READ]), kind=RESPONSES, profile=GPT, model=MODEL)
    (use,) = [block for block in folded(seen).content if isinstance(block, ToolUseBlock)]
    assert json.loads(bytes(use.input)) == {"path": "a"}
    assert [repair.what for repair in repairs] == ["pieces of a call without a name were left out"]


# --- limits and parts ---------------------------------------------------------------------------------------------


def test_files_in_tool_results_and_the_images_elsewhere() -> None:
    pdf = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0xLjQK"}}
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    use = {"type": "tool_use", "id": "t", "name": "Read", "input": {}}
    client_request = [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [pdf, image]}]},
    ]
    files_only = GPT.with_changes({"images_in_tool_results": False})
    *_, result, behind = sent_body(a_request(messages=client_request), files_only)["input"]
    assert [part["type"] for part in result["output"]] == ["input_text", "input_file"]
    assert [part["type"] for part in behind["content"]] == ["input_image"]


def test_what_an_assistant_cannot_show_again_is_named() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    body = sent_body(a_request(messages=[{"role": "user", "content": "Draw."}, *_turn(image)]))
    assert [item["content"] for item in body["input"]] == ["Draw.", "[image omitted]", "On."]


def test_a_thought_is_shown_at_no_effort_of_its_own() -> None:
    thinks_unasked = GPT.with_changes({"thinks_unasked": True})
    assert sent_body(a_request(thinking={"type": "adaptive"}), thinks_unasked)["reasoning"] == {"summary": "auto"}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"action": {"type": "search", "query": "a", "queries": ["b"]}}, ("a", [])),
        ({"action": {"type": "search", "queries": ["a", "b"]}}, ("a; b", [])),
        ({"action": {"type": "search", "queries": "a", "sources": "b"}}, ("", [])),
        (
            {"action": {"type": "search", "sources": [{"url": "u"}, "x", {"url": 1}, {"url": "u"}, {"url": ""}]}},
            ("", ["u"]),
        ),
        ({"action": {"type": "search", "query": "a"}, "status": "failed"}, ("a", None)),
        ({"action": {"type": "open_page", "url": "u"}}, None),
        ({"action": "search"}, None),
    ],
    ids=str,
)
def test_a_search_is_read_whatever_it_leaves_out(fields: Json, expected: object) -> None:
    search = read_search({"type": "web_search_call"} | fields)
    assert (search and (search.query, search.urls)) == expected


def test_a_tool_that_is_removed_stays_at_the_head_of_the_prompt() -> None:
    removal = {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "Read"}}
    inline = {"name": "Inline", "description": "Does it.", "input_schema": {"type": "object"}}
    addition = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": inline}}
    client_request = [{"role": "user", "content": [{"type": "text", "text": "Go."}, removal, addition]}]
    body = sent_body(a_request(messages=client_request, tools=[READ]))
    assert [tool["name"] for tool in body["tools"]] == ["Read"]
    assert [[tool["name"] for tool in item["tools"]] for item in body["input"] if "tools" in item] == [["Inline"]]


def test_no_answer_has_more_items_than_any_model_gives() -> None:
    endless = stream(
        {"type": "response.output_item.added", "item": {"type": "message", "id": f"m{at}"}} for at in range(1_001)
    )
    (error,) = [event for event in answered([endless], kind=RESPONSES) if isinstance(event, ErrorEvent)]
    assert "more than 1000 items" in error.error.message


# --- refusals, and what gives way ---------------------------------------------------------------------------------


def after(error: Json, request: MessagesRequest | None = None) -> tuple[Adaptation | None, Json, Json]:
    """Return what a refusal leads to, what was sent before, and what is sent then."""
    request = request or a_request(
        max_tokens=2_000,
        system="S",
        tools=[READ],
        messages=[
            {"role": "user", "content": "Go."},
            {"role": "assistant", "content": [next_thought(1), {"type": "text", "text": "So."}]},
            {"role": "user", "content": "On."},
        ],
        metadata={"user_id": "someone"},
        **THINKS,
    )
    engine = EngineModel(where="OpenAI at https://api.openai.com/v1", model=MODEL, profile=GPT)
    adapter = TRANSLATING[RESPONSES]
    before = adapter.prepare(request, None, engine).outgoing.body
    explained = explain_refusal(400, {}, json.dumps({"error": error}).encode(), engine.where)
    adapted = adapt(engine, explained, request, before)
    now = adapter.prepare(request, None, adapted.engine if adapted else engine).outgoing.body
    if adapted is not None and adapted.engine.omitted_fields:
        kept = msgspec.json.decode(now)
        now = msgspec.json.encode({k: v for k, v in kept.items() if k not in adapted.engine.omitted_fields})
    return adapted, msgspec.json.decode(before), msgspec.json.decode(now)


def next_thought(number: int) -> Json:
    item = reasoning("Hm.", cipher=f"gAAAA{number}")
    return {"type": "redacted_thinking", "data": seal(Unsealed(items=[item], maker=f"OpenAI {MODEL}"))}


def _unsupported(name: str) -> Json:
    message = f"Unsupported parameter: '{name}' is not supported with this model."
    return {"message": message, "type": "invalid_request_error", "param": name, "code": "unsupported_parameter"}


REFUSED: dict[str, tuple[Json, Callable[[Json], object], object, object]] = {
    "summary": (
        {
            "message": "Your organization must be verified to generate reasoning summaries. Please go to: "
            "https://platform.openai.com/settings/organization/general and click on Verify Organization.",
            "type": "invalid_request_error",
            "param": "reasoning.summary",
            "code": "unsupported_value",
        },
        lambda body: body["reasoning"],
        {"effort": "high", "summary": "auto"},
        {"effort": "high"},
    ),
    "effort": (
        {
            "message": "Unsupported value: 'high' is not supported with the 'gpt-5.6-sol' model. Supported values are: "
            "'none', 'low', and 'medium'.",
            "type": "invalid_request_error",
            "param": "reasoning.effort",
            "code": "unsupported_value",
        },
        lambda body: body["reasoning"]["effort"],
        "high",
        "medium",
    ),
    "include": (_unsupported("include"), lambda body: body.get("include"), ["reasoning.encrypted_content"], None),
    "stream_options": (
        _unsupported("stream_options"),
        lambda body: body.get("stream_options"),
        {"include_obfuscation": False},
        None,
    ),
    "phase": (
        {"message": "Unknown parameter: 'input[2].phase'.", "param": "input[2].phase", "code": "unknown_parameter"},
        lambda body: [item.get("phase") for item in body["input"] if item.get("role") == "assistant"],
        ["final_answer"],
        [None],
    ),
    "cache mark": (
        {
            "message": "Unknown parameter: 'input[0].content[0].prompt_cache_breakpoint'.",
            "param": "input[0].content[0].prompt_cache_breakpoint",
            "code": "unknown_parameter",
        },
        lambda body: "prompt_cache_breakpoint" in body["input"][0]["content"][0],
        True,
        False,
    ),
    "safety_identifier": (
        _unsupported("safety_identifier"),
        lambda body: body.get("safety_identifier"),
        "someone",
        None,
    ),
    "ciphers": (
        {
            "message": "The encrypted content gAAA... could not be verified. Reason: Encrypted content could not be "
            "decrypted or parsed.",
            "type": "invalid_request_error",
            "param": None,
            "code": "invalid_encrypted_content",
        },
        lambda body: [item["type"] for item in body["input"]],
        ["message", "message", "reasoning", "message", "message"],
        ["message", "message", "message", "message"],
    ),
}


@pytest.mark.parametrize(("error", "part", "before", "now"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_gives_way_and_nothing_else(
    error: Json, part: Callable[[Json], object], before: object, now: object
) -> None:
    adapted, first, second = after(error)
    assert adapted is not None
    assert part(first) == before
    assert part(second) == now
    assert [item.get("content") for item in first["input"] if item["type"] == "message"][1:] == [
        item.get("content") for item in second["input"] if item["type"] == "message"
    ][1:]


def test_a_refused_cipher_is_remembered_and_later_ones_go_back() -> None:
    adapted, *_ = after(REFUSED["ciphers"][0])
    assert adapted is not None
    client_request = [
        {"role": "user", "content": "Go."},
        {"role": "assistant", "content": [next_thought(1), {"type": "text", "text": "So."}]},
        {"role": "user", "content": "On."},
        {"role": "assistant", "content": [next_thought(2), {"type": "text", "text": "Well."}]},
        {"role": "user", "content": "On."},
    ]
    encoded = TRANSLATING[RESPONSES].prepare(a_request(messages=client_request), None, adapted.engine)
    body = msgspec.json.decode(encoded.outgoing.body)
    assert [item["encrypted_content"] for item in body["input"] if item["type"] == "reasoning"] == ["gAAAA2"]
    assert [loss.reason for loss in encoded.losses] == ["the service refused this reasoning before"]


def test_storage_is_never_switched_on_whatever_is_refused() -> None:
    adapted, _, now = after(_unsupported("store"))
    assert adapted is None
    assert now["store"] is False


def test_sources_of_searches_give_way_and_ciphers_stay() -> None:
    error = {
        "message": "Invalid value: 'web_search_call.action.sources'. Supported values are: …",
        "param": "include[1]",
    }
    client_request = [{"role": "user", "content": "Look."}]
    adapted, _, now = after(
        error, a_request(messages=client_request, tools=[{"type": "web_search_20250305", "name": "web_search"}])
    )
    assert adapted is not None
    assert now["include"] == ["reasoning.encrypted_content"]


def test_tools_in_place_give_way_to_the_list() -> None:
    later = {"name": "Later", "input_schema": {"type": "object"}, "defer_loading": True}
    client_request = [
        {"role": "user", "content": [{"type": "tool_addition", "tool": {"type": "tool_reference", "name": "Later"}}]}
    ]
    error = {
        "message": "Invalid value: 'additional_tools'. Supported values are: 'message' …",
        "param": "input[1].type",
    }
    adapted, before, now = after(error, a_request(messages=client_request, tools=[READ, later]))
    assert adapted is not None
    assert [len(body["tools"]) for body in (before, now)] == [1, 2]
    assert "additional_tools" not in json.dumps(now)


# --- errors inside an answer: one table for all kinds --------------------------------------------------------------

CODES: dict[str, tuple[Json, int, str, bool | None]] = {
    "rate_limit_exceeded": (
        {"message": "Rate limit reached. Please try again in 11.054s."},
        429,
        "rate_limit_error",
        None,
    ),
    "insufficient_quota": ({"message": "You exceeded your current quota."}, 402, "billing_error", False),
    "server_error": ({"message": "The server had an error."}, 502, "api_error", None),
    "vector_store_timeout": ({"message": "Too slow."}, 502, "api_error", None),
    "server_is_overloaded": ({"message": "Our servers are busy."}, 529, "overloaded_error", None),
    "slow_down": ({"message": "Please slow."}, 529, "overloaded_error", None),
    "invalid_prompt": ({"message": "Invalid prompt."}, 424, "invalid_request_error", False),
    "cyber_policy": ({"message": "Flagged."}, 424, "invalid_request_error", False),
    "bio_policy": ({"message": "Flagged."}, 424, "invalid_request_error", False),
    "image_content_policy_violation": ({"message": "Flagged."}, 424, "invalid_request_error", False),
    "invalid_image_format": ({"message": "No image."}, 424, "invalid_request_error", False),
    "image_too_large": ({"message": "An image of 90 MB."}, 424, "invalid_request_error", False),
    "failed_to_download_image": ({"message": "No answer."}, 424, "invalid_request_error", False),
    "data_residency_mismatch": ({"message": "Elsewhere."}, 403, "permission_error", False),
    "permission_denied": ({"message": "Not for you."}, 403, "permission_error", False),
    "invalid_request_error": ({"message": "No."}, 424, "invalid_request_error", False),
}
IN_STREAM: dict[str, Callable[[Json], bytes]] = {
    RESPONSES: lambda error: stream([{"type": "response.failed", "response": {"status": "failed", "error": error}}]),
    OPENAI_CHAT: lambda error: sse({"error": error}, done=False),
    OLLAMA_CHAT: lambda error: ndjson({"error": error}),
}


def _error_in(kind: str, data: bytes) -> BridgeError:
    decoder = TRANSLATING[kind].decoder("Engine at http://127.0.0.1:9")
    (failure,) = decoder.feed(data) + decoder.close()
    return failure.error  # type: ignore[union-attr]  # all that came is an error


@pytest.mark.parametrize("kind", IN_STREAM)
@pytest.mark.parametrize("code", CODES)
def test_a_code_inside_an_answer_means_the_same_at_every_kind(kind: str, code: str) -> None:
    words, status, error_type, should_retry = CODES[code]
    error = _error_in(kind, IN_STREAM[kind](words | {"code": code}))
    assert (error.status, error.error_type) == (status, error_type)
    if should_retry is False:
        assert isinstance(error, UpstreamError)
        assert error.should_retry is False


@pytest.mark.parametrize(
    "data",
    [
        b'{"error": {"message": "No room."}}',
        b'{"message": "No room."}',
        b'{"status": "failed", "output": [], "error": {"message": "No room."}}',
        stream([{"type": "error", "message": "No room.", "code": None, "param": None, "sequence_number": 1}]),
        b'event: error\ndata: {"message": "No room."}\n\n',
    ],
    ids=["nested", "flat", "failed", "event", "event without a type"],
)
def test_an_error_in_place_of_an_answer_is_the_error(data: bytes) -> None:
    error = _error_in(RESPONSES, data)
    assert error.message == "Engine at http://127.0.0.1:9 reported an error: No room."


def test_the_wait_of_a_rate_limit_is_taken_from_its_words() -> None:
    error = _error_in(
        RESPONSES, IN_STREAM[RESPONSES](CODES["rate_limit_exceeded"][0] | {"code": "rate_limit_exceeded"})
    )
    assert isinstance(error, UpstreamError)
    assert error.retry_after_s == 11.054


# --- counting -----------------------------------------------------------------------------------------------------


def test_a_count_asks_for_what_openai_counts() -> None:
    request = a_request(system="S", tools=[READ], metadata={"user_id": '{"session_id":"s"}'}, **THINKS)
    counting = COUNTINGS["responses-input-tokens"](json.dumps(sent_body(request)).encode())
    question = next(counting)
    assert question.path == "/responses/input_tokens"
    body = json.loads(question.body)
    assert sorted(faults(body | {"input": []}, InputTokenCountParams)) == []
    assert set(body) == {"model", "input", "tools", "reasoning"}
    with pytest.raises(StopIteration) as counted:
        counting.send(b'{"object":"response.input_tokens","input_tokens":1234}')
    assert counted.value.value == 1234


def test_an_image_is_estimated_by_picture_and_not_by_its_length() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo" + "A" * 40_000 + "="}
    client_request = [{"role": "user", "content": [{"type": "image", "source": source}]}]
    engine = EngineModel(where="OpenAI", model=MODEL, profile=GPT)
    assert TRANSLATING[RESPONSES].prepare(a_request(messages=client_request), None, engine).estimated_tokens < 3_000


# --- keys ---------------------------------------------------------------------------------------------------------


def test_azure_gets_the_key_in_a_header_of_its_own_and_a_token_as_bearer() -> None:
    adapter = ADAPTERS[RESPONSES]
    assert adapter.key_headers("secret", AZURE_RESPONSES) == {"api-key": "secret"}
    assert adapter.key_headers("eyJhbGciOi.a.b", AZURE_RESPONSES) == {"authorization": "Bearer eyJhbGciOi.a.b"}
    assert adapter.key_headers("secret", BEDROCK_RESPONSES) == {"authorization": "Bearer secret"}
    assert adapter.key_headers(None, AZURE_RESPONSES) == {}


def test_text_of_two_messages_is_two_blocks() -> None:
    output = answer_of(
        answer(message("One."), message("Two.")), profile=OPENAI.with_changes({"opaque_reasoning": None})
    )
    assert [block.text for block in output.content if isinstance(block, TextBlock)] == ["One.", "Two."]


# --- what other servers leave out -----------------------------------------------------------------------------------


def _leave_out(whole: list[Json], *ends: str) -> None:
    whole[:] = [event for event in whole if not event["type"].endswith(ends)]


def _leave_out_last_pieces(whole: list[Json]) -> None:
    is_piece = [event["type"].endswith(".delta") for event in whole]
    last = {at for at in range(1, len(whole) - 1) if is_piece[at - 1] and is_piece[at] and not is_piece[at + 1]}
    whole[:] = [event for at, event in enumerate(whole) if at not in last]


def _empty_whole_arguments(whole: list[Json]) -> None:
    for event in whole:
        for holder in (event, event.get("item", {}), *event.get("response", {}).get("output", ())):
            if "arguments" in holder:
                holder["arguments"] = "{}"


LEFT_OUT: dict[str, Callable[[list[Json]], object]] = {
    "other numbers than 0": lambda whole: [event.update(output_index=0) for event in whole if "output_index" in event],
    "whole arguments": _empty_whole_arguments,
    "numbers of items": lambda whole: [event.pop("output_index", None) for event in whole],
    "ids of items": lambda whole: [_without("item_id", "id")(event) for event in whole],
    "beginnings": lambda whole: _leave_out(whole, "item.added"),
    "ends": lambda whole: _leave_out(whole, "item.done"),
    "pieces": lambda whole: _leave_out(whole, ".delta"),
    "last pieces": _leave_out_last_pieces,
    "whole texts": lambda whole: _leave_out(whole, "text.done", "arguments.done"),
    "the final output": lambda whole: whole[-1]["response"].update(output=[]),
}


@pytest.mark.parametrize(
    "names",
    [*combinations(LEFT_OUT, 1), *combinations([*LEFT_OUT][2:], 2), ("pieces", "ends", "the final output")],
    ids=" and ".join,
)
def test_an_answer_is_the_same_whatever_a_server_leaves_out(names: tuple[str, ...]) -> None:
    output = [
        reasoning(["Hm.", "So."]),
        message("I look."),
        reasoning("Where is that file?"),
        call("Read", {"path": "a"}, "call_1"),
        call("Read", {"path": "b"}, "call_2"),
        reasoning("Well."),
        message("Done.", "And this."),
    ]
    whole = copy.deepcopy(events(output, ending=Ending()))
    for name in names:
        LEFT_OUT[name](whole)
    assert [_words(block) for block in answer_of(stream(whole), tools=[READ]).content] == [
        "Hm.\n\nSo.",
        "I look.",
        "Where is that file?",
        {"path": "a"},
        {"path": "b"},
        "Well.",
        "Done.",
        "And this.",
    ]


def _words(block: object) -> object:
    match block:
        case ThinkingBlock():
            return block.thinking
        case ToolUseBlock():
            return json.loads(bytes(block.input))
    return getattr(block, "text", None)


def test_a_thought_in_two_forms_is_shown_once() -> None:
    output = answer_of(answer(reasoning("Hm.", text="Hm, and why."), message("So.")))
    assert [_words(block) for block in output.content] == ["Hm.", "So."]


@pytest.mark.parametrize(
    ("arguments", "inputs"), [("", [{"path": "a"}]), ('{"path":"b', [{"path": "a"}, CUT_OFF])], ids=["all", "some"]
)
def test_a_call_that_the_limit_cut_off_is_none_if_it_has_no_arguments_yet(arguments: str, inputs: list[Json]) -> None:
    cut_off = call("Read", arguments, "call_2") | {"status": "incomplete"}
    output = answer_of(
        answer(call("Read", {"path": "a"}), cut_off, ending=Ending(incomplete="max_output_tokens")), tools=[READ]
    )
    assert [_words(block) for block in output.content] == inputs
    assert output.stop_reason == "max_tokens"


def test_the_final_output_may_leave_out_an_item_and_give_the_content_of_another_as_one_text() -> None:
    begun = [
        {"type": "response.output_item.added", "output_index": at, "item": {"type": "message", "id": f"msg_{at}"}}
        for at in range(2)
    ]
    piece = {"type": "response.output_text.delta", "item_id": "msg_0", "output_index": 0, "delta": "One."}
    final = {"type": "message", "id": "msg_1", "content": "Two."}
    output = answer_of(stream([*begun, piece, {"type": "response.completed", "response": {"output": [final]}}]))
    assert [_words(block) for block in output.content if isinstance(block, TextBlock)] == ["One.", "Two."]


def test_whole_arguments_count_though_longer_ones_come_that_were_cut_off() -> None:
    whole, cut_off = '{"path":"a"}', '{"path":"b","further_p'
    pieces = {"type": "response.function_call_arguments.delta", "delta": whole}
    in_done = {"type": "response.function_call_arguments.done", "arguments": whole}
    for first, last in ((pieces, cut_off), (in_done, cut_off), (in_done | {"arguments": cut_off}, whole)):
        item = {"type": "response.output_item.done", "item": call("Read", last)}
        output = answer_of(stream([first, item, {"type": "response.completed"}]), tools=[READ])
        assert [_words(block) for block in output.content] == [{"path": "a"}]
