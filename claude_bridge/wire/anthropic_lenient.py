"""An engine's own answer of Anthropic's API as typed events and messages, for the trace and the library.

Read as far as it goes: a block of an unknown type becomes text that names it, an unknown event is passed over.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, cast, get_args

import msgspec

from claude_bridge.wire.anthropic_answers import (
    AnswerBlock,
    BlockDelta,
    BlockTextDelta,
    ContentBlockDelta,
    ContentBlockStart,
    ErrorDetail,
    RawBytes,
    ResponseItem,
    StreamEvent,
)
from claude_bridge.wire.anthropic_codec import parse_stream_event
from claude_bridge.wire.lenient_json import fill_leniently, parse_object
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
        message = parse_object(data)
        spelt = message_events(message) if message and message.get("type") != "error" else ()
        return [typed for event in spelt for typed in _typed(event)]
    decoder = SseDecoder()
    events: list[StreamEvent] = []
    for frame in [*decoder.feed(data), *decoder.close()]:
        try:
            events.append(parse_stream_event(frame.data))
        except (msgspec.DecodeError, RecursionError):
            events += _typed(parse_object(frame.data))
    return events


def read_error(value: dict[str, Any]) -> ErrorDetail | None:
    """Return the error that an event or a document reports in Anthropic's shape, or None if it reports none."""
    error = value.get("error") if value.get("type") == "error" else None
    is_error = isinstance(error, dict) and isinstance(error.get("type"), str) and isinstance(error.get("message"), str)
    return fill_leniently(error, ErrorDetail) if is_error else None


def _typed(value: dict[str, Any]) -> list[StreamEvent]:
    shape = _EVENTS.get(str(value.get("type")))
    inner = value.get("delta" if shape is ContentBlockDelta else "content_block")
    if shape is None or (shape is ContentBlockDelta and not _is_known(inner, _DELTAS)):
        return []
    if shape is not ContentBlockStart or _is_known(inner, _BLOCKS):
        return [fill_leniently(value, shape)]
    start = fill_leniently(value | {"content_block": {"type": "text", "text": ""}}, ContentBlockStart)
    return [start, ContentBlockDelta(start.index, BlockTextDelta(_placeholder(inner)))]


def message_events(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events of the stream that a whole message should have been."""
    blocks = message.get("content")
    if isinstance(blocks, str):  # as in a request
        blocks = [{"type": "text", "text": blocks}]
    head = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    yield {"type": "message_start", "message": head}
    for index, block in enumerate(blocks if isinstance(blocks, list) else []):
        start, deltas = _in_deltas(block)
        yield {"type": "content_block_start", "index": index, "content_block": start}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    reason = {"stop_reason": message.get("stop_reason"), "stop_sequence": message.get("stop_sequence")}
    yield {"type": "message_delta", "delta": reason, "usage": message.get("usage")}
    yield {"type": "message_stop"}


def _in_deltas(block: Any) -> tuple[Any, list[dict[str, Any]]]:  # noqa: ANN401 - any JSON
    """Return a block as it starts, and the deltas that make it whole."""
    match block:
        case {"type": "text", "text": str(text)}:
            return block | {"text": ""}, [{"type": "text_delta", "text": text}]
        case {"type": "thinking", "thinking": str(text)}:
            signed = block.get("signature")
            deltas = [{"type": "thinking_delta", "thinking": text}]
            deltas += [{"type": "signature_delta", "signature": signed}] if signed else []
            return block | {"thinking": "", "signature": ""}, deltas
        case {"type": "tool_use"}:
            return block | {"input": {}}, [{"type": "input_json_delta", "partial_json": input_text(block)}]
        case _:
            return block, []


def input_text(block: dict[str, Any]) -> str:
    """Return the JSON of an input that came at once, perhaps as text; empty for one that holds nothing."""
    value = block.get("input")
    return value if isinstance(value, str) else msgspec.json.encode(value).decode() if value else ""


def _is_known(value: Any, kinds: Collection[str]) -> bool:  # noqa: ANN401 - as above
    return isinstance(value, dict) and value.get("type") in kinds


def _placeholder(block: Any) -> str:  # noqa: ANN401 - as above
    kind = block.get("type") if isinstance(block, dict) else None
    return f"[{kind if isinstance(kind, str) and kind else 'nameless'} block]"
