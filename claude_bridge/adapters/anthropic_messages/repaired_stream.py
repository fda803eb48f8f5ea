"""RepairedStream: an engine's own stream, passed on frame by frame, and put right where it would break a client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from claude_bridge.adapters.anthropic_messages.blocks import Blocks
from claude_bridge.adapters.anthropic_messages.frame_repair import (
    UniqueToolIds,
    parse_reason,
    repaired_message,
    repaired_stop_reason,
    repaired_usage,
)
from claude_bridge.adapters.anthropic_messages.frame_writer import (
    Fields,
    Frame,
    FrameWriter,
    event_frame,
    object_in,
    text_in,
)
from claude_bridge.adapters.anthropic_messages.frames import (
    COUNTS,
    NO_JSON,
    NO_TEXT,
    as_text,
    error_in,
    error_line,
    explain_error_event,
    parse_delta,
    parse_object,
)
from claude_bridge.adapters.anthropic_messages.passthrough import RelayedResponse
from claude_bridge.conversion.deltas import FinishReason
from claude_bridge.conversion.ending import cut_off, ended_by_itself, explain_missing, finish_note
from claude_bridge.conversion.profile import MessagesProfile
from claude_bridge.conversion.response.context import ResponseContext
from claude_bridge.conversion.response.usage import convert_usage
from claude_bridge.conversion.tool_json.text import is_json
from claude_bridge.conversion.upstream_errors.translate import explain_no_json
from claude_bridge.errors import BridgeError, UpstreamBrokenError
from claude_bridge.wire.anthropic import MessagesRequest
from claude_bridge.wire.anthropic_answers import (
    ErrorDetail,
    ErrorEvent,
    Message,
    MessageStart,
    Ping,
    ResponseItem,
    Usage,
)
from claude_bridge.wire.anthropic_codec import encode_stream_event
from claude_bridge.wire.anthropic_lenient import message_events
from claude_bridge.wire.sse import FrameCutter, append_limited, begins_stream, encode_frame, frame_data, one_line

_DONE = b"[DONE]"
_AFTER_THE_END = frozenset({"message_stop", "ping", "error", "message_delta"})


class RepairedStream(RelayedResponse):
    """One stream on its way.

    A frame with which nothing is wrong goes on as it came, blank line and all.
    """

    emits_before_upstream = True
    is_streamed = True

    def __init__(
        self, request: MessagesRequest, profile: MessagesProfile, context: ResponseContext, upstream: str
    ) -> None:
        super().__init__(context, upstream, input_includes_cached=profile.input_includes_cached)
        self._request = request
        self._cutter = FrameCutter()
        self._document: bytearray | None = None
        self._out = FrameWriter()
        self.repairs = self._out.repairs
        self._blocks = Blocks(self._out, request.tools or (), UniqueToolIds(request, context.new_tool_id).unused)
        self._is_started = False
        self._is_open = False
        self._is_opened_here = False

    def feed(self, data: bytes) -> Sequence[ResponseItem]:
        """Return the frames that ``data`` completes, repaired."""
        if not self._is_started and (is_stream := begins_stream(data)) is not None:
            self._is_started = True
            self._document = None if is_stream else bytearray()
        if self._document is not None:
            append_limited(self._document, data)
            return ()
        for frame in self._cutter.feed(data):
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
        rest = self._cutter.close()
        if rest.strip():
            self._take(rest.rstrip(b"\r\n") + b"\n\n")
        if self._document is not None:
            document, self._document = bytes(self._document), None
            self._take_document(document)
            if self.is_streamed:
                self._out.note("the answer came as one document")
        if not self.done and self.finished:
            self.done = True
            self._out.put_event("message_stop")
            self._out.note("message_stop was missing")
        self._fail(UpstreamBrokenError(f"{self._upstream} ended its answer in the middle."))
        return self._out.take()

    def _take(self, raw: bytes) -> None:
        frame = as_text(raw)
        if frame != raw:
            self._out.note(NO_TEXT)
        data = frame_data(frame)
        if self.done or data.strip() == _DONE:
            return
        if not data and not (data := error_line(frame)):
            self._out.put_sign_of_life(frame)  # a comment
            return
        is_named = frame.startswith(b"event:") or b"\nevent:" in frame
        if is_named and (delta := parse_delta(data)) is not None and self._blocks.goes_on(delta):
            self._out.put_bytes(frame)
            return
        event = parse_object(data)
        if not isinstance(event.get("type"), str):
            self._take_no_event(data)
            return
        if not is_json(data):
            frame = event_frame(event)
            self._out.note(NO_JSON)
        elif not is_named:
            frame = encode_frame(event["type"].encode(), one_line(data))
            self._out.note("events without names")
        self._take_event(Frame(frame, event))

    def _take_event(self, frame: Frame) -> None:
        kind = frame.kind
        if self.done:
            return
        if self.finished and kind not in _AFTER_THE_END:
            self._out.note("more came after the end")
        elif kind in self._HANDLERS:
            self.begun = self.begun or kind != "ping"
            self._HANDLERS[kind](self, frame)
        elif self._is_open:
            self._out.put(frame)

    def _take_no_event(self, data: bytes) -> None:
        """Take a frame that is none of the Messages API: an error in another shape, or nothing that makes sense."""
        self.begun = True
        value = parse_object(data)
        if (error := error_in(value)) is not None:
            self._fail(explain_error_event(error, self._upstream))
        elif value:
            self._fail(UpstreamBrokenError(f"{self._upstream} does not answer in the words of the Messages API."))
        else:
            self._fail(explain_no_json(data, self._upstream))

    def _take_document(self, document: bytes) -> None:
        """Take one JSON body that came in place of a stream, as the events of the stream that it should have been."""
        message = parse_object(document)
        is_message = message.get("type") == "message" or "content" in message or "stop_reason" in message
        if not is_message or message.get("error"):
            self._take_no_event(document)
            return
        for event in message_events(message):
            self._take_event(Frame(event_frame(event), event))

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
        changes = repaired_message(message, self._repaired_usage(message), self._context, self._request.model)
        self.message_id = (message | changes)["id"]
        if changes:
            self._out.note(f"message_start: {', '.join(changes)}")
        self._out.put(frame, **({"message": message | changes} if changes else {}))

    def _block_start(self, frame: Frame) -> None:
        self._open_message()
        self._blocks.start(frame)

    def _block_delta(self, frame: Frame) -> None:
        self._open_message()
        self._blocks.delta(frame)

    def _block_stop(self, frame: Frame) -> None:
        self._blocks.stop(frame)

    def _message_delta(self, frame: Frame) -> None:
        self.note_usage(frame.event)
        reason = text_in(object_in(frame.event, "delta"), "stop_reason")
        if reason and not self.finished:
            self._end_message(reason, frame)
        # Clients add up the usage of each one: there is one, at the end.

    def _message_stop(self, frame: Frame) -> None:
        if not self.finished:
            self._end_message(
                None, Frame(b"", {"type": "message_delta", "delta": {"stop_reason": None, "stop_sequence": None}})
            )
            self._out.note("the stop reason was missing")
        if not self.done:
            self.done = True
            self._out.put(frame)

    def _end_message(self, reason: str | None, frame: Frame) -> None:
        """Put the one message_delta that a stream has; ``reason`` is the engine's, if it gave one."""
        self._open_message()
        blocks, finish = self._blocks, parse_reason(reason, self.usage.output_tokens, self._request.max_tokens)
        if finish.reason is FinishReason.BROKEN:
            self._fail(UpstreamBrokenError(f"{self._upstream} broke off its answer (stop reason: {reason})."))
            return
        blocks.end(has_ended=ended_by_itself(finish))
        if not blocks.has_tool_use:
            error = explain_missing(finish, self.usage, has_text=blocks.has_text, has_thinking=blocks.has_thinking)
            if error is not None:
                self._fail(error)
                return
        self.finished = True
        if reason is not None and (note := finish_note(finish)):
            self._out.note(note)
        finish = cut_off(finish) if blocks.is_cut_off else finish
        own_reason = repaired_stop_reason(
            reason, finish, has_tool_use=blocks.has_tool_use, window_full=self._context.is_window_full(self.usage)
        )
        changes = self._repaired_usage(frame.event, self._figures_due)
        if own_reason != reason:
            changes["delta"] = object_in(frame.event, "delta") | {"stop_reason": own_reason}
            if reason is not None:
                self._out.note(f"the stop reason was {reason}")
        self._out.put(frame, **changes)

    @property
    def _figures_due(self) -> Sequence[str]:
        """The figures that the end must have: all, if those of the engine's own start were not passed on."""
        reported = {"input_tokens": self.usage.prompt_tokens, "cache_read_input_tokens": self.usage.cached_tokens}
        of_start = [name for name, count in reported.items() if count is not None and self._is_opened_here]
        return (*of_start, "output_tokens")

    def _repaired_usage(self, holder: Fields, needed: Sequence[str] = COUNTS) -> Fields:
        due = convert_usage(self.usage, prompt_tokens=self._context.prompt_tokens, output_chars=0)
        return repaired_usage(holder, due, needed, lowers_input=self._input_includes_cached)

    def _ping(self, frame: Frame) -> None:
        if self._is_open:
            self._out.put_sign_of_life(frame.data)

    def _error(self, frame: Frame) -> None:
        self._fail(explain_error_event(error_in(frame.event), self._upstream))

    def _fail(self, error: BridgeError) -> None:
        if not self.done:
            self.error = error = self._context.check_error(error)
            self.done = True
            event = ErrorEvent(ErrorDetail(error.error_type, error.message), self._context.request_id)
            self._out.put_bytes(encode_stream_event(event))

    _HANDLERS: ClassVar[dict[str, Callable[[RepairedStream, Frame], None]]] = {
        "message_start": _message_start,
        "content_block_start": _block_start,
        "content_block_delta": _block_delta,
        "content_block_stop": _block_stop,
        "message_delta": _message_delta,
        "message_stop": _message_stop,
        "ping": _ping,
        "error": _error,
    }
