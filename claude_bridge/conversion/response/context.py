"""ResponseContext: what the bridge knows of a response before it comes."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import UNSET, Struct, UnsetType

from claude_bridge.conversion.deltas import UsageReport
from claude_bridge.conversion.reasoning import TextOpening
from claude_bridge.errors import BridgeError
from claude_bridge.wire.anthropic_answers import Diagnostics


class ResponseContext(Struct, frozen=True, kw_only=True):
    """What the bridge knows of a response before it comes.

    ``prompt_tokens`` is an estimate. ``window_tokens`` is the engine's context window, ``max_tokens`` the limit of the
    answer that it was given (None: not known).
    """

    message_id: str
    request_id: str
    prompt_tokens: int
    window_tokens: int | None
    max_tokens: int | None = None
    new_tool_id: Callable[[], str]
    diagnostics: Diagnostics | UnsetType | None = UNSET
    """What the response reports about the prompt cache; UNSET: the client did not request it."""
    prompt_digest: Callable[[], str] = lambda: ""
    """Returns the digest of the prompt that is answered, where sealed reasoning depends on it."""
    learned_opening: TextOpening | None = None
    """How the text of this upstream and model begins, as far as earlier answers have shown."""
    is_whole: bool = False
    """Whether the client gets the answer as a whole, so that nobody sees in which pieces its text came."""
    check_error: Callable[[BridgeError], BridgeError] = lambda error: error
    """Returns what an error in the answer means, by what is known of the request."""

    def is_window_full(self, usage: UsageReport) -> bool:
        """Return whether prompt and answer take all of the context window, as far as they were counted."""
        if self.window_tokens is None or not usage.prompt_tokens or not usage.output_tokens:
            return False
        return usage.prompt_tokens + usage.output_tokens >= self.window_tokens
