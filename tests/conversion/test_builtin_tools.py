"""Tools that Anthropic's API knows by their type alone."""

from __future__ import annotations

import msgspec
import pytest
from jsonschema import Draft202012Validator
from msgspec import Raw

from claude_bridge.conversion.builtin_tools import api_tool, schema_of
from claude_bridge.wire.anthropic import Tool


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("bash_20250124", {"command": "ls"}),
        ("bash_20241022", {"restart": True}),
        ("text_editor_20250728", {"command": "view", "path": "/a", "view_range": [1, -1]}),
        ("text_editor_20250124", {"command": "str_replace", "path": "/a", "old_str": "x", "new_str": "y"}),
        ("memory_20250818", {"command": "rename", "old_path": "/memories/a", "new_path": "/memories/b"}),
        ("computer_20250124", {"action": "left_click", "coordinate": [10, 20]}),
        ("computer_20251124", {"action": "zoom", "region": [0, 0, 10, 10]}),
        ("web_search_20260209", {"query": "x"}),
        ("web_fetch_20250910", {"url": "https://example.com"}),
    ],
)
def test_a_tool_has_its_documented_input_in_every_version(kind: str, given: dict[str, object]) -> None:
    schema = msgspec.json.decode(schema_of(Tool("t", type=kind)))
    Draft202012Validator.check_schema(schema)
    assert Draft202012Validator(schema).is_valid(given)
    assert not Draft202012Validator(schema).is_valid({next(iter(given)): {}})


@pytest.mark.parametrize("kind", [None, "custom", "code_execution_20250825", "mcp_toolset", "web_search"])
def test_other_tools_are_not_known(kind: str | None) -> None:
    assert api_tool(Tool("t", type=kind)) is None


def test_a_schema_of_the_clients_own_goes_before_what_is_documented() -> None:
    own = Tool("bash", type="bash_20250124", input_schema=Raw(b'{"type":"object"}'))
    assert api_tool(own) is None
    assert bytes(schema_of(own)) == b'{"type":"object"}'


def test_only_tools_of_the_web_are_answered_here() -> None:
    kinds = ("bash_20250124", "text_editor_20250728", "memory_20250818", "web_search_20250305", "web_fetch_20250910")
    known = [api_tool(Tool("t", type=kind)) for kind in kinds]
    assert [tool and tool.runs_at_api for tool in known] == [None, None, None, "web_search", "web_fetch"]
