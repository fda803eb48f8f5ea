"""Think tags, wherever the text is cut; and how hard a model is asked to think."""

from __future__ import annotations

from typing import Any

import pytest

from claude_bridge.conversion.deltas import (
    Delta,
    Finish,
    FinishReason,
    TextDelta,
    ThinkingDelta,
    ToolCallStart,
    UsageReport,
)
from claude_bridge.conversion.thinking import ThinkTagSplitter, nearest_effort, wanted_effort
from tests.dialogues import a_request


def _split(*deltas: Delta) -> tuple[str, str]:
    """Return the thinking and the text that come out."""
    splitter = ThinkTagSplitter()
    out = splitter.feed(list(deltas)) + splitter.close()
    thought = "".join(delta.text for delta in out if isinstance(delta, ThinkingDelta))
    return thought, "".join(delta.text for delta in out if isinstance(delta, TextDelta))


TEXTS = {
    "plain": ("Hello <b>", "", "Hello <b>"),
    "thought": ("<think>Hm.</think>Hello", "Hm.", "Hello"),
    "line ends around": ("\n <think>\nHm.\n\n</think>\n\nHello\n", "\nHm.", "Hello\n"),
    "empty thought": ("<think>\n\n</think>\n\nHello", "", "Hello"),
    "never closed": ("<think>Hm. </thi", "Hm. </thi", ""),
    "only the beginning of a tag": ("<thi", "", "<thi"),
    "nearly a tag": ("<thinking>no</thinking>", "", "<thinking>no</thinking>"),
    "tag in the middle": ("See <think>x</think>", "", "See <think>x</think>"),
    "second thought stays text": ("<think>a</think>b<think>c</think>", "a", "b<think>c</think>"),
    "nearly a closing tag": ("<think>a</thinker>\n<b</think>c", "a</thinker>\n<b", "c"),
    "line ends in a thought": ("<think>a\n\nb\n</think>c", "a\n\nb", "c"),
    "white space": (" \n", "", " \n"),
}


@pytest.mark.parametrize(("said", "thought", "text"), TEXTS.values(), ids=TEXTS.keys())
def test_a_leading_tag_makes_thinking_wherever_the_text_is_cut(said: str, thought: str, text: str) -> None:
    assert _split(TextDelta(said)) == (thought, text)
    assert _split(*map(TextDelta, said)) == (thought, text)
    for at in range(len(said)):
        assert _split(TextDelta(said[:at]), TextDelta(said[at:])) == (thought, text), f"cut at {at}"


def test_usage_between_two_pieces_ends_no_tag() -> None:
    assert _split(TextDelta("<thi"), UsageReport(), TextDelta("nk>a</th"), UsageReport(), TextDelta("ink>b")) == (
        "a",
        "b",
    )


def test_what_is_held_back_comes_before_a_call() -> None:
    splitter = ThinkTagSplitter()
    assert splitter.feed([TextDelta("<th"), ToolCallStart(0, "a")]) == [TextDelta("<th"), ToolCallStart(0, "a")]
    assert splitter.feed([TextDelta("<think>b</think>")]) == [TextDelta("<think>b</think>")], "the answer has begun"


def test_what_is_held_back_comes_before_the_finish() -> None:
    finish = Finish(FinishReason.LENGTH)
    assert ThinkTagSplitter().feed([TextDelta("<think>a</"), finish]) == [
        ThinkingDelta("a"),
        ThinkingDelta("</"),
        finish,
    ]


def test_thinking_of_the_engine_itself_passes() -> None:
    assert _split(ThinkingDelta("a"), TextDelta("b")) == ("a", "b")


def test_text_is_held_back_no_longer_than_needed() -> None:
    splitter = ThinkTagSplitter()
    assert splitter.feed([TextDelta("<")]) == []
    assert splitter.feed([TextDelta("b")]) == [TextDelta("<b")]


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({}, "none"),
        ({"thinking": {"type": "disabled"}}, "none"),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, "none"),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 4095}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 16383}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 16384}}, "high"),
        ({"thinking": {"type": "enabled", "budget_tokens": 99999}, "output_config": {"effort": "low"}}, "low"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "max"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "heroic"}}, "high"),
    ],
)
def test_effort_follows_from_what_was_asked(fields: dict[str, Any], effort: str | None) -> None:
    assert wanted_effort(a_request(**fields)) == effort


@pytest.mark.parametrize(
    ("effort", "levels", "nearest"),
    [
        ("medium", ("low", "medium", "high"), "medium"),
        ("max", ("low", "medium", "high"), "high"),
        ("xhigh", ("low", "medium"), "medium"),
        ("none", ("low", "medium"), "low"),
        ("none", ("none", "low"), "none"),
        ("low", ("minimal", "high"), "minimal"),
    ],
)
def test_an_engine_gets_the_nearest_level_that_it_has(effort: str, levels: tuple[str, ...], nearest: str) -> None:
    assert nearest_effort(effort, levels) == nearest
