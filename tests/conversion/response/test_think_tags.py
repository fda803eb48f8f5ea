"""Thoughts between tags, wherever the text is cut."""

from __future__ import annotations

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
from claude_bridge.conversion.response.think_tags import Tags, ThinkTagSplitter

THINK: Tags = (("<think>", "</think>"),)


def _split(*deltas: Delta, tags: Tags = THINK, opened: bool = False) -> tuple[str, str]:
    """Return the thinking and the text that come out."""
    splitter = ThinkTagSplitter(tags, opened=opened)
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
    splitter = ThinkTagSplitter(THINK)
    assert splitter.feed([TextDelta("<th"), ToolCallStart(0, "a")]) == [TextDelta("<th"), ToolCallStart(0, "a")]


def test_a_thought_behind_a_call_is_one_too() -> None:
    call = ToolCallStart(0, "a")
    said: list[Delta] = [TextDelta("<think>a</think>b"), call, TextDelta("<think>c</think>d<think>e</think>")]
    splitter = ThinkTagSplitter(THINK)
    assert splitter.feed(said) == [
        ThinkingDelta("a"),
        TextDelta("b"),
        call,
        ThinkingDelta("c"),
        TextDelta("d<think>e</think>"),
    ]


def test_what_is_held_back_comes_before_the_finish() -> None:
    finish = Finish(FinishReason.LENGTH)
    assert ThinkTagSplitter(THINK).feed([TextDelta("<think>a</"), finish]) == [
        ThinkingDelta("a"),
        ThinkingDelta("</"),
        finish,
    ]


def test_thinking_of_the_engine_itself_passes() -> None:
    assert _split(ThinkingDelta("a"), TextDelta("b")) == ("a", "b")


def test_text_is_held_back_no_longer_than_needed() -> None:
    splitter = ThinkTagSplitter(THINK)
    assert splitter.feed([TextDelta("<")]) == []
    assert splitter.feed([TextDelta("b")]) == [TextDelta("<b")]


# --- tags of other families -----------------------------------------------------------------------------------


def test_a_family_has_its_own_tags() -> None:
    tags = (("[THINK]", "[/THINK]"), ("<think>", "</think>"))
    for said in ("[THINK]Hm.[/THINK]Hello", "<think>Hm.</think>Hello"):
        assert _split(*map(TextDelta, said), tags=tags) == ("Hm.", "Hello")
    assert _split(TextDelta("[THINK]a</think>b[/THINK]c"), tags=tags) == ("a</think>b", "c")


# --- thoughts that the prompt has opened ----------------------------------------------------------------------

OPENED = {
    "closed": ("Hm.\n</think>\n\nHello", "Hm.", "Hello"),
    "opened once more": ("<think>\nHm.</think>Hello", "\nHm.", "Hello"),
    "a tag inside": ("a <think> b</think>c", "a <think> b", "c"),
    "no thought": ("\n</think>\nHello", "", "Hello"),
}


@pytest.mark.parametrize(("said", "thought", "text"), OPENED.values(), ids=OPENED.keys())
def test_a_text_that_begins_inside_a_thought(said: str, thought: str, text: str) -> None:
    assert _split(TextDelta(said), opened=True) == (thought, text)
    assert _split(*map(TextDelta, said), opened=True) == (thought, text)


@pytest.mark.parametrize("end", [Finish(FinishReason.STOP), ToolCallStart(0, "a")], ids=["the finish", "a call"])
def test_what_never_was_closed_was_no_thought(end: Delta) -> None:
    assert _split(TextDelta("Hel"), TextDelta("lo\n"), end, opened=True) == ("Hello\n", "Hello\n")


def test_a_thought_that_was_cut_off_stays_one() -> None:
    assert _split(TextDelta("Hm"), Finish(FinishReason.LENGTH), opened=True) == ("Hm", "")
    assert _split(TextDelta("Hm"), opened=True) == ("Hm", ""), "the connection broke"


def test_an_engine_that_separates_thoughts_itself_is_believed() -> None:
    assert _split(ThinkingDelta("Hm."), TextDelta("Hello"), opened=True) == ("Hm.", "Hello")
