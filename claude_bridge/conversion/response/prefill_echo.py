"""The beginning of an answer that a client gave: cut off where the engine repeats it."""

from __future__ import annotations

from claude_bridge.conversion.deltas import Delta, Finish, Stage, TextDelta, TextStart, ToolCallStart, as_deltas

_MAX_SPACE_CHARS = 1_000
"""Before the echo: broken models write white space without end."""


class PrefillEchoCutter(Stage):
    """Cuts the requested beginning off an answer that repeats it: the client puts the two together itself."""

    def __init__(self, beginning: str) -> None:
        self._beginning = beginning
        self._held: list[str] = []
        self._space_chars = 0
        self._matched_chars = 0
        self._is_over = False

    def passes(self, _: str) -> bool:
        """Return whether text goes on as it came."""
        return self._is_over

    def take(self, delta: Delta) -> list[Delta]:
        """Return the delta without the echo; text that may still become the echo is held back."""
        if isinstance(delta, TextDelta) and not self._is_over:
            return self._text_behind_echo(delta.text)
        return [*self.close(), delta] if isinstance(delta, TextStart | ToolCallStart | Finish) else [delta]

    def close(self) -> list[Delta]:
        """Return the text that was held back and was not the echo."""
        held, self._held, self._is_over = "".join(self._held), [], True
        return as_deltas(held)

    def _text_behind_echo(self, text: str) -> list[Delta]:
        self._held.append(text)
        if not self._matched_chars:
            self._space_chars += len(text) - len(text := text.lstrip())
        expected = self._beginning[self._matched_chars : self._matched_chars + len(text)]
        if not text.startswith(expected) or self._space_chars > _MAX_SPACE_CHARS:
            return self.close()
        self._matched_chars += len(expected)
        if self._matched_chars < len(self._beginning):
            return []
        self._held, self._is_over = [], True
        return as_deltas(text[len(expected) :])
