"""Claude Code's WebSearch where the service that has the model runs searches itself."""

from __future__ import annotations

import json

import pytest

from tests.claude_code.client import ClaudeCode
from tests.claude_code.test_responses import MODEL, gpt_at
from tests.fake_upstream import FakeUpstream
from tests.responses_stream import Json, call, cited, message, reasoning, search
from tests.running_bridge import open_bridge
from tests.scripted_responses import ScriptedResponses
from tests.server_tools.engines import ARCH

pytestmark = [pytest.mark.anyio, pytest.mark.claude_code]


async def test_a_search_that_the_service_runs_shows_its_links_in_the_client(claude_code: ClaudeCode) -> None:
    def play(body: Json) -> list[Json]:
        if any(tool["type"] == "web_search" for tool in body.get("tools", ())):
            return [reasoning("I look."), search("bridges", ARCH["url"]), cited("Arches carry.", Arches=ARCH["url"])]
        if body["input"][-1]["type"] == "function_call_output":
            return [message("Arches carry, says the web.")]
        return [call("WebSearch", {"query": "bridges", "blocked_domains": ["example.org"]})]

    server = ScriptedResponses(play)
    async with FakeUpstream(server) as upstream, open_bridge(gpt_at(upstream.base_url)) as url:
        session = await claude_code.ask(url, "Search the web for bridges", "--model", MODEL)
        assert session.result["result"] == "Arches carry, says the web."
    searches = [tool for body in server.bodies for tool in body.get("tools", ()) if tool["type"] == "web_search"]
    assert [one["filters"] for one in searches] == [{"blocked_domains": ["example.org"]}]
    heard = json.dumps(server.bodies[-1]["input"][-1])
    assert ARCH["url"] in heard
    assert "Arches carry." in heard
    assert server.refusals == []
    assert 1 in [model.get("webSearchRequests") for model in session.result.get("modelUsage", {}).values()]
