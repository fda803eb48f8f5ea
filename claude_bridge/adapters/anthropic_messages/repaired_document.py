"""RepairedDocument: a whole answer of an engine's, put right as the stream that it could have been."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from claude_bridge.adapters.anthropic_messages.frame_writer import Fields
from claude_bridge.adapters.anthropic_messages.frames import parse_object
from claude_bridge.adapters.anthropic_messages.repaired_stream import RepairedStream
from claude_bridge.conversion.profile import MessagesProfile
from claude_bridge.conversion.response.context import ResponseContext
from claude_bridge.conversion.tool_json.text import input_json
from claude_bridge.errors import BridgeError
from claude_bridge.wire.anthropic import MessagesRequest
from claude_bridge.wire.anthropic_answers import RawBytes, ResponseItem
from claude_bridge.wire.sse import SseDecoder, append_limited


class RepairedDocument(RepairedStream):
    """A whole answer on its way: it is taken as a stream, and what comes out of that becomes one message again."""

    emits_before_upstream = False
    is_streamed = False

    def __init__(
        self, request: MessagesRequest, profile: MessagesProfile, context: ResponseContext, upstream: str
    ) -> None:
        super().__init__(request, profile, context, upstream)
        self._whole = bytearray()

    def feed(self, data: bytes) -> Sequence[ResponseItem]:
        """Gather more of the document; raises UpstreamBrokenError beyond all limits."""
        append_limited(self._whole, data)
        self.begun = bool(self._whole)
        return ()

    def keep_alive(self) -> Sequence[ResponseItem]:
        """Return nothing: a document can't begin before it is there."""
        return ()

    def fail(self, error: BridgeError) -> Sequence[ResponseItem]:
        """Keep the error; it becomes the answer's status."""
        self._fail(error)
        return ()

    def close(self) -> Sequence[ResponseItem]:
        """Return the document, repaired; what is no message becomes the error."""
        if self.done:
            return ()
        document = bytes(self._whole)
        items = [*super().feed(document), *super().close()]
        if self.error is not None:
            return ()
        came = parse_object(document)
        message = _folded(came, b"".join(item.data for item in items if isinstance(item, RawBytes)))
        changed = [name for name, value in message.items() if name not in came or came[name] != value]
        for name in changed:
            self._out.note(f"the answer: {name}")
        return [RawBytes(msgspec.json.encode(message) if changed else document)]


_FIELD_OF_DELTA = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}


def _folded(message: Fields, stream: bytes) -> Fields:
    """Return the message that a repaired stream spells, with all other fields as they are in ``message``."""
    folded: Fields = dict(message)
    blocks: list[Fields] = []
    for frame in SseDecoder().feed(stream):
        event = parse_object(frame.data)
        match event:
            case {"type": "message_start", "message": head}:
                folded |= head
            case {"type": "content_block_start", "content_block": block}:
                blocks.append(block)
            case {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": text}}:
                blocks[-1]["input"] = parse_object(input_json(text).encode())
            case {"type": "content_block_delta", "delta": delta}:
                field = _FIELD_OF_DELTA[delta["type"]]
                blocks[-1][field] += delta[field]
            case {"type": "message_delta", "delta": delta, "usage": usage}:
                folded |= delta
                folded["usage"] |= usage
    return folded | {"content": blocks}
