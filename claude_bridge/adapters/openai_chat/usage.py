"""How usage is read: each engine's fields for tokens, what was cached, what was thought, and what it costs."""

from __future__ import annotations

from claude_bridge.conversion.deltas import UsageReport
from claude_bridge.conversion.pricing import charged_usd
from claude_bridge.conversion.prompt.token_estimate import token_count
from claude_bridge.wire import openai


def convert_usage_report(usage: openai.CompletionUsage | None, timings: openai.Timings | None) -> UsageReport:
    """Return what one chunk reports; ``timings`` fill in what ``usage`` does not tell."""
    usage = usage or openai.CompletionUsage()
    timings = timings or openai.Timings()
    details = usage.prompt_tokens_details
    reported = (details.cached_tokens if details else None, usage.prompt_cache_hit_tokens, usage.cached_tokens)
    cached = next((tokens for tokens in reported if tokens is not None), timings.cache_n)
    prompt = usage.prompt_tokens
    if prompt is None and timings.prompt_n is not None:
        prompt = timings.prompt_n + (timings.cache_n or 0)
    written, thought = _written_tokens(usage, token_count(cached))
    return UsageReport(
        prompt_tokens=token_count(prompt),
        cached_tokens=token_count(cached),
        cache_written_tokens=token_count(details.cache_write_tokens if details else None),
        output_tokens=token_count(timings.predicted_n) if written is None else written,
        thinking_tokens=thought,
        prompt_ms=timings.prompt_ms,
        output_ms=timings.predicted_ms,
        cost_usd=_cost_usd(usage),
    )


def convert_progress(progress: openai.PromptProgress) -> UsageReport:
    """Return what is known of a prompt while the engine reads it."""
    return UsageReport(
        prompt_tokens=token_count(progress.total),
        cached_tokens=token_count(progress.cache),
        read_tokens=token_count(progress.processed),
        prompt_ms=progress.time_ms,
    )


def _written_tokens(usage: openai.CompletionUsage, cached: int | None) -> tuple[int | None, int | None]:
    """Return how much was written, thinking included, and how much of it was thinking.

    With xAI and Gemini what was thought is only in the total; and Gemini does not name it.
    """
    prompt, written = token_count(usage.prompt_tokens), token_count(usage.completion_tokens)
    details = usage.completion_tokens_details
    thought = token_count(details.reasoning_tokens if details else None)
    total = token_count(usage.total_tokens)
    if prompt and written is not None and total is not None:
        beside = total - prompt - written
        if beside > 0 and (beside == thought or (not thought and beside != cached)):
            return written + beside, beside
    return written, thought


def _cost_usd(usage: openai.CompletionUsage) -> float | None:
    cost = usage.estimated_cost if usage.cost is None else usage.cost
    if cost is not None and usage.is_byok and usage.cost_details:
        cost += usage.cost_details.upstream_inference_cost or 0.0
    return charged_usd(cost, usage.cost_in_usd_ticks)
