"""Usage: what an engine reports in pieces becomes one account, and Anthropic's way to count it."""

from __future__ import annotations

from msgspec.structs import replace

from claude_bridge.conversion.deltas import UsageReport
from claude_bridge.wire.anthropic_answers import OutputTokensDetails, Usage

CHARS_PER_TOKEN = 4
"""What is left to count an answer by where its engine reports nothing."""


def merge_usage(known: UsageReport, report: UsageReport) -> UsageReport:
    """Return the account after one more report.

    Counts grow from report to report, and some engines end with one that is all zeros: the larger number stays.
    """
    merged: dict[str, float | None] = {}
    for field in UsageReport.__struct_fields__:
        before, now = getattr(known, field), getattr(report, field)
        merged[field] = now if before is None else before if now is None else max(before, now)
    return UsageReport(**merged)  # type: ignore[arg-type]  # each field keeps its own type


def convert_usage(report: UsageReport, *, prompt_tokens: int, output_chars: int) -> Usage:
    """Return the usage as clients count it, every field an integer.

    ``prompt_tokens`` is an estimate, and ``output_chars`` how much was written: they stand in for what the engine did
    not report. A zero is no report: there is no prompt without a token.
    """
    prompt = report.prompt_tokens or prompt_tokens
    cached = min(report.cached_tokens or 0, prompt)
    written = min(report.cache_written_tokens or 0, prompt - cached)
    output = report.output_tokens or output_chars // CHARS_PER_TOKEN
    usage = Usage(
        input_tokens=prompt - cached - written,
        cache_creation_input_tokens=written,
        cache_read_input_tokens=cached,
        output_tokens=output,
    )
    if report.thinking_tokens is None:
        return usage
    return replace(usage, output_tokens_details=OutputTokensDetails(min(report.thinking_tokens, output)))
