"""Claude Code's WebSearch through the bridge: a search service on this machine, its links, and the model's summary."""

from __future__ import annotations

import json

import pytest

from claude_bridge.clients.claude_code import SEARCH_PROMPT
from tests.claude_code.client import ClaudeCode
from tests.fake_upstream import ReceivedRequest
from tests.running_bridge import open_bridge, scripted_upstream
from tests.server_tools.engines import ARCH, Internet, Says, answering, upstream_of

pytestmark = [pytest.mark.anyio, pytest.mark.claude_code]

SEARCH = ("WebSearch", {"query": "bridges", "allowed_domains": [], "blocked_domains": ["example.org"]})
FOR_AN_AGENT = "Find out for me what arches do."
AGENT = ("Agent", {"description": "Look", "prompt": FOR_AN_AGENT, "subagent_type": "general-purpose"})


def searching(request: ReceivedRequest) -> Says:
    """Search once: the session calls the client's tool, whose helper asks for a summary of what was found."""
    if is_helper(request):
        return Says("Arches carry.")
    return Says("Arches carry, says the web.") if has_result(request) else Says("", [SEARCH])


def delegating(request: ReceivedRequest) -> Says:
    """Search at the side of a sub-agent that searches too; a session that is resumed has both in its history."""
    if is_helper(request):
        return Says("Arches carry.")
    if "Is that all?" in words_of(request):
        return Says("That is all.")
    if is_agents(request):
        return Says("The agent knows: they carry.") if has_result(request) else Says("", [SEARCH])
    return Says("Both found it.") if has_result(request) else Says("", [AGENT, SEARCH])


def words_of(request: ReceivedRequest) -> str:
    return json.dumps([message for message in request.json["messages"] if message["role"] != "system"])


def is_helper(request: ReceivedRequest) -> bool:
    return SEARCH_PROMPT in words_of(request)


def is_agents(request: ReceivedRequest) -> bool:
    request_words = words_of(request)
    return FOR_AN_AGENT in request_words and "subagent_type" not in request_words


def has_result(request: ReceivedRequest) -> bool:
    request_words = words_of(request)
    return '"role": "tool"' in request_words or '"tool_result"' in request_words


async def test_a_search_shows_links_and_a_summary_in_the_client(claude_code: ClaudeCode) -> None:
    kind = "anthropic-messages"
    async with Internet() as internet, answering(kind, searching) as engine:
        async with open_bridge(upstream_of(engine, kind), web_tools=internet.tools) as url:
            session = await claude_code.ask(url, "Search the web for bridges", "--model", "scripted")
        assert session.result["result"] == "Arches carry, says the web."
        reported = json.dumps(engine.requests[-1].json["messages"][-1])
        assert ARCH["url"] in reported
        assert "Arches carry." in reported
        (searched,) = internet.search.requests
        assert "q=bridges+-site%3Aexample.org" in searched.path
    usage = session.result["usage"].get("server_tool_use", {})
    models = session.result.get("modelUsage", {})
    counted = [usage.get("web_search_requests"), *(model.get("webSearchRequests") for model in models.values())]
    assert 1 in counted, counted


async def test_a_sub_agent_searches_too_and_a_resumed_session_still_has_what_was_found(claude_code: ClaudeCode) -> None:
    kind = "ollama-chat"
    async with Internet() as internet, answering(kind, delegating) as engine:
        async with open_bridge(upstream_of(engine, kind), web_tools=internet.tools) as url:
            waiting = {"CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1"}
            session = await claude_code.ask(url, "Look for bridges", "--model", "scripted", environment=waiting)
            assert session.result["result"] == "Both found it."
            before = engine.requests[-1]
            resume = ("--resume", session.result["session_id"])
            resumed = await claude_code.ask(url, "Is that all?", "--model", "scripted", *resume)
        assert resumed.result["result"] == "That is all."
        assert len(internet.search.requests) == 2, "one for the agent, and none again for the history"
    (agents,) = [one for one in engine.requests if is_agents(one) and has_result(one)]
    assert ARCH["url"] in words_of(agents)
    found = [message for message in before.json["messages"] if message["role"] == "tool"]
    again = [message for message in engine.requests[-1].json["messages"] if message["role"] == "tool"]
    assert again == found
    assert "The agent knows" in json.dumps(found)
    assert ARCH["url"] in json.dumps(found)


async def test_a_search_that_is_off_is_reported_and_the_session_goes_on(claude_code: ClaudeCode) -> None:
    async with answering("openai-chat", searching) as engine, open_bridge(scripted_upstream(engine.base_url)) as url:
        session = await claude_code.ask(url, "Search the web for bridges", "--model", "scripted")
        assert session.result["result"] == "Arches carry, says the web."
        assert len(engine.requests) == 2, "the helper's request asks no model, and nothing is asked again"
        reported = json.dumps(engine.requests[-1].json["messages"][-1])
        assert "--web-search" in reported
