"""What must be known of a frame to pass it on: its type and block, and what an engine counted."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from claude_bridge.conversion.deltas import UsageReport
from claude_bridge.conversion.tokens import token_count
from claude_bridge.wire.lenient import parse_any


class DeltaHead(Struct, frozen=True):
    """What a delta adds to."""

    type: str | None = None
    stop_reason: str | None = None


class FrameHead(Struct, frozen=True):
    """The part of a stream event that decides what becomes of it."""

    type: str
    index: int | None = None
    delta: DeltaHead | None = None


_decoder = msgspec.json.Decoder(FrameHead)


def parse_head(data: bytes) -> FrameHead | None:
    """Return the head of an event, or None for what is no event: no JSON object, or one without a type."""
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError:
        value = parse_object(data)
    if not isinstance(value.get("type"), str):
        return None
    index, delta = value.get("index"), value.get("delta")
    reason = delta.get("stop_reason") if isinstance(delta, dict) else None
    kind = delta.get("type") if isinstance(delta, dict) else None
    return FrameHead(
        value["type"],
        int(index) if isinstance(index, int | float) or (isinstance(index, str) and index.isdigit()) else None,
        DeltaHead(kind if isinstance(kind, str) else None, reason if isinstance(reason, str) else None),
    )


def parse_object(data: bytes) -> dict[str, Any]:
    """Return a JSON object, or an empty one for anything else."""
    try:
        value = parse_any(data)
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def raw_fields(document: bytes | Raw) -> dict[str, Raw]:
    """Return the fields of a JSON object as they are written, or none for anything else."""
    try:
        return msgspec.json.decode(document, type=dict[str, Raw])
    except msgspec.DecodeError:
        return {}


class Counts:
    """What an engine has counted so far: a later figure replaces an earlier one, unless it is a mere zero."""

    def __init__(self, *, input_includes_cached: bool = False) -> None:
        """``input_includes_cached`` says that the engine's input_tokens are the whole prompt."""
        self._input_includes_cached = input_includes_cached
        self._told: dict[str, int] = {}

    def take(self, usage: object) -> None:
        """Take a usage object."""
        if not isinstance(usage, dict):
            return
        for name in COUNTS:
            count = usage.get(name)
            if isinstance(count, int) and not isinstance(count, bool) and token_count(count) is not None:
                self._told[name] = count or self._told.get(name, 0)
        details = usage.get("output_tokens_details")
        if isinstance(details, dict) and isinstance(details.get("thinking_tokens"), int):
            self._told["thinking_tokens"] = details["thinking_tokens"]

    @property
    def report(self) -> UsageReport:
        """The figures with the whole prompt in one; None where the engine did not tell."""
        told = self._told
        cached = told.get("cache_read_input_tokens")
        prompt = told.get("input_tokens")
        if prompt is not None and not self._input_includes_cached:
            prompt += (cached or 0) + told.get("cache_creation_input_tokens", 0)
        return UsageReport(
            prompt_tokens=prompt,
            cached_tokens=cached,
            output_tokens=told.get("output_tokens"),
            thinking_tokens=told.get("thinking_tokens"),
        )

    def get(self, name: str) -> int | None:
        """Return one figure as Anthropic counts it, or None if it was not told."""
        count = self._told.get(name)
        if name == "input_tokens" and count is not None and self._input_includes_cached:
            return max(0, count - self._told.get("cache_read_input_tokens", 0))
        return count


COUNTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
"""The figures that every usage object has: a missing one crashes Claude Code."""
