"""Prefill: a last assistant message, with which the answer is to begin.

An engine that can't continue it gets an instruction to begin with it, and repeats it, which is cut off again.
"""

from __future__ import annotations

from claude_bridge.conversion.deltas import Delta, Finish, Stage, TextDelta, TextStart, ToolCallStart, as_deltas
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.reasoning import preferred_thinking
from claude_bridge.conversion.request.content import as_blocks, text_of
from claude_bridge.wire.anthropic import CountTokensRequest

_MAX_SPACE_CHARS = 1_000
"""Before the echo: broken models write white space without end."""


def continues_prefill(request: CountTokensRequest, profile: Profile) -> bool:
    """Return whether the engine continues a last assistant message; it can't think in the middle of an answer."""
    return profile.continues_prefill and not preferred_thinking(request).thinks


def echoed_prefill(request: CountTokensRequest, profile: Profile) -> str | None:
    """Return the text with which the engine was instructed to begin; None: it was not."""
    last = request.messages[-1] if request.messages else None
    if last is None or last.role != "assistant" or continues_prefill(request, profile):
        return None
    return text_of(as_blocks(last.content)).strip() or None


class PrefillEchoCutter(Stage):
    """Cuts the requested beginning off an answer that repeats it: the client puts the two together itself."""

    def __init__(self, beginning: str) -> None:
        self._beginning = beginning
        self._held: list[str] = []
        self._space_chars = 0
        self._matched_chars = 0
        self._is_over = False

    def passes(self, _: str) -> bool:
        """Return whether text passes unchanged."""
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
