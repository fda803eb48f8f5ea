"""Prefill: a last assistant message, with which the answer is to begin.

An engine that can't continue it gets an instruction to begin with it, and repeats it.
"""

from __future__ import annotations

from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.reasoning import preferred_thinking
from claude_bridge.conversion.request.content import as_blocks, text_of
from claude_bridge.wire.anthropic import CountTokensRequest


def continues_prefill(request: CountTokensRequest, profile: Profile) -> bool:
    """Return whether the engine continues a last assistant message; it can't think in the middle of an answer."""
    return profile.continues_prefill and not preferred_thinking(request).thinks


def echoed_prefill(request: CountTokensRequest, profile: Profile) -> str | None:
    """Return the text with which the engine was instructed to begin; None: it was not."""
    last = request.messages[-1] if request.messages else None
    if last is None or last.role != "assistant" or continues_prefill(request, profile):
        return None
    return text_of(as_blocks(last.content)).strip() or None
