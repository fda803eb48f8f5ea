"""/context, with which Claude Code shows what fills its window: more than twenty counts at once."""

from __future__ import annotations

import pytest

from claude_bridge.adapters.engine_profiles import LLAMA_CPP
from tests.claude_code.client import ClaudeCode
from tests.fake_upstream import MODEL, FakeUpstream, ReceivedRequest, Reply, json_document
from tests.running_bridge import open_bridge, scripted_upstream

pytestmark = [pytest.mark.anyio, pytest.mark.claude_code]

COUNTS = "/v1/chat/completions/input_tokens"


async def test_what_fills_the_window_is_counted_by_the_engine(claude_code: ClaudeCode) -> None:
    def script(request: ReceivedRequest) -> Reply:
        assert request.path == COUNTS
        return json_document({"input_tokens": 1_234})

    async with (
        FakeUpstream(script) as upstream,
        open_bridge(scripted_upstream(upstream.base_url, profile=LLAMA_CPP)) as url,
    ):
        session = await claude_code.ask(url, "/context", "--model", MODEL)
    assert session.code == 0
    assert len(upstream.requests) > 15
    assert any(request.json.get("tools") for request in upstream.requests)
    assert "1.2k" in session.result["result"]
