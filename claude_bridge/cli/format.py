"""Figures in words: how tokens, cache reuse, speed and cost are told, wherever a command tells them."""

from __future__ import annotations

from claude_bridge.wire.admin_api import Figures


def short_count(count: int) -> str:
    """Return a count in few characters, as 999, 12.3k or 4.5M."""
    if count < 1_000:
        return str(count)
    return f"{count / 1_000:.1f}k" if count < 999_950 else f"{count / 1_000_000:.1f}M"


def cost_text(figures: Figures) -> str:
    """Return what the answers cost, with a mark where that is not known of all."""
    if figures.of_unknown_cost and not figures.cost_usd:
        return "cost unknown"
    digits = 4 if 0 < figures.cost_usd < 1 else 2
    return f"${figures.cost_usd:,.{digits}f}" + (" + unknown" if figures.of_unknown_cost else "")


def session_words(figures: Figures) -> list[str]:
    """Return the figures of one session, in the order of what is looked at first; nothing of what is not known."""
    cache = "" if figures.cache_share is None else f" ({figures.cache_share:.0%} cached)"
    words = [f"{short_count(figures.prompt_tokens)} in{cache}", f"{short_count(figures.output_tokens)} out"]
    if figures.tokens_per_s is not None:
        words.append(f"{figures.tokens_per_s:,.0f} tok/s")
    if figures.first_token.count:
        words.append(f"first token {figures.first_token.last_s:.1f} s")
    if figures.answered:
        words.append(cost_text(figures))
    if figures.failed:
        words.append(f"{figures.failed} failed")
    return words
