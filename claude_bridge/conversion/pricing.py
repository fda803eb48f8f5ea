"""Prices: what tokens cost, and what one answer has cost; what is not known stays unknown."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from claude_bridge.conversion.deltas import UsageReport
from claude_bridge.wire.model_list import Pricing

_MILLION = 1_000_000

_TICKS_PER_USD = 10**10
"""docs.x.ai, "Cost tracking"."""


Dollars = Annotated[float, Meta(ge=0)]


class Prices(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """US dollars for a million tokens.

    ``cached`` is for the part of a prompt that comes from the engine's cache, ``cache_write`` for what is written to it
    at a price of its own; None: it costs as much as the rest.
    """

    input: Dollars
    output: Dollars
    cached: Dollars | None = None
    cache_write: Dollars | None = None


FREE = Prices(input=0, output=0)
"""An engine on the user's own machine."""


def listed_prices(pricing: Pricing | None) -> Prices | None:
    """Return the prices that a model list names, or None where it names none or they depend on the route."""
    if pricing is None:
        return None
    prompt, completion = _dollars(pricing.prompt), _dollars(pricing.completion)
    if prompt is None or completion is None:
        return None
    return Prices(
        input=prompt,
        output=completion,
        cached=_dollars(pricing.input_cache_read),
        cache_write=_dollars(pricing.input_cache_write),
    )


def answer_cost_usd(usage: UsageReport, prices: Prices | None) -> float | None:
    """Return what an answer cost, as the engine reported it, else by the prices; None: not known."""
    if usage.cost_usd is not None or prices is None:
        return usage.cost_usd
    if not (prices.input or prices.output or prices.cached):
        return 0.0
    if usage.prompt_tokens is None or usage.output_tokens is None:
        return None  # dollars from an estimate of tokens would look as true as any
    cached = min(usage.cached_tokens or 0, usage.prompt_tokens)
    written = min(usage.cache_written_tokens or 0, usage.prompt_tokens - cached)
    dollars = (
        (usage.prompt_tokens - cached - written) * prices.input
        + cached * (prices.input if prices.cached is None else prices.cached)
        + written * (prices.input if prices.cache_write is None else prices.cache_write)
        + usage.output_tokens * prices.output
    )
    return round(dollars / _MILLION, 9)


def charged_usd(cost: float | None, ticks: float | None = None) -> float | None:
    """Return what a service says that it charged, in dollars or in xAI's ticks; None: it did not, or not sensibly."""
    if cost is None and ticks is not None:
        cost = ticks / _TICKS_PER_USD
    return cost if cost is not None and 0 <= cost < float("inf") else None


def _dollars(price_text: str | None) -> float | None:
    """Return the price of a million tokens from that of one token; OpenRouter's "-1" means that it depends."""
    try:
        price = float(price_text or "nan")
    except ValueError:
        return None
    return round(price * _MILLION, 6) if 0 <= price < float("inf") else None
