"""A model that thinks before it answers: Claude Code shows it, and gives it back with the history."""

from __future__ import annotations

import pytest

from claude_bridge.adapters.engine_profiles import GEMINI, LLAMA_CPP, OPENROUTER, UNKNOWN
from claude_bridge.conversion.profile import Profile
from tests.claude_code.client import ClaudeCode, Session
from tests.fake_upstream import (
    DONE,
    MODEL,
    FakeUpstream,
    Reply,
    chunk,
    finish,
    stream,
    text,
    thinking,
    tool_call,
    usage,
)
from tests.running_bridge import open_bridge, scripted_upstream

pytestmark = [pytest.mark.anyio, pytest.mark.claude_code]

LOOK = tool_call("Bash", {"command": "echo found", "description": "Look"})
SCRIPT: list[Reply] = [
    stream(thinking("First "), thinking("a plan."), text("I look."), LOOK, finish("tool_calls"), usage(), DONE),
    stream(thinking("And now again."), LOOK, finish("tool_calls"), usage(), DONE),
    stream(thinking("That will do."), text("Found."), finish(), usage(), DONE),
]


async def play(claude_code: ClaudeCode, upstream: FakeUpstream, profile: Profile) -> Session:
    async with open_bridge(scripted_upstream(upstream.base_url, profile=profile)) as url:
        return await claude_code.ask(url, "What is there?", "--model", MODEL)


async def test_thinking_is_shown_and_goes_back_to_an_engine_that_takes_it(claude_code: ClaudeCode) -> None:
    async with FakeUpstream(SCRIPT) as upstream:
        session = await play(claude_code, upstream, LLAMA_CPP)
    assert (session.code, session.result["result"]) == (0, "Found.")
    shown = [block["thinking"] for block in session.blocks("assistant", "thinking")]
    assert shown == ["First a plan.", "And now again.", "That will do."]
    history = [turn for turn in upstream.requests[-1].json["messages"] if turn["role"] == "assistant"]
    assert [turn["reasoning_content"] for turn in history] == shown[:2]
    assert [turn["content"] for turn in history] == ["I look.", None]


async def test_thinking_is_left_out_of_the_history_of_an_unknown_engine(claude_code: ClaudeCode) -> None:
    async with FakeUpstream(SCRIPT) as upstream:
        session = await play(claude_code, upstream, UNKNOWN)
    assert session.result["result"] == "Found."
    assert "First a plan." not in str(upstream.requests[-1].json)


async def test_the_client_can_turn_thinking_off(claude_code: ClaudeCode) -> None:
    async with (
        FakeUpstream([SCRIPT[-1], SCRIPT[-1]]) as upstream,
        open_bridge(scripted_upstream(upstream.base_url, profile=LLAMA_CPP)) as url,
    ):
        for tokens in ("0", "8000"):
            await claude_code.ask(url, "Hello", "--model", MODEL, environment={"MAX_THINKING_TOKENS": tokens})
    off, on = (request.json.get("chat_template_kwargs") for request in upstream.requests)
    assert off != {"enable_thinking": True}
    assert on == {"enable_thinking": True}


DETAIL = {"type": "reasoning.encrypted", "data": "c2VhbGVk", "format": "openai-responses-v1", "index": 0}


async def test_sealed_thoughts_come_back_from_the_client(claude_code: ClaudeCode) -> None:
    def thought(number: int) -> bytes:
        return chunk({"reasoning": "Hm.", "reasoning_details": [DETAIL | {"id": f"rs_{number}"}]})

    script = [
        stream(thought(1), text("I look."), LOOK, finish("tool_calls"), usage(), DONE),
        stream(thought(2), LOOK, finish("tool_calls"), usage(), DONE),
        stream(thought(3), text("Found."), finish(), usage(), DONE),
    ]
    async with FakeUpstream(script) as upstream:
        session = await play(claude_code, upstream, OPENROUTER)
    assert (session.code, session.result["result"]) == (0, "Found.")
    history = [turn for turn in upstream.requests[-1].json["messages"] if turn["role"] == "assistant"]
    assert [turn["reasoning_details"] for turn in history] == [[DETAIL | {"id": "rs_1"}], [DETAIL | {"id": "rs_2"}]]


async def test_the_signature_of_a_call_comes_back_from_the_client(claude_code: ClaudeCode) -> None:
    def signed(signature: str) -> bytes:
        function = {"name": "Bash", "arguments": '{"command":"echo found","description":"Look"}'}
        extra = {"extra_content": {"google": {"thought_signature": signature}}}
        return chunk({"tool_calls": [{"index": 0, "id": "call_0", "type": "function", "function": function} | extra]})

    script = [
        stream(signed("one"), finish("tool_calls"), usage(), DONE),
        stream(signed("two"), finish("tool_calls"), usage(), DONE),
        stream(text("Found."), finish(), usage(), DONE),
    ]
    async with FakeUpstream(script) as upstream:
        session = await play(claude_code, upstream, GEMINI)
    assert session.result["result"] == "Found."
    calls = [call for turn in upstream.requests[-1].json["messages"] for call in turn.get("tool_calls", ())]
    assert [call["extra_content"]["google"]["thought_signature"] for call in calls] == ["one", "two"]
