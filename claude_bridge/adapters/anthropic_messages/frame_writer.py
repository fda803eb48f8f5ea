"""FrameWriter: the frames on their way to the client, whether they add anything, and what was repaired in them."""

from __future__ import annotations

from collections.abc import Sequence

from claude_bridge.conversion.loss import Repair
from claude_bridge.wire.anthropic_answers import RawBytes, ResponseItem


class FrameWriter:
    """Gathers frames until they are taken."""

    def __init__(self) -> None:
        self.repairs: list[Repair] = []
        """What was repaired, each kind once."""
        self._data = bytearray()
        self._is_progress = False

    def put(self, frame: bytes, repair: str = "") -> None:
        """Add a frame; ``repair`` says what was repaired in it (empty: nothing)."""
        self._data += frame
        self._is_progress = True
        if repair:
            self.note(repair)

    def note(self, repair: str, tool_name: str = "") -> None:
        """Remember what was repaired."""
        if (known := Repair(tool_name, repair)) not in self.repairs:
            self.repairs.append(known)

    def put_sign_of_life(self, frame: bytes) -> None:
        """Add a frame that adds nothing to the answer."""
        self._data += frame

    def take(self) -> Sequence[ResponseItem]:
        """Return what was gathered."""
        if not self._data:
            return ()
        item = RawBytes(bytes(self._data), self._is_progress)
        self._data.clear()
        self._is_progress = False
        return [item]
