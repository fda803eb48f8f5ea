"""How answers end through the whole bridge: the limit that was sent counts, and a dropped call is asked for again."""

from __future__ import annotations

from typing import Any

import pytest

from claude_bridge.adapters.engine_profiles import GEMINI
from claude_bridge.trace.events import AnswerMended, ToolInputRepaired
from tests.fake_upstream import (
    DONE,
    FakeUpstream,
    Reply,
    answer,
    calls,
    chunk,
    finish,
    stream,
    text,
    thinking,
    tool_call_arguments,
    usage,
)
from tests.kept_events import KeptEvents
from tests.running_bridge import scripted_upstream
from tests.server.served import BridgeServer

pytestmark = pytest.mark.anyio

BASH: dict[str, Any] = {
    "name": "Bash",
    "input_schema": {
        "type": "object",
        "properties": {"command": {"type": "string"}, "timeout": {"type": "number"}},
        "required": ["command"],
    },
}
MALFORMED = "function_call_filter: MALFORMED_FUNCTION_CALL"
DROPPED: dict[str, Reply] = {
    "malformed": stream(finish(MALFORMED), DONE),
    "malformed, with usage": stream(finish(MALFORMED), usage(10, 0), DONE),
    "swallowed": stream(chunk({"role": "assistant", "content": ""}), finish(), usage(10, 30), DONE),
}


def begun_call(arguments: str) -> bytes:
    function = {"name": "Bash", "arguments": ""}
    call = {"index": 0, "id": "call_0", "type": "function", "function": function}
    return chunk({"tool_calls": [call]}) + tool_call_arguments(arguments)


@pytest.mark.parametrize("is_streamed", [True, False])
@pytest.mark.parametrize("reply", DROPPED.values(), ids=DROPPED)
async def test_a_call_that_the_engine_dropped_is_asked_for_once_more(reply: Reply, is_streamed: bool) -> None:
    async with (
        FakeUpstream([reply, calls(("Bash", {"command": "ls"}))]) as upstream,
        BridgeServer(upstream) as server,
    ):
        response = await server.messages(stream=is_streamed, tools=[BASH])
        assert response.status == 200
        assert b"ls" in response.body
        assert [request.body for request in upstream.requests] == [upstream.requests[0].body] * 2


async def test_geminis_empty_answer_is_asked_for_once_more() -> None:
    empty = stream(chunk({"role": "assistant", "content": ""}), finish(), usage(10, 0), DONE)
    async with (
        FakeUpstream([empty, calls(("Bash", {"command": "ls"}))]) as upstream,
        BridgeServer(scripted_upstream(upstream.base_url, profile=GEMINI)) as server,
    ):
        response = await server.messages(tools=[BASH])
        assert (response.status, len(upstream.requests)) == (200, 2)
        assert b"ls" in response.body


@pytest.mark.parametrize("reply", DROPPED.values(), ids=DROPPED)
async def test_a_call_that_is_dropped_twice_is_an_error(reply: Reply) -> None:
    async with FakeUpstream([reply, reply, answer("Hi.")]) as upstream, BridgeServer(upstream) as server:
        response = await server.messages(tools=[BASH])
        assert response.status == 502
        assert len(upstream.requests) == 2


async def test_what_was_sent_already_is_not_asked_for_again() -> None:
    reply = stream(thinking("Hm."), text("I look."), finish(MALFORMED), DONE)
    async with FakeUpstream([reply, answer("Hi.")]) as upstream, BridgeServer(upstream) as server:
        body = (await server.messages(stream=True, tools=[BASH])).body.decode()
        assert len(upstream.requests) == 1
    assert "I look." in body
    assert 'event: error\ndata: {"type":"error"' in body
    assert "MALFORMED_FUNCTION_CALL" in body


@pytest.mark.parametrize(("max_tokens", "stop_reason"), [(40, "max_tokens"), (41, "tool_use")])
async def test_the_limit_that_was_sent_decides_whether_brackets_are_closed(max_tokens: int, stop_reason: str) -> None:
    half = '{"command":"git checkout -- src","timeout":60'
    reply = stream(begun_call(half), finish("stop"), usage(10, 40), DONE)
    async with FakeUpstream([reply]) as upstream, BridgeServer(upstream) as server:
        response = await server.messages(tools=[BASH], max_tokens=max_tokens)
    assert response.json["stop_reason"] == stop_reason
    (block,) = response.json["content"]
    whole = {"command": "git checkout -- src", "timeout": 60}
    is_run = stop_reason == "tool_use"
    assert block["input"] == (whole if is_run else {"__unparsedToolInput": {"raw": half, "len": len(half)}})


@pytest.mark.parametrize("reason", ["stop", "tool_calls", "length", "novelty", "MAX_TOKENS", None])
async def test_half_a_command_never_runs(reason: str | None) -> None:
    half = '{"command": "rm -rf /home/me/project/bui'
    reply = stream(begun_call(half), *([finish(reason)] if reason else []), DONE)
    notes = KeptEvents()
    async with FakeUpstream([reply]) as upstream, BridgeServer(upstream, sinks=[notes]) as server:
        response = await server.messages(tools=[BASH])
    assert response.json["stop_reason"] == "max_tokens"
    assert response.json["content"][0]["input"] == {"__unparsedToolInput": {"raw": half, "len": len(half)}}
    is_contradicted = reason not in ("length", "MAX_TOKENS")
    assert any(isinstance(event, ToolInputRepaired | AnswerMended) for event in notes.events) is is_contradicted
