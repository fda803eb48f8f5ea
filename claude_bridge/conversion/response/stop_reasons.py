"""Why an answer stopped: the finish-reason table, and stop sequences, which the bridge enforces itself.

Engines take few stop sequences, or none, and do not tell which one they met. On the text here any number works,
the one that was met is known, and the engine can be cancelled at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from claude_bridge.conversion.deltas import Delta, Finish, FinishReason, TextDelta, UsageReport
from claude_bridge.wire.anthropic import StopReason

_STOP_REASONS: dict[FinishReason, StopReason] = {
    FinishReason.STOP: "end_turn",
    FinishReason.TOOL_CALLS: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.WINDOW_FULL: "model_context_window_exceeded",
    FinishReason.REFUSAL: "refusal",
    FinishReason.STOP_SEQUENCE: "stop_sequence",
}


def convert_finish_reason(reason: FinishReason, *, has_tool_use: bool) -> StopReason:
    """Return the stop reason.

    Engines say "stop" after tool calls and "tool_calls" with none given: what was in fact given decides.
    """
    if has_tool_use and reason in (FinishReason.STOP, FinishReason.TOOL_CALLS):
        return "tool_use"
    return _STOP_REASONS[reason]


class StopSequenceCutter:
    """Ends the text before the first stop sequence, and holds back text that may be the start of one."""

    def __init__(self, sequences: Sequence[str]) -> None:
        self._sequences = [sequence for sequence in sequences if sequence]
        self._held = ""
        self.met: str | None = None

    def feed(self, deltas: list[Delta]) -> list[Delta]:
        """Return the deltas up to a stop sequence; once one is met, only usage passes."""
        out: list[Delta] = []
        for delta in deltas:
            if self.met is not None:
                if isinstance(delta, UsageReport):
                    out.append(delta)
            elif isinstance(delta, TextDelta):
                self._take_text(delta.text, out)
            elif isinstance(delta, UsageReport):
                out.append(delta)  # some engines report usage with every chunk: it ends no text
            else:
                self._release(out)
                out.append(delta)
        return out

    def close(self) -> list[Delta]:
        """Return the text that was held back."""
        out: list[Delta] = []
        if self.met is None:
            self._release(out)
        return out

    def _take_text(self, text: str, out: list[Delta]) -> None:
        text = self._held + text
        found = [(at, sequence) for sequence in self._sequences if (at := text.find(sequence)) >= 0]
        if found:
            # The one that is complete first, as if the text came letter by letter; of two the longer one.
            at, self.met = min(found, key=lambda hit: (hit[0] + len(hit[1]), hit[0]))
            if at:
                out.append(TextDelta(text[:at]))
            out.append(Finish(FinishReason.STOP_SEQUENCE, self.met))
            return
        keep = max((_overlap(text, sequence) for sequence in self._sequences), default=0)
        self._held = text[len(text) - keep :]
        if len(text) > keep:
            out.append(TextDelta(text[: len(text) - keep]))

    def _release(self, out: list[Delta]) -> None:
        if self._held:
            out.append(TextDelta(self._held))
            self._held = ""


def _overlap(text: str, sequence: str) -> int:
    """Return the length of the longest end of ``text`` that begins ``sequence``."""
    for length in range(min(len(text), len(sequence) - 1), 0, -1):
        if text.endswith(sequence[:length]):
            return length
    return 0
