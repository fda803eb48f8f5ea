"""The short road: Claude Code, the bridge, llama.cpp's own /v1/messages with a real model, and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.engine_profiles import LLAMA_CPP
from claude_bridge.providers import Upstream
from claude_bridge.trace.events import ExchangeFailed
from claude_bridge.upstream.embedded.engine import SMALL_MODEL_WINDOW_TOKENS, EmbeddedEngine
from tests.claude_code.client import ClaudeCode
from tests.fake_upstream import MODEL, FakeUpstream, Head, ReceivedRequest, Reply, Send
from tests.kept_events import KeptEvents
from tests.running_bridge import open_bridge

pytestmark = [pytest.mark.anyio, pytest.mark.claude_code, pytest.mark.engine]

ADAPTER = ADAPTERS["anthropic-messages"]


def relayed(engine: EmbeddedEngine) -> Upstream:
    """Return the engine as it is asked by its own Messages API."""
    root = engine.upstream.base_url.removesuffix("/v1")
    return replace(engine.upstream, base_url=root, adapter=ADAPTER, profile=LLAMA_CPP)


async def test_a_prompt_that_the_engine_finds_too_long_is_reported_in_words_that_the_client_knows(
    engine: EmbeddedEngine, new_claude_code: Callable[[], ClaudeCode]
) -> None:
    """Asked directly, the client showed the engine's own words and stopped: it can compact only what it understands."""
    trace = KeptEvents()
    async with open_bridge(relayed(engine), trace) as url:
        session = await new_claude_code().ask(url, "hello", "--model", engine.upstream.model)
    assert session.code == 1
    assert session.result["result"].startswith("Prompt is too long")
    (reported,) = {event.message for event in trace.events if isinstance(event, ExchangeFailed)}
    assert reported.startswith("prompt is too long: ")
    assert reported.endswith(f"> {SMALL_MODEL_WINDOW_TOKENS} maximum")


def llama_cpp_stream(*blocks: dict[str, Any], stop_reason: str) -> Reply:
    """Return an answer as llama.cpp streams it: thoughts without a signature, tool uses without an input."""
    usage = {"input_tokens": 10, "output_tokens": 5}
    head = {"id": "chatcmpl-1", "type": "message", "role": "assistant", "content": [], "model": MODEL, "usage": usage}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": head}]
    for index, block in enumerate(blocks):
        delta = block.pop("delta")
        events += [
            {"type": "content_block_start", "index": index, "content_block": block},
            {"type": "content_block_delta", "index": index, "delta": delta},
            {"type": "content_block_stop", "index": index},
        ]
    events += [
        {"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": usage},
        {"type": "message_stop"},
    ]
    return [Head(), *(Send(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()) for event in events)]


def scripted_engine() -> Callable[[ReceivedRequest], Reply]:
    """Return an engine that thinks and calls once, then answers; the first try of the answer breaks down."""
    tries = iter([False, True])

    def script(request: ReceivedRequest) -> Reply:
        if not any(block["type"] == "tool_result" for block in _last_blocks(request)):
            thought = {"type": "thinking", "thinking": "", "delta": {"type": "thinking_delta", "thinking": "A plan."}}
            command = json.dumps({"command": "echo found", "description": "Look"})
            made = {"type": "input_json_delta", "partial_json": command}
            call = {"type": "tool_use", "id": "call_0", "name": "Bash", "delta": made}
            return llama_cpp_stream(thought, call, stop_reason="tool_use")
        if not next(tries):
            trouble = {"error": {"code": 500, "message": "decode failed", "type": "server_error"}}
            return [Head(), Send(b"event: error\ndata: " + json.dumps(trouble).encode() + b"\n\n")]
        text_fields = {"type": "text", "text": "", "delta": {"type": "text_delta", "text": "Found."}}
        return llama_cpp_stream(text_fields, stop_reason="end_turn")

    return script


def _last_blocks(request: ReceivedRequest) -> list[dict[str, Any]]:
    content = request.json["messages"][-1]["content"]
    return content if isinstance(content, list) else []


async def test_thoughts_calls_and_errors_of_such_an_engine_reach_the_client(claude_code: ClaudeCode) -> None:
    async with FakeUpstream(scripted_engine()) as upstream:
        root = upstream.base_url.removesuffix("/v1")
        engine = Upstream(name="llama.cpp", base_url=root, model=MODEL, adapter=ADAPTER, profile=LLAMA_CPP)
        async with open_bridge(engine) as url:
            session = await claude_code.ask(url, "What is there?", "--model", MODEL)
    assert (session.code, session.result["result"]) == (0, "Found.")
    (thought,) = session.blocks("assistant", "thinking")
    assert thought["thinking"] == "A plan."
    (call,) = session.blocks("assistant", "tool_use")
    assert call["input"]["command"] == "echo found"
    assert all(request.json["stream"] for request in upstream.requests[:2]), "no answer was refused and fetched again"


async def test_claude_code_works_with_an_engine_of_its_own_api(
    engine: EmbeddedEngine, new_claude_code: Callable[[], ClaudeCode]
) -> None:
    claude_code = new_claude_code()
    (claude_code.project / "harbour.txt").write_text("boats\n")
    small = ["--tools", "Bash", "--system-prompt", "You are a helper."]
    upstream = relayed(engine)
    trace = KeptEvents()
    async with open_bridge(upstream, trace) as url:
        session = await claude_code.ask(url, "list the files here", "--model", upstream.model, *small, within_s=110.0)

    assert (session.code, session.result["subtype"]) == (0, "success")
    (call,) = session.blocks("assistant", "tool_use")
    (result,) = session.blocks("user", "tool_result")
    assert (result["tool_use_id"], result["content"]) == (call["id"], "harbour.txt")
    assert "harbour.txt" in session.result["result"]
    assert session.notices("api_retry") == []
    _, second = trace.usages
    assert second.cache_read_input_tokens >= 0.8 * (second.input_tokens + second.cache_read_input_tokens)
