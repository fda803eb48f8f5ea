"""Request bodies are summed up in a line or few, whatever they hold."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.trace.console.entries import Contents, Line, contents, last_user_lines
from claude_bridge.trace.console.printable import NO_BREAK

REMINDER = {"type": "text", "text": "<system-reminder>\nToday is Friday\n</system-reminder>"}


def _last_lines(*messages: dict[str, Any]) -> list[Line]:
    last_lines = last_user_lines(msgspec.json.encode({"messages": messages}))
    return [what._replace(text=what.text.replace(NO_BREAK, " ")) for what in last_lines]


def test_sizes_by_role_and_parameters_are_distinguished() -> None:
    body = {
        "model": "m",
        "system": "s" * 6_800,
        "messages": [
            {"role": "user", "content": "u" * 400},
            {"role": "assistant", "content": ""},
            {"role": "tool", "content": ""},
            {"role": "user", "content": ""},
        ],
        "tools": [{"name": "t"}],
        "max_tokens": 32_000,
        "stream": True,
        "thinking": {"type": "adaptive"},
        "effort": "high",
        "context_management": {"edits": [{"type": "clear_thinking_20251015"}]},
    }
    sizes, parameters = contents(msgspec.json.encode(body))

    assert sizes.replace(NO_BREAK, " ") == (
        "system prompt 6.8 kB, 2 user 456 B, 1 assistant 33 B, 1 tool result 28 B, 1 tool 14 B"
    )
    assert parameters.replace(NO_BREAK, " ") == (
        "max_tokens 32,000, thinking {type adaptive}, effort high, context_management {46 B}"
    )


def test_the_last_user_turn_is_reported_though_system_messages_stand_behind_it() -> None:
    assert _last_lines(
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "ok"},
        {"role": "user", "content": [REMINDER, {"type": "text", "text": "second"}, REMINDER]},
        {"role": "system", "content": "environment"},
    ) == [Line("user", "second", 3), Line("user", "(2 reminders of the client's own)", 3, "dim")]


def test_tool_results_are_named_after_their_calls() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 2_000}}
    assert _last_lines(
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "t1", "name": "Read", "input": {}},
                {"type": "tool_use", "id": "t2", "name": "Bash", "input": {}},
                {"type": "tool_use", "id": "t3", "name": "Edit", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t2", "is_error": True, "content": "Exit code 1\nE  assert"},
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "a"}, image]},
                {"type": "tool_result", "tool_use_id": "t3"},
                {"type": "tool_result", "tool_use_id": "t9", "content": "orphan"},
            ],
        },
    ) == [
        Line("result", "Bash failed with 21 B: Exit code 1 E assert", tone="warning"),
        Line("result", "Read gave 1 B: a"),
        Line("result", "[image image/png 2.0 kB]", 3),
        Line("result", "Edit gave nothing"),
        Line("result", "? gave 6 B: orphan"),
    ]


@pytest.mark.parametrize("body", [b"", b"no JSON", b"[1]", b"null", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_shown_as_it_begins(body: bytes) -> None:
    sizes, parameters = contents(body)
    assert sizes == ""
    assert parameters.startswith("no JSON object: ")
    assert last_user_lines(body) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(
                ["messages", "role", "content", "type", "text", "source", "tools", "is_error", "id", "name", "system"]
            ),
            inner | st.sampled_from(["user", "tool_result", "text", "image"]),
        )
    ),
)


@given(json_values)
def test_odd_bodies_give_a_summary_and_no_error(value: object) -> None:
    for body in (msgspec.json.encode(value), msgspec.json.encode({"messages": value, "tools": value})):
        assert isinstance(contents(body), Contents)
        assert isinstance(last_user_lines(body), list)


def test_items_of_the_responses_api_are_counted_by_what_they_are() -> None:
    items = [
        {"type": "message", "role": "user", "content": "Hi"},
        {"type": "reasoning", "encrypted_content": "x"},
        {"type": "function_call", "name": "Bash"},
        {"type": "function_call_output", "output": "ok"},
    ]
    sizes, parameters = contents(msgspec.json.encode({"model": "m", "input": items}))
    assert [part.replace(NO_BREAK, " ").rsplit(" ", 2)[0] for part in sizes.split(", ")] == [
        "1 user",
        "1 thought",
        "1 call",
        "1 tool result",
    ]
    assert parameters == ""
