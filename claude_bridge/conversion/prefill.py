"""A last assistant message: the beginning of an answer, which the client does not want to hear again.

An engine that can't continue it is asked in words to begin with it, and then says it once more.
"""

from __future__ import annotations

from claude_bridge.conversion.deltas import Delta, Finish, TextDelta, ToolCallStart
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.reasoning import preferred_thinking
from claude_bridge.conversion.request.content import as_blocks, text_of
from claude_bridge.wire.anthropic import CountTokensRequest


def continues_prefill(request: CountTokensRequest, profile: Profile) -> bool:
    """Return whether a last assistant message is left for the engine to continue: it can't think in mid-answer."""
    return profile.continues_prefill and not preferred_thinking(request).thinks


def echoed_prefill(request: CountTokensRequest, profile: Profile) -> str | None:
    """Return the text with which the engine was asked to begin; None: it was not asked to."""
    last = request.messages[-1] if request.messages else None
    if last is None or last.role != "assistant" or continues_prefill(request, profile):
        return None
    return text_of(as_blocks(last.content)).strip() or None


class EchoCutter:
    """Takes the beginning that was asked for out of the answer, where the answer begins with it."""

    def __init__(self, beginning: str) -> None:
        self._beginning = beginning
        self._held = ""
        self._is_over = False

    def feed(self, deltas: list[Delta]) -> list[Delta]:
        """Return the deltas without the echo; text that may still become it is held back."""
        if self._is_over:
            return deltas
        kept: list[Delta] = []
        for delta in deltas:
            if isinstance(delta, TextDelta) and not self._is_over:
                kept += self._after(delta.text)
                continue
            if isinstance(delta, ToolCallStart | Finish):
                kept += self.close()
            kept.append(delta)
        return kept

    def close(self) -> list[Delta]:
        """Return what was held back, and was no echo after all."""
        held, self._held, self._is_over = self._held, "", True
        return [TextDelta(held)] if held else []

    def _after(self, text: str) -> list[Delta]:
        self._held += text
        said = self._held.lstrip()
        if said.startswith(self._beginning):
            rest, self._held, self._is_over = said[len(self._beginning) :], "", True
            return [TextDelta(rest)] if rest else []
        return [] if self._beginning.startswith(said) else self.close()
