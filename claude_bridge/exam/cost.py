"""What an exam will cost at a provider with prices, before any request."""

from __future__ import annotations

from msgspec import json

from claude_bridge.conversion.pricing import Prices
from claude_bridge.conversion.prompt.token_estimate import estimate_tokens
from claude_bridge.exam.results import Settings
from claude_bridge.exam.task import Task
from claude_bridge.exam.tools import TOOLS

ANSWER_TOKENS = 300
"""Of a usual answer with its thoughts; the limits of a task allow more."""

MILLION = 1_000_000


def is_paid(prices: Prices | None) -> bool:
    """Return whether a price is known, and it is not zero."""
    return prices is not None and bool(prices.input or prices.output or prices.cached)


def expected_cost_usd(settings: Settings, prices: Prices) -> float:
    """Return about what an exam costs, if each task takes the answers that it needs and nothing is cached."""
    tasks = [kind.task(settings.seed, run) for run in range(1, settings.runs + 1) for kind in settings.kinds]
    answers = sum(len(task.good) for task in tasks)
    read = sum(_prompt_tokens(task) * len(task.good) for task in tasks) + answers * ANSWER_TOKENS
    return (read * prices.input + answers * ANSWER_TOKENS * prices.output) / MILLION


def _prompt_tokens(task: Task) -> int:
    prompt = json.encode([task.system, task.history, task.prompt, [TOOLS[name] for name in task.tools]])
    return estimate_tokens(prompt, holds_images=False)
