"""Searches that a service runs itself: which requests they are left to, and what goes back of them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.engine_profiles import OPENAI_RESPONSES, profile_for
from claude_bridge.app.plan import WebPlan
from claude_bridge.app.web import search_note
from claude_bridge.config.types import SearchChoice
from claude_bridge.providers import Upstream
from claude_bridge.server_tools.tools import WebTools
from tests.fake_upstream import FakeUpstream
from tests.responses_stream import Json, call, cited, message, opened, reasoning, search
from tests.running_bridge import scripted_upstream
from tests.scripted_responses import ScriptedResponses
from tests.server.served import BridgeServer, streamed
from tests.server_tools.engines import Internet, html
from tests.server_tools.test_turn import FETCH, SEARCH, asks, blocks_of, message_of

pytestmark = pytest.mark.anyio

MODEL = "gpt-5.6-sol"
PAGE = "https://bridges.example/arch"
THINKS = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}


def gpt_at(upstream: FakeUpstream) -> Upstream:
    found = scripted_upstream(upstream.base_url, profile=profile_for(OPENAI_RESPONSES, MODEL))
    return replace(found, adapter=ADAPTERS["openai-responses"], model=MODEL, name="OpenAI")


def kinds(body: Json) -> list[str]:
    return [tool["type"] for tool in body.get("tools", ())]


async def test_a_service_searches_by_itself_and_gets_its_searches_back_as_it_gave_them() -> None:
    def play(body: Json) -> list[Json]:
        if len(body["input"]) > 1:
            return [reasoning("Again."), message("Quite.")]
        look = [reasoning("I look."), search("bridges", PAGE), opened(PAGE)]
        return [*look, reasoning("I see."), cited("Arches carry.", Arches=PAGE)]

    script = ScriptedResponses(play)
    async with FakeUpstream(script) as upstream, BridgeServer(gpt_at(upstream)) as server:
        requested = asks("What do arches do?")
        first = await server.ask(streamed(messages=requested, tools=[SEARCH], **THINKS))
        content = message_of(first)["content"]
        history = [*requested, {"role": "assistant", "content": content}, *asks("Sure?")]
        second = await server.messages(messages=history, tools=[SEARCH], **THINKS)
    assert [block["type"] for block in blocks_of(first)] == [
        *("thinking", "server_tool_use", "web_search_tool_result", "thinking", "redacted_thinking", "text")
    ]
    assert [hit["url"] for hit in content[2]["content"]] == [PAGE]
    assert [one["url"] for one in content[-1]["citations"]] == [PAGE]
    assert message_of(first)["usage"]["server_tool_use"] == {"web_search_requests": 1, "web_fetch_requests": 0}
    assert second.status == 200
    assert [kinds(body) for body in script.bodies] == [["web_search"]] * 2
    back = [item["type"] for item in script.bodies[1]["input"]]
    assert back == [
        *("message", "reasoning", "web_search_call", "web_search_call", "reasoning", "message", "message")
    ], "in the order in which they came"
    assert (script.refusals, script.removed) == ([], []), "the prompt before each thought is what it was"


async def test_a_search_service_that_the_user_chose_goes_before_that_of_the_model() -> None:
    answers = iter([[call("web_search", {"query": "bridges"})], [message("Arches carry.")]])
    script = ScriptedResponses(lambda _: next(answers))
    async with Internet() as internet, FakeUpstream(script) as upstream:
        async with BridgeServer(gpt_at(upstream), web_tools=replace(internet.tools, hosted=False)) as server:
            response = await server.ask(streamed(messages=asks("What do arches do?"), tools=[SEARCH]))
        assert len(internet.search.requests) == 1
    assert [kinds(body) for body in script.bodies] == [["function"]] * 2
    assert [block["type"] for block in blocks_of(response)] == ["server_tool_use", "web_search_tool_result", "text"]


async def test_no_service_searches_where_the_user_turned_searches_off() -> None:
    script = ScriptedResponses(lambda _: [message("I can't.")])
    off = WebTools(hosted=False)
    async with FakeUpstream(script) as upstream, BridgeServer(gpt_at(upstream), web_tools=off) as server:
        await server.messages(messages=asks("What do arches do?"), tools=[SEARCH])
    assert [kinds(body) for body in script.bodies] == [[]]


async def test_a_service_searches_and_the_bridge_fetches_for_one_message() -> None:
    async with Internet(pages={"/arch": html("<p>They carry.</p>")}) as internet:
        page = internet.url("/arch")

        def play(body: Json) -> list[Json]:
            if any(item["type"] == "function_call_output" for item in body["input"]):
                return [reasoning("I see."), message("Arches carry.")]
            return [reasoning("I look."), search("bridges", page), call("web_fetch", {"url": page})]

        script = ScriptedResponses(play)
        tools = replace(internet.tools, searcher=None)
        async with FakeUpstream(script) as upstream, BridgeServer(gpt_at(upstream), web_tools=tools) as server:
            requested = asks(f"What does {page} say?")
            response = await server.ask(streamed(messages=requested, tools=[SEARCH, FETCH], **THINKS))
            content = message_of(response)["content"]
            history = [*requested, {"role": "assistant", "content": content}, *asks("Sure?")]
            await server.messages(messages=history, tools=[SEARCH, FETCH], **THINKS)
    assert [block["type"] for block in blocks_of(response)] == [
        *("thinking", "server_tool_use", "web_search_tool_result", "redacted_thinking", "server_tool_use"),
        *("web_fetch_tool_result", "thinking", "redacted_thinking", "text"),
    ]
    assert message_of(response)["usage"]["server_tool_use"] == {"web_search_requests": 1, "web_fetch_requests": 1}
    assert [kinds(body) for body in script.bodies] == [["web_search", "function"]] * 3
    before, after = (body["input"] for body in script.bodies[1:])
    assert json.dumps(after).startswith(json.dumps(before)[:-1]), "the conversation only grows"
    assert (script.refusals, script.removed) == ([], [])


async def test_results_of_a_search_stay_where_only_fetching_is_declared() -> None:
    use = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "arches"}}
    hit = {"type": "web_search_result", "title": "Arches", "url": PAGE, "encrypted_content": "x", "page_age": None}
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [hit]}
    script = ScriptedResponses(lambda _: [message("Yes.")])
    history: list[dict[str, Any]] = [*asks("Go."), {"role": "assistant", "content": [use, found]}, *asks("On.")]
    async with FakeUpstream(script) as upstream, BridgeServer(gpt_at(upstream)) as server:
        await server.messages(messages=history, tools=[FETCH])
    assert PAGE in json.dumps(script.bodies[0]["input"])


def test_the_user_reads_where_queries_go() -> None:
    gpt = replace(scripted_upstream("http://127.0.0.1:9/v1"), profile=OPENAI_RESPONSES)
    local = scripted_upstream("http://127.0.0.1:9/v1")
    assert search_note(WebPlan(), gpt) == "web searches run at OpenAI, which charges for them"
    assert search_note(WebPlan(), local) is None
    assert search_note(WebPlan(search=SearchChoice("off")), gpt) is None
    assert search_note(WebPlan(search=SearchChoice("brave")), gpt) == "web searches go to brave"
    agreed = WebPlan(search=SearchChoice("duckduckgo"), is_search_chosen=False)
    assert search_note(agreed, local) == "web searches go to duckduckgo"
    assert search_note(agreed, gpt) == "web searches run at OpenAI, which charges for them"
