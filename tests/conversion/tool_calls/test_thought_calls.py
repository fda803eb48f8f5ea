"""Calls inside thoughts: made where the answer is nothing but thoughts that end with them, and nowhere else."""

from __future__ import annotations

from itertools import groupby, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from claude_bridge.conversion.deltas import (
    Delta,
    Finish,
    FinishReason,
    TextDelta,
    ThinkingDelta,
    ToolCallArguments,
    ToolCallStart,
    UsageReport,
    whole_call,
)
from claude_bridge.conversion.loss import Repair
from claude_bridge.conversion.tool_calls.thought_calls import ThoughtCallFinder
from claude_bridge.wire.anthropic import Tool

SCHEMA = Raw(b'{"type": "object", "properties": {"command": {"type": "string"}}}')
TOOLS = [Tool("Bash", input_schema=SCHEMA)]
CALL = "<tool_call>\n<function=Bash>\n<parameter=command>\nls\n</parameter>\n</function>\n</tool_call>"
THOUGHT = f"I look first.\n\n{CALL}"
STOP = Finish(FinishReason.STOP)


def _read(*deltas: Delta) -> list[tuple[str, str]]:
    """Return the kinds of what comes out, each with its text."""
    finder = ThoughtCallFinder(TOOLS)
    out: list[Delta] = []
    for delta in deltas:
        passes = isinstance(delta, TextDelta) and finder.passes(delta.text)
        out += [delta] if passes else finder.take(delta)
    kinds = [_kind(one) for one in [*out, *finder.close()] if not isinstance(one, Repair | UsageReport)]
    return [(kind, "".join(text for _, text in group)) for kind, group in groupby(kinds, lambda one: one[0])]


def _kind(delta: Delta) -> tuple[str, str]:
    match delta:
        case ThinkingDelta(text):
            return "thought", text
        case TextDelta(text):
            return "text", text
        case ToolCallStart(_, name):
            return "call", name
        case ToolCallArguments(_, fragment):
            return "input", fragment
        case _:
            return type(delta).__name__, ""


CALLED = [("thought", "I look first.\n\n"), ("call", "Bash"), ("input", '{"command":"ls"}')]
ENDS = [("ToolCallEnd", ""), ("Finish", "")]


@given(st.lists(st.integers(1, len(THOUGHT) - 1), unique=True, max_size=6))
def test_a_call_at_the_end_of_the_thoughts_is_made_wherever_they_are_cut(places: list[int]) -> None:
    cuts = [0, *sorted(places), len(THOUGHT)]
    pieces = [ThinkingDelta(THOUGHT[start:end]) for start, end in pairwise(cuts)]
    assert _read(*pieces, UsageReport(output_tokens=9), STOP) == [*CALLED, *ENDS]


@pytest.mark.parametrize("finish", [STOP, Finish(FinishReason.TOOL_CALLS)], ids=["stop", "tool_calls"])
def test_blank_text_behind_it_says_nothing(finish: Finish) -> None:
    assert _read(ThinkingDelta(THOUGHT), TextDelta("\n"), TextDelta("\n"), finish) == [*CALLED, *ENDS]


FOLLOWERS: dict[str, tuple[list[Delta], list[tuple[str, str]]]] = {
    "text": ([TextDelta("Done."), STOP], [("text", "Done."), ("Finish", "")]),
    "blank text and text": ([TextDelta("\n"), TextDelta("Done."), STOP], [("text", "\nDone."), ("Finish", "")]),
    "a call of the engine's": (
        [*whole_call(0, "Bash", "{}"), STOP],
        [("call", "Bash"), ("input", "{}"), ("ToolCallEnd", ""), ("Finish", "")],
    ),
    "a limit": ([Finish(FinishReason.LENGTH)], [("Finish", "")]),
    "the limit that was sent": ([Finish(FinishReason.STOP, at_limit=True)], [("Finish", "")]),
    "nothing": ([], []),
}


@pytest.mark.parametrize(("deltas", "output"), FOLLOWERS.values(), ids=FOLLOWERS)
def test_what_follows_makes_it_a_thought(deltas: list[Delta], output: list[tuple[str, str]]) -> None:
    assert _read(ThinkingDelta(THOUGHT), *deltas) == [("thought", THOUGHT), *output]


@pytest.mark.parametrize(
    "thought", [f"I could write {CALL} here.", f"The format:\n\n```\n{CALL}\n```", "Hm.", f"{CALL} No, I ask."]
)
def test_a_thought_about_a_call_stays_one(thought: str) -> None:
    assert _read(ThinkingDelta(thought), TextDelta("\n"), STOP) == [
        ("thought", thought),
        ("text", "\n"),
        ("Finish", ""),
    ]


def test_an_answer_goes_on_as_it_came() -> None:
    assert _read(TextDelta("Hi."), ThinkingDelta(THOUGHT), STOP) == [
        ("text", "Hi."),
        ("thought", THOUGHT),
        ("Finish", ""),
    ]
