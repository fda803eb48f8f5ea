"""Tools and schemas on the way in."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from claude_bridge.adapters import engine_profiles
from claude_bridge.conversion.request.normalize import normalize_request
from claude_bridge.errors import InvalidRequestError
from claude_bridge.wire.anthropic import InputMessage, WebSearchToolResultBlock
from tests.dialogues import a_request


def _tool(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "input_schema": {"type": "object"}} | fields


def _names(**fields: Any) -> list[str]:
    return [tool.name for tool in normalize_request(a_request(**fields), engine_profiles.UNKNOWN).tools]


def test_tools_go_in_their_order() -> None:
    assert _names(tools=[_tool("b"), _tool("a")]) == ["b", "a"]


def test_no_tools_go_where_none_may_be_used() -> None:
    assert _names(tools=[_tool("a")], tool_choice={"type": "none"}) == []


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"tools": [_tool("a")], "tool_choice": {"type": "tool", "name": "b"}}, r"`\$.tool_choice.name`"),
        ({"tools": [_tool("a")], "tool_choice": {"type": "tool", "name": "A"}}, r"`\$.tool_choice.name`"),
        ({"tools": [], "tool_choice": {"type": "tool", "name": "a"}}, r"`\$.tool_choice`"),
        ({"tool_choice": {"type": "any"}}, r"`\$.tool_choice`"),
    ],
)
def test_a_choice_that_can_not_be_made_is_refused_with_its_path(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequestError, match=path):
        _names(**fields)


@pytest.mark.parametrize("kind", ["auto", "none"])
def test_a_choice_that_forces_nothing_needs_no_tools(kind: str) -> None:
    assert _names(tool_choice={"type": kind}) == []


def test_a_tool_that_only_anthropic_runs_is_refused_by_name_and_path() -> None:
    with pytest.raises(InvalidRequestError, match=r"'run' of type 'code_execution_20250825'.*`\$.tools\[1\].type`"):
        _names(tools=[_tool("a"), {"name": "run", "type": "code_execution_20250825"}])


def test_an_advisor_is_left_out_and_reported() -> None:
    """Claude Code declares one in every request where its user has chosen one."""
    tools = [_tool("a"), {"name": "advisor", "type": "advisor_20260301", "model": "claude-opus-5"}]
    normalized = normalize_request(a_request(tools=tools), engine_profiles.UNKNOWN)
    assert [tool.name for tool in normalized.tools] == ["a"]
    assert [loss.path for loss in normalized.losses] == ["$.tools[1]"]
    with pytest.raises(InvalidRequestError, match="no tool 'advisor' is declared"):
        _names(tools=tools, tool_choice={"type": "tool", "name": "advisor"})


@pytest.mark.parametrize("kind", ["tool_search_tool_regex_20251119", "tool_search_tool_bm25"])
@pytest.mark.parametrize(
    "profile", [engine_profiles.UNKNOWN, engine_profiles.OPENAI_RESPONSES], ids=["chat", "responses"]
)
def test_where_the_api_would_search_among_tools_all_are_offered(kind: str, profile: Any) -> None:
    tools = [{"name": "search", "type": kind}, _tool("a", defer_loading=True), _tool("b")]
    normalized = normalize_request(a_request(tools=tools), profile)
    assert [tool.name for tool in normalized.tools] == ["a", "b"]
    assert [loss.path for loss in normalized.losses] == ["$.tools[0]"]


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ({"type": "mcp_toolset", "mcp_server_name": "docs"}, r"'mcp_toolset'.*the MCP server 'docs'.*\[1\].type`"),
        ({"type": "browser_toolset_20260801"}, r"'browser_toolset_20260801' runs at Anthropic.*\[1\].type`"),
        ({"input_schema": {"type": "object"}}, r"missing required field `name`.*\[1\]`"),
        ({"type": "custom"}, r"missing required field `name`.*\[1\]`"),
        ({"type": "bash_20250124"}, r"missing required field `name`.*\[1\]`"),
    ],
)
def test_a_tool_without_a_name_is_refused_by_what_it_is(tool: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        _names(tools=[_tool("a"), tool])


@pytest.mark.parametrize("kind", [None, "custom"])
def test_a_tool_without_a_schema_takes_no_arguments(kind: str | None) -> None:
    (tool,) = normalize_request(a_request(tools=[{"name": "a", "type": kind}]), engine_profiles.UNKNOWN).tools
    assert msgspec.json.decode(tool.schema) == {"type": "object", "properties": {}}


@pytest.mark.parametrize("schema", [None, 3, [], "x"])
def test_a_schema_that_is_no_object_is_refused(schema: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"\$.tools\[0\].input_schema"):
        _names(tools=[_tool("a", input_schema=schema)])


@pytest.mark.parametrize(
    ("profile", "has_pattern"),
    [(engine_profiles.UNKNOWN, True), (engine_profiles.LLAMA_CPP, False)],
    ids=["as it is", "for a grammar"],
)
def test_a_schema_is_changed_only_for_engines_that_compile_it(profile: Any, has_pattern: bool) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}}
    (tool,) = normalize_request(a_request(tools=[_tool("a", input_schema=schema)]), profile).tools
    assert ("pattern" in msgspec.json.decode(tool.schema)["properties"]["a"]) is has_pattern


def test_a_conversation_without_content_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="no message has any content"):
        _names(messages=[{"role": "user", "content": ""}])


def test_what_a_history_nests_too_deeply_is_the_clients_fault() -> None:
    results = WebSearchToolResultBlock("srvtoolu_1", msgspec.Raw(b"[" * 9_000 + b"]" * 9_000))
    request = msgspec.structs.replace(a_request(), messages=[InputMessage("user", [results])])
    with pytest.raises(InvalidRequestError, match="nested too deeply"):
        normalize_request(request, engine_profiles.UNKNOWN)
