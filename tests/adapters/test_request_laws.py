"""What is true of every request at every upstream kind, whatever is known of the engine."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.conversion.profile import Profile
from claude_bridge.errors import InvalidRequestError
from claude_bridge.wire.anthropic_codec import parse_messages_request
from tests.dialogues import ROWS, TRANSLATING, a_request, sent
from tests.examples import examples
from tests.prompt_prefix import assert_extends
from tests.requests import (
    Json,
    Messages,
    agent_conversations,
    conversations,
    frames,
    in_another_shape,
    questions,
    rows,
    tool_references,
    wild_conversations,
)
from tests.roundtrip import missing_pieces
from tests.schema_refusals import BOMBS
from tests.schemas import a_tool_schema
from tests.sdk_validation import assert_accepted

every_kind = pytest.mark.parametrize("kind", TRANSLATING)


def body_of(kind: str, profile: Profile, messages: Messages, frame: Json) -> bytes:
    return sent(a_request(messages=messages, **frame), profile, kind=kind)[0].body


@every_kind
@given(st.data(), conversations, frames)
@examples(250)
def test_any_conversation_is_reported_whole_in_a_form_that_engines_accept(
    kind: str, data: st.DataObject, messages: Messages, frame: Json
) -> None:
    profile = data.draw(rows(kind))
    request = a_request(messages=messages, **frame)
    try:
        outgoing, losses = sent(request, profile, kind=kind)
    except InvalidRequestError as error:
        assert "no message has any content" in error.message  # noqa: PT017 - or else there is a body to look at
        return
    assert_accepted(kind, outgoing.body)
    client_request = {"messages": messages, **frame}
    assert missing_pieces(client_request, msgspec.json.decode(outgoing.body), losses, profile, files={}) == []


@every_kind
@given(st.data(), conversations, frames)
def test_the_same_history_gives_the_same_bytes_in_whichever_shape(
    kind: str, data: st.DataObject, messages: Messages, frame: Json
) -> None:
    profile = data.draw(rows(kind))
    client_request = [*messages, {"role": "user", "content": "a"}]
    body = msgspec.json.encode({"model": "m", "max_tokens": 100, "messages": client_request} | frame)
    first, second = (sent(parse_messages_request(body), profile, kind=kind)[0].body for _ in range(2))
    assert first == second
    assert body_of(kind, profile, in_another_shape(client_request, data.draw), frame) == first


@every_kind
@given(st.data(), wild_conversations | agent_conversations(), questions, agent_conversations(most=2), frames)
@examples(150)
def test_a_longer_history_extends_the_bytes_of_the_shorter(
    kind: str, data: st.DataObject, begun: Messages, client_request: Json, more: Messages, frame: Json
) -> None:
    """A tool that is loaded on the way comes behind the others; all else is as it was."""
    profile = data.draw(rows(kind))
    shorter = [*begun, client_request]
    longer = [
        *in_another_shape(shorter, data.draw),
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_s", "name": "ToolSearch", "input": {}}]},
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_s",
                    "content": data.draw(st.lists(tool_references, max_size=2)),
                }
            ],
        },
        *more,
        {"role": "user", "content": "And now?"},
    ]
    assert_extends(body_of(kind, profile, longer, frame), body_of(kind, profile, shorter, frame))


GROWTH_BYTES = 1_024
"""What a request may grow by beyond twice its size: names of fields, and the parameters of an engine."""


def _with_long_texts(value: Any) -> Any:
    """Return messages in which the texts take so much that the names of fields do not count."""
    if isinstance(value, list):
        return [_with_long_texts(one) for one in value]
    if not isinstance(value, dict):
        return value
    is_text = {key: key in ("text", "thinking", "content") and isinstance(value[key], str) for key in value}
    return {key: inner * 200 if is_text[key] else _with_long_texts(inner) for key, inner in value.items()}


@every_kind
@given(st.data(), conversations, frames, st.integers(0, 2**32))
def test_no_request_becomes_much_longer_than_twice_as_long(
    kind: str, data: st.DataObject, messages: Messages, frame: Json, seed: int
) -> None:
    profile = data.draw(rows(kind))
    tools = [{"name": f"t{at}", "input_schema": a_tool_schema(Random(seed + at))} for at in range(seed % 4)]
    body = msgspec.json.encode(
        {"model": "m", "max_tokens": 100, "messages": _with_long_texts(messages)}
        | frame
        | ({"tools": tools} if tools else {})
    )
    try:
        sent_body = sent(parse_messages_request(body), profile, kind=kind)[0].body
    except InvalidRequestError:
        return
    assert len(sent_body) <= 2 * len(body) + GROWTH_BYTES


@every_kind
@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("place", ["a tool", "the answer"])
def test_no_schema_makes_a_request_much_longer(kind: str, bomb: Json, place: str) -> None:
    tools = [{"name": "a", "input_schema": bomb}] if place == "a tool" else []
    config = {"format": {"type": "json_schema", "schema": bomb}} if place == "the answer" else {}
    fields = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "a"}]}
    body = msgspec.json.encode(fields | {"tools": tools, "output_config": config})
    for row, profile in ROWS.values():
        if row == kind:
            assert len(sent(parse_messages_request(body), profile, kind=kind)[0].body) <= 2 * len(body) + GROWTH_BYTES


odd_fields = st.dictionaries(
    st.sampled_from(["temperature", "top_p", "top_k", "tools", "tool_choice", "thinking", "output_config", "metadata"]),
    st.sampled_from(
        [
            None,
            1,
            2**70,
            0.5,
            [],
            [{"name": "a b", "input_schema": {"$defs": {"format": {"pattern": "x"}}, "maximum": 2**70}}],
            [{"name": "x" * 90, "input_schema": {}, "strict": True}, {"name": "", "defer_loading": True}],
            [{"name": "bash", "type": "bash_20250124"}],
            [{"name": "a", "input_schema": 3}],
            {"type": "enabled", "budget_tokens": 5000},
            {"type": "adaptive"},
            {"type": "tool", "name": "a b"},
            {"type": "any", "disable_parallel_tool_use": True},
            {"effort": "max"},
            {"effort": "", "format": {"type": "json_schema", "schema": {"a": 1}}},
            {"format": {"type": "json_schema"}},
            {"user_id": '{"session_id":"s"}'},
            {"user_id": "[]"},
        ]
    ),
    max_size=4,
)


@every_kind
@given(st.data(), odd_fields)
def test_any_parameters_are_encoded_or_refused_with_a_reason(
    kind: str, data: st.DataObject, fields: dict[str, Any]
) -> None:
    profile = data.draw(rows(kind))
    try:
        outgoing, _ = sent(a_request(**fields), profile, kind=kind)
    except InvalidRequestError:
        return
    assert_accepted(kind, outgoing.body)


@pytest.mark.parametrize("row", ["openai-chat LLAMA_CPP", "ollama-chat OLLAMA"])
def test_what_is_nested_too_deeply_is_refused_and_no_traceback(row: str) -> None:
    kind, profile = ROWS[row]
    for depth in (100, 300, 450, 500, 700, 900, 1100):
        nested = b"[" * depth + b"]" * depth
        deep_input = b'{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"n","input":%b}]}' % nested
        schema = b'{"name":"n","input_schema":{"a":%b}}' % nested
        for body in (
            b'{"model":"m","max_tokens":1,"messages":[%b]}' % deep_input,
            b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"a"}],"tools":[%b]}' % schema,
        ):
            try:
                sent(parse_messages_request(body), profile, kind=kind)
            except InvalidRequestError as error:
                assert "deep" in error.message or "recursion" in error.message  # noqa: PT017 - not all are refused
