"""What Anthropic's own tools left in a history: text, whatever shape it has, and never an error."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from claude_bridge.conversion.request import server_tool_history as server_tools
from claude_bridge.conversion.request.server_tool_history import text_of_block
from claude_bridge.wire.anthropic import UnknownBlock
from tests.text_helpers import values


def text_of(kind: str, **fields: Any) -> str | None:
    return text_of_block(UnknownBlock(kind, Raw(msgspec.json.encode({"type": kind} | fields))))


BLOCKS: dict[str, tuple[str, dict[str, Any], str]] = {
    "output that only Anthropic reads": (
        "code_execution_tool_result",
        {"content": {"encrypted_stdout": "x", "stderr": "", "return_code": 0}},
        "Result of the code (return code 0):\n[output that only Anthropic can read]",
    ),
    "failed edit": (
        "text_editor_code_execution_tool_result",
        {"content": {"error_code": "file_not_found", "error_message": "No such file."}},
        "[the text editor failed: No such file.]",
    ),
    "failed MCP tool": (
        "mcp_tool_result",
        {"is_error": True, "content": "no such tool"},
        "Error of the MCP tool: no such tool",
    ),
    "advice": ("advisor_tool_result", {"content": {"type": "advisor_result", "text": "Wait."}}, "Advice:\nWait."),
    "advice that only Anthropic reads": (
        "advisor_tool_result",
        {"content": {"type": "advisor_redacted_result"}},
        "[no advice that can be read: advisor_redacted_result]",
    ),
    "browser": (
        "browser_state",
        {
            "tabs": [
                {"tab_id": "1", "title": "A", "url": "https://a", "active": True},
                {"tab_id": "2", "title": "", "url": ""},
            ],
            "state_changes": [{"type": "tab_opened", "tab_id": "2"}],
        },
        'Open tabs:\n- 1: A https://a (active)\n- 2:\n[{"type":"tab_opened","tab_id":"2"}]',
    ),
    "summary that failed": ("compaction", {"content": None}, ""),
    "mark of another model": ("fallback", {"from": {}, "to": {}}, ""),
}


@pytest.mark.parametrize(("kind", "fields", "text"), BLOCKS.values(), ids=BLOCKS.keys())
def test_a_block_of_a_server_tool_is_text(kind: str, fields: dict[str, Any], text: str) -> None:
    assert text_of(kind, **fields) == text


def test_a_block_of_another_kind_is_none() -> None:
    assert text_of("hologram", content="x") is None


@given(
    st.sampled_from(sorted(server_tools._RENDERERS)),
    st.dictionaries(
        st.sampled_from(["content", "input", "name", "tabs", "state_changes", "is_error"]), values, max_size=4
    ),
)
def test_no_shape_is_an_error(kind: str, fields: dict[str, Any]) -> None:
    assert isinstance(text_of(kind, **fields), str)


@given(
    st.sampled_from(["advisor_tool_result", "code_execution_tool_result", "text_editor_code_execution_tool_result"]),
    st.dictionaries(
        st.sampled_from(["content", "stdout", "lines", "error_code", "text", "return_code"]), values, max_size=4
    ),
)
def test_no_shape_of_the_content_is_an_error(kind: str, content: dict[str, Any]) -> None:
    assert isinstance(text_of(kind, content=content), str)
