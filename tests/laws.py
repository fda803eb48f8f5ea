"""What is true of every stream that we answer: the table's grammar, and what Anthropic's own SDK makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from anthropic.lib.streaming._messages import accumulate_event

from claude_bridge.clients.claude_code import UNPARSED_KEY
from claude_bridge.conversion.response.assembler import State, next_state
from claude_bridge.wire.anthropic_answers import (
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    ErrorEvent,
    MessageStop,
    StreamEvent,
)
from claude_bridge.wire.anthropic_codec import encode_stream_event
from claude_bridge.wire.sse import SseDecoder
from tests.dialogues import folded


def assert_legal(events: Sequence[StreamEvent]) -> None:
    """Assert that the events are one whole stream, with its blocks numbered from 0 and one open at a time."""
    state, blocks = State.NEW, 0
    for event in events:
        state = next_state(state, event)
        if isinstance(event, ContentBlockStart):
            assert event.index == blocks
            blocks += 1
        elif isinstance(event, ContentBlockDelta | ContentBlockStop):
            assert event.index == blocks - 1
    assert state is State.ENDED
    assert isinstance(events[-1], MessageStop | ErrorEvent)


def assert_sdk_agrees(events: Sequence[StreamEvent]) -> None:
    """Assert that the SDK accumulates the stream into the message that our fold gives."""
    snapshot: Any = None
    json_bufs: dict[int, bytes] = {}
    decoder = SseDecoder()
    for frame in decoder.feed(b"".join(map(encode_stream_event, events))):
        event = msgspec.json.decode(frame.data)
        assert event["type"].encode() == frame.event
        if event["type"] == "error":
            return  # the SDK raises before it accumulates
        if event["type"] != "ping":
            snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=json_bufs)
    theirs = snapshot.to_dict(mode="json")
    ours = msgspec.json.decode(msgspec.json.encode(folded(events)))
    their_blocks = [block for block in theirs["content"] if block.get("text") != ""]
    for their, our in zip(their_blocks, ours["content"], strict=True):
        assert isinstance(their.get("input", {}), dict)
        # Of half an input the SDK shows the members that are whole, and our fold the text.
        agreed = {"input": our["input"]} if UNPARSED_KEY in our.get("input", ()) else {}
        assert {key: value for key, value in (their | agreed).items() if value is not None} == our
    for field in ("id", "role", "model", "stop_reason", "stop_sequence"):
        assert theirs.get(field) == ours[field]
    for field in ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"):
        assert theirs["usage"][field] == ours["usage"][field]
