"""Tools and schemas on the way in."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from claude_bridge.adapters import engine_profiles
from claude_bridge.conversion.request.normalize import normalize_request
from claude_bridge.errors import InvalidRequestError
from tests.dialogues import a_request


def _tool(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "input_schema": {"type": "object"}} | fields


def _names(**fields: Any) -> list[str]:
    return [tool.name for tool in normalize_request(a_request(**fields), engine_profiles.UNKNOWN).tools]


def _loads(*names: str) -> dict[str, Any]:
    found = [{"type": "tool_reference", "tool_name": name} for name in names]
    return {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": found}]}


def test_tools_go_in_their_order() -> None:
    assert _names(tools=[_tool("b"), _tool("a")]) == ["b", "a"]


def test_no_tools_go_where_none_may_be_used() -> None:
    assert _names(tools=[_tool("a")], tool_choice={"type": "none"}) == []


@pytest.mark.parametrize(
    ("messages", "names"),
    [
        ([{"role": "user", "content": "a"}], ["kept"]),
        ([_loads("late")], ["kept", "late"]),
        ([_loads("late", "early"), _loads("late")], ["kept", "late", "early"]),
        ([_loads("nobody", "kept")], ["kept"]),
        ([{"role": "user", "content": [{"type": "tool_reference", "tool_name": "early"}]}], ["kept", "early"]),
    ],
    ids=["none loaded", "one", "in the order of loading", "not deferred", "outside a result"],
)
def test_deferred_tools_come_last_once_they_are_loaded(messages: list[dict[str, Any]], names: list[str]) -> None:
    deferred = [_tool("early", defer_loading=True), _tool("kept"), _tool("late", defer_loading=True)]
    assert _names(tools=deferred, messages=messages) == names


def test_a_deferred_tool_that_is_forced_is_sent() -> None:
    tools = [_tool("early", defer_loading=True), _tool("kept"), _tool("late", defer_loading=True)]
    assert _names(tools=tools, tool_choice={"type": "tool", "name": "late"}) == ["kept", "late"]


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
