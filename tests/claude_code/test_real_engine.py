"""The whole road: Claude Code, the bridge, llama.cpp with a real model, and back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from claude_bridge.upstream.embedded.engine import EmbeddedEngine
from claude_bridge.wire.anthropic_answers import Usage
from tests.claude_code.client import ClaudeCode, Session
from tests.kept_events import KeptEvents
from tests.running_bridge import open_bridge

pytestmark = [pytest.mark.anyio, pytest.mark.claude_code, pytest.mark.engine]

Played = tuple[Session, list[Usage]]


@pytest.fixture(scope="module")
async def played(engine: EmbeddedEngine, new_claude_code: Callable[[], ClaudeCode]) -> Played:
    claude_code = new_claude_code()
    (claude_code.project / "harbour.txt").write_text("boats\n")
    # A model this small needs a small prompt: 1,200 tokens in place of 13,000. A limit, should it not find an end.
    small = ["--tools", "Bash", "--system-prompt", "You are a helper."]
    upstream = replace(engine.upstream, max_output_tokens=200)
    trace = KeptEvents()
    async with open_bridge(upstream, trace) as url:
        session = await claude_code.ask(url, "list the files here", "--model", upstream.model, *small, within_s=110.0)
    return session, trace.usages


async def test_the_model_calls_a_tool_gets_its_result_and_answers(played: Played) -> None:
    session, _ = played
    assert session.code == 0
    assert session.result["subtype"] == "success"
    (call,) = session.blocks("assistant", "tool_use")
    assert call["name"] == "Bash"
    (result,) = session.blocks("user", "tool_result")
    assert result["tool_use_id"] == call["id"]
    assert result["content"] == "harbour.txt"
    assert "harbour.txt" in session.result["result"]
    assert session.notices("api_retry") == []


async def test_the_client_shows_the_usage_that_the_engine_counted(played: Played) -> None:
    session, (first, second) = played
    shown = session.result["usage"]
    assert shown["input_tokens"] == first.input_tokens + second.input_tokens
    assert shown["cache_read_input_tokens"] == first.cache_read_input_tokens + second.cache_read_input_tokens
    assert shown["output_tokens"] == first.output_tokens + second.output_tokens
    assert first.output_tokens > 10


async def test_the_second_request_comes_from_the_cache(played: Played) -> None:
    _, (first, second) = played
    first_prompt = first.input_tokens + first.cache_read_input_tokens
    second_prompt = second.input_tokens + second.cache_read_input_tokens
    assert second_prompt > first_prompt > 1000
    assert second.cache_read_input_tokens >= 0.8 * second_prompt
