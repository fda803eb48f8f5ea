"""How a prompt compares with the window: when it must be refused early, and when an engine must have cut it.

Claude Code compacts after an error that calls the prompt too long. To do so it sends the conversation again with an
instruction, and the summary needs room too: a window that is full to the brim has neither.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from claude_bridge.clients.claude_code import FEW_TURNS, SUMMARY_MARK, SUMMARY_TOKENS

_MOST_OF_WINDOW = 6
"""The reserve is at most one part in so many of a small window."""

_SURELY = 1.3
"""How far beyond the window an estimate must be before it counts as proof."""


LEAST_ANSWER_TOKENS = 1_024
"""A shorter answer is of no use to an agent; what leaves no room for it, the engine may refuse."""

_TEMPLATE_TOKENS = 64
"""What an engine may add to a prompt that was counted."""


def answer_room(window_tokens: int, prompt_tokens: int) -> int:
    """Return how many tokens an answer may have, so that it fits the window beside its prompt."""
    room = window_tokens - prompt_tokens - _TEMPLATE_TOKENS
    return max(room, min(LEAST_ANSWER_TOKENS, window_tokens // 4))


class PromptFacts(Struct, frozen=True, kw_only=True):
    """What must be known of a conversation to judge the length of its prompt."""

    images: int
    """How many images and documents the user's messages hold."""
    assistant_turns: int
    asks_for_summary: bool
    """Whether the client compacts its conversation with this request."""

    @property
    def holds_images(self) -> bool:
        """Whether any image or document goes to the engine."""
        return self.images > 0


def asks_for_summary(last_texts: Iterable[str]) -> bool:
    """Return whether the texts of the last turn ask for a summary of the conversation."""
    return any(SUMMARY_MARK in text for text in last_texts)


class ContextOverflow(Struct, frozen=True, kw_only=True):
    """A prompt that is longer than the window, by an estimate that is not that far off."""

    prompt_tokens: int
    window_tokens: int


def find_context_overflow(facts: PromptFacts, prompt_tokens: int, window_tokens: int | None) -> ContextOverflow | None:
    """Return by how much the prompt exceeds the window, or None if the estimate does not make that sure.

    What images take differs too much from engine to engine.
    """
    if window_tokens is None or facts.holds_images or prompt_tokens <= window_tokens * _SURELY:
        return None
    return ContextOverflow(prompt_tokens=prompt_tokens, window_tokens=window_tokens)


def compactable_tokens(facts: PromptFacts, window_tokens: int | None) -> int | None:
    """Return how long a prompt may be so that its conversation can still be compacted, or None for any length.

    What compacting can't shorten has no limit: a conversation of a few turns, and the request for the summary itself.
    Whether these fit, only the engine knows.
    """
    if window_tokens is None or facts.assistant_turns < FEW_TURNS or facts.asks_for_summary:
        return None
    return window_tokens - min(SUMMARY_TOKENS, window_tokens // _MOST_OF_WINDOW)
