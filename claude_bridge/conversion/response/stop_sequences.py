"""Stop sequences, which the bridge enforces itself.

Engines take few stop sequences, or none, and do not report which one they reached. On the text here any number works,
the one that was reached is known, and the engine can be cancelled at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from claude_bridge.conversion.deltas import Aside, Delta, Finish, FinishReason, Stage, TextDelta, as_deltas
from claude_bridge.conversion.tool_calls.text_source import Marks


class StopSequenceCutter(Stage):
    """Ends the text before the first stop sequence, and holds back text that may be the start of one."""

    def __init__(self, sequences: Sequence[str]) -> None:
        self._sequences = Marks(sequences)
        self._held = ""
        self.found: str | None = None

    def passes(self, text: str) -> bool:
        """Return whether text passes unchanged: no stop sequence ends or begins in it."""
        return self.found is None and not self._held and self._sequences.are_absent(text)

    def take(self, delta: Delta) -> list[Delta]:
        """Return the delta as far as it stands before a stop sequence; once one is found, only usage passes."""
        if isinstance(delta, Aside):
            return [delta]
        if self.found is not None:
            return []
        return self._text(delta.text) if isinstance(delta, TextDelta) else [*self._release(), delta]

    def close(self) -> list[Delta]:
        """Return the text that was held back."""
        return self._release() if self.found is None else []

    def _text(self, text: str) -> list[Delta]:
        text = self._held + text
        hits = [(at, sequence) for sequence in self._sequences.marks if (at := text.find(sequence)) >= 0]
        if hits:
            # The one that is complete first, as if the text came letter by letter; of two the longer one.
            at, self.found = min(hits, key=lambda hit: (hit[0] + len(hit[1]), hit[0]))
            return [*as_deltas(text[:at]), Finish(FinishReason.STOP_SEQUENCE, self.found)]
        keep = self._sequences.overlap(text)
        self._held = text[len(text) - keep :]
        return as_deltas(text[: len(text) - keep])

    def _release(self) -> list[Delta]:
        held, self._held = self._held, ""
        return as_deltas(held)
