"""The short road: Claude Code, the bridge, llama.cpp's own /v1/messages with a real model, and back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from claude_bridge.adapters import RELAYS
from claude_bridge.adapters.profiles import LLAMA_CPP
from claude_bridge.upstream.embedded import EmbeddedEngine
from tests.claude_code.client import ClaudeCode
from tests.running_bridge import KeptTrace, open_bridge

pytestmark = [pytest.mark.anyio, pytest.mark.claude_code, pytest.mark.engine]


async def test_claude_code_works_with_an_engine_of_its_own_api(
    engine: EmbeddedEngine, new_claude_code: Callable[[], ClaudeCode]
) -> None:
    claude_code = new_claude_code()
    (claude_code.project / "harbour.txt").write_text("boats\n")
    small = ["--tools", "Bash", "--system-prompt", "You are a helper."]
    root = engine.upstream.base_url.removesuffix("/v1")
    upstream = replace(engine.upstream, base_url=root, adapter=RELAYS["anthropic-messages"], profile=LLAMA_CPP)
    trace = KeptTrace()
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
