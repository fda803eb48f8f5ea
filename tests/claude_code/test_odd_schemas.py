"""A session with an MCP server whose schemas services refuse as they are, at services that refuse."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claude_bridge.trace.events import UpstreamRetried
from tests.claude_code import mcp_server
from tests.claude_code.client import ClaudeCode
from tests.fake_upstream import MODEL, FakeUpstream, ReceivedRequest, Reply, answer, calls, json_document
from tests.kept_events import KeptEvents
from tests.running_bridge import open_bridge, scripted_upstream
from tests.schema_refusals import ODD_SCHEMAS, gemini_refusal, openai_refusal

pytestmark = [pytest.mark.anyio, pytest.mark.claude_code]

SAME_FOR_MCP = {"nothing", "a text", "null in place of lists and objects"}
"""Schemas that are as others once they have what MCP demands: a type, which is object, and properties that are one."""

LEFT_OUT_BY_CLIENT = {"types in other languages", "draft 4", "keywords of the wrong type"}
"""Schemas of tools that Claude Code does not offer to any model."""

TOOLS = [
    {"name": name.replace(" ", "_"), "description": f"Odd: {name}.", "inputSchema": {**schema, "type": "object"}}
    for name, schema in ODD_SCHEMAS.items()
    if name not in SAME_FOR_MCP | LEFT_OUT_BY_CLIENT
]

Refusal = Callable[[list[dict[str, Any]]], dict[str, Any] | None]


def service(refusal: Refusal) -> Callable[[ReceivedRequest], Reply]:
    """Return the script of a service that looks at all schemas first, and then calls each odd tool once."""

    def reply(request: ReceivedRequest) -> Reply:
        if error := refusal(request.json["tools"]):
            return json_document(error, status=400)
        if any(message["role"] == "tool" for message in request.json["messages"]):
            return answer("All of them work.")
        return calls(*((f"mcp__odd__{tool['name']}", {}) for tool in TOOLS))

    return reply


@pytest.mark.parametrize(
    ("refusal", "retries"), [(openai_refusal, 0), (gemini_refusal, 1)], ids=["like OpenAI", "like Gemini"]
)
async def test_all_tools_of_an_odd_mcp_server_work(
    refusal: Refusal, retries: int, claude_code: ClaudeCode, tmp_path: Path
) -> None:
    listed, config = tmp_path / "tools.json", tmp_path / "mcp.json"
    listed.write_text(json.dumps(TOOLS))
    command = {"command": sys.executable, "args": [mcp_server.__file__, str(listed)]}
    config.write_text(json.dumps({"mcpServers": {"odd": command}}))
    trace = KeptEvents()
    async with (
        FakeUpstream(service(refusal)) as upstream,
        open_bridge(scripted_upstream(upstream.base_url), trace) as url,
    ):
        session = await claude_code.ask(
            *(url, "Try all tools.", "--model", MODEL, "--mcp-config", str(config), "--strict-mcp-config"),
            environment={"ENABLE_TOOL_SEARCH": "false"},
        )
    assert (session.code, session.result["result"]) == (0, "All of them work.")
    results = [block["content"] for block in session.blocks("user", "tool_result")]
    assert len(TOOLS) == 10
    assert results == [[{"type": "text", "text": f"{tool['name']} was given {{}}"}] for tool in TOOLS]
    assert sum(isinstance(event, UpstreamRetried) for event in trace.events) == retries
    assert session.notices("api_retry") == []
