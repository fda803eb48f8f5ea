"""What an answer costs."""

from __future__ import annotations

from typing import Any

import pytest

from claude_bridge.conversion.deltas import UsageReport
from claude_bridge.conversion.pricing import FREE, Prices, answer_cost_usd, listed_prices
from claude_bridge.wire.model_list import Pricing

PRICES = Prices(input=3, output=15)


@pytest.mark.parametrize(
    ("report", "prices", "cost_usd"),
    [
        pytest.param({"prompt_tokens": 1_000_000, "output_tokens": 100_000}, PRICES, 4.5, id="by its prices"),
        pytest.param(
            {"prompt_tokens": 1_000_000, "cached_tokens": 900_000, "output_tokens": 0},
            Prices(input=3, output=15, cached=0.3),
            0.57,
            id="what was cached is cheaper",
        ),
        pytest.param(
            {"prompt_tokens": 1_000_000, "cached_tokens": 900_000, "output_tokens": 0},
            PRICES,
            3.0,
            id="without a price of its own what was cached costs as much",
        ),
        pytest.param(
            {"prompt_tokens": 1_000_000, "cached_tokens": 500_000, "cache_written_tokens": 400_000, "output_tokens": 0},
            Prices(input=1, output=15, cached=0.1, cache_write=1.25),
            0.65,
            id="what was written to the cache costs more",
        ),
        pytest.param(
            {"prompt_tokens": 10, "cached_tokens": 2_000_000, "output_tokens": 0},
            Prices(input=3, output=15, cached=0.3),
            0.000003,
            id="no more is cached than there is",
        ),
        pytest.param(
            {"prompt_tokens": 1_000_000, "output_tokens": 9, "cost_usd": 0.25}, PRICES, 0.25, id="the engine knows best"
        ),
        pytest.param({"cost_usd": 0.25}, None, 0.25, id="told without prices"),
        pytest.param({"prompt_tokens": 1_000_000, "output_tokens": 9}, None, None, id="no prices"),
        pytest.param({"output_tokens": 9}, PRICES, None, id="no tokens told"),
        pytest.param({}, FREE, 0.0, id="a local engine, whatever it tells"),
        pytest.param({}, Prices(input=0, output=0, cached=0), 0.0, id="said to be free"),
    ],
)
def test_an_answer_costs_what_is_known_and_nothing_is_invented(
    report: dict[str, Any], prices: Prices | None, cost_usd: float | None
) -> None:
    assert answer_cost_usd(UsageReport(**report), prices) == cost_usd


@pytest.mark.parametrize(
    ("pricing", "prices"),
    [
        (
            Pricing(prompt="0.00000125", completion="0.00001", input_cache_read="0.000000125"),
            Prices(input=1.25, output=10, cached=0.125),
        ),
        (Pricing(prompt="0.00000125", completion="0.00001"), Prices(input=1.25, output=10)),
        (Pricing(prompt="0", completion="0"), FREE),
        (Pricing(prompt="-1", completion="-1"), None),
        (Pricing(prompt="1", completion="cheap"), None),
        (Pricing(prompt="1", completion="inf"), None),
        (Pricing(prompt="1"), None),
        (None, None),
    ],
    ids=["cache", "no cache", "free", "it depends", "no number", "endless", "half", "none"],
)
def test_listed_prices_are_for_a_million_tokens(pricing: Pricing | None, prices: Prices | None) -> None:
    assert listed_prices(pricing) == prices
