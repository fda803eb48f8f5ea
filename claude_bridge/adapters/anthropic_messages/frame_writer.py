"""Outbox: the bytes on their way to the client, whether they say anything new, and what was put right in them."""

from __future__ import annotations

from collections.abc import Sequence

from claude_bridge.wire.anthropic import RawBytes, ResponseItem


class FrameWriter:
    """Gathers frames until they are taken."""

    def __init__(self) -> None:
        self.mends: list[str] = []
        """What was put right, in words, each kind once."""
        self._data = bytearray()
        self._is_progress = False

    def put(self, frame: bytes, mend: str = "") -> None:
        """Add a frame; ``mend`` says what was put right in it."""
        self._data += frame
        self._is_progress = True
        if mend:
            self.note(mend)

    def note(self, mend: str) -> None:
        """Remember what was put right."""
        if mend not in self.mends:
            self.mends.append(mend)

    def put_sign_of_life(self, frame: bytes) -> None:
        """Add a frame that tells nothing."""
        self._data += frame

    def take(self) -> Sequence[ResponseItem]:
        """Return what was gathered."""
        if not self._data:
            return ()
        piece = RawBytes(bytes(self._data), self._is_progress)
        self._data.clear()
        self._is_progress = False
        return [piece]
