"""FrameWriter: frames on their way to the client, as they came or with some fields of their event changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from claude_bridge.conversion.loss import Repair
from claude_bridge.wire.anthropic_answers import RawBytes, ResponseItem
from claude_bridge.wire.sse import encode_frame

Fields = dict[str, Any]
"""A JSON object."""


class Frame(Struct, frozen=True):
    """A frame of the engine's: its bytes, and the event that they spell."""

    data: bytes
    event: Fields

    @property
    def kind(self) -> str:
        """The type of the event; empty where it has none."""
        return text_in(self.event, "type")

    @property
    def index(self) -> int | None:
        """The number of the block; None where it has none."""
        index = self.event.get("index")
        if isinstance(index, float):
            return int(index) if index.is_integer() else None
        is_number = isinstance(index, int) or (isinstance(index, str) and index.isdecimal())
        return int(index) if is_number and index is not None else None


def event_frame(event: Fields) -> bytes:
    """Return one event as a frame."""
    return encode_frame(str(event["type"]).encode(), msgspec.json.encode(event))


def object_in(fields: Fields, name: str) -> Fields:
    """Return the JSON object in a field, or an empty one for anything else."""
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def text_in(fields: Fields, name: str) -> str:
    """Return the text in a field, or an empty one for anything else."""
    value = fields.get(name)
    return value if isinstance(value, str) else ""


class FrameWriter:
    """Gathers frames until they are taken."""

    def __init__(self) -> None:
        self.repairs: list[Repair] = []
        """What was repaired, each kind once."""
        self._data = bytearray()
        self._is_progress = False

    def put(self, frame: Frame, **changes: object) -> None:
        """Add a frame: in its own bytes unless a field of its event has to change."""
        self.put_bytes(event_frame({**frame.event, **changes}) if changes else frame.data)

    def put_event(self, kind: str, **fields: object) -> None:
        """Add an event of the bridge's own."""
        self.put_bytes(event_frame({"type": kind, **fields}))

    def put_bytes(self, frames: bytes) -> None:
        """Add whole frames."""
        self._data += frames
        self._is_progress = True

    def put_sign_of_life(self, frame: bytes) -> None:
        """Add a frame that adds nothing to the answer."""
        self._data += frame

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
