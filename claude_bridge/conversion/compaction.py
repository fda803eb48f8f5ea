"""How a prompt compares with the window: when it must be refused early, and when an engine must have cut it.

Claude Code compacts when it is told that the prompt is too long. To do so it sends the conversation again with an
instruction, and the summary needs room too: a window that is full to the brim has neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct

from claude_bridge.errors import PromptTooLongError

RESERVE_TOKENS = 6_000
"""Claude Code 2.1.330 asks for a summary in 1,700 tokens; the rest is for the summary."""

_MOST_OF_WINDOW = 6
"""The reserve is at most one part in so many of a small window."""

_FEW_TURNS = 4
"""With fewer answers than these a conversation has just been compacted: doing it again would gain nothing."""

_ASKS_FOR_SUMMARY = "<summary>"
"""What every version of Claude Code wants a summary to stand in."""

_SURELY = 1.3
"""How far beyond the window an estimate must be before it counts as proof."""

_LEARNED_FROM_TOKENS = 2_000
_CREDIBLE = (0.8, 1.6)


class Conversation(Protocol):
    """What must be known of a request to judge its length, whichever way it goes to the engine."""

    @property
    def holds_images(self) -> bool:
        """Whether any image goes to the engine."""
        ...

    @property
    def answers(self) -> int:
        """How many turns are the model's own."""
        ...

    @property
    def last_texts(self) -> Iterable[str]:
        """The texts of the last turn."""
        ...


class TokenScale:
    """How an engine's counts compare with our estimates, learned from one answer to the next."""

    def __init__(self) -> None:
        self._factor = 1.0

    def tokens(self, estimate: int) -> int:
        """Return what the engine is likely to count; never less than the estimate."""
        return round(estimate * max(1.0, self._factor))

    def learn(self, estimate: int, reported: int | None) -> None:
        """Take what the engine counted; small prompts prove little, and counts far off are of cut or cached prompts."""
        if reported is not None and estimate >= _LEARNED_FROM_TOKENS:
            factor = reported / estimate
            if _CREDIBLE[0] <= factor <= _CREDIBLE[1]:
                self._factor = factor


class Overlong(Struct, frozen=True, kw_only=True):
    """A prompt that is longer than the window, by an estimate that is not that far off."""

    prompt_tokens: int
    window_tokens: int


def find_overlong(request: Conversation, estimate: int, window_tokens: int | None) -> Overlong | None:
    """Return by how much the prompt exceeds the window, or None if the estimate does not make that sure.

    What images take differs too much from engine to engine.
    """
    if window_tokens is None or request.holds_images or estimate <= window_tokens * _SURELY:
        return None
    return Overlong(prompt_tokens=estimate, window_tokens=window_tokens)


def no_room_to_compact(
    request: Conversation, prompt_tokens: int, window_tokens: int | None
) -> PromptTooLongError | None:
    """Return the refusal of a turn after which the conversation could not be compacted any more, or None.

    Never of what compacting can't shorten: a conversation of a few turns, and the request for the summary itself.
    Whether these fit is for the engine to say.
    """
    if window_tokens is None:
        return None
    limit = window_tokens - min(RESERVE_TOKENS, window_tokens // _MOST_OF_WINDOW)
    if prompt_tokens <= limit or request.answers < _FEW_TURNS:
        return None
    if any(_ASKS_FOR_SUMMARY in text for text in request.last_texts):
        return None
    return PromptTooLongError(prompt_tokens, limit)
