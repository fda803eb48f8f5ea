"""Whether a model is to think, and how hard."""

from __future__ import annotations

from typing import Any

import pytest

from claude_bridge.conversion.reasoning import (
    ReasoningPreference,
    ThinkMode,
    nearest_effort,
    preferred_thinking,
    usual_effort,
    with_think_mode,
)
from tests.dialogues import a_request

ADAPTIVE = {"thinking": {"type": "adaptive"}}
OFF = {"thinking": {"type": "disabled"}}


def _budget(tokens: int) -> dict[str, Any]:
    return {"thinking": {"type": "enabled", "budget_tokens": tokens}}


@pytest.mark.parametrize(
    ("fields", "preference"),
    [
        ({}, ReasoningPreference(thinks=False, effort="none")),
        ({"output_config": {"effort": "high"}}, ReasoningPreference(thinks=False, effort="none")),
        (OFF, ReasoningPreference(thinks=False, effort="none", is_refusal=True)),
        (
            OFF | {"output_config": {"effort": "high"}},
            ReasoningPreference(thinks=False, effort="none", is_refusal=True),
        ),
        (ADAPTIVE, ReasoningPreference(thinks=True)),
        (_budget(4095), ReasoningPreference(thinks=True, effort="low", budget_tokens=4095)),
        (_budget(4096), ReasoningPreference(thinks=True, effort="medium", budget_tokens=4096)),
        (_budget(16383), ReasoningPreference(thinks=True, effort="medium", budget_tokens=16383)),
        (_budget(16384), ReasoningPreference(thinks=True, effort="high", budget_tokens=16384)),
        (_budget(99999) | {"output_config": {"effort": "low"}}, ReasoningPreference(thinks=True, effort="low")),
        (ADAPTIVE | {"output_config": {"effort": "max"}}, ReasoningPreference(thinks=True, effort="max")),
        (ADAPTIVE | {"output_config": {"effort": "heroic"}}, ReasoningPreference(thinks=True, effort="high")),
    ],
)
def test_the_preference_follows_from_what_was_asked(fields: dict[str, Any], preference: ReasoningPreference) -> None:
    assert preferred_thinking(a_request(**fields)) == preference


def test_the_table_of_budgets_is_a_value() -> None:
    assert preferred_thinking(a_request(**_budget(5000)), table=((10_000, "minimal"),)).effort == "minimal"


@pytest.mark.parametrize(
    ("effort", "levels", "nearest"),
    [
        ("medium", ("low", "medium", "high"), "medium"),
        ("max", ("low", "medium", "high"), "high"),
        ("xhigh", ("low", "medium"), "medium"),
        ("none", ("low", "medium"), "low"),
        ("none", ("none", "low"), "none"),
        ("low", ("minimal", "high"), "minimal"),
        ("low", ("none", "high"), "high"),
        ("low", ("none",), "none"),
        ("high", ("none", "default"), "default"),
    ],
)
def test_an_engine_gets_the_nearest_level_that_it_has(effort: str, levels: tuple[str, ...], nearest: str) -> None:
    assert nearest_effort(effort, levels) == nearest


@pytest.mark.parametrize(
    ("levels", "usual"),
    [
        (("low", "medium", "high"), "medium"),
        (("none", "minimal", "low", "medium", "high", "xhigh"), "medium"),
        (("none", "high"), "high"),
        (("low", "high"), "low"),
        (("none",), "none"),
    ],
)
def test_the_usual_level_is_the_middle_one(levels: tuple[str, ...], usual: str) -> None:
    assert usual_effort(levels) == usual


@pytest.mark.parametrize(
    ("mode", "fields", "thinks"),
    [
        ("auto", ADAPTIVE, True),
        ("auto", {}, False),
        ("on", {}, True),
        ("on", OFF, True),
        ("on", _budget(5000), True),
        ("off", ADAPTIVE, False),
        ("off", {}, False),
    ],
)
def test_the_user_of_the_bridge_has_the_last_word(mode: ThinkMode, fields: dict[str, Any], thinks: bool) -> None:
    request, losses = with_think_mode(a_request(**fields), mode)
    assert preferred_thinking(request).thinks is thinks
    assert [loss.path for loss in losses] == (["$.thinking"] if mode == "off" and fields else [])


def test_on_keeps_the_budget_that_the_client_has_set() -> None:
    request = a_request(**_budget(5000))
    assert with_think_mode(request, "on") == (request, [])
