"""The Responses API from end to end: what OpenAI refuses or says of itself, and what the client sees of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.engine_profiles import OPENAI_RESPONSES, profile_for
from claude_bridge.conversion.opaque_reasoning import Unsealed, seal
from claude_bridge.conversion.pricing import Prices
from claude_bridge.providers import Upstream
from claude_bridge.trace.events import ExchangeEnded
from tests.fake_upstream import FakeUpstream, Head, Reply, Send, json_document, stream
from tests.kept_events import KeptEvents
from tests.responses_stream import Ending, Json, answer, message, reasoning
from tests.responses_stream import stream as events
from tests.running_bridge import scripted_upstream
from tests.scripted_responses import ScriptedResponses
from tests.server.served import BridgeServer

pytestmark = pytest.mark.anyio

MODEL = "gpt-5.6-sol"
THINKS = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}


def gpt_at(upstream: FakeUpstream, **fields: Any) -> Upstream:
    found = scripted_upstream(upstream.base_url, profile=profile_for(OPENAI_RESPONSES, MODEL), **fields)
    return replace(found, adapter=ADAPTERS["openai-responses"], model=MODEL, name="OpenAI")


def failed(**error: str) -> Reply:
    begun = {"type": "response.created", "response": {"status": "in_progress"}}
    last = {"type": "response.failed", "response": {"status": "failed", "error": error}}
    return [Head(), Send(events([begun])), Send(events([last]))]


def history(*ciphers: str) -> list[Json]:
    turns: list[Json] = []
    for cipher in ciphers:
        item = reasoning("Hm.", cipher=cipher)
        sealed = {"type": "redacted_thinking", "data": seal(Unsealed(items=[item], maker=f"OpenAI {MODEL}"))}
        turns += [
            {"role": "user", "content": "Go."},
            {"role": "assistant", "content": [sealed, {"type": "text", "text": "So."}]},
        ]
    return [*turns, {"role": "user", "content": "On."}]


async def test_a_limit_that_is_reported_in_the_stream_keeps_its_status_and_its_wait() -> None:
    reply = failed(code="rate_limit_exceeded", message="Rate limit reached. Please try again in 11.054s.")
    async with FakeUpstream([reply]) as upstream, BridgeServer(gpt_at(upstream)) as server:
        response = await server.messages(stream=True)
    assert response.status == 429
    assert response.headers["retry-after"] in ("11", "12", "11.054")


async def test_what_a_policy_refuses_is_not_tried_again() -> None:
    reply = failed(code="cyber_policy", message="Flagged.")
    async with FakeUpstream([reply]) as upstream, BridgeServer(gpt_at(upstream)) as server:
        response = await server.messages(stream=True)
    assert response.status == 424
    assert response.headers["x-should-retry"] == "false"


async def test_thoughts_that_are_refused_are_left_out_once_and_from_then_on() -> None:
    script = ScriptedResponses(lambda _: [message("Well.")])
    async with FakeUpstream(script) as upstream, BridgeServer(gpt_at(upstream)) as server:
        for _ in range(2):
            response = await server.messages(messages=history("gAAAAforeign"), **THINKS)
            assert (response.status, b"Well." in response.body) == (200, True)
    assert len(script.refusals) == 1
    assert [[item["type"] for item in body["input"]] for body in script.bodies] == [["message"] * 3] * 2


async def test_a_summary_that_is_refused_is_reported_once_and_not_asked_for_again() -> None:
    refused = {
        "error": {
            "message": "Your organization must be verified to generate reasoning summaries.",
            "type": "invalid_request_error",
            "param": "reasoning.summary",
            "code": "unsupported_value",
        }
    }
    reported: list[str] = []
    replies = [json_document(refused, status=400), *([stream(answer(message("Well.")))] * 2)]
    async with FakeUpstream(replies) as upstream, BridgeServer(gpt_at(upstream), warn=reported.append) as server:
        for _ in range(2):
            assert (await server.messages(**THINKS)).status == 200
    assert ["summary" in request.json["reasoning"] for request in upstream.requests] == [True, False, False]
    assert len(reported) == 1
    assert "until the organization is verified" in reported[0]


async def test_the_clients_probe_for_one_token_is_taken() -> None:
    script = ScriptedResponses(lambda _: [message("Hi")])
    async with FakeUpstream(script) as upstream, BridgeServer(gpt_at(upstream)) as server:
        assert (await server.messages(max_tokens=1)).status == 200
    assert script.bodies[0]["max_output_tokens"] == 16


async def test_tokens_are_counted_by_the_service() -> None:
    async with FakeUpstream(ScriptedResponses(lambda _: [])) as upstream, BridgeServer(gpt_at(upstream)) as server:
        response = await server.post(
            "/v1/messages/count_tokens", {"model": "m", "messages": [{"role": "user", "content": "Hi " * 400}]}
        )
    (requested,) = upstream.requests
    assert requested.path == "/v1/responses/input_tokens"
    assert json.loads(response.body)["input_tokens"] == len(requested.body) // 4


async def test_what_was_written_to_the_cache_is_reported_and_costs_its_own_price() -> None:
    ending = Ending(input_tokens=1_000_000, cached_tokens=500_000, written_tokens=400_000, output_tokens=1)
    prices = Prices(input=1, output=0, cached=0.1, cache_write=1.25)
    notes = KeptEvents()
    async with (
        FakeUpstream([stream(answer(message("Well."), ending=ending))]) as upstream,
        BridgeServer(gpt_at(upstream, prices=prices), sinks=[notes]) as server,
    ):
        usage = json.loads((await server.messages()).body)["usage"]
    counted = {name: usage[name] for name in usage if name.endswith("input_tokens")}
    assert counted == {
        "input_tokens": 100_000,
        "cache_creation_input_tokens": 400_000,
        "cache_read_input_tokens": 500_000,
    }
    assert [event.cost_usd for event in notes.events if isinstance(event, ExchangeEnded)] == [0.65]
