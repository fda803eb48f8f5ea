"""What the exchanges of a run come to, as the bridge tells it; nobody needs to trace."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from claude_bridge.trace.delivery import Sink
from tests.claude_code.terminal import holds
from tests.fake_upstream import (
    DONE,
    MODEL,
    FakeUpstream,
    Head,
    Reply,
    Send,
    Stall,
    answer,
    finish,
    refusal,
    stream,
    text,
    tool_call,
    usage,
)
from tests.kept_events import KeptEvents
from tests.server.served import BridgeServer, get, post, question, streamed

pytestmark = pytest.mark.anyio

SESSION = {"x_claude_code_session_id": "session-1"}


async def reported(server: BridgeServer) -> dict[str, Any]:
    response = await server.ask(get("/stats"))
    assert response.status == 200
    return response.json  # type: ignore[no-any-return]


@pytest.mark.parametrize("sinks", [[], [KeptEvents()]], ids=["nobody traces", "traced"])
@pytest.mark.parametrize("is_streamed", [True, False], ids=["streamed", "whole"])
async def test_an_answer_is_counted_with_its_tokens(sinks: list[Sink], *, is_streamed: bool) -> None:
    script = [stream(text("Hi"), finish(), usage(1000, 50, cached_tokens=900), DONE)]
    async with FakeUpstream(script) as upstream, BridgeServer(upstream, sinks=sinks) as server:
        await server.post("/v1/messages", question(stream=is_streamed), **SESSION)
        report = await reported(server)
    figures = report["models"][MODEL]
    assert (figures["requests"], figures["answered"], figures["failed"], figures["left"]) == (1, 1, 0, 0)
    assert (figures["prompt_tokens"], figures["cached_tokens"], figures["told_prompt_tokens"]) == (1000, 900, 1000)
    assert (figures["output_tokens"], figures["estimated"]) == (50, 0)
    assert figures["first_token"]["count"] == 1
    assert figures["first_token"]["last_s"] > 0
    assert report["running"] == 0
    assert report["sessions"]["session-1"]["model"] == MODEL
    assert report["sessions"]["session-1"]["figures"] == figures


async def test_an_answer_in_one_piece_gives_no_engine_speed() -> None:
    script: list[Reply] = [stream(text("Hi"), finish(), usage(1000, 50), DONE)] * 5
    async with FakeUpstream(script) as upstream, BridgeServer(upstream) as server:
        for _ in script:  # a machine that stands still in an answer makes it look like two pieces, but not each time
            await server.messages()
        assert (await reported(server))["models"][MODEL]["timed_output_tokens"] < 50 * len(script)


async def test_an_engine_that_counts_nothing_is_estimated_and_its_cache_unknown() -> None:
    async with FakeUpstream([stream(text("Hi"), finish(), DONE)]) as upstream, BridgeServer(upstream) as server:
        await server.messages()
        figures = (await reported(server))["models"][MODEL]
    assert figures["estimated"] == 1
    assert figures["prompt_tokens"] > 0
    assert figures["told_prompt_tokens"] == 0


async def test_failures_are_counted_by_what_was_asked() -> None:
    script = [refusal(400, "no"), stream(text("half an ans"))]
    async with FakeUpstream(script) as upstream, BridgeServer(upstream) as server:
        await server.messages()
        await server.messages(stream=True)
        await server.post("/v1/messages", {"model": "x"})
        await server.messages(tools=[{"type": "code_execution_20250825", "name": "code_execution"}])
        models = (await reported(server))["models"]
    assert {name: (figures["requests"], figures["failed"]) for name, figures in models.items()} == {
        MODEL: (2, 2),
        "(unreadable)": (1, 1),
        "(not sent)": (1, 1),
    }


async def test_a_client_that_leaves_is_counted() -> None:
    script: list[Reply] = [[Head(), Send(text("It begins")), Stall()]]
    async with FakeUpstream(script) as upstream, BridgeServer(upstream) as server:
        async with server.connect() as wire:
            await wire.send(streamed())
            await wire.head()
            await wire.chunk()
            assert (await reported(server))["running"] == 1
        await (await upstream.request()).wait_until_closed_by_peer()

        async def is_over() -> bool:
            return bool((await reported(server))["running"] == 0)

        assert await holds(is_over)
        figures = (await reported(server))["models"][MODEL]
    assert (figures["left"], figures["answered"]) == (1, 0)


async def test_mended_tool_calls_and_losses_are_counted() -> None:
    tool = {"name": "Read", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}}
    script = [stream(tool_call("Read", '{"path": "a",}'), finish("tool_calls"), usage(), DONE)]
    async with FakeUpstream(script) as upstream, BridgeServer(upstream) as server:
        await server.messages(tools=[tool], top_k=5)
        figures = (await reported(server))["models"][MODEL]
    assert (figures["repairs"], figures["losses"]) == (1, 1)


async def test_prometheus_reads_the_same() -> None:
    async with FakeUpstream([answer("Hi")]) as upstream, BridgeServer(upstream) as server:
        await server.messages()
        response = await server.ask(get("/metrics"))
    assert response.headers["content-type"].startswith("text/plain")
    families = {family.name: family for family in text_string_to_metric_families(response.body.decode())}
    (output,) = families["claude_bridge_output_tokens"].samples
    assert (output.labels, output.value) == ({"model": MODEL}, 5)


async def test_figures_are_for_those_with_the_token() -> None:
    async with FakeUpstream() as upstream, BridgeServer(upstream, auth_token="t") as server:
        for path in ("/stats", "/metrics"):
            assert (await server.ask(get(path))).status == 401
            assert (await server.ask(get(path, authorization="Bearer t"))).status == 200


async def test_counting_tokens_is_no_exchange() -> None:
    async with FakeUpstream() as upstream, BridgeServer(upstream) as server:
        await server.ask(post("/v1/messages/count_tokens", question()))
        assert (await reported(server))["models"] == {}
