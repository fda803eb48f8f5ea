"""Figures in words, the same in every command."""

from __future__ import annotations

from claude_bridge.wire.admin_api import Figures, ReadingPrompt


def short_count(count: int) -> str:
    """Return a count in few characters, as 999, 12.3k or 4.5M."""
    if count < 1_000:
        return str(count)
    return f"{count / 1_000:.1f}k" if count < 999_950 else f"{count / 1_000_000:.1f}M"


def cost_text(figures: Figures) -> str:
    """Return what the answers cost, with ? for those whose cost is not known."""
    if figures.of_unknown_cost and not figures.cost_usd:
        return "?"
    digits = 4 if 0 < figures.cost_usd < 1 else 2
    return f"${figures.cost_usd:,.{digits}f}" + (" + ?" if figures.of_unknown_cost else "")


def reading_words(prompt: ReadingPrompt, now_s: float) -> str:
    """Return how far an engine is in reading a prompt: as it reports, else by how fast it read earlier ones."""
    total, speed = prompt.prompt_tokens, prompt.tokens_per_s
    passed_s = max(0.0, now_s - prompt.since_s)
    if prompt.read_tokens is not None:
        left = f", ~{(total - prompt.read_tokens) / speed:.0f} s left" if speed else ""
        return f"reading {prompt.read_tokens / max(total, 1):.0%} of {short_count(total)} tokens{left}"
    if speed:
        return f"reading ~{short_count(total)} tokens, {passed_s:.0f} s of ~{total / speed:.0f} s, less from cache"
    return f"reading ~{short_count(total)} tokens, {passed_s:.0f} s"


def session_words(figures: Figures) -> list[str]:
    """Return the figures of one session, the most important first; what is not known is left out."""
    cache = "" if figures.cache_share is None else f" ({figures.cache_share:.0%} cached)"
    about = "~" if figures.estimated else ""
    words = [f"{about}{short_count(figures.prompt_tokens)} in{cache}"]
    if figures.answered or figures.output_tokens:
        words.append(f"{about}{short_count(figures.output_tokens)} out")
    if figures.tokens_per_s is not None:
        words.append(f"{figures.tokens_per_s:,.0f} tok/s")
    if figures.first_token.count:
        words.append(f"first token {figures.first_token.last_s:.1f} s")
    if figures.answered and (cost := cost_text(figures)) != "?":
        words.append(cost)
    if figures.left:
        words.append(f"{figures.left} stopped")
    if figures.failed:
        words.append(f"{figures.failed} failed")
    return words
