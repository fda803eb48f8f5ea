"""Ids of tool calls: accepted by the engine, one for each call, and the same at every turn."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from claude_bridge.adapters import engine_profiles
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.request.tool_ids import ToolIds, hashed_tool_id
from claude_bridge.wire.anthropic import ToolUseBlock
from tests.growth import assert_linear

NINE = replace(engine_profiles.UNKNOWN, tool_id_length=9)
NUMBERED = replace(engine_profiles.UNKNOWN, numbers_tool_ids=True)


def fitted(*tool_ids: str, profile: Profile = engine_profiles.UNKNOWN) -> list[str]:
    ids = ToolIds(profile)
    return [ids.of(ToolUseBlock(tool_id, "Read")) for tool_id in tool_ids]


@pytest.mark.parametrize("tool_id", ["toolu_01A09q90qw90lq917835lq9", "call_0", "a", "a" * 40, "chatcmpl-tool-9f"])
def test_an_id_that_every_engine_takes_stays(tool_id: str) -> None:
    assert fitted(tool_id) == [tool_id]


@pytest.mark.parametrize("tool_id", ["", "a" * 41, "functions.Read:0", "ü", "a b", "a\n", "\ud800"])
def test_an_id_that_some_engine_refuses_is_replaced(tool_id: str) -> None:
    (fit,) = fitted(tool_id)
    assert re.fullmatch("call_[a-z0-9]{24}", fit)
    assert fitted(tool_id) == [fit]


def test_an_id_that_comes_again_is_numbered_around_those_that_are_taken() -> None:
    assert fitted("a", "a", "a_3", "a", "a") == ["a", "a_2", "a_3", "a_4", "a_5"]
    assert fitted("a" * 40, "a" * 40)[1] != "a" * 40


def test_nine_letters_and_digits() -> None:
    assert fitted("abcDEF123", profile=NINE) == ["abcDEF123"]
    many = fitted("toolu_A", "toolu_A", "toolu_B", profile=NINE)
    assert len(set(many)) == 3
    assert all(re.fullmatch("[a-zA-Z0-9]{9}", fit) for fit in many)


def test_ids_that_count_the_calls_of_the_conversation() -> None:
    ids = ToolIds(NUMBERED)
    assert [ids.of(ToolUseBlock("t", name)) for name in ("Read", "Bash", "Read")] == [
        "functions.Read:0",
        "functions.Bash:1",
        "functions.Read:2",
    ]


@given(
    st.lists(st.text(max_size=50) | st.sampled_from(["a", "a_2", "call_0"]), max_size=12),
    st.integers(0, 12),
    st.sampled_from([engine_profiles.UNKNOWN, NINE, NUMBERED]),
)
def test_no_two_calls_share_an_id_and_later_calls_change_no_earlier_one(
    tool_ids: list[str], shorter: int, profile: Profile
) -> None:
    fit = fitted(*tool_ids, profile=profile)
    assert len(set(fit)) == len(fit)
    assert fitted(*tool_ids[:shorter], profile=profile) == fit[:shorter]


@given(st.text(), st.integers(1, 40))
def test_a_fitted_id_has_its_length(tool_id: str, length: int) -> None:
    assert re.fullmatch(f"[a-zA-Z0-9]{{{length}}}", hashed_tool_id(tool_id, length))


def test_many_calls_of_one_id_take_no_longer_than_others() -> None:
    def work(calls: int) -> Callable[[], object]:
        ids = ToolIds(engine_profiles.UNKNOWN)
        return lambda: {ids.of(ToolUseBlock("t", "Read")) for _ in range(calls)}

    assert_linear(work, 40_000)
