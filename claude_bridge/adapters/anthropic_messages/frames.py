"""Frames of the Messages API as they come and go: the event in each, its usage, its error, and how it is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from claude_bridge.conversion.deltas import UsageReport
from claude_bridge.conversion.loss import Repair
from claude_bridge.conversion.prompt.token_estimate import token_count
from claude_bridge.conversion.upstream_errors.translate import explain_error_object, reports_error
from claude_bridge.errors import ERROR_TYPES, BridgeError, UpstreamBrokenError, UpstreamRefusedError
from claude_bridge.wire.anthropic_answers import RawBytes, ResponseItem
from claude_bridge.wire.lenient_json import object_in, read_or_none
from claude_bridge.wire.sse import encode_frame

Fields = dict[str, Any]
"""A JSON object."""


class Frame(Struct, frozen=True):
    """A frame of the engine's: its bytes, and the event that they spell."""

    data: bytes
    event: Fields

    @property
    def index(self) -> int | None:
        """The number of the block; None where it has none."""
        index = self.event.get("index")
        return index if type(index) is int else None


def event_frame(event: Fields) -> bytes:
    """Return one event as a frame."""
    return encode_frame(str(event["type"]).encode(), msgspec.json.encode(event))


FIELD_OF_DELTA = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}
"""The text that a delta adds; clients fail at one without it."""


class _TextDelta(Struct, frozen=True, tag_field="type", tag="text_delta"):
    text: str


class _ThinkingDelta(Struct, frozen=True, tag_field="type", tag="thinking_delta"):
    thinking: str


class _InputJsonDelta(Struct, frozen=True, tag_field="type", tag="input_json_delta"):
    partial_json: str


class DeltaFrame(Struct, frozen=True, tag_field="type", tag="content_block_delta"):
    """What shows that a delta is the next one of a block: nearly all frames are, and need no further reading."""

    index: int
    delta: _TextDelta | _ThinkingDelta | _InputJsonDelta

    @property
    def kind(self) -> str:
        """The type of the delta."""
        return str(self.delta.__struct_config__.tag)


_decode_delta = msgspec.json.Decoder(DeltaFrame).decode


def parse_delta(data: bytes) -> DeltaFrame | None:
    """Return the head of a delta; None for any other event, and for what can't be read strictly."""
    return read_or_none(_decode_delta, data)


class FrameWriter:
    """Gathers frames until they are taken."""

    def __init__(self) -> None:
        self.repairs: list[Repair] = []
        """What was repaired, each kind once."""
        self._data = bytearray()
        self._is_progress = False

    def put(self, frame: Frame, **changes: object) -> None:
        """Add a frame: in its own bytes unless a field of its event has to change."""
        self.put_bytes(event_frame(frame.event | changes) if changes else frame.data)

    def put_event(self, kind: str, **fields: object) -> None:
        """Add an event of the bridge's own."""
        self.put_bytes(event_frame({"type": kind, **fields}))

    def put_bytes(self, frames: bytes, *, is_progress: bool = True) -> None:
        """Add whole frames; they are no progress where they add nothing to the answer."""
        self._data += frames
        self._is_progress = self._is_progress or is_progress

    def note(self, repair: str, tool_name: str = "") -> None:
        """Remember what was repaired."""
        if (known := Repair(tool_name, repair)) not in self.repairs:
            self.repairs.append(known)

    def take(self) -> Sequence[ResponseItem]:
        """Return what was gathered."""
        if not self._data:
            return ()
        item = RawBytes(bytes(self._data), self._is_progress)
        self._data.clear()
        self._is_progress = False
        return [item]


# --- errors -------------------------------------------------------------------------------------------------------


def error_in(value: Fields) -> Any:  # noqa: ANN401 - engines put any JSON there
    """Return the error that an event or a document reports, in whichever shape; None for one that reports none."""
    if value.get("error"):
        return value["error"]
    rest = {name: item for name, item in value.items() if name != "type"}
    if value.get("type") == "error":
        return rest or "(no explanation)"
    return rest if "type" not in value and reports_error(rest) else None


_STATUS_OF_TYPE = {"invalid_request_error": 400} | {
    kind: status for status, kind in ERROR_TYPES.items() if kind != "api_error"
}


def explain_error_event(error: object, upstream: str) -> BridgeError:
    """Return the error that an engine reported within a stream; a type of Anthropic's stays as it is."""
    explained = explain_error_object(error, upstream)
    kind = error.get("type") if isinstance(error, dict) else None
    status = _STATUS_OF_TYPE.get(kind) if isinstance(kind, str) else None
    if status is None or not isinstance(explained, UpstreamBrokenError):
        return explained
    return UpstreamRefusedError(explained.message, status=status)


# --- usage --------------------------------------------------------------------------------------------------------

COUNTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
"""The figures of a usage object."""


def is_count(value: object) -> bool:
    """Return whether a value can be a count of tokens: clients add them up."""
    return isinstance(value, int) and not isinstance(value, bool) and token_count(value) is not None


def usage_report(usage: Fields, *, input_includes_cached: bool = False) -> UsageReport:
    """Return what a usage object reports; ``input_includes_cached``: its input_tokens are the whole prompt."""
    prompt, written, cached, output = (usage[name] if is_count(usage.get(name)) else None for name in COUNTS)
    if prompt is not None and not input_includes_cached:
        prompt += (cached or 0) + (written or 0)
    thought = object_in(usage, "output_tokens_details").get("thinking_tokens")
    return UsageReport(
        prompt_tokens=prompt,
        cached_tokens=cached,
        cache_written_tokens=written,
        output_tokens=output,
        thinking_tokens=thought if is_count(thought) else None,
    )
