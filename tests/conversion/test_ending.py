"""How an answer ended: finish reasons in the words of many engines, and what counts more than these."""

from __future__ import annotations

import pytest

from claude_bridge.conversion.deltas import Delta, Failure, Finish, FinishReason, UsageReport
from claude_bridge.conversion.ending import (
    EndingJudge,
    convert_finish_reason,
    cut_off,
    ended_by_itself,
    explain_missing,
    parse_finish,
)
from claude_bridge.conversion.loss import Repair
from claude_bridge.errors import DroppedCallError, UpstreamBrokenError

STOP, UNKNOWN, LENGTH = Finish(FinishReason.STOP), Finish(FinishReason.UNKNOWN, word="x"), Finish(FinishReason.LENGTH)

WORDS = {
    FinishReason.STOP: ["stop", "STOP", "eos", "eos_token", "end_turn", "COMPLETE", "FINISH_REASON_STOP"],
    FinishReason.TOOL_CALLS: ["tool_calls", "function_call", "tool_use", "TOOL_CALL", "tool-calls"],
    FinishReason.LENGTH: ["length", "model_length", "MAX_TOKENS", "max_output_tokens", " length "],
    FinishReason.WINDOW_FULL: ["model_context_window_exceeded"],
    FinishReason.REFUSAL: [
        *("content_filter", "content_filter: PROHIBITED_CONTENT", "content_filter: something new", "SAFETY"),
        *("content-filter", "sensitive", "RECITATION", "PROHIBITED_CONTENT", "refusal", "guardrail_intervened"),
    ],
    FinishReason.MALFORMED_CALL: [
        *("function_call_filter: MALFORMED_FUNCTION_CALL", "MALFORMED_FUNCTION_CALL", "malformed_tool_use"),
        "function_call_filter: UNEXPECTED_TOOL_CALL",
    ],
    FinishReason.BROKEN: ["network_error", "timeout", "error", "engine_error", "abort", "cancelled"],
    FinishReason.UNKNOWN: ["novelty", "OTHER", "3", "stopped", "no_stop"],
}


@pytest.mark.parametrize(("reason", "word"), [(reason, word) for reason, words in WORDS.items() for word in words])
def test_a_word_means_what_its_engine_means_by_it(reason: FinishReason, word: str) -> None:
    finish = parse_finish(word)
    assert finish is not None
    assert finish.reason is reason


@pytest.mark.parametrize("word", ["", " ", "null", "None"])
def test_some_words_say_that_the_answer_goes_on(word: str) -> None:
    assert parse_finish(word) is None


@pytest.mark.parametrize("reason", list(FinishReason))
@pytest.mark.parametrize("has_tool_use", [False, True])
def test_every_reason_has_a_stop_reason(reason: FinishReason, has_tool_use: bool) -> None:
    assert convert_finish_reason(Finish(reason), has_tool_use=has_tool_use, window_full=False)


@pytest.mark.parametrize(
    ("finish", "has_tool_use", "window_full", "stop_reason"),
    [
        (STOP, False, False, "end_turn"),
        (STOP, True, True, "tool_use"),
        (Finish(FinishReason.TOOL_CALLS), False, False, "end_turn"),
        (LENGTH, True, False, "max_tokens"),
        (LENGTH, False, True, "model_context_window_exceeded"),
        (UNKNOWN, False, False, "end_turn"),
        (UNKNOWN, True, False, "tool_use"),
        (Finish(FinishReason.STOP, at_limit=True), False, False, "max_tokens"),
        (Finish(FinishReason.STOP, at_limit=True), True, False, "tool_use"),
        (Finish(FinishReason.STOP, at_limit=True), False, True, "model_context_window_exceeded"),
        (Finish(FinishReason.REFUSAL, at_limit=True), False, False, "refusal"),
    ],
)
def test_what_was_given_decides_before_what_was_claimed(
    finish: Finish, has_tool_use: bool, window_full: bool, stop_reason: str
) -> None:
    assert convert_finish_reason(finish, has_tool_use=has_tool_use, window_full=window_full) == stop_reason


@pytest.mark.parametrize("reason", list(FinishReason))
def test_only_a_model_that_stopped_ended_by_itself(reason: FinishReason) -> None:
    assert ended_by_itself(Finish(reason)) is (reason in (FinishReason.STOP, FinishReason.TOOL_CALLS))
    assert not ended_by_itself(Finish(reason, at_limit=True))


@pytest.mark.parametrize(
    ("reason", "real"),
    [
        (FinishReason.STOP, FinishReason.LENGTH),
        (FinishReason.TOOL_CALLS, FinishReason.LENGTH),
        (FinishReason.UNKNOWN, FinishReason.LENGTH),
        (FinishReason.REFUSAL, FinishReason.REFUSAL),
        (FinishReason.WINDOW_FULL, FinishReason.WINDOW_FULL),
    ],
)
def test_what_was_cut_off_met_a_limit_unless_its_reason_is_another(reason: FinishReason, real: FinishReason) -> None:
    assert cut_off(Finish(reason)).reason is real


def _judged(max_tokens: int | None, *deltas: Delta) -> list[Delta]:
    judge = EndingJudge(max_tokens)
    return [passed for delta in deltas for passed in judge.feed([delta])]


@pytest.mark.parametrize(
    ("max_tokens", "output_tokens", "at_limit"),
    [(100, 99, False), (100, 100, True), (100, 101, True), (None, 100, False), (100, None, False)],
)
def test_an_answer_as_long_as_it_may_be_is_at_its_limit(
    max_tokens: int | None, output_tokens: int | None, at_limit: bool
) -> None:
    usage = UsageReport(output_tokens=output_tokens)
    assert _judged(max_tokens, usage, STOP) == [usage, Finish(FinishReason.STOP, at_limit=at_limit)]


def test_an_engine_that_broke_down_gives_an_error_at_every_kind() -> None:
    broken = parse_finish("Network_Error")
    assert broken is not None
    judge = EndingJudge(100, "Ollama at http://127.0.0.1:9")
    [failure] = judge.feed([broken])
    assert isinstance(failure, Failure)
    assert failure.error.message == (
        "Ollama at http://127.0.0.1:9 broke off its answer (finish reason: Network_Error)."
    )


def test_the_largest_count_counts() -> None:
    reports = [UsageReport(output_tokens=tokens) for tokens in (5, 100, 0)]
    assert _judged(100, *reports, STOP)[-1] == Finish(FinishReason.STOP, at_limit=True)


@pytest.mark.parametrize(
    ("word", "note"),
    [
        ("novelty", "the engine gave an unknown finish reason (novelty): malformed tool calls are not repaired"),
        ("", "the engine gave no finish reason: malformed tool calls are not repaired"),
    ],
)
def test_an_unknown_reason_is_noted(word: str, note: str) -> None:
    finish = Finish(FinishReason.UNKNOWN, word=word)
    assert _judged(None, finish) == [finish, Repair("", note)]


def test_an_answer_with_text_is_one_unless_a_call_was_dropped() -> None:
    for finish, usage, has_thinking, _ in NOTHING:
        explained = explain_missing(finish, usage, has_text=True, has_thinking=has_thinking)
        assert isinstance(explained, DroppedCallError) is (finish.reason is FinishReason.MALFORMED_CALL)


NOTHING = [
    (Finish(FinishReason.MALFORMED_CALL, word="MALFORMED_FUNCTION_CALL"), UsageReport(), True, DroppedCallError),
    (UNKNOWN, UsageReport(), True, UpstreamBrokenError),
    (Finish(FinishReason.UNKNOWN), UsageReport(), False, UpstreamBrokenError),
    (STOP, UsageReport(output_tokens=30), False, DroppedCallError),
    (Finish(FinishReason.TOOL_CALLS), UsageReport(), True, DroppedCallError),
    (Finish(FinishReason.TOOL_CALLS, at_limit=True), UsageReport(output_tokens=30), True, None),
    (STOP, UsageReport(output_tokens=30, thinking_tokens=25), False, None),
    (STOP, UsageReport(output_tokens=30), True, None),
    (STOP, UsageReport(output_tokens=2), False, None),
    (STOP, UsageReport(), False, None),
    (LENGTH, UsageReport(output_tokens=30), False, None),
    (Finish(FinishReason.REFUSAL), UsageReport(output_tokens=30), False, None),
]


@pytest.mark.parametrize(("finish", "usage", "has_thinking", "error"), NOTHING)
def test_an_answer_without_content_is_an_error_where_something_got_lost(
    finish: Finish, usage: UsageReport, has_thinking: bool, error: type[Exception] | None
) -> None:
    explained = explain_missing(finish, usage, has_text=False, has_thinking=has_thinking)
    assert (None if explained is None else type(explained)) is error
    if explained is not None and finish.word:
        assert finish.word in explained.message
