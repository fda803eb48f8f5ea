"""A grammar that the engine can't make: asked once more, more plainly, before the client hears of it."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from claude_bridge.adapters.adaptation import adapt
from claude_bridge.adapters.base import EngineModel
from claude_bridge.adapters.engine_profiles import UNKNOWN
from claude_bridge.conversion.upstream_errors.translate import explain_error_object
from claude_bridge.trace.events import RequestSent
from tests.dialogues import a_request
from tests.fake_upstream import FakeUpstream, Head, Reply, Send, Wait, answer, frame, refusal, stream, text
from tests.kept_events import KeptEvents
from tests.server.served import BridgeServer, streamed

pytestmark = pytest.mark.anyio

NO_GRAMMAR = "Failed to initialize samplers: failed to parse grammar"
ODD: dict[str, Any] = {
    "name": "Read",
    "input_schema": {"type": "object", "properties": {"path": {"type": "string", "pattern": "^(?=a)"}}},
}
LISTED = {"name": "List", "input_schema": {"type": "object", "properties": {"all": {"type": "boolean"}}}}

REFUSALS: dict[str, Reply] = {
    "llama.cpp": refusal(400, NO_GRAMMAR, type="invalid_request_error"),
    "LM Studio": refusal(
        500, f'Engine protocol predict request returned 400: {{"error":{{"code":400,"message":"{NO_GRAMMAR}"}}}}'
    ),
    "LM Studio, inside the stream": stream(frame({"error": {"message": f"Error in engine: {NO_GRAMMAR}"}})),
    "llama.cpp, a reference": refusal(
        400, "Automatic parser generation failed: JSON schema error at #/properties/command: cannot resolve $ref #/x"
    ),
    "vLLM": refusal(400, "The provided JSON schema contains features not supported by xgrammar."),
}


@pytest.mark.parametrize("reply", REFUSALS.values(), ids=REFUSALS)
async def test_a_request_is_sent_once_more_without_what_breaks_the_grammar(reply: Reply) -> None:
    async with FakeUpstream([reply, answer("Hi.")]) as upstream, BridgeServer(upstream) as server:
        response = await server.messages(stream=True, tools=[ODD])
        assert response.status == 200
        assert "Hi." in response.body.decode()
        schemas = [request.json["tools"][0]["function"]["parameters"] for request in upstream.requests]
    assert [schema["properties"]["path"].get("pattern") for schema in schemas] == ["^(?=a)", None]
    assert schemas[1]["properties"]["path"]["description"] == '(pattern: "^(?=a)")'


async def test_the_same_tools_are_sent_so_from_then_on_and_others_as_before() -> None:
    script = [refusal(400, NO_GRAMMAR), *(answer("Hi.") for _ in range(4))]
    async with FakeUpstream(script) as upstream, BridgeServer(upstream) as server:
        for tools in ([ODD], [ODD], [LISTED], [ODD]):
            assert (await server.messages(tools=tools)).status == 200
        sent = [request.json["tools"] for request in upstream.requests]
    assert sent[1] == sent[2] == sent[4] != sent[0]
    assert sent[3][0]["function"]["parameters"] == LISTED["input_schema"]


async def test_it_is_reported() -> None:
    notes = KeptEvents()
    script = [refusal(400, NO_GRAMMAR), answer("Hi.")]
    async with FakeUpstream(script) as upstream, BridgeServer(upstream, sinks=[notes]) as server:
        await server.messages(tools=[ODD])
    sent = [event for event in notes.events if isinstance(event, RequestSent)]
    assert [[loss.path for loss in event.losses] for event in sent] == [[], ["$.tools[0].input_schema"]]


@pytest.mark.parametrize("tools", [[ODD], [LISTED], []], ids=["refused again", "plain already", "no tools"])
async def test_a_refusal_without_a_remedy_goes_to_the_client(tools: list[Any]) -> None:
    script = [refusal(400, NO_GRAMMAR)] * 2
    async with FakeUpstream(script) as upstream, BridgeServer(upstream) as server:
        response = await server.messages(tools=tools)
        assert response.status == 424
        assert "more than the engine's grammar can take" in response.json["error"]["message"]
        assert len(upstream.requests) == (2 if tools == [ODD] else 1)


async def test_once_an_answer_has_begun_nothing_is_asked_again() -> None:
    go_on = anyio.Event()
    broken: Reply = [Head(), Send(text("Well")), Wait(go_on), Send(frame({"error": {"message": NO_GRAMMAR}}))]
    async with FakeUpstream([broken]) as upstream, BridgeServer(upstream) as server, server.connect() as wire:
        await wire.send(streamed(tools=[ODD]))
        await wire.head()
        await wire.chunk()
        go_on.set()
        assert b"event: error" in await wire.chunk()
        assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    "words",
    ["error parsing grammar: expecting name", "Failed to compile the grammar", "Grammar error: bad", "Invalid schema"],
)
def test_wordings_of_engines_are_known(words: str) -> None:
    engine = EngineModel(where="Engine", model="m", profile=UNKNOWN)
    error = explain_error_object({"message": words, "code": 400}, "Engine")
    adapted = adapt(engine, error, a_request(tools=[ODD]), b"{}")
    assert adapted is not None
    assert set(adapted.engine.simpler_schemas.values()) == {"few-keywords"}
