"""What is said of how the model answered when it was asked."""

from __future__ import annotations

import pytest
from msgspec import Raw

from claude_bridge.doctor.finding import Severity
from claude_bridge.doctor.probing import (
    Probed,
    check_cache,
    check_long_prompt,
    check_picture,
    check_speed,
    check_stop,
    check_tool_call,
)
from claude_bridge.exam.asking import AnswerFigures, MeasuredAnswer
from claude_bridge.wire.anthropic import TextBlock, ToolUseBlock
from claude_bridge.wire.anthropic_answers import Message, Usage

WORD = "PELICAN"


def message(block: TextBlock | ToolUseBlock) -> Message:
    return Message(id="msg_1", model="m", content=[block], stop_reason="end_turn", usage=Usage())


def output_text(words: str, *, prompt: int = 0, cached: int = 0, output: int = 50, first_s: float = 1.0) -> Probed:
    figures = AnswerFigures(
        prompt_tokens=prompt, cached_tokens=cached, output_tokens=output, first_token_s=first_s, output_s=2.0
    )
    return Probed(answer=MeasuredAnswer(message=message(TextBlock(words)), figures=figures), estimated_tokens=6_000)


def called(name: str, arguments: bytes) -> Probed:
    return Probed(answer=MeasuredAnswer(message=message(ToolUseBlock("toolu_1", name, Raw(arguments)))))


FAILED = Probed(error="it broke")
LATE = Probed(error="no whole answer within 120 s", answer=MeasuredAnswer(left="late"))


@pytest.mark.parametrize(
    ("probed", "mark", "words"),
    [
        pytest.param(
            output_text("one", output=50), Severity.OK, "first token after 1.0 s, then 25 tokens/s", id="good"
        ),
        pytest.param(output_text("one", output=4), Severity.WARN, "too slow", id="slow"),
        pytest.param(output_text("one", first_s=40), Severity.WARN, "may have been loading", id="late"),
        pytest.param(Probed(), Severity.FAIL, "answered nothing", id="nothing"),
        pytest.param(FAILED, Severity.FAIL, "it broke", id="error"),
    ],
)
def test_the_speed_is_judged(probed: Probed, mark: Severity, words: str) -> None:
    found = check_speed(probed)

    assert found.severity is mark
    assert words in found.seen


@pytest.mark.parametrize(
    ("probed", "mark"),
    [
        pytest.param(called("get_weather", b'{"city":"Paris"}'), Severity.OK, id="valid"),
        pytest.param(called("get_weather", b"{}"), Severity.FAIL, id="no city"),
        pytest.param(called("weather", b'{"city":"Paris"}'), Severity.FAIL, id="another tool"),
        pytest.param(output_text("It rains."), Severity.FAIL, id="words only"),
        pytest.param(FAILED, Severity.FAIL, id="error"),
        pytest.param(LATE, Severity.WARN, id="late"),
    ],
)
def test_a_tool_call_is_judged(probed: Probed, mark: Severity) -> None:
    assert check_tool_call(probed, tool="get_weather", field="city").severity is mark


@pytest.mark.parametrize(
    ("probed", "mark", "words"),
    [
        pytest.param(output_text("It is pelican.", prompt=6_100), Severity.OK, "arrived", id="found"),
        pytest.param(output_text("No idea.", prompt=2_050), Severity.FAIL, "the engine read 2,050: it cuts", id="cut"),
        pytest.param(output_text("No idea.", prompt=5_500), Severity.WARN, "was read, but", id="a weak model"),
        pytest.param(output_text("No idea."), Severity.WARN, "does not report what", id="not reported"),
        pytest.param(FAILED, Severity.FAIL, "it broke", id="error"),
        pytest.param(LATE, Severity.WARN, "no whole answer within 120 s", id="late"),
    ],
)
def test_a_long_prompt_is_judged(probed: Probed, mark: Severity, words: str) -> None:
    found = check_long_prompt(probed, canary=WORD)

    assert found.severity is mark
    assert words in found.seen


@pytest.mark.parametrize(
    ("first", "second", "mark"),
    [
        pytest.param(output_text("a"), output_text("b", prompt=6_000, cached=5_900), Severity.OK, id="told"),
        pytest.param(output_text("a", first_s=4), output_text("b", first_s=0.5), Severity.OK, id="sooner"),
        pytest.param(output_text("a", first_s=0.1), output_text("b", first_s=0.1), Severity.OK, id="too quick to see"),
        pytest.param(output_text("a", first_s=4), output_text("b", first_s=3.5), Severity.WARN, id="as late"),
    ],
)
def test_the_prompt_cache_is_judged(first: Probed, second: Probed, mark: Severity) -> None:
    found = check_cache(first, second)

    assert found is not None
    assert found.severity is mark


def test_a_prompt_cache_is_not_judged_by_what_failed() -> None:
    assert check_cache(output_text("a"), FAILED) is None


@pytest.mark.parametrize(
    ("probed", "mark", "words"),
    [
        pytest.param(output_text("Red."), Severity.OK, "a red picture was seen as red", id="seen"),
        pytest.param(output_text("It is a bright RED square."), Severity.OK, "seen as red", id="in a sentence"),
        pytest.param(output_text("Blue\nsky"), Severity.WARN, "its colour: Blue sky", id="something else"),
        pytest.param(output_text(""), Severity.WARN, "its colour: nothing", id="nothing"),
        pytest.param(FAILED, Severity.WARN, "a red picture was refused: it broke", id="refused"),
    ],
)
def test_what_is_seen_of_a_picture_is_judged(probed: Probed, mark: Severity, words: str) -> None:
    found = check_picture(probed, colour="red")

    assert found.severity is mark
    assert words in found.seen
    assert (found.remedy is None) == (mark is Severity.OK)


@pytest.mark.parametrize(
    ("busy_s", "left_s", "mark", "words"),
    [
        pytest.param(0.4, 60, Severity.OK, "free 0.4 s after an answer was stopped", id="free"),
        pytest.param(0.4, 1, Severity.OK, "too quick to see", id="a quick engine"),
        pytest.param(31, 60, Severity.WARN, "was busy for another 31 s", id="goes on"),
        pytest.param(None, 60, Severity.WARN, "never became free", id="never free"),
    ],
)
def test_whether_a_stopped_answer_frees_the_engine_is_judged(
    busy_s: float | None, left_s: float, mark: Severity, words: str
) -> None:
    found = check_stop(busy_s, left_s)

    assert found.severity is mark
    assert words in found.seen
    assert (found.remedy is None) == (mark is Severity.OK)
