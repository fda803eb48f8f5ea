"""Tools that Claude Code only names at first: the model searches for them, and then has them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.claude_code.client import ClaudeCode
from tests.fake_upstream import MODEL, FakeUpstream, answer, calls
from tests.running_bridge import open_bridge, scripted_upstream

pytestmark = [pytest.mark.anyio, pytest.mark.claude_code]


def tool_names(body: dict[str, Any]) -> list[str]:
    return [tool["function"]["name"] for tool in body["tools"]]


async def test_a_tool_is_sent_from_the_moment_that_it_is_loaded(claude_code: ClaudeCode) -> None:
    script = [
        calls(("ToolSearch", {"query": "select:WebFetch", "max_results": 5})),
        calls(("ToolSearch", {"query": "select:CronList", "max_results": 5})),
        calls(("CronList", {})),
        answer("No jobs."),
    ]
    async with FakeUpstream(script) as upstream, open_bridge(scripted_upstream(upstream.base_url)) as url:
        session = await claude_code.ask(url, "Which jobs are there?", "--model", MODEL)
    assert (session.code, session.result["result"]) == (0, "No jobs.")
    first, second, third, last = [request.json for request in upstream.requests]

    inline = tool_names(first)
    assert "ToolSearch" in inline
    assert "CronList" not in inline
    assert "DeferredToolPlaceholder" not in str(first["tools"]), "the client's dummy tool is nothing for a model"
    # In the order of loading and after all others, so that the cached prompt stays good.
    assert tool_names(second) == [*inline, "WebFetch"]
    assert tool_names(third) == tool_names(last) == [*inline, "WebFetch", "CronList"]
    assert "defer_loading" not in str([request.json for request in upstream.requests])

    assert second["messages"][-1]["content"] == "Loaded tools: WebFetch"
    assert third["messages"][-1]["content"] == "Loaded tools: CronList"
    assert last["messages"][-1]["content"] == "No scheduled jobs."
    assert last["messages"][: len(third["messages"])] == third["messages"]


async def test_all_tools_are_sent_where_tool_search_is_off(claude_code: ClaudeCode) -> None:
    async with FakeUpstream([answer("Hi.")]) as upstream, open_bridge(scripted_upstream(upstream.base_url)) as url:
        await claude_code.ask(url, "Hello", "--model", MODEL, environment={"ENABLE_TOOL_SEARCH": "false"})
    names = tool_names(upstream.requests[0].json)
    assert "CronList" in names
    assert "ToolSearch" not in names
