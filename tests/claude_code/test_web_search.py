"""Claude Code's WebSearch through the bridge: it does not work here yet, is told so, and the session goes on."""

from __future__ import annotations

import json

import pytest

from tests.claude_code.client import ClaudeCode
from tests.fake_upstream import FakeUpstream, ReceivedRequest, Reply, answer, calls
from tests.running_bridge import open_bridge, scripted_upstream

pytestmark = [pytest.mark.anyio, pytest.mark.claude_code]


def script(request: ReceivedRequest) -> Reply:
    """Search once: the session asks the client's tool, whose helper asks the API's."""
    tools = [tool["function"]["name"] for tool in request.json.get("tools", [])]
    last = request.json["messages"][-1]
    if tools == ["web_search"]:
        return calls(("web_search", {"query": "bridges"}))
    if last["role"] == "tool":
        return answer("The web can not be searched.")
    return calls(
        ("WebSearch", {"query": "bridges", "allowed_domains": ["example.com"], "blocked_domains": ["example.org"]})
    )


async def test_a_search_that_does_not_work_is_told_and_the_session_goes_on(claude_code: ClaudeCode) -> None:
    async with FakeUpstream(script) as upstream, open_bridge(scripted_upstream(upstream.base_url)) as url:
        session = await claude_code.ask(url, "Search the web for bridges", "--model", "scripted")
        assert session.result["result"] == "The web can not be searched."
        helper = [request.json for request in upstream.requests if len(request.json.get("tools", [])) == 1]
        assert len(helper) == 1, "nothing is asked again"
        told = json.dumps(upstream.requests[-1].json["messages"][-1])
        assert "unavailable" in told
