"""The beginning of an answer that a client gave: cut off where the engine repeats it."""

from __future__ import annotations

from claude_bridge.conversion.deltas import Delta, Finish, TextDelta, ToolCallStart


class PrefillEchoCutter:
    """Cuts the requested beginning off an answer that repeats it: the client puts the two together itself."""

    def __init__(self, beginning: str) -> None:
        self._beginning = beginning
        self._held = ""
        self._is_over = False

    def feed(self, deltas: list[Delta]) -> list[Delta]:
        """Return the deltas without the echo; text that may still become the echo is held back."""
        if self._is_over:
            return deltas
        kept: list[Delta] = []
        for delta in deltas:
            if isinstance(delta, TextDelta) and not self._is_over:
                kept += self._text_behind_echo(delta.text)
                continue
            if isinstance(delta, ToolCallStart | Finish):
                kept += self.close()
            kept.append(delta)
        return kept

    def close(self) -> list[Delta]:
        """Return the text that was held back and was not the echo."""
        held, self._held, self._is_over = self._held, "", True
        return [TextDelta(held)] if held else []

    def _text_behind_echo(self, text: str) -> list[Delta]:
        self._held += text
        answer = self._held.lstrip()
        if answer.startswith(self._beginning):
            rest, self._held, self._is_over = answer[len(self._beginning) :], "", True
            return [TextDelta(rest)] if rest else []
        return [] if self._beginning.startswith(answer) else self.close()
