"""An engine's own answer of Anthropic's API as typed events and messages, for the trace and the library.

Read as far as it goes: a block of an unknown type becomes text that names it, an unknown event is passed over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast, get_args

import msgspec

from claude_bridge.wire.anthropic import (
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
)
from claude_bridge.wire.anthropic_answers import (
    AnswerBlock,
    BlockInputJsonDelta,
    BlockSignatureDelta,
    BlockTextDelta,
    BlockThinkingDelta,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    ErrorDetail,
    ErrorEvent,
    Message,
    MessageDelta,
    MessageStart,
    MessageStop,
    Ping,
    RawBytes,
    ResponseItem,
    Stop,
    StopReason,
    StreamEvent,
    Usage,
)
from claude_bridge.wire.anthropic_codec import parse_stream_event
from claude_bridge.wire.lenient_json import parse_any
from claude_bridge.wire.sse import SseDecoder

_STOP_REASONS = frozenset(get_args(StopReason))


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
    return None if value is None or value.get("type") == "error" else _message(value)


def read_error(document: bytes) -> ErrorDetail | None:
    """Return the error in a JSON document of Anthropic's shape, or None if it holds none."""
    value = _object(document)
    error = _dict(value.get("error")) if value is not None and value.get("type") == "error" else {}
    kind, message = error.get("type"), error.get("message")
    return ErrorDetail(kind, message) if isinstance(kind, str) and isinstance(message, str) else None


def _read_event(data: bytes) -> list[StreamEvent]:
    value = _object(data)
    if value is None:
        return []
    index = _count(value.get("index"))
    match value.get("type"):
        case "message_start":
            return [MessageStart(_message(_dict(value.get("message"))))]
        case "content_block_start":
            block = _dict(value.get("content_block"))
            typed = _block(block)
            omitted = [ContentBlockDelta(index, BlockTextDelta(_placeholder(block)))] if _is_unknown(block) else []
            return [ContentBlockStart(index, typed), *omitted]
        case "content_block_delta":
            return _delta(index, _dict(value.get("delta")))
        case "content_block_stop":
            return [ContentBlockStop(index)]
        case "message_delta":
            delta = _dict(value.get("delta"))
            return [MessageDelta(_stop(delta), _usage(value.get("usage")))]
        case "message_stop":
            return [MessageStop()]
        case "ping":
            return [Ping()]
        case "error":
            error = _dict(value.get("error"))
            return [ErrorEvent(ErrorDetail(_text(error.get("type")), _text(error.get("message"))))]
        case _:
            return []


def _delta(index: int, delta: dict[str, Any]) -> list[StreamEvent]:
    match delta.get("type"):
        case "text_delta":
            return [ContentBlockDelta(index, BlockTextDelta(_text(delta.get("text"))))]
        case "thinking_delta":
            return [ContentBlockDelta(index, BlockThinkingDelta(_text(delta.get("thinking"))))]
        case "signature_delta":
            return [ContentBlockDelta(index, BlockSignatureDelta(_text(delta.get("signature"))))]
        case "input_json_delta":
            return [ContentBlockDelta(index, BlockInputJsonDelta(_text(delta.get("partial_json"))))]
        case _:
            return []


def _events_of(message: Message) -> list[StreamEvent]:
    events: list[StreamEvent] = [MessageStart(msgspec.structs.replace(message, content=[], stop_reason=None))]
    for index, block in enumerate(message.content):
        delta: BlockTextDelta | BlockThinkingDelta | BlockInputJsonDelta
        match block:
            case TextBlock(text):
                delta = BlockTextDelta(text)
            case ThinkingBlock(thinking):
                delta = BlockThinkingDelta(thinking)
            case ToolUseBlock():
                delta = BlockInputJsonDelta(bytes(block.input).decode("utf-8", "replace"))
        events += [ContentBlockStart(index, block), ContentBlockDelta(index, delta), ContentBlockStop(index)]
    stop = Stop(message.stop_reason, message.stop_sequence) if message.stop_reason else Stop("end_turn")
    return [*events, MessageDelta(stop, message.usage), MessageStop()]


def _message(value: dict[str, Any]) -> Message:
    blocks = value.get("content")
    stop = _stop(value) if value.get("stop_reason") else None
    return Message(
        id=_text(value.get("id")),
        model=_text(value.get("model")),
        content=[_block(_dict(block)) for block in blocks] if isinstance(blocks, list) else [],
        stop_reason=stop.stop_reason if stop else None,
        stop_sequence=stop.stop_sequence if stop else None,
        usage=_usage(value.get("usage")),
    )


def _block(block: dict[str, Any]) -> AnswerBlock:
    match block.get("type"):
        case "text":
            return TextBlock(_text(block.get("text")))
        case "thinking":
            return ThinkingBlock(_text(block.get("thinking")), _text(block.get("signature")))
        case "tool_use":
            given = msgspec.Raw(msgspec.json.encode(block.get("input", {})))
            return ToolUseBlock(_text(block.get("id")), _text(block.get("name")), given)
        case _:
            return TextBlock(_placeholder(block))


def _is_unknown(block: dict[str, Any]) -> bool:
    return block.get("type") not in ("text", "thinking", "tool_use")


def _placeholder(block: dict[str, Any]) -> str:
    return f"[{_text(block.get('type')) or 'nameless'} block]"


def _stop(value: dict[str, Any]) -> Stop:
    reason, sequence = value.get("stop_reason"), value.get("stop_sequence")
    known = cast("StopReason", reason if reason in _STOP_REASONS else "end_turn")
    return Stop(known, sequence if isinstance(sequence, str) else None)


def _usage(value: object) -> Usage:
    counts = _dict(value)
    return Usage(
        input_tokens=_count(counts.get("input_tokens")),
        cache_creation_input_tokens=_count(counts.get("cache_creation_input_tokens")),
        cache_read_input_tokens=_count(counts.get("cache_read_input_tokens")),
        output_tokens=_count(counts.get("output_tokens")),
    )


def _object(document: bytes) -> dict[str, Any] | None:
    try:
        value = parse_any(document)
    except msgspec.DecodeError:
        return None
    return value if isinstance(value, dict) else None


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
