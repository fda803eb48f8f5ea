"""Thinking: whether a model is to think, and how hard, in one vocabulary for all engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct

from claude_bridge.conversion.loss import Loss
from claude_bridge.wire.anthropic import CountTokensRequest, Thinking

ThinkMode = Literal["auto", "on", "off"]
"""What the user of the bridge wants: what the client asks for, thinking at every request, or none at any."""

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""Every level that an engine or the Messages API has, lowest first."""

EffortTable = Sequence[tuple[int, str]]

EFFORT_BY_BUDGET: EffortTable = ((4_096, "low"), (16_384, "medium"))
"""Budgets in tokens below which a level is meant, lowest first; from the last one on "high" is."""


_Request = TypeVar("_Request", bound=CountTokensRequest)


class ReasoningPreference(Struct, frozen=True, kw_only=True):
    """What the client wants of the model's thinking.

    ``effort`` is one of EFFORTS; None leaves it to the engine. ``budget_tokens`` is there only where no level is
    wished for in words. ``is_refusal`` says that thinking was switched off in words, not left out.
    """

    thinks: bool
    effort: str | None = None
    budget_tokens: int | None = None
    is_refusal: bool = False


def preferred_thinking(request: CountTokensRequest, table: EffortTable = EFFORT_BY_BUDGET) -> ReasoningPreference:
    """Return what the request says of thinking; a request that does not mention it wants none."""
    thinking = request.thinking
    if thinking is None or thinking.type == "disabled":
        return ReasoningPreference(thinks=False, effort="none", is_refusal=thinking is not None)
    effort = request.output_config.effort if request.output_config else None
    if effort is not None:
        return ReasoningPreference(thinks=True, effort=effort if effort in EFFORTS else "high")
    budget = thinking.budget_tokens
    if budget is None:
        return ReasoningPreference(thinks=True)
    level = next((name for limit, name in table if budget < limit), "high")
    return ReasoningPreference(thinks=True, effort=level, budget_tokens=budget)


def with_think_mode(request: _Request, mode: ThinkMode, losses: list[Loss]) -> _Request:
    """Return the request as the user of the bridge wants it to think."""
    thinks = preferred_thinking(request).thinks
    if mode == "off" and thinks:
        losses.append(Loss("$.thinking", "the bridge was told to let no request think"))
        return msgspec.structs.replace(request, thinking=Thinking("disabled"))
    if mode == "on" and not thinks:
        return msgspec.structs.replace(request, thinking=Thinking("adaptive"))
    return request


def nearest_effort(effort: str, levels: Sequence[str]) -> str:
    """Return the highest of an engine's ``levels``, lowest first, that is not above ``effort``, else the lowest.

    A wish to think never ends at "none" where the engine has any other level.
    """
    rank = {level: place for place, level in enumerate(EFFORTS)}
    fit = [level for level in levels if level != "none" or effort == "none"] or levels
    low_enough = [level for level in fit if rank.get(level, len(rank)) <= rank[effort]]
    return low_enough[-1] if low_enough else fit[0]


def usual_effort(levels: Sequence[str]) -> str:
    """Return the level in the middle: what a model's makers take where nothing is said."""
    thinking = [level for level in levels if level != "none"] or levels
    return thinking[(len(thinking) - 1) // 2]
