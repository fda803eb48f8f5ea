"""Tools that a client defines in the midst of a conversation: the engine is offered them, and its calls are read."""

from __future__ import annotations

import pytest

from tests.fake_upstream import FakeUpstream, calls
from tests.server.served import BridgeServer

pytestmark = pytest.mark.anyio

WATCH = {
    "name": "CronWatch",
    "input_schema": {"type": "object", "properties": {"every": {"type": "integer"}}, "required": ["every"]},
}


async def test_a_call_of_a_tool_that_the_messages_define_is_read_by_its_definition() -> None:
    defined = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": WATCH}}
    messages = [{"role": "user", "content": [defined, {"type": "text", "text": "Watch it."}]}]
    async with FakeUpstream([calls(("cronwatch", {"every": "5"}))]) as upstream, BridgeServer(upstream) as server:
        response = await server.messages(messages=messages)
        assert [tool["function"]["name"] for tool in upstream.requests[-1].json["tools"]] == ["CronWatch"]
    (call,) = response.json["content"]
    assert (call["name"], call["input"], response.json["stop_reason"]) == ("CronWatch", {"every": 5}, "tool_use")


async def test_a_set_of_tools_of_an_mcp_server_is_refused_by_its_name() -> None:
    async with FakeUpstream() as upstream, BridgeServer(upstream) as server:
        response = await server.messages(tools=[{"type": "mcp_toolset", "mcp_server_name": "docs"}])
        assert not upstream.requests
    assert response.status == 400
    assert response.json["error"]["message"] == (
        "tools: 'mcp_toolset' lets Anthropic call the MCP server 'docs', and no engine here can call it; "
        "add it to the client instead - at `$.tools[0].type`"
    )
