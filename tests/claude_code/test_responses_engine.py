"""The whole road by the Responses API of a real engine: Claude Code, the bridge, llama.cpp, and back."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.engine_profiles import LLAMA_CPP_RESPONSES
from claude_bridge.upstream.embedded.engine import EmbeddedEngine
from tests.claude_code.client import ClaudeCode
from tests.kept_events import KeptEvents
from tests.running_bridge import open_bridge

pytestmark = [pytest.mark.anyio, pytest.mark.claude_code, pytest.mark.engine]


async def test_the_model_calls_a_tool_over_llama_cpps_responses_api(
    engine: EmbeddedEngine, claude_code: ClaudeCode
) -> None:
    (claude_code.project / "harbour.txt").write_text("boats\n")
    # A model this small needs a small prompt. A limit, should it not find an end.
    small = ["--tools", "Bash", "--system-prompt", "You are a helper."]
    adapter = ADAPTERS["openai-responses"]
    upstream = replace(engine.upstream, adapter=adapter, profile=LLAMA_CPP_RESPONSES, max_output_tokens=200)
    trace = KeptEvents()
    async with open_bridge(upstream, trace) as url:
        session = await claude_code.ask(url, "list the files here", "--model", upstream.model, *small, within_s=110.0)
    assert session.code == 0
    (call,) = session.blocks("assistant", "tool_use")
    assert call["name"] == "Bash"
    assert "harbour.txt" in session.result["result"]
    first, second = trace.usages
    prompts = [usage.input_tokens + usage.cache_read_input_tokens for usage in (first, second)]
    assert prompts[1] > prompts[0] > 1000  # other tests may have left the first one in the cache
    assert second.cache_read_input_tokens > 1000
    assert session.notices("api_retry") == []
