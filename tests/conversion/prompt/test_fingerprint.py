"""Where two prompts part: what changed first is found and named, for the requests of every upstream kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.conversion.prompt.fingerprint import Fingerprint, divergence, fingerprint
from tests.growth import assert_linear

Body = dict[str, Any]

BASH: Body = {"name": "Bash", "description": "Run a command.", "input_schema": {"type": "object"}}
READ: Body = {"name": "Read", "description": "Read a file.", "input_schema": {"type": "object"}}
MESSAGES: list[Body] = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Go on"},
]


def anthropic(**fields: Any) -> Body:
    return {"model": "m", "system": "You help.", "tools": [BASH, READ], "messages": MESSAGES, "max_tokens": 1} | fields


def openai(**fields: Any) -> Body:
    """Return what the same becomes for Chat Completions, and for Ollama."""
    body = anthropic(**fields)
    tools = [
        {"type": "function", "function": {**{k: v for k, v in tool.items() if k != "input_schema"}, "parameters": {}}}
        for tool in body.pop("tools")
    ]
    return {**body, "messages": [{"role": "system", "content": body.pop("system")}, *body["messages"]], "tools": tools}


def responses(**fields: Any) -> Body:
    """Return what the same becomes for the Responses API."""
    body = openai(**fields)
    messages = body.pop("messages")
    items = [dict(message) for message in messages]
    items[0]["role"] = "developer"
    tools = [{"type": "function", "strict": False, **tool["function"]} for tool in body.pop("tools")]
    return {**body, "store": False, "prompt_cache_key": "k", "input": items, "tools": tools}


def printed(body: Body) -> Fingerprint:
    found = fingerprint(json.dumps(body).encode())
    assert found is not None
    return found


each_kind = pytest.mark.parametrize("kind", [anthropic, openai, responses], ids=["anthropic", "openai", "responses"])


def change(kind: Callable[..., Body], before: Body, now: Body) -> tuple[str, str] | None:
    found = divergence(printed(kind(**before)), printed(kind(**now)))
    return (found.section, found.what) if found else None


@each_kind
@pytest.mark.parametrize(
    ("now", "section", "what"),
    [
        pytest.param({"model": "n"}, "model", "the model was m, and is n", id="model"),
        pytest.param({"system": "You harm."}, "system", "the system prompt changed", id="system"),
        pytest.param(
            {"tools": [BASH | {"description": "x"}, READ]}, "tools", "tool Bash's description changed", id="description"
        ),
        pytest.param({"tools": [READ, BASH]}, "tools", "another order: Read stands where Bash stood", id="order"),
        pytest.param({"tools": [BASH]}, "tools", "tools were removed: Read", id="removed"),
        pytest.param({"tools": [BASH, READ, READ | {"name": "A"}]}, "tools", "tools were added: A", id="added"),
        pytest.param(
            {"tools": [BASH, READ | {"name": "A"}]},
            "tools",
            "tools were added: A; tools were removed: Read",
            id="other",
        ),
        pytest.param({"tool_choice": "none"}, "parameters", "parameter of the prompt changed", id="parameter"),
        pytest.param(
            {"messages": [MESSAGES[0], {"role": "assistant", "content": "Hello!"}, MESSAGES[2]]},
            "messages",
            "message 2 of 3 (assistant) changed",
            id="message",
        ),
        pytest.param(
            {"messages": MESSAGES[:2]}, "messages", "message 3 of 3 (user) is gone, and all after it", id="gone"
        ),
    ],
)
def test_the_first_change_is_named(kind: Callable[..., Body], now: Body, section: str, what: str) -> None:
    found = change(kind, {}, now)
    assert found is not None
    assert found[0] == section
    assert what in found[1]


def test_a_tools_schema_may_change_too() -> None:
    other = {"type": "object", "properties": {}}
    now = {"tools": [BASH | {"input_schema": other, "description": "x"}, READ]}
    assert change(anthropic, {}, now) == ("tools", "tool Bash's description and schema changed")
    assert change(anthropic, {}, {"tools": [BASH | {"strict": True}, READ]}) == (
        "tools",
        "tool Bash's declaration changed",
    )


def test_the_part_of_the_system_prompt_is_named() -> None:
    parts = [{"type": "text", "text": text} for text in ("x-anthropic-billing-header: cch=1;", "You help.")]
    now = [{"type": "text", "text": "x-anthropic-billing-header: cch=2;"}, parts[1]]
    assert change(anthropic, {"system": parts}, {"system": now}) == (
        "system",
        "part 1 of 2 of the system prompt changed",
    )


@each_kind
def test_what_is_not_in_the_prompt_may_change(kind: Callable[..., Body]) -> None:
    assert change(kind, {}, {"max_tokens": 9, "temperature": 1, "stream": True, "metadata": {"user_id": "x"}}) is None


def test_marks_for_caches_may_move() -> None:
    marked = {"type": "text", "text": 'say "cache_control"', "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    plain = {"type": "text", "text": 'say "cache_control"'}
    before = [{"role": "user", "content": [marked]}]
    now = [{"role": "user", "content": [plain]}, {"role": "assistant", "content": "a"}]
    assert change(anthropic, {"messages": before}, {"messages": now}) is None
    other = [{"role": "user", "content": [plain | {"text": 'say "cache_contro1"'}]}]
    assert change(anthropic, {"messages": before}, {"messages": other}) is not None


texts = st.text(st.characters(codec="utf-8"), max_size=12)
turns = st.lists(st.builds(lambda text: {"role": "user", "content": text}, texts), min_size=1, max_size=6)


@each_kind
@given(turns, turns)
def test_a_longer_conversation_goes_on_from_the_shorter_one(
    kind: Callable[..., Body], messages: list[Body], more: list[Body]
) -> None:
    assert change(kind, {"messages": messages}, {"messages": messages + more}) is None
    assert change(kind, {"messages": messages + more}, {"messages": messages}) is not None


@each_kind
@given(turns, st.data())
def test_what_was_kept_is_what_stood_before_the_change(
    kind: Callable[..., Body], messages: list[Body], data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(messages) - 1))
    changed = [*messages[:place], {"role": "user", "content": messages[place]["content"] + "!"}, *messages[place + 1 :]]
    before, now = printed(kind(messages=messages)), printed(kind(messages=changed))
    found = divergence(before, now)
    assert found is not None
    assert found.what == f"message {place + 1} of {len(messages)} (user) changed"
    behind = sum(len(json.dumps(message)) for message in messages[place:])
    assert before.size - found.kept_bytes == behind


@pytest.mark.parametrize("body", [b"", b"[]", b'{"messages": 1}', b"\xff", b'{"tools": [1], "messages": []'])
def test_what_is_no_request_has_no_fingerprint(body: bytes) -> None:
    assert fingerprint(body) is None


def test_odd_tools_and_messages_do_no_harm() -> None:
    assert printed({"tools": [1, {"name": 2}, {"function": "x"}], "messages": [{"content": 1}]}).roles == "?"


def test_other_tools_are_compared_in_linear_time() -> None:
    def work(size: int) -> Callable[[], object]:
        before, now = (
            printed(anthropic(tools=[BASH | {"name": f"{kind}{at}"} for at in range(size)])) for kind in "ab"
        )
        found = divergence(before, now)
        assert found is not None
        assert found.what.startswith("tools were added: b0, b1")
        return lambda: divergence(before, now)

    assert_linear(work, 4_000)
