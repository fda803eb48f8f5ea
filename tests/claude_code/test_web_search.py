"""Claude Code's WebSearch through the bridge: a search service on this machine, its links, and the model's summary."""

from __future__ import annotations

import json

import pytest

from tests.claude_code.client import ClaudeCode
from tests.fake_upstream import FakeUpstream, ReceivedRequest, Reply, answer, calls
from tests.running_bridge import open_bridge, scripted_upstream
from tests.server_tools.engines import ARCH, Internet

pytestmark = [pytest.mark.anyio, pytest.mark.claude_code]


def script(request: ReceivedRequest) -> Reply:
    """Search once: the session calls the client's tool, whose helper asks for a summary of what was found."""
    last = request.json["messages"][-1]
    if "Arch bridges" in json.dumps(last) and not request.json.get("tools"):
        return answer("Arches carry.")
    if last["role"] == "tool":
        return answer("Arches carry, says the web.")
    return calls(("WebSearch", {"query": "bridges", "allowed_domains": [], "blocked_domains": ["example.org"]}))


async def test_a_search_shows_links_and_a_summary_in_the_client(claude_code: ClaudeCode) -> None:
    async with Internet() as internet, FakeUpstream(script) as upstream:
        async with open_bridge(scripted_upstream(upstream.base_url), web_tools=internet.tools) as url:
            session = await claude_code.ask(url, "Search the web for bridges", "--model", "scripted")
        assert session.result["result"] == "Arches carry, says the web."
        told = json.dumps(upstream.requests[-1].json["messages"][-1])
        assert ARCH["url"] in told
        assert "Arches carry." in told
        (searched,) = internet.search.requests
        assert "q=bridges+-site%3Aexample.org" in searched.path
    usage = session.result["usage"].get("server_tool_use", {})
    models = session.result.get("modelUsage", {})
    counted = [usage.get("web_search_requests"), *(model.get("webSearchRequests") for model in models.values())]
    assert 1 in counted, counted


async def test_a_search_that_is_off_is_told_and_the_session_goes_on(claude_code: ClaudeCode) -> None:
    async with FakeUpstream(script) as upstream, open_bridge(scripted_upstream(upstream.base_url)) as url:
        session = await claude_code.ask(url, "Search the web for bridges", "--model", "scripted")
        assert session.result["result"] == "Arches carry, says the web."
        assert len(upstream.requests) == 2, "the helper's request asks no model, and nothing is asked again"
        told = json.dumps(upstream.requests[-1].json["messages"][-1])
        assert "--web-search" in told
