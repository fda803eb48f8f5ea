"""RepairedStream and RepairedDocument: an engine's own answer, put right where it would break a client."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from claude_bridge.adapters.anthropic_messages.blocks import Blocks
from claude_bridge.adapters.anthropic_messages.frames import (
    COUNTS,
    FIELD_OF_DELTA,
    Fields,
    Frame,
    FrameWriter,
    error_in,
    event_frame,
    explain_error_event,
    is_count,
    parse_delta,
)
from claude_bridge.adapters.anthropic_messages.passthrough import PassthroughDocument, RelayedResponse
from claude_bridge.conversion.deltas import Finish, FinishReason
from claude_bridge.conversion.ending import (
    convert_finish_reason,
    cut_off,
    ended_by_itself,
    explain_broken,
    explain_missing,
    finish_note,
    parse_finish,
)
from claude_bridge.conversion.loss import Repair
from claude_bridge.conversion.profile import MessagesProfile
from claude_bridge.conversion.response.context import ResponseContext
from claude_bridge.conversion.response.usage import convert_usage
from claude_bridge.conversion.tool_json.text import input_json, is_json
from claude_bridge.errors import BridgeError, UpstreamBrokenError
from claude_bridge.wire.anthropic import MessagesRequest
from claude_bridge.wire.anthropic_answers import Message, MessageStart, Ping, RawBytes, ResponseItem, Usage
from claude_bridge.wire.anthropic_codec import encode_stream_event
from claude_bridge.wire.anthropic_lenient import message_events
from claude_bridge.wire.lenient_json import object_in, parse_object, text_in
from claude_bridge.wire.sse import SSE_BEGINNINGS, FrameCutter, SseDecoder, frame_data

_DONE = b"[DONE]"
_EVENT_NAME = re.compile(rb"^event:[ \t]*(\S*)", re.MULTILINE)
"""The line from which Anthropic's SDKs know an event's type; some gateways name each event ``message``."""
_DELTA = b"content_block_delta"
_AFTER_THE_END = frozenset({"message_stop", "ping", "error", "message_delta"})

_KEPT_REASONS = ("stop_sequence", "pause_turn")
"""Of Anthropic's own words those that say more than that a turn ended."""


class RepairedStream(RelayedResponse):
    """One stream on its way.

    A frame with which nothing is wrong goes on as it came, blank line and all.
    """

    emits_before_upstream = True

    def __init__(
        self, request: MessagesRequest, profile: MessagesProfile, context: ResponseContext, upstream: str
    ) -> None:
        super().__init__(context, upstream, input_includes_cached=profile.input_includes_cached)
        self._request = request
        self._reader = FrameCutter(SSE_BEGINNINGS)
        self._out = FrameWriter()
        self.repairs = self._out.repairs
        self._blocks = Blocks(self._out, request, context.new_tool_id)
        self._is_open = False
        self._is_opened_here = False

    def feed(self, data: bytes) -> Sequence[ResponseItem]:
        """Return the frames that ``data`` completes, repaired."""
        for frame in self._reader.feed(data):
            self._take(frame)
        return self._out.take()

    def keep_alive(self) -> Sequence[ResponseItem]:
        """Return a delta that adds nothing and a ping; a message that the engine has not opened is opened here."""
        if self.done or self.finished:
            return ()
        self._open_message()
        self._blocks.keep_alive()
        self._out.put_bytes(encode_stream_event(Ping()))
        return self._out.take()

    def fail(self, error: BridgeError) -> Sequence[ResponseItem]:
        """Return the error event that ends the stream."""
        self._fail(error)
        return self._out.take()

    def close(self) -> Sequence[ResponseItem]:
        """Return the end: what was missing of a whole answer, or an error."""
        for rest in self._reader.close():
            self._take(rest.rstrip(b"\r\n") + b"\n\n")
        if self._reader.document is not None:
            self._take_document(bytes(self._reader.document))
        if not self.done and self.finished:
            self.done = True
            self._out.put_event("message_stop")
            self._out.note("message_stop was missing")
        return self.fail(UpstreamBrokenError(f"{self._upstream} ended its answer in the middle."))

    def _take(self, raw: bytes) -> None:
        frame = raw if raw.isascii() else raw.decode("utf-8", "replace").encode()
        if frame != raw:
            self._out.note("bytes that were no text")
        data = frame_data(frame)
        if self.done or data.strip() == _DONE:
            return
        if not data:
            self._out.put_bytes(frame, is_progress=False)  # a comment
            return
        named = _EVENT_NAME.search(frame)
        name = named[1] if named else b""
        if name == _DELTA and (delta := parse_delta(data)) is not None and self._blocks.goes_on(delta):
            self._out.put_bytes(frame)
            return
        event = parse_object(data)
        kind = event.get("type")
        if not isinstance(kind, str):
            self._take_no_event(data)
            return
        if (is_odd := not is_json(data)) or name != kind.encode():
            frame = event_frame(event)
            self._out.note("what was no JSON by the letter" if is_odd else "events without names")
        self._take_event(Frame(frame, event))

    def _take_document(self, document: bytes) -> None:
        """Take one JSON body that came in place of a stream, as the events of the stream that it should have been."""
        message = parse_object(document)
        is_message = message.get("type") == "message" or "content" in message or "stop_reason" in message
        if not is_message or message.get("error"):
            self._take_no_event(document)
        else:
            for event in message_events(message):
                self._take_event(Frame(event_frame(event), event))
        if self._request.stream:
            self._out.note("the answer came as one document")

    def _take_no_event(self, data: bytes) -> None:
        self.begun = True
        self._fail(self.explain(data))

    def _take_event(self, frame: Frame) -> None:
        kind = frame.event["type"]
        if self.done:
            return
        if self.finished and kind not in _AFTER_THE_END:
            self._out.note("more came after the end")
            return
        match kind:
            case "message_start":
                self._message_start(frame)
            case "content_block_start":
                self._open_message()
                self._blocks.start(frame)
            case "content_block_delta":
                self._open_message()
                self._blocks.delta(frame)
            case "content_block_stop":
                self._blocks.stop(frame)
            case "message_delta":
                self.note_usage(frame.event)
                reason = text_in(object_in(frame.event, "delta"), "stop_reason")
                if reason and not self.finished:
                    self._end_message(reason, frame)
                # Clients add up the usage of each one: there is one, at the end.
            case "message_stop":
                self._message_stop(frame)
            case "error":
                self._fail(explain_error_event(error_in(frame.event), self._upstream))
            case _:
                if self._is_open:
                    self._out.put_bytes(frame.data, is_progress=kind != "ping")
                return
        self.begun = True

    def _open_message(self) -> None:
        """Open the message in the engine's place, if it has not done so."""
        if self._is_open:
            return
        self._is_open = self._is_opened_here = True
        head = Message(
            id=self._context.message_id,
            model=self._request.model,
            content=[],
            stop_reason=None,
            usage=Usage(input_tokens=self._context.prompt_tokens),
            diagnostics=self._context.diagnostics,
        )
        self._out.put_bytes(encode_stream_event(MessageStart(head)))

    def _message_start(self, frame: Frame) -> None:
        message = object_in(frame.event, "message")
        self.note_usage(message)
        if self._is_open:
            return  # it was opened while the engine was silent, or is opened twice
        self._is_open = True
        changes = self._repaired_head(message) | self._repaired_usage(message, COUNTS)
        self.message_id = (message | changes)["id"]
        if changes:
            self._out.note(f"message_start: {', '.join(changes)}")
        self._out.put(frame, **({"message": message | changes} if changes else {}))

    def _repaired_head(self, message: Fields) -> Fields:
        """Return the fields of a message that have to change, so that a client can read it and finds what it requested.

        Its usage is not among them.
        """
        diagnostics = self._context.diagnostics
        changes: Fields = {} if diagnostics is UNSET else {"diagnostics": diagnostics}
        fixed = {"type": "message", "role": "assistant"}
        changes |= {name: wanted for name, wanted in fixed.items() if message.get(name) != wanted}
        usual: Fields = {"id": self._context.message_id, "model": self._request.model, "content": []}
        changes |= {name: own for name, own in usual.items() if not isinstance(message.get(name), type(own))}
        return changes | {name: None for name in ("stop_reason", "stop_sequence") if name not in message}

    def _repaired_usage(self, holder: Fields, needed: Sequence[str]) -> Fields:
        """Return the usage of an event or a message with the figures that are ``needed``, if it has to change."""
        due = convert_usage(self.usage, prompt_tokens=self._context.prompt_tokens, output_chars=0)
        reported = object_in(holder, "usage")
        wrong = [name for name in COUNTS if not is_count(reported.get(name))]
        names = [name for name in wrong if name in needed or reported.get(name) is not None]
        if self._input_includes_cached and is_count(reported.get("input_tokens")):
            names += ["input_tokens"] if reported["input_tokens"] > due.input_tokens else []
        return {"usage": reported | {name: getattr(due, name) for name in names}} if names else {}

    def _message_stop(self, frame: Frame) -> None:
        if not self.finished:
            delta = {"stop_reason": None, "stop_sequence": None}
            self._end_message(None, Frame(b"", {"type": "message_delta", "delta": delta}))
            self._out.note("the stop reason was missing")
        if not self.done:
            self.done = True
            self._out.put(frame)

    def _end_message(self, reason: str | None, frame: Frame) -> None:
        """Put the one message_delta that a stream has; ``reason`` is the engine's, if it gave one."""
        self._open_message()
        blocks, tokens = self._blocks, self.usage.output_tokens or 0
        finish = parse_finish(reason or "") or Finish(FinishReason.UNKNOWN)
        finish = replace(finish, at_limit=tokens >= self._request.max_tokens)
        error = explain_broken(finish, self._upstream)
        if error is None:
            blocks.end(has_ended=ended_by_itself(finish))
            if not blocks.has_tool_use:
                error = explain_missing(finish, self.usage, has_text=blocks.has_text, has_thinking=blocks.has_thinking)
        if error is not None:
            self._fail(error)
            return
        self.finished = True
        if reason is not None and (note := finish_note(finish)):
            self._out.note(note)
        own_reason = self._stop_reason(reason, cut_off(finish) if blocks.is_cut_off else finish)
        changes = self._repaired_usage(frame.event, self._figures_due)
        if own_reason != reason:
            changes["delta"] = object_in(frame.event, "delta") | {"stop_reason": own_reason}
            if reason is not None:
                self._out.note(f"the stop reason was {reason}")
        self._out.put(frame, **changes)

    def _stop_reason(self, reason: str | None, finish: Finish) -> str:
        """Return why the answer ended, in Anthropic's words and as its blocks say."""
        has_tool_use = self._blocks.has_tool_use
        is_new = finish.reason is FinishReason.UNKNOWN and not has_tool_use
        if reason is not None and (is_new or (reason in _KEPT_REASONS and ended_by_itself(finish))):
            return reason
        window_full = self._context.is_window_full(self.usage)
        return convert_finish_reason(finish, has_tool_use=has_tool_use, window_full=window_full)

    @property
    def _figures_due(self) -> Sequence[str]:
        """The figures that the end must have: all, if those of the engine's own start were not passed on."""
        reported = {"input_tokens": self.usage.prompt_tokens, "cache_read_input_tokens": self.usage.cached_tokens}
        of_start = [name for name, count in reported.items() if count is not None and self._is_opened_here]
        return (*of_start, "output_tokens")

    def _fail(self, error: BridgeError) -> None:
        for event in super().fail(error):
            self._out.put_bytes(encode_stream_event(event))


class RepairedDocument(PassthroughDocument):
    """A whole answer on its way: it is taken as a stream, and what comes out of that becomes one message again."""

    def __init__(
        self, request: MessagesRequest, profile: MessagesProfile, context: ResponseContext, upstream: str
    ) -> None:
        super().__init__(context, upstream)
        self._stream = RepairedStream(request, profile, context, upstream)
        self.repairs = self._stream.repairs

    def close(self) -> Sequence[ResponseItem]:
        """Return the document, repaired; what is no message becomes the error."""
        if self.done:
            return ()
        self.done = True
        document, stream = bytes(self._document), self._stream
        items = [*stream.feed(document), *stream.close()]
        self.message_id, self.usage, self.error = stream.message_id, stream.usage, stream.error
        if self.error is not None:
            return ()
        came = parse_object(document)
        message = _folded(came, b"".join(item.data for item in items if isinstance(item, RawBytes)))
        changed = [name for name, value in message.items() if name not in came or came[name] != value]
        self.repairs = [*stream.repairs, *(Repair("", f"the answer: {name}") for name in changed)]
        return [RawBytes(msgspec.json.encode(message) if changed else document)]


def _folded(message: Fields, stream: bytes) -> Fields:
    """Return the message that a repaired stream spells, with all other fields as they are in ``message``."""
    folded: Fields = dict(message)
    blocks: list[Fields] = []
    for frame in SseDecoder().feed(stream):
        match parse_object(frame.data):
            case {"type": "message_start", "message": head}:
                folded |= head
            case {"type": "content_block_start", "content_block": dict() as block}:
                blocks.append(block)
            case {"type": "content_block_delta", "delta": {"type": str() as kind} as delta} if blocks:
                _add_delta(blocks[-1], kind, delta)
            case {"type": "message_delta", "delta": delta, "usage": usage}:
                folded |= delta
                folded["usage"] |= usage
    return folded | {"content": blocks}


def _add_delta(block: Fields, kind: str, delta: Fields) -> None:
    """Add to a block what a delta brings; one of another type, or without a text, brings nothing."""
    if kind == "input_json_delta":
        block["input"] = parse_object(input_json(text_in(delta, "partial_json")).encode())
    elif kind == "citations_delta" and (citation := object_in(delta, "citation")):
        known = block.get("citations")
        block["citations"] = [*(known if isinstance(known, list) else ()), citation]
    elif field := FIELD_OF_DELTA.get(kind):
        block[field] = text_in(block, field) + text_in(delta, field)
