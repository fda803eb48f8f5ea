"""Reasoning: whether a model is to think and how hard, and where its answer's text begins, in terms of no engine."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct

from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import Profile
from claude_bridge.wire.anthropic import CountTokensRequest, Thinking

ThinkMode = Literal["auto", "on", "off"]
"""What the user of the bridge wants: thinking as the client asks, at every request, or at none."""

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""Every level that an engine or the Messages API has, lowest first."""

EffortTable = Sequence[tuple[int, str]]

EFFORT_BY_BUDGET: EffortTable = ((4_096, "low"), (16_384, "medium"))
"""Levels by budget in tokens: a budget below the number means the level; above all of them it means "high"."""


_Request = TypeVar("_Request", bound=CountTokensRequest)


NO_EFFORT_FIELD = "it is not known which field this engine has for it"
ONLY_A_SWITCH = "the model can only think or not"
"""Why an engine has no levels of effort."""


# --- what the client wants --------------------------------------------------------------------------------------


class ReasoningPreference(Struct, frozen=True, kw_only=True):
    """What the client wants of the model's thinking.

    ``effort`` is one of EFFORTS; None leaves it to the engine. ``budget_tokens`` is set only where the client names no
    level. ``is_refusal`` says that thinking was switched off explicitly, not left out.
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


def with_think_mode(request: _Request, mode: ThinkMode) -> tuple[_Request, list[Loss]]:
    """Return the request as the user of the bridge wants it to think, and what it loses by that."""
    thinks = preferred_thinking(request).thinks
    if mode == "off" and thinks:
        loss = Loss("$.thinking", "the bridge runs with thinking switched off")
        return msgspec.structs.replace(request, thinking=Thinking("disabled")), [loss]
    if mode == "on" and not thinks:
        return msgspec.structs.replace(request, thinking=Thinking("adaptive")), []
    return request, []


def nearest_effort(effort: str, levels: Sequence[str]) -> str:
    """Return the highest of an engine's ``levels``, lowest first, that is not above ``effort``, else the lowest.

    A request to think never ends at "none" where the engine has any other level.
    """
    rank = {level: place for place, level in enumerate(EFFORTS)}
    fit = [level for level in levels if level != "none" or effort == "none"] or levels
    low_enough = [level for level in fit if rank.get(level, len(rank)) <= rank[effort]]
    return low_enough[-1] if low_enough else fit[0]


def usual_effort(levels: Sequence[str]) -> str:
    """Return the level in the middle: the default of most models."""
    thinking = [level for level in levels if level != "none"] or levels
    return thinking[(len(thinking) - 1) // 2]


def thinking_losses(
    preference: ReasoningPreference,
    levels: Sequence[str],
    no_levels: str,
    *,
    can_stop: bool,
    takes_budget: bool = False,
) -> list[Loss]:
    """Return what of the preference an engine has no field for; ``no_levels`` says why it has no ``levels``, if so."""
    if levels:
        is_lost = preference.is_refusal and not can_stop
        return [Loss("$.thinking", f"the model can't stop thinking; the request says {levels[0]}")] if is_lost else []
    if preference.budget_tokens is not None:
        return [] if takes_budget else [Loss("$.thinking.budget_tokens", no_levels)]
    return [Loss("$.output_config.effort", no_levels)] if preference.thinks and preference.effort else []


# --- where the text begins --------------------------------------------------------------------------------------


class TextOpening(Enum):
    """What the text of an answer begins with, where no tag says so.

    Some chat templates open the thoughts in the prompt. An engine without a parser for them then gives a text that
    begins inside a thought and shows only the closing tag.
    """

    ANSWER = auto()
    """The answer: an earlier one had its thoughts in a field or between tags, or the model is not to think."""
    THOUGHT = auto()
    """A thought: an earlier answer closed one that it had not opened."""
    PROBABLY_THOUGHT = auto()
    """By its name the model can't answer without thinking, and its template opens the thoughts."""
    PERHAPS_THOUGHT = auto()
    """By its name the template opens the thoughts, but the model can answer without them."""
    UNKNOWN = auto()
    """Nothing is known, not even by the name."""


def text_opening(request: CountTokensRequest, profile: Profile, learned: TextOpening | None) -> TextOpening:
    """Return how the text of the answer to this request begins.

    ``learned`` is what an earlier answer of this upstream and model showed (ANSWER or THOUGHT); it is surer than the
    name.
    """
    if profile.chat.can_stop_thinking and not preferred_thinking(request).thinks:
        return TextOpening.ANSWER
    if learned is not None:
        return learned
    if not profile.opens_in_thinking:
        return TextOpening.UNKNOWN
    return TextOpening.PROBABLY_THOUGHT if profile.always_thinks else TextOpening.PERHAPS_THOUGHT
