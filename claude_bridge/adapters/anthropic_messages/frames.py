"""What must be known of a frame to pass it on: its type and block, what an engine counted, and what went wrong."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from claude_bridge.conversion.deltas import UsageReport
from claude_bridge.conversion.prompt.token_estimate import token_count
from claude_bridge.conversion.upstream_errors.translate import explain_error_object, reports_error
from claude_bridge.errors import ERROR_TYPES, BridgeError, UpstreamBrokenError, UpstreamRefusedError
from claude_bridge.wire.lenient_json import parse_any


class _DeltaHead(Struct, frozen=True):
    type: str


class DeltaFrame(Struct, frozen=True, tag_field="type", tag="content_block_delta"):
    """What tells whether a delta is the next one of a block: nearly all frames are, and are not read any further."""

    index: int
    delta: _DeltaHead


NO_TEXT = "bytes that were no text"
NO_JSON = "what was no JSON by the letter"

_delta_decoder = msgspec.json.Decoder(DeltaFrame)


def parse_delta(data: bytes) -> DeltaFrame | None:
    """Return the head of a delta; None for any other event, and for what can't be read strictly."""
    try:
        return _delta_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def as_text(data: bytes) -> bytes:
    """Return the bytes with U+FFFD in place of those that are no UTF-8."""
    return data if data.isascii() else data.decode("utf-8", "replace").encode()


def parse_object(data: bytes) -> dict[str, Any]:
    """Return a JSON object, or an empty one for anything else."""
    try:
        value = parse_any(data)
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def error_in(value: dict[str, Any]) -> Any:  # noqa: ANN401 - engines put any JSON there
    """Return the error that an event or a document reports, in whichever shape; None for one that reports none."""
    if value.get("error"):
        return value["error"]
    if "type" in value and value["type"] != "error":
        return None
    rest = {name: item for name, item in value.items() if name != "type"}
    if value.get("type") == "error":
        return rest or "(no explanation)"
    return rest if reports_error(rest) else None


def is_error_event(value: dict[str, Any]) -> bool:
    """Return whether the event has the shape of the API's own error events."""
    error = value.get("error")
    return (
        value.get("type") == "error"
        and isinstance(error, dict)
        and isinstance(error.get("type"), str)
        and isinstance(error.get("message"), str)
    )


def error_line(frame: bytes) -> bytes:
    """Return what an ``error:`` field of a frame without data says, as llama.cpp before 2025-08 wrote them."""
    lines = (line for line in frame.splitlines() if line.startswith(b"error:"))
    return next(lines, b"").removeprefix(b"error:").strip()


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
    return UpstreamRefusedError(explained.message, status=status, error_type=str(kind))


def is_count(value: object) -> bool:
    """Return whether a value can be a count of tokens: clients add them up."""
    return isinstance(value, int) and not isinstance(value, bool) and token_count(value) is not None


def usage_report(usage: object, *, input_includes_cached: bool = False) -> UsageReport:
    """Return what a usage object reports; ``input_includes_cached``: its input_tokens are the whole prompt."""
    fields = usage if isinstance(usage, dict) else {}
    prompt, written, cached, output = (fields[name] if is_count(fields.get(name)) else None for name in COUNTS)
    if prompt is not None and not input_includes_cached:
        prompt += (cached or 0) + (written or 0)
    details = fields.get("output_tokens_details")
    thought = details.get("thinking_tokens") if isinstance(details, dict) else None
    return UsageReport(
        prompt_tokens=prompt,
        cached_tokens=cached,
        cache_written_tokens=written,
        output_tokens=output,
        thinking_tokens=thought if is_count(thought) else None,
    )


COUNTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
"""The figures of a usage object."""
