"""PassthroughStream and PassthroughDocument: answers that go to the client byte for byte, and are only read along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from claude_bridge.adapters.anthropic_messages.frames import (
    Fields,
    error_in,
    explain_error_event,
    parse_delta,
    usage_report,
)
from claude_bridge.conversion.deltas import UsageReport
from claude_bridge.conversion.loss import Repair
from claude_bridge.conversion.response.context import ResponseContext
from claude_bridge.conversion.response.usage import merge_usage
from claude_bridge.conversion.upstream_errors.translate import explain_no_json
from claude_bridge.errors import BridgeError, UpstreamBrokenError
from claude_bridge.wire.anthropic_answers import ErrorDetail, ErrorEvent, RawBytes, ResponseItem
from claude_bridge.wire.anthropic_lenient import read_error
from claude_bridge.wire.lenient_json import object_in, parse_object, text_in
from claude_bridge.wire.sse import FrameCutter, check_size, frame_data

_KEPT = frozenset({"request-id", "retry-after", "x-should-retry"})
_KEPT_PREFIX = "anthropic-"


def kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of an engine's answer that are for its client: its id, its limits, and when to come again."""
    return {name: value for name, value in headers.items() if name in _KEPT or name.startswith(_KEPT_PREFIX)}


class RelayedResponse:
    """What all responses have in common that speak the Messages API already; see Response."""

    emits_before_upstream = False
    learned_opening = None
    finished = False
    repairs: Sequence[Repair] = ()

    def __init__(self, context: ResponseContext, upstream: str, *, input_includes_cached: bool = False) -> None:
        self.message_id = context.message_id
        self.begun = False
        self.done = False
        self.error: BridgeError | None = None
        self.usage = UsageReport()
        self._context = context
        self._upstream = upstream
        self._input_includes_cached = input_includes_cached

    def kept_headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of the engine's answer that are for the client."""
        return kept_headers(headers)

    def start(self) -> Sequence[ResponseItem]:
        """Return nothing: the engine opens the answer."""
        return ()

    def keep_alive(self) -> Sequence[ResponseItem]:
        """Return nothing: Anthropic sends its own signs of life, and a document can't begin before it is there."""
        return ()

    def fail(self, error: BridgeError) -> Sequence[ResponseItem]:
        """Return the error event that ends the stream."""
        if self.done:
            return ()
        self.error, self.done = self._context.check_error(error), True
        return [ErrorEvent(ErrorDetail(self.error.error_type, self.error.message), self._context.request_id)]

    def note_usage(self, holder: Fields) -> None:
        """Take note of the usage that an event or a message reports."""
        usage = object_in(holder, "usage")
        self.usage = merge_usage(self.usage, usage_report(usage, input_includes_cached=self._input_includes_cached))

    def explain(self, data: bytes) -> BridgeError:
        """Return what is wrong with JSON that is no part of the API, or with what is no JSON."""
        value = parse_object(data)
        if (error := error_in(value)) is not None:
            return explain_error_event(error, self._upstream)
        if value:
            return UpstreamBrokenError(f"{self._upstream} does not answer in the words of the Messages API.")
        return explain_no_json(data, self._upstream)


class PassthroughStream(RelayedResponse):
    """A stream to which nothing is added but its end, if it breaks off."""

    def __init__(self, context: ResponseContext, upstream: str) -> None:
        super().__init__(context, upstream)
        self._cutter = FrameCutter()

    def feed(self, data: bytes) -> Sequence[ResponseItem]:
        """Return the frames that ``data`` completes."""
        return self._passed(self._cutter.feed(data))

    def close(self) -> Sequence[ResponseItem]:
        """Return an error event if the stream broke off."""
        rest = b"".join(self._cutter.close())
        if rest.lstrip()[:1] == b"{":  # a document in place of a stream
            self.begun = True
            return self.fail(self.explain(rest))
        passed = self._passed([rest + b"\n\n"] if rest else ())
        return [*passed, *self.fail(UpstreamBrokenError("The upstream ended its answer in the middle."))]

    def _passed(self, frames: Sequence[bytes]) -> Sequence[ResponseItem]:
        """Return the frames as they came; an error in another shape than the API's ends them in that shape."""
        self.begun = self.begun or bool(frames)
        for number, frame in enumerate(frames):
            error = self._watch(frame_data(frame))
            if error is not None:
                passed = b"".join(frames[:number])
                return [*([RawBytes(passed)] if passed else ()), *self.fail(error)]
            if self.error is not None:
                return [RawBytes(b"".join(frames[: number + 1]))]
        return [RawBytes(b"".join(frames))] if frames else ()

    def _watch(self, data: bytes) -> BridgeError | None:
        """Note what an event says; return the error that it reports in another shape than the API's."""
        if parse_delta(data) is not None:
            return None
        value = parse_object(data)
        match text_in(value, "type"):
            case "message_start":
                self.note_usage(object_in(value, "message"))
            case "message_delta":
                self.note_usage(value)
            case "message_stop":
                self.done = True
            case "error" | "" if (error := error_in(value)) is not None:
                explained = explain_error_event(error, self._upstream)
                if read_error(value) is None:
                    return explained
                self.error, self.done = self._context.check_error(explained), True
            case _:
                pass
        return None


class PassthroughDocument(RelayedResponse):
    """A whole answer that is handed on as it came."""

    def __init__(self, context: ResponseContext, upstream: str) -> None:
        super().__init__(context, upstream)
        self._document = bytearray()

    def feed(self, data: bytes) -> Sequence[ResponseItem]:
        """Gather more of the document; raises UpstreamBrokenError beyond all limits."""
        self._document += data
        check_size(len(self._document), "document")
        self.begun = bool(self._document)
        return ()

    def fail(self, error: BridgeError) -> Sequence[ResponseItem]:
        """Keep the error; it becomes the answer's status."""
        super().fail(error)
        return ()

    def close(self) -> Sequence[ResponseItem]:
        """Return the document."""
        if self.done:
            return ()
        self.done = True
        self.note_usage(parse_object(bytes(self._document)))
        return [RawBytes(bytes(self._document))]
