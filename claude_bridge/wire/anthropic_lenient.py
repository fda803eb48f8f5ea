"""An engine's own answer of Anthropic's API as typed events and messages, for the trace and the library.

Read as far as it goes: a block of an unknown type becomes text that names it, an unknown event is passed over.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, cast, get_args

import msgspec

from claude_bridge.wire.anthropic import ServerToolUseBlock, TextBlock, ThinkingBlock, ToolUseBlock
from claude_bridge.wire.anthropic_answers import (
    AnswerBlock,
    BlockDelta,
    BlockInputJsonDelta,
    BlockTextDelta,
    BlockThinkingDelta,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    ErrorDetail,
    Message,
    MessageDelta,
    MessageStart,
    MessageStop,
    RawBytes,
    ResponseItem,
    Stop,
    StreamEvent,
)
from claude_bridge.wire.anthropic_codec import parse_stream_event
from claude_bridge.wire.lenient_json import fill_leniently, parse_any
from claude_bridge.wire.sse import SseDecoder


def _by_tag(kinds: Any) -> dict[str, type[Any]]:  # noqa: ANN401 - a union of structs
    return {str(kind.__struct_config__.tag): kind for kind in get_args(kinds)}


_EVENTS, _DELTAS, _BLOCKS = _by_tag(StreamEvent), _by_tag(BlockDelta), _by_tag(AnswerBlock)


def typed_events(pieces: Sequence[ResponseItem]) -> list[StreamEvent]:
    """Return the events that pieces of a stream spell."""
    if RawBytes not in map(type, pieces):
        return cast("list[StreamEvent]", list(pieces))  # nearly always
    events: list[StreamEvent] = []
    for piece in pieces:
        if isinstance(piece, RawBytes):
            events += read_events(piece.data)
        else:
            events.append(piece)
    return events


def read_events(data: bytes) -> list[StreamEvent]:
    """Return the events of whole frames, or of a whole message that was not streamed."""
    if data.lstrip()[:1] == b"{":
        message = read_message(data)
        return [] if message is None else _events_of(message)
    decoder = SseDecoder()
    events: list[StreamEvent] = []
    for frame in [*decoder.feed(data), *decoder.close()]:
        try:
            events.append(parse_stream_event(frame.data))
        except (msgspec.DecodeError, RecursionError):
            events += _read_event(frame.data)
    return events


def read_message(document: bytes) -> Message | None:
    """Return the message that a JSON document spells, or None if it spells none."""
    value = _object(document)
    return _message(value) if value and value.get("type") != "error" else None


def read_error(document: bytes) -> ErrorDetail | None:
    """Return the error in a JSON document of Anthropic's shape, or None if it holds none."""
    error = _object(document).get("error") if _object(document).get("type") == "error" else None
    is_error = isinstance(error, dict) and isinstance(error.get("type"), str) and isinstance(error.get("message"), str)
    return fill_leniently(error, ErrorDetail) if is_error else None


def _read_event(data: bytes) -> list[StreamEvent]:
    value = _object(data)
    shape = _EVENTS.get(str(value.get("type")))
    inner = value.get("delta" if shape is ContentBlockDelta else "content_block")
    if shape is None or (shape is ContentBlockDelta and not _is_known(inner, _DELTAS)):
        return []
    if shape is MessageStart:
        return [MessageStart(_message(value.get("message")))]
    if shape is not ContentBlockStart or _is_known(inner, _BLOCKS):
        return [fill_leniently(value, shape)]
    start = fill_leniently(value | {"content_block": {"type": "text", "text": ""}}, ContentBlockStart)
    return [start, ContentBlockDelta(start.index, BlockTextDelta(_placeholder(inner)))]


def _events_of(message: Message) -> list[StreamEvent]:
    events: list[StreamEvent] = [MessageStart(msgspec.structs.replace(message, content=[], stop_reason=None))]
    for index, block in enumerate(message.content):
        events.append(ContentBlockStart(index, block))
        match block:
            case TextBlock(text):
                events.append(ContentBlockDelta(index, BlockTextDelta(text)))
            case ThinkingBlock(thinking):
                events.append(ContentBlockDelta(index, BlockThinkingDelta(thinking)))
            case ToolUseBlock() | ServerToolUseBlock():
                given = bytes(block.input).decode("utf-8", "replace")
                events.append(ContentBlockDelta(index, BlockInputJsonDelta(given)))
        events.append(ContentBlockStop(index))
    stop = Stop(message.stop_reason or "end_turn", message.stop_sequence)
    return [*events, MessageDelta(stop, message.usage), MessageStop()]


def _message(value: Any) -> Message:  # noqa: ANN401 - any JSON
    value = value if isinstance(value, dict) else {}
    blocks = value.get("content")
    known = [
        block if _is_known(block, _BLOCKS) else {"type": "text", "text": _placeholder(block)}
        for block in (blocks if isinstance(blocks, list) else [])
    ]
    return fill_leniently(value | {"content": known}, Message)


def _is_known(value: Any, kinds: Collection[str]) -> bool:  # noqa: ANN401 - as above
    return isinstance(value, dict) and value.get("type") in kinds


def _placeholder(block: Any) -> str:  # noqa: ANN401 - as above
    kind = block.get("type") if isinstance(block, dict) else None
    return f"[{kind if isinstance(kind, str) and kind else 'nameless'} block]"


def _object(document: bytes) -> dict[str, Any]:
    try:
        value = parse_any(document)
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}
