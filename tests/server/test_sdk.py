"""The anthropic SDK as the client."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anthropic
import anyio
import pytest
from anthropic.types import CacheMissToolsChanged, DiagnosticsParam, Message, MessageParam, ToolParam
from anyio import from_thread, to_thread

from claude_bridge.off_loop import LARGE_BYTES, run_off_loop_if_large
from tests.fake_upstream import (
    DONE,
    Close,
    FakeUpstream,
    Head,
    Pause,
    Reply,
    Send,
    Wait,
    answer,
    calls,
    finish,
    refusal,
    text,
)
from tests.kept_events import KeptEvents
from tests.running_bridge import open_bridge, scripted_upstream
from tests.server.served import BridgeServer

pytestmark = pytest.mark.anyio

HI: list[MessageParam] = [{"role": "user", "content": "Hi"}]
READ: ToolParam = {"name": "Read", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}}


@asynccontextmanager
async def sdk_before(
    *script: Reply, max_retries: int = 0
) -> AsyncIterator[tuple[anthropic.AsyncAnthropic, FakeUpstream]]:
    async with (
        FakeUpstream(script) as upstream,
        BridgeServer(upstream) as server,
        anthropic.AsyncAnthropic(base_url=server.url, auth_token="t", max_retries=max_retries) as client,
    ):
        yield client, upstream


async def test_a_message() -> None:
    async with sdk_before(answer("Hello you", prompt_tokens=7, completion_tokens=2)) as (client, _):
        message = await client.messages.create(model="m", max_tokens=10, messages=HI)
        assert message.content[0].type == "text"
        assert message.content[0].text == "Hello you"
        assert (message.stop_reason, message.usage.input_tokens, message.usage.output_tokens) == ("end_turn", 7, 2)
        assert (message._request_id or "").startswith("req_")


async def test_a_stream() -> None:
    async with (
        sdk_before(answer("Hello you")) as (client, _),
        client.messages.stream(model="m", max_tokens=10, messages=HI) as stream,
    ):
        assert [piece async for piece in stream.text_stream] == ["Hello", " you"]
        assert (await stream.get_final_message()).stop_reason == "end_turn"


async def test_tools_in_a_stream_and_their_results() -> None:
    async with sdk_before(calls(("Read", {"path": "a"}), words="I look."), answer("Seen")) as (client, upstream):
        async with client.messages.stream(model="m", max_tokens=10, messages=HI, tools=[READ]) as stream:
            message = await stream.get_final_message()
        call = message.content[1]
        assert call.type == "tool_use"
        assert (message.stop_reason, call.name, call.input) == ("tool_use", "Read", {"path": "a"})
        history: list[MessageParam] = [
            *HI,
            {"role": "assistant", "content": message.content},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "text of a"}]},
        ]
        await client.messages.create(model="m", max_tokens=10, messages=history, tools=[READ])
        assert [turn["role"] for turn in upstream.requests[1].json["messages"]] == ["user", "assistant", "tool"]


async def test_the_sync_client() -> None:
    async with FakeUpstream([answer("Hello you")] * 2) as upstream, BridgeServer(upstream) as server:

        def ask() -> list[str]:
            with anthropic.Anthropic(base_url=server.url, auth_token="t", max_retries=0) as client:
                whole = client.messages.create(model="m", max_tokens=10, messages=HI)
                assert whole.content[0].type == "text"
                with client.messages.stream(model="m", max_tokens=10, messages=HI) as stream:
                    return [whole.content[0].text, "".join(stream.text_stream)]

        assert await to_thread.run_sync(ask) == ["Hello you", "Hello you"]


async def test_models_and_token_counts() -> None:
    async with sdk_before() as (client, _):
        assert [model.id async for model in client.models.list()] == ["scripted", "claude-bridge/scripted"]
        assert (await client.models.retrieve("scripted")).id == "scripted"
        assert (await client.models.retrieve("claude-bridge/scripted")).id == "claude-bridge/scripted"
        assert (await client.messages.count_tokens(model="m", messages=HI)).input_tokens > 0


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        pytest.param(refusal(400, "no"), anthropic.APIStatusError, id="400: 424 has no class of its own"),
        pytest.param(refusal(400, "no", param="top_p"), anthropic.BadRequestError, id="400 for the client's own"),
        pytest.param(refusal(401, "no"), anthropic.AuthenticationError, id="401"),
        pytest.param(refusal(403, "no"), anthropic.PermissionDeniedError, id="403"),
        pytest.param(refusal(404, "no"), anthropic.NotFoundError, id="404"),
        pytest.param(refusal(429, "no"), anthropic.RateLimitError, id="429"),
        pytest.param(refusal(500, "no"), anthropic.InternalServerError, id="500"),
        pytest.param(refusal(503, "no"), anthropic.InternalServerError, id="503"),
    ],
)
async def test_a_refusal_becomes_its_exception(reply: Reply, error: type[anthropic.APIStatusError]) -> None:
    async with sdk_before(reply) as (client, _):
        with pytest.raises(error) as caught:
            await client.messages.create(model="m", max_tokens=10, messages=HI)
        assert caught.value.request_id is not None
        assert "answered" in str(caught.value) or "overloaded" in str(caught.value)


@pytest.mark.filterwarnings(
    "ignore:Async generator '(anthropic|httpx2|httpcore2):ResourceWarning"
)  # the SDK's own, on trio
async def test_an_error_in_a_stream_is_raised() -> None:
    async with (
        sdk_before([Head(), Send(text("Hello")), Pause(0.02), Close()]) as (client, _),
        client.messages.stream(model="m", max_tokens=10, messages=HI) as stream,
    ):
        with pytest.raises(anthropic.APIStatusError, match="broke off"):
            await stream.until_done()


async def test_a_passing_refusal_is_retried_and_a_permanent_one_is_not() -> None:
    slow_down = refusal(429, "no", headers={"retry-after": "0"})
    async with sdk_before(refusal(401, "no"), max_retries=3) as (client, upstream):
        with pytest.raises(anthropic.AuthenticationError):
            await client.messages.create(model="m", max_tokens=10, messages=HI)
        assert len(upstream.requests) == 1
    async with sdk_before(slow_down, answer("Hello"), max_retries=1) as (client, upstream):
        assert (await client.messages.create(model="m", max_tokens=10, messages=HI)).stop_reason == "end_turn"
        assert len(upstream.requests) == 2


@pytest.mark.filterwarnings("ignore:Async generator '(anthropic|httpx2|httpcore2):ResourceWarning")
async def test_leaving_a_stream_stops_the_engine() -> None:
    async with sdk_before([Head(), Send(text("Hello")), Pause(5)]) as (client, upstream):
        async with client.messages.stream(model="m", max_tokens=10, messages=HI) as stream:
            await anext(aiter(stream.text_stream))
        await (await upstream.request()).wait_until_closed_by_peer()


async def test_a_prompt_that_could_not_be_reused_is_explained_in_the_apis_own_diagnostics() -> None:
    changed: ToolParam = {**READ, "description": "Read a file, quickly."}
    async with sdk_before(*[answer("Hello")] * 3) as (client, _):

        async def ask(previous: str | None, tool: ToolParam) -> Message:
            wish: DiagnosticsParam = {"previous_message_id": previous}
            return await client.messages.create(model="m", max_tokens=10, messages=HI, tools=[tool], diagnostics=wish)

        first = await ask(None, READ)
        second = await ask(first.id, READ)
        third = await ask(second.id, changed)
    assert first.diagnostics is None
    assert second.diagnostics is None
    assert third.diagnostics is not None
    reason = third.diagnostics.cache_miss_reason
    assert isinstance(reason, CacheMissToolsChanged)
    assert reason.cache_missed_input_tokens > 0


async def test_the_first_text_does_not_wait_until_a_long_prompt_is_compared_with_others() -> None:
    has_text, is_busy, trace = threading.Event(), anyio.Event(), KeptEvents()

    def keep_thread() -> None:
        """Take the one thread for large bodies until the client has a text."""
        from_thread.run_sync(is_busy.set)
        has_text.wait(30)

    async def keep_thread_from_request_on() -> None:
        await upstream.request()
        await run_off_loop_if_large(LARGE_BYTES + 1, keep_thread)

    async with (
        FakeUpstream([[Head(), Wait(is_busy), Send(text("Hello you") + finish() + DONE)]]) as upstream,
        open_bridge(scripted_upstream(upstream.base_url), trace) as url,
        anthropic.AsyncAnthropic(base_url=url, auth_token="t", max_retries=0, timeout=10) as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(keep_thread_from_request_on)
        long: list[MessageParam] = [{"role": "user", "content": "x" * LARGE_BYTES}]
        async with client.messages.stream(model="m", max_tokens=10, messages=long) as stream:
            async for event in stream:
                if event.type == "text":
                    has_text.set()
            assert (await stream.get_final_message()).stop_reason == "end_turn"
    assert len(trace.usages) == 1
