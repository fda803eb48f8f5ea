"""An engine's own Messages answers as typed events, however odd they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.conversion.response.accumulator import MessageAccumulator
from claude_bridge.wire.anthropic import TextBlock, ThinkingBlock, ToolUseBlock
from claude_bridge.wire.anthropic_answers import (
    BlockTextDelta,
    ContentBlockDelta,
    ContentBlockStart,
    ErrorDetail,
    ErrorEvent,
    Message,
    MessageDelta,
    MessageStart,
    Stop,
    StreamEvent,
    Usage,
)
from claude_bridge.wire.anthropic_lenient import read_events
from tests.text_helpers import values

EMPTY = Message(id="", model="", content=[], stop_reason=None, usage=Usage())
KINDS = (
    *("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"),
    *("message_stop", "ping", "error", "future"),
)


def read(**event: Any) -> list[StreamEvent]:
    return read_events(b"data: %b\n\n" % json.dumps(event).encode())


@pytest.mark.parametrize(
    ("event", "typed"),
    [
        ({"type": "message_start"}, [MessageStart(EMPTY)]),
        ({"type": "message_start", "message": {"usage": {"input_tokens": "5"}}}, None),
        ({"type": "message_delta", "delta": {"stop_reason": "novelty"}}, [MessageDelta(Stop("end_turn"), Usage())]),
        ({"type": "content_block_delta", "delta": {"type": "novelty", "x": 1}}, []),
        (
            {"type": "content_block_delta", "index": "1", "delta": {"type": "text_delta"}},
            [ContentBlockDelta(1, BlockTextDelta(""))],
        ),
        (
            {"type": "content_block_start", "index": 2, "content_block": {"type": "novelty"}},
            [ContentBlockStart(2, TextBlock("")), ContentBlockDelta(2, BlockTextDelta("[novelty block]"))],
        ),
        ({"type": "error", "error": {"message": "gone"}}, [ErrorEvent(ErrorDetail("", "gone"))]),
        ({"type": "future"}, []),
    ],
)
def test_an_odd_event_is_read_as_far_as_it_goes(event: dict[str, Any], typed: list[StreamEvent] | None) -> None:
    found = read(**event)
    if typed is None:
        (start,) = found
        assert isinstance(start, MessageStart)
        assert start.message.usage.input_tokens == 5
    else:
        assert found == typed


@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(["message", "delta", "content_block", "index"]), values))
def test_no_event_is_too_odd_to_be_read(kind: str, fields: dict[str, Any]) -> None:
    read(type=kind, **fields)


@given(values)
def test_no_document_is_too_odd_to_be_read(document: Any) -> None:
    read_events(json.dumps({"type": "message", "content": document}).encode())


def test_a_whole_message_gives_the_events_of_its_stream() -> None:
    blocks = [
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "a", "name": "Read", "input": {"file_path": "/a"}},
    ]
    document = {"type": "message", "id": "msg_1", "model": "m", "content": blocks, "stop_reason": "tool_use"}
    fold = MessageAccumulator()
    fold.feed(read_events(json.dumps(document).encode()))
    thought, text, call = fold.message.content
    assert thought == ThinkingBlock("Hm.", "s")
    assert text == TextBlock("Hello")
    assert isinstance(call, ToolUseBlock)
    assert (call.name, json.loads(bytes(call.input))) == ("Read", {"file_path": "/a"})
    assert fold.message.stop_reason == "tool_use"
