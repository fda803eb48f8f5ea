"""Thoughts between tags, wherever the text is cut."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.conversion.deltas import (
    Delta,
    Finish,
    FinishReason,
    TextDelta,
    ThinkingDelta,
    ToolCallArguments,
    ToolCallStart,
    UsageReport,
)
from claude_bridge.conversion.loss import Repair
from claude_bridge.conversion.reasoning import TextOpening
from claude_bridge.conversion.response.think_tags import Tags, ThinkTagSplitter

THINK: Tags = (("<think>", "</think>"),)


STOP, LENGTH = Finish(FinishReason.STOP), Finish(FinishReason.LENGTH)


def _texts(deltas: Sequence[Delta]) -> tuple[str, str]:
    """Return the thinking and the text."""
    thought = "".join(delta.text for delta in deltas if isinstance(delta, ThinkingDelta))
    return thought, "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


def _split(*deltas: Delta, tags: Tags = THINK, opening: TextOpening = TextOpening.ANSWER) -> tuple[str, str]:
    """Return the thinking and the text that come out, where each delta comes by itself."""
    splitter = ThinkTagSplitter(tags, opening)
    return _texts([one for delta in deltas for one in splitter.feed([delta])] + splitter.close())


def _learned(*deltas: Delta, opening: TextOpening) -> TextOpening | None:
    splitter = ThinkTagSplitter(THINK, opening)
    splitter.feed(list(deltas))
    return splitter.learned


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


@pytest.mark.parametrize(("output", "thought", "text"), TEXTS.values(), ids=TEXTS.keys())
def test_a_leading_tag_makes_thinking_wherever_the_text_is_cut(output: str, thought: str, text: str) -> None:
    assert _split(TextDelta(output)) == (thought, text)
    assert _split(*map(TextDelta, output)) == (thought, text)
    for at in range(len(output)):
        assert _split(TextDelta(output[:at]), TextDelta(output[at:])) == (thought, text), f"cut at {at}"


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
    output: list[Delta] = [TextDelta("<think>a</think>b"), call, TextDelta("<think>c</think>d<think>e</think>")]
    splitter = ThinkTagSplitter(THINK)
    assert splitter.feed(output) == [
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


def test_only_a_call_lets_another_thought_begin() -> None:
    for between in (UsageReport(), Repair("", "changed"), ThinkingDelta("b")):
        assert _split(TextDelta("a"), between, TextDelta("<think>c</think>"))[1] == "a<think>c</think>"


def test_a_tag_counts_behind_thinking_of_the_engine_itself() -> None:
    assert _split(ThinkingDelta("a"), TextDelta("<think>b</think>c")) == ("ab", "c")


def test_a_thought_that_a_tag_opened_needs_no_note_where_none_closes_it() -> None:
    out = ThinkTagSplitter(THINK).feed([TextDelta("<think>a"), STOP])
    assert out == [ThinkingDelta("a"), STOP]


def test_a_family_has_its_own_tags() -> None:
    tags = (("[THINK]", "[/THINK]"), ("<think>", "</think>"))
    for output in ("[THINK]Hm.[/THINK]Hello", "<think>Hm.</think>Hello"):
        assert _split(*map(TextDelta, output), tags=tags) == ("Hm.", "Hello")
    assert _split(TextDelta("[THINK]a</think>b[/THINK]c"), tags=tags) == ("a</think>b", "c")


# --- text that begins with no tag -----------------------------------------------------------------------------

ANSWER, THOUGHT = TextOpening.ANSWER, TextOpening.THOUGHT
PROBABLY, PERHAPS, UNKNOWN = TextOpening.PROBABLY_THOUGHT, TextOpening.PERHAPS_THOUGHT, TextOpening.UNKNOWN

LONG = "Hm. " * 2_000

each_opening = pytest.mark.parametrize("opening", TextOpening, ids=lambda opening: opening.name.lower())
each_guess = pytest.mark.parametrize("opening", [PERHAPS, UNKNOWN], ids=["by the name", "unknown"])

CLOSED = {
    "closed": ("Hm.\n</think>\n\nHello", "Hm.", "Hello"),
    "opened once more": ("<think>\nHm.</think>Hello", "\nHm.", "Hello"),
    "a tag inside": ("a <think> b</think>c", "a <think> b", "c"),
    "no thought": ("\n</think>\nHello", "", "Hello"),
}


@pytest.mark.parametrize(("output", "thought", "text"), CLOSED.values(), ids=CLOSED.keys())
@pytest.mark.parametrize("opening", [THOUGHT, PROBABLY], ids=["learned", "by the name of a model that always thinks"])
def test_a_text_that_begins_inside_a_thought(opening: TextOpening, output: str, thought: str, text: str) -> None:
    assert _split(TextDelta(output), opening=opening) == (thought, text)
    assert _split(*map(TextDelta, output), opening=opening) == (thought, text)


@each_opening
def test_a_short_plain_answer_is_sent_once_as_text_whatever_was_guessed(opening: TextOpening) -> None:
    output: list[Delta] = [TextDelta("Hello there"), TextDelta(", done."), STOP]
    assert _split(*output, opening=opening) == ("", "Hello there, done.")


@pytest.mark.parametrize("opening", [ANSWER, PERHAPS, UNKNOWN], ids=lambda opening: opening.name.lower())
def test_plain_text_streams_as_text(opening: TextOpening) -> None:
    splitter = ThinkTagSplitter(THINK, opening)
    for piece in ("Hello", " there", ", done."):
        assert splitter.feed([TextDelta(piece)]) == [TextDelta(piece)]


@each_opening
def test_a_field_for_thoughts_means_that_all_text_is_the_answer(opening: TextOpening) -> None:
    for thought in ("", "Hm."):
        splitter = ThinkTagSplitter(THINK, opening)
        out = [
            one
            for delta in (ThinkingDelta(thought), TextDelta("Hel"), TextDelta("lo"))
            for one in splitter.feed([delta])
        ]
        assert _texts(out) == (thought, "Hello")
        assert splitter.learned is ANSWER


def test_text_that_was_held_back_goes_on_when_a_field_for_thoughts_comes() -> None:
    assert _split(TextDelta("Hello"), ThinkingDelta(""), TextDelta(" there"), opening=PROBABLY) == ("", "Hello there")


def test_a_model_that_always_thinks_is_believed_to_think_once_its_text_is_long() -> None:
    splitter = ThinkTagSplitter(THINK, PROBABLY)
    assert _texts(splitter.feed([TextDelta(LONG)])) == (LONG, "")
    assert _texts(splitter.feed([TextDelta("So.</think>Hello")])) == ("So.", "Hello")
    assert splitter.learned is THOUGHT


def test_a_thought_that_the_prompt_opened_may_be_closed_by_any_tag_of_its_family() -> None:
    tags = (("<mm:think>", "</mm:think>"), ("<think>", "</think>"))
    for _, closing in tags:
        output = f"Hm.\n{closing}\n\nHello"
        assert _split(*map(TextDelta, output), STOP, tags=tags, opening=THOUGHT) == ("Hm.", "Hello")
        assert _split(TextDelta(output), STOP, tags=tags, opening=THOUGHT) == ("Hm.", "Hello")


@pytest.mark.parametrize("opening", [THOUGHT, PROBABLY], ids=["learned", "by the name"])
def test_a_long_text_that_never_closes_is_given_once_and_noted(opening: TextOpening) -> None:
    splitter = ThinkTagSplitter(THINK, opening)
    out = [*splitter.feed([TextDelta(LONG)]), *splitter.feed([TextDelta("So."), STOP])]
    assert _texts(out) == (LONG + "So.", "")
    assert Repair("", "a text without a closing tag was taken for thinking") in out
    assert splitter.learned is ANSWER


def test_a_lone_closing_tag_shows_what_the_text_before_it_was() -> None:
    output = [TextDelta("Hm."), TextDelta(" So.\n</thi"), TextDelta("nk>\n\nHello")]
    for opening in (PERHAPS, UNKNOWN):
        splitter = ThinkTagSplitter(THINK, opening)
        out = [one for delta in output for one in splitter.feed([delta])]
        assert _texts(out) == ("", "Hm. So.\nHello"), "it was given as the answer, and the tag is none of it"
        assert splitter.learned is THOUGHT


def test_a_lone_closing_tag_that_comes_with_the_first_text_makes_it_a_thought() -> None:
    assert _split(TextDelta("a</think>b"), opening=PERHAPS) == ("a", "b")
    assert _split(TextDelta("a\n</think>b"), opening=UNKNOWN) == ("", "a\nb"), "not even the name says that it thinks"
    assert _split(TextDelta("a</think>b"), opening=UNKNOWN) == ("", "a</think>b"), "not on a line of its own"


@each_guess
@pytest.mark.parametrize(
    "output",
    [
        "It is closed by `</think>`, as you see.",
        'The token "</think>" closes it.',
        "In the file:\n```\nHm.\n</think>\n```\nThat is all.",
        "See:\n<think>\nHm.\n</think>\nThat is all.",
    ],
    ids=["inline code", "quoted", "fenced", "with its opening tag"],
)
def test_a_closing_tag_that_the_answer_is_about_stays_text(opening: TextOpening, output: str) -> None:
    assert _split(*map(TextDelta, output), STOP, opening=opening) == ("", output)
    assert _learned(TextDelta(output), STOP, opening=opening) is None


def test_a_template_that_writes_a_closing_tag_where_there_is_no_thought_shows_nothing() -> None:
    for opening in TextOpening:
        assert _split(TextDelta("</thi"), TextDelta("nk>Hello"), STOP, opening=opening) == ("", "Hello")
        assert _learned(TextDelta("</think>Hello"), STOP, opening=opening) is None


def test_an_answer_without_any_tag_shows_nothing_of_a_model_that_was_not_learned_to_think() -> None:
    assert _learned(TextDelta("Hello"), STOP, opening=PROBABLY) is None
    assert _learned(TextDelta("Hello"), LENGTH, opening=THOUGHT) is None


def test_only_a_visible_thought_shows_that_a_model_thinks() -> None:
    assert _learned(TextDelta("a</think>b"), STOP, opening=PROBABLY) is THOUGHT
    assert _learned(TextDelta("a"), TextDelta("</think>b"), STOP, opening=PROBABLY) is THOUGHT, "however it is cut"
    assert _learned(TextDelta("\n"), TextDelta("</think>b"), STOP, opening=PROBABLY) is None
    assert _learned(TextDelta("\n</think>b"), STOP, opening=PROBABLY) is None


def test_a_model_that_was_learned_to_think_and_did_not_is_learned_anew() -> None:
    assert _split(TextDelta("Hello"), STOP, opening=THOUGHT) == ("", "Hello"), "the answer must not be lost"
    assert _learned(TextDelta("Hello"), STOP, opening=THOUGHT) is ANSWER


def test_thinking_before_a_call_is_not_sent_twice() -> None:
    call: list[Delta] = [ToolCallStart(0, "a"), ToolCallArguments(0, "{}"), Finish(FinishReason.TOOL_CALLS)]
    assert _split(TextDelta("Hm."), *call, opening=THOUGHT) == ("Hm.", "")
    assert _split(TextDelta("Hm."), *call, STOP, opening=THOUGHT) == ("Hm.", "")


@pytest.mark.parametrize("opening", [THOUGHT, PROBABLY], ids=["learned", "by the name"])
def test_a_thought_that_was_cut_off_stays_one(opening: TextOpening) -> None:
    assert _split(TextDelta("Hm"), LENGTH, opening=opening) == ("Hm", "")


def test_thinking_in_an_answer_that_broke_off_is_not_sent_twice() -> None:
    assert _split(TextDelta("Hm"), opening=THOUGHT) == ("Hm", "")


@given(st.lists(st.sampled_from(["Hm.", "\n", "<think>", "</think>", "</th", "ink>", "`", " "]), max_size=9), st.data())
def test_nothing_but_the_tags_is_lost_and_nothing_sent_twice(words: list[str], data: st.DataObject) -> None:
    output = "".join(words)
    cuts = sorted({0, *data.draw(st.lists(st.integers(0, len(output)), max_size=5)), len(output)})
    pieces = [TextDelta(output[start:end]) for start, end in pairwise(cuts)]
    finish = data.draw(st.sampled_from([LENGTH, STOP]))
    for opening in TextOpening:
        thought, text = _split(*pieces, finish, opening=opening)
        plain = "".join((thought + text).split())
        assert plain in _without_tags(output), opening


def _without_tags(output: str) -> set[str]:
    """Return what is left of a text without some of the tags in it, and without white space."""
    left = {output}
    for tag in ("<think>", "</think>"):
        left |= {one.replace(tag, "", 1) for one in left}
    return {"".join(one.split()) for one in left}


# --- harmony ----------------------------------------------------------------------------------------------------


def test_harmonys_channels_are_known_by_what_they_show() -> None:
    output = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>four<|return|>"
    for opening in TextOpening:
        assert _split(*map(TextDelta, output), STOP, opening=opening) == ("Hm.", "four")


def test_an_answer_about_harmony_stays_text() -> None:
    for output in ("<|channel|>final<|message|>The file is empty.", "See <|channel|>analysis<|message|>x<|end|>"):
        assert _split(*map(TextDelta, output), STOP) == ("", output)
