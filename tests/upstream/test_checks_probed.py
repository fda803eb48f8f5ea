"""What is said of how the model answered when it was asked."""

from __future__ import annotations

import pytest
from msgspec import Raw

from claude_bridge.upstream.checks.finding import Mark
from claude_bridge.upstream.checks.probed import (
    Probed,
    check_cache,
    check_long_prompt,
    check_speed,
    check_tool_call,
)
from claude_bridge.wire.anthropic import TextBlock, ToolUseBlock, Usage

WORD = "PELICAN"


def said(words: str, *, prompt: int = 0, cached: int = 0, output: int = 50, first_s: float = 1.0) -> Probed:
    usage = Usage(input_tokens=prompt - cached, cache_read_input_tokens=cached, output_tokens=output)
    return Probed(
        content=(TextBlock(words),), usage=usage, first_token_s=first_s, end_s=first_s + 2, estimated_tokens=6_000
    )


def called(name: str, arguments: bytes) -> Probed:
    return Probed(content=(ToolUseBlock("toolu_1", name, Raw(arguments)),))


FAILED = Probed(error="it broke")


@pytest.mark.parametrize(
    ("probed", "mark", "words"),
    [
        pytest.param(said("one", output=50), Mark.OK, "first token after 1.0 s, then 25 tokens/s", id="good"),
        pytest.param(said("one", output=4), Mark.WARN, "too slow", id="slow"),
        pytest.param(said("one", first_s=40), Mark.WARN, "may have been loading", id="late"),
        pytest.param(Probed(), Mark.BAD, "answered nothing", id="nothing"),
        pytest.param(FAILED, Mark.BAD, "it broke", id="error"),
    ],
)
def test_the_speed_is_judged(probed: Probed, mark: Mark, words: str) -> None:
    found = check_speed(probed)

    assert found.mark is mark
    assert words in found.seen


@pytest.mark.parametrize(
    ("probed", "mark"),
    [
        pytest.param(called("get_weather", b'{"city":"Paris"}'), Mark.OK, id="valid"),
        pytest.param(called("get_weather", b"{}"), Mark.BAD, id="no city"),
        pytest.param(called("weather", b'{"city":"Paris"}'), Mark.BAD, id="another tool"),
        pytest.param(said("It rains."), Mark.BAD, id="words only"),
        pytest.param(FAILED, Mark.BAD, id="error"),
    ],
)
def test_a_tool_call_is_judged(probed: Probed, mark: Mark) -> None:
    assert check_tool_call(probed, tool="get_weather", field="city").mark is mark


@pytest.mark.parametrize(
    ("probed", "mark", "words"),
    [
        pytest.param(said("It is pelican.", prompt=6_100), Mark.OK, "arrived", id="found"),
        pytest.param(said("No idea.", prompt=2_050), Mark.BAD, "the engine read 2,050: it cuts", id="cut"),
        pytest.param(said("No idea.", prompt=5_500), Mark.WARN, "was read, but", id="a weak model"),
        pytest.param(said("No idea."), Mark.WARN, "is not told", id="not told"),
        pytest.param(FAILED, Mark.BAD, "it broke", id="error"),
    ],
)
def test_a_long_prompt_is_judged(probed: Probed, mark: Mark, words: str) -> None:
    found = check_long_prompt(probed, canary=WORD)

    assert found.mark is mark
    assert words in found.seen


@pytest.mark.parametrize(
    ("first", "second", "mark"),
    [
        pytest.param(said("a"), said("b", prompt=6_000, cached=5_900), Mark.OK, id="told"),
        pytest.param(said("a", first_s=4), said("b", first_s=0.5), Mark.OK, id="sooner"),
        pytest.param(said("a", first_s=0.1), said("b", first_s=0.1), Mark.OK, id="too quick to tell"),
        pytest.param(said("a", first_s=4), said("b", first_s=3.5), Mark.WARN, id="as late"),
    ],
)
def test_the_prompt_cache_is_judged(first: Probed, second: Probed, mark: Mark) -> None:
    found = check_cache(first, second)

    assert found is not None
    assert found.mark is mark


def test_a_prompt_cache_is_not_judged_by_what_failed() -> None:
    assert check_cache(said("a"), FAILED) is None
