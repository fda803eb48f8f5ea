"""Which tools the model is offered, as the history loads, defines and removes them."""

from __future__ import annotations

from typing import Any

import pytest

from claude_bridge.adapters import engine_profiles
from claude_bridge.conversion.request.normalize import NormalizedRequest, normalize_request, repaired_history
from claude_bridge.errors import InvalidRequestError
from claude_bridge.wire.anthropic import MessagesRequest
from tests.dialogues import a_request


def _tool(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "input_schema": {"type": "object"}} | fields


DECLARED = [_tool("early", defer_loading=True), _tool("kept"), _tool("late", defer_loading=True), _tool("other")]


def _normalized(*blocks: Any, role: str = "user", **fields: Any) -> NormalizedRequest:
    """Return a request whose history holds these blocks; a list of them is one tool result's content."""
    return normalize_request(_request(*blocks, role=role, **fields), engine_profiles.UNKNOWN)


def _lost(*blocks: Any) -> list[str]:
    """Return the paths of what is lost of a history that holds these blocks."""
    return [loss.path for loss in repaired_history(_request(*blocks), engine_profiles.UNKNOWN).losses]


def _request(*blocks: Any, role: str = "user", **fields: Any) -> MessagesRequest:
    content = [
        {"type": "tool_result", "tool_use_id": "t", "content": block} if isinstance(block, list) else block
        for block in blocks
    ]
    messages = [{"role": role, "content": [*content, {"type": "text", "text": "Go on."}]}]
    return a_request(**({"tools": DECLARED, "messages": messages} | fields))


def _names(*blocks: Any, **fields: Any) -> list[str]:
    return [tool.name for tool in _normalized(*blocks, **fields).tools]


def reference(name: str) -> dict[str, Any]:
    return {"type": "tool_reference", "tool_name": name}


def addition(name: str) -> dict[str, Any]:
    return {"type": "tool_addition", "tool": {"type": "tool_reference", "name": name}}


def definition(tool: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": tool}}


def removal(name: str) -> dict[str, Any]:
    return {"type": "tool_removal", "tool": {"type": "tool_reference", "name": name}}


def summary(*changes: dict[str, Any]) -> dict[str, Any]:
    return {"type": "compaction", "content": "So far.", "tool_changes": list(changes)}


@pytest.mark.parametrize("role", ["user", "system", "assistant"])
@pytest.mark.parametrize(
    ("blocks", "names"),
    [
        ([], ["kept", "other"]),
        ([[reference("late")]], ["kept", "other", "late"]),
        ([[reference("late"), reference("early")], [reference("late")]], ["kept", "other", "late", "early"]),
        ([[reference("nobody"), reference("kept")]], ["kept", "other"]),
        ([reference("early")], ["kept", "other", "early"]),
        ([addition("late"), [reference("early")]], ["kept", "other", "late", "early"]),
        ([addition("nobody"), addition("kept")], ["kept", "other"]),
        ([definition(_tool("new")), addition("late")], ["kept", "other", "new", "late"]),
        ([removal("kept")], ["other"]),
        ([removal("kept"), addition("kept")], ["other", "kept"]),
        ([addition("late"), removal("late"), removal("nobody")], ["kept", "other"]),
        ([definition(_tool("new")), removal("new"), addition("new")], ["kept", "other", "new"]),
        ([summary(addition("early"), removal("kept"))], ["other", "early"]),
    ],
)
def test_the_history_loads_defines_and_removes_tools(blocks: list[Any], names: list[str], role: str) -> None:
    assert _names(*blocks, role=role) == names


def test_a_deferred_tool_that_is_forced_is_offered() -> None:
    assert _names(tool_choice={"type": "tool", "name": "late"}) == ["kept", "other", "late"]


def test_a_tool_that_the_history_defines_may_be_forced_though_none_is_declared() -> None:
    new = definition(_tool("new"))
    assert _names(new, tools=None, tool_choice={"type": "tool", "name": "new"}) == ["new"]
    assert _names(new, tools=[], tool_choice={"type": "any"}) == ["new"]
    assert _names(new, tool_choice={"type": "none"}) == []


def test_a_definition_takes_the_place_of_a_tool_of_its_name() -> None:
    tools = _normalized(definition(_tool("kept", description="The new one."))).tools
    assert [(tool.name, tool.description) for tool in tools] == [("kept", "The new one."), ("other", "")]


def test_each_change_is_text_where_it_was_made() -> None:
    (turn,) = _normalized(addition("late"), removal("kept"), role="system").turns
    text = "\n\n".join(block.text for block in turn.blocks if hasattr(block, "text"))
    assert text == "<system-reminder>\nLoaded tools: late\n\nRemoved tools: kept\n\nGo on.\n</system-reminder>"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"type": "mcp_toolset_reference", "server_name": "docs"}, "the tools of the MCP server 'docs'"),
        (
            {"type": "mcp_tool_reference", "server_name": "docs", "name": "find"},
            "the tool 'find' of the MCP server 'docs'",
        ),
        ({"type": "tool_of_next_year"}, "a tool_of_next_year"),
        ({"type": "tool_definition"}, "a tool_definition"),
    ],
)
def test_a_change_that_no_engine_can_make_leaves_a_placeholder_and_a_loss(change: dict[str, Any], text: str) -> None:
    removal = {"type": "tool_removal", "tool": change}
    normalized = _normalized(removal)
    assert [getattr(block, "text", "") for block in normalized.turns[0].blocks] == [
        f"[removal of {text} omitted]",
        "Go on.",
    ]
    assert _lost(removal) == ["$.messages[0].content[0]"]


def test_changes_in_a_summary_that_cannot_be_read_are_lost_and_the_summary_is_not() -> None:
    summary = {"type": "compaction", "content": "So far.", "tool_changes": 3}
    normalized = _normalized(summary)
    assert getattr(normalized.turns[0].blocks[0], "text", "") == "Summary of the conversation before:\nSo far."
    assert _lost(summary) == ["$.messages[0].content[0].tool_changes"]


def test_a_tool_that_is_defined_wrongly_is_refused_at_its_path() -> None:
    path = r"\$.messages\[0\].content\[0\].tool.definition"
    with pytest.raises(InvalidRequestError, match=rf"`{path}.input_schema`"):
        _names(definition(_tool("new", input_schema=[])))
    with pytest.raises(InvalidRequestError, match=rf"'mcp_toolset'.*MCP server 'docs'.*`{path}.type`"):
        _names(definition({"type": "mcp_toolset", "mcp_server_name": "docs"}))
