"""An upstream that refuses part of a request: asked again before the client hears of it, and otherwise from then on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.adaptation import MAX_ADAPTATIONS
from claude_bridge.adapters.engine_profiles import OPENAI, UNKNOWN
from claude_bridge.providers import Upstream
from claude_bridge.trace.events import UpstreamRetried
from tests.fake_upstream import (
    FakeUpstream,
    Pause,
    ReceivedRequest,
    Reply,
    answer,
    json_document,
    refusal,
    stream,
)
from tests.kept_events import KeptEvents
from tests.schema_refusals import ODD_SCHEMAS, gemini_refusal
from tests.server.served import QUICK, BridgeServer, question
from tests.server.test_passthrough import HELLO, relayed_to

pytestmark = pytest.mark.anyio

TOOL = {"name": "Read", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}}


def strict_gateway(*refused: str, words: str = "Unsupported parameter: '{}' is not supported with this model.") -> Any:
    """Return the script of an engine that takes no request with one of these fields, and names one at a time."""

    def reply(request: ReceivedRequest) -> Reply:
        found = next((name for name in refused if name in request.json), None)
        return answer("Hi.") if found is None else refusal(400, words.format(found), param=found)

    return reply


def openai_chat(fake: FakeUpstream, **known: Any) -> Upstream:
    return Upstream(
        name="The engine",
        base_url=fake.base_url,
        model="m",
        adapter=ADAPTERS["openai-chat"],
        profile=known.pop("profile", UNKNOWN),
        **known,
    )


async def test_one_request_survives_all_that_a_gateway_refuses_and_the_next_is_asked_rightly_at_once() -> None:
    fields = {"temperature": 0.5, "top_p": 0.9, "tools": [TOOL], "tool_choice": {"type": "any"}}
    script = strict_gateway("max_tokens", "temperature", "top_p", "stream_options", "tool_choice")
    async with FakeUpstream(script) as upstream, BridgeServer(upstream) as server:
        for _ in range(2):
            response = await server.messages(**fields)
            assert (response.status, response.json["content"][0]["text"]) == (200, "Hi.")
        sent = [request.json for request in upstream.requests]
    assert len(sent) == 5 + 1 + 1
    assert sent[-1] == sent[-2]
    assert sent[-1]["max_completion_tokens"] == 100
    assert sent[-1]["messages"][-1]["content"].endswith("Answer by calling one of your tools, not with text alone.")


async def test_what_gave_way_is_reported_in_the_log() -> None:
    notes = KeptEvents()
    async with (
        FakeUpstream(strict_gateway("stream_options")) as upstream,
        BridgeServer(upstream, sinks=[notes]) as server,
    ):
        await server.messages(temperature=0.5)
    reported = [event.reason for event in notes.events if isinstance(event, UpstreamRetried)]
    assert reported == ["stream_options was refused; left out"]


async def test_a_refusal_in_the_stream_is_one_too() -> None:
    broken = stream(b'data: {"error":{"message":"Unknown field: stream_options","code":400}}\n\n')
    async with FakeUpstream([broken, answer("Hi.")]) as upstream, BridgeServer(upstream) as server:
        assert (await server.messages(stream=True)).status == 200
        assert ["stream_options" in request.json for request in upstream.requests] == [True, False]


async def test_an_engine_that_refuses_whatever_it_gets_is_asked_a_few_times_and_no_more() -> None:
    def reply(request: ReceivedRequest) -> Reply:
        name = next(key for key in request.json if key not in ("model", "stream", "messages"))
        return refusal(400, f"Unsupported parameter: '{name}'")

    fields = {"temperature": 0.5, "top_p": 0.9, "top_k": 3, "metadata": {"user_id": json.dumps({"session_id": "s"})}}
    async with FakeUpstream(reply) as upstream, BridgeServer(openai_chat(upstream, profile=OPENAI)) as server:
        response = await server.messages(**fields)
        assert response.status == 424
        assert "Unsupported parameter" in response.json["error"]["message"]
        assert len(upstream.requests) <= 1 + MAX_ADAPTATIONS


async def test_a_refusal_that_came_too_late_to_ask_again_serves_the_next_request() -> None:
    def reply(request: ReceivedRequest) -> Reply:
        if "stream_options" in request.json:
            return [Pause(0.3), *refusal(400, "Unknown field: stream_options")]
        return answer("Hi.")

    async with FakeUpstream(reply) as upstream, BridgeServer(upstream, waiting=QUICK) as server:
        first = await server.messages(stream=True)
        assert b"event: error" in first.body
        assert b"Hi." in (await server.messages(stream=True)).body
        assert len(upstream.requests) == 2


async def test_requests_that_are_refused_side_by_side_are_all_asked_again() -> None:
    async with FakeUpstream(strict_gateway("max_tokens", "temperature")) as upstream, BridgeServer(upstream) as server:
        statuses: list[int] = []

        async def ask() -> None:
            statuses.append((await server.messages(temperature=0.5)).status)

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(ask)
    assert statuses == [200] * 5


async def test_another_model_of_the_same_engine_is_asked_as_before() -> None:
    async with FakeUpstream(strict_gateway("max_tokens")) as upstream:
        async with BridgeServer(upstream) as server:
            await server.messages()
        async with BridgeServer(upstream, model="another") as server:
            await server.messages()
        assert ["max_tokens" in request.json for request in upstream.requests] == [True, False] * 2


# --- windows and limits ---------------------------------------------------------------------------------------


def engine_with_window(window: int, prompt: int) -> Callable[[ReceivedRequest], Reply]:
    """Return the script of an engine that counts every prompt as so long, and the answer's limit with it."""

    def reply(request: ReceivedRequest) -> Reply:
        limit = request.json["max_tokens"]
        if prompt + limit <= window:
            return answer("Hi.", prompt_tokens=prompt)
        return refusal(
            400,
            f"This model's maximum context length is {window} tokens. However, you requested {prompt + limit} tokens "
            f"({prompt} in the messages, {limit} in the completion). Please reduce the length of the messages.",
        )

    return reply


async def test_an_answer_that_does_not_fit_the_window_is_lowered_to_what_the_engine_just_reported() -> None:
    long = [{"role": "user", "content": "word " * 32_000}]
    async with FakeUpstream(engine_with_window(65_536, 44_543)) as upstream, BridgeServer(upstream) as server:
        for _ in range(2):
            assert (await server.messages(max_tokens=32_000, messages=long)).status == 200
        limits = [request.json["max_tokens"] for request in upstream.requests]
        models = (await server.ask(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n")).json["data"]
    assert limits[0] == 32_000
    assert 65_536 - 44_543 - 100 < limits[1] < 65_536 - 44_543
    assert len(limits) == 3, "the second time it is known"
    assert models[0]["max_input_tokens"] == 65_536


async def test_a_prompt_that_is_itself_too_long_is_for_the_client_to_compact() -> None:
    async with FakeUpstream(engine_with_window(65_536, 70_000)) as upstream, BridgeServer(upstream) as server:
        response = await server.messages(max_tokens=32_000)
        assert response.json["error"]["message"] == "prompt is too long: 70000 tokens > 65536 maximum"
        assert len(upstream.requests) == 1


async def test_a_window_that_refuses_whatever_is_left_for_the_answer_ends_in_the_error() -> None:
    def always(request: ReceivedRequest) -> Reply:
        limit = request.json["max_tokens"]
        return refusal(
            400,
            f"This model's maximum context length is 65536 tokens. However, you requested {44_543 + limit} tokens "
            f"(44543 in the messages, {limit} in the completion).",
        )

    async with FakeUpstream(always) as upstream, BridgeServer(upstream) as server:
        response = await server.messages(max_tokens=32_000)
        assert response.status == 400
        assert "prompt is too long" in response.json["error"]["message"]
        assert len(upstream.requests) <= 3


async def test_an_answer_that_is_longer_than_the_model_gives_is_lowered() -> None:
    def reply(request: ReceivedRequest) -> Reply:
        limit = request.json["max_tokens"]
        if limit <= 8_192:
            return answer("Hi.")
        return refusal(400, f"max_tokens is too large: {limit}. This model supports at most 8192 completion tokens.")

    async with FakeUpstream(reply) as upstream, BridgeServer(upstream) as server:
        for _ in range(2):
            assert (await server.messages(max_tokens=32_000)).status == 200
        assert [request.json["max_tokens"] for request in upstream.requests] == [32_000, 8_192, 8_192]


# --- schemas --------------------------------------------------------------------------------------------------


async def test_the_tool_that_a_gateway_refuses_is_named_to_the_user_and_the_session_goes_on() -> None:
    def gemini(request: ReceivedRequest) -> Reply:
        refused = gemini_refusal(request.json["tools"])
        return answer("Hi.") if refused is None else json_document(refused, status=400)

    tools = [TOOL, *({"name": f"mcp__odd__{at}", "input_schema": of} for at, of in enumerate(ODD_SCHEMAS.values()))]
    warnings: list[str] = []
    async with FakeUpstream(gemini) as upstream, BridgeServer(upstream, warn=warnings.append) as server:
        for _ in range(3):
            assert (await server.messages(tools=tools)).status == 200
        assert len(upstream.requests) == 1 + 3
    assert len(warnings) == 1
    assert "refused the schema of mcp__odd__" in warnings[0]


# --- pass-through ---------------------------------------------------------------------------------------------


async def test_what_an_engine_of_anthropics_api_refuses_is_left_out_of_the_clients_own_bytes() -> None:
    def reply(request: ReceivedRequest) -> Reply:
        for name in ("context_management", "output_config"):
            if name in request.json:
                error = {"type": "invalid_request_error", "message": f"{name}: Extra inputs are not permitted"}
                return json_document({"type": "error", "error": error}, status=400)
        return stream(*HELLO)

    requested = question(
        stream=True, context_management={"edits": []}, output_config={"effort": "high"}, thinking={"type": "adaptive"}
    )
    async with FakeUpstream(reply) as upstream, BridgeServer(relayed_to(upstream)) as server:
        for _ in range(2):
            assert (await server.post("/v1/messages", requested)).status == 200
        sent = [request.body for request in upstream.requests]
    assert len(sent) == 3 + 1
    kept = {key: value for key, value in requested.items() if key not in ("context_management", "output_config")}
    assert [json.loads(body) for body in sent[2:]] == [kept, kept]


async def test_a_gateway_that_knows_nothing_new_is_asked_without_it() -> None:
    """Bedrock's gateways name one thing at a time, of all that a newer client sends."""
    inside: dict[str, Callable[[Any], bool]] = {
        "tools.0.custom.eager_input_streaming": lambda body: "eager_input_streaming" in body["tools"][0],
        "tools.0.custom.defer_loading": lambda body: "defer_loading" in body["tools"][0],
        "system.0.cache_control.ephemeral.scope": lambda body: "scope" in body["system"][0]["cache_control"],
        "thinking.adaptive.display": lambda body: "display" in body["thinking"],
        "output_config": lambda body: "output_config" in body,
        "context_management": lambda body: "context_management" in body,
        "safeguards": lambda body: "safeguards" in body,
    }

    def reply(request: ReceivedRequest) -> Reply:
        words = "invalid beta flag" if "anthropic-beta" in request.headers else ""
        name = next((name for name, is_there in inside.items() if is_there(request.json)), "")
        words = words or (f"{name}: Extra inputs are not permitted" if name else "")
        if not words:
            return stream(*HELLO)
        error = {"type": "invalid_request_error", "message": words}
        return json_document({"type": "error", "error": error}, status=400)

    requested = question(
        stream=True,
        system=[{"type": "text", "text": "Help.", "cache_control": {"type": "ephemeral", "scope": "global"}}],
        tools=[TOOL | {"defer_loading": True, "eager_input_streaming": True}],
        context_management={"edits": []},
        output_config={"effort": "high"},
        thinking={"type": "adaptive", "display": "omitted"},
        safeguards=[],
    )
    async with FakeUpstream(reply) as upstream, BridgeServer(relayed_to(upstream)) as server:
        for _ in range(2):
            response = await server.post("/v1/messages", requested, **{"anthropic-beta": "effort-2025-11-24"})
            assert response.status == 200
        sent = [request.json for request in upstream.requests]
    assert len(sent) == 9 + 1
    assert sent[-1] == sent[-2]
    assert sent[-1] == question(
        stream=True,
        system=[{"type": "text", "text": "Help.", "cache_control": {"type": "ephemeral"}}],
        tools=[TOOL],
        thinking={"type": "adaptive"},
    )
