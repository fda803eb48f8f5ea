"""Stop sequences, enforced on the text wherever it is cut."""

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
from claude_bridge.conversion.response.stop_sequences import StopSequenceCutter


def _cut(sequences: list[str], *deltas: Delta) -> tuple[str, str | None]:
    cutter = StopSequenceCutter(sequences)
    out = cutter.feed(list(deltas)) + cutter.close()
    return "".join(delta.text for delta in out if isinstance(delta, TextDelta)), cutter.found


TEXTS = {
    "none met": (["END"], "one two", "one two", None),
    "met": (["END"], "one END two", "one ", "END"),
    "at the start": (["END"], "END two", "", "END"),
    "at the end": (["END"], "one END", "one ", "END"),
    "nearly": (["END"], "one EN", "one EN", None),
    "starts twice": (["aab"], "aaab", "a", "aab"),
    "several": (["two", "one"], "and one two", "and ", "one"),
    "one inside the other": (["abcd", "bc"], "abcd", "a", "bc"),
    "one ends the other": (["b", "ab"], "ab", "", "ab"),
    "one begins the other": (["ab", "abc"], "abc", "", "ab"),
    "empty ones count for nothing": (["", "END"], "a END", "a ", "END"),
    "only an empty one": ([""], "a", "a", None),
    "across line ends": (["\n\nHuman:"], "Hi\n\nHuman: no", "Hi", "\n\nHuman:"),
}


@pytest.mark.parametrize(("sequences", "output", "text", "met"), TEXTS.values(), ids=TEXTS.keys())
def test_the_text_ends_before_the_sequence_wherever_it_is_cut(
    sequences: list[str], output: str, text: str, met: str | None
) -> None:
    assert _cut(sequences, TextDelta(output)) == (text, met)
    assert _cut(sequences, *map(TextDelta, output)) == (text, met)
    for at in range(len(output)):
        assert _cut(sequences, TextDelta(output[:at]), TextDelta(output[at:])) == (text, met), f"cut at {at}"


def test_the_sequence_is_named_and_only_usage_comes_after_it() -> None:
    output: list[Delta] = [TextDelta("a END b"), TextDelta("c"), ToolCallStart(0, "x"), UsageReport(output_tokens=3)]
    assert StopSequenceCutter(["END"]).feed([*output, Finish(FinishReason.STOP)]) == [
        TextDelta("a "),
        Finish(FinishReason.STOP_SEQUENCE, "END"),
        UsageReport(output_tokens=3),
    ]


def test_usage_between_two_pieces_hides_no_sequence() -> None:
    assert _cut(["END"], TextDelta("a E"), UsageReport(), TextDelta("ND b")) == ("a ", "END")


def test_what_is_held_back_comes_before_what_follows() -> None:
    assert StopSequenceCutter(["END"]).feed([TextDelta("a E"), ThinkingDelta("hm")]) == [
        TextDelta("a "),
        TextDelta("E"),
        ThinkingDelta("hm"),
    ]
