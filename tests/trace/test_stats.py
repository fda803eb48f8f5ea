"""What the exchanges came to."""

from __future__ import annotations

import pytest

from claude_bridge.trace.stats import FIRST_TOKEN_BOUNDS_S, MAX_SESSIONS, NOT_SENT, Finished, Stats
from claude_bridge.wire.admin_api import Figures, encode_stats, parse_stats


def an_answer(session: str | None = None, model: str = "m", **fields: object) -> Finished:
    return Finished(model=model, session=session, outcome="answered", **fields)  # type: ignore[arg-type]


def figures_of(*finished: Finished) -> Figures:
    stats = Stats()
    for exchange in finished:
        stats.take(exchange)
    return stats.report(running=0).models["m"]


def test_answers_failures_and_departures_are_counted_apart() -> None:
    reported = figures_of(
        an_answer(),
        Finished(model="m", session=None, outcome="failed"),
        Finished(model="m", session=None, outcome="left"),
        Finished(model="m", session=None, outcome="left"),
    )
    assert (reported.requests, reported.answered, reported.failed, reported.left) == (4, 1, 1, 2)


def test_the_cache_share_is_of_the_prompts_with_a_cache_report() -> None:
    reported = figures_of(an_answer(prompt_tokens=1000, cached_tokens=900), an_answer(prompt_tokens=5000))
    assert reported.prompt_tokens == 6000
    assert reported.cache_share == 0.9


def test_a_cache_without_a_report_is_unknown_and_not_empty() -> None:
    assert figures_of(an_answer(prompt_tokens=1000)).cache_share is None
    assert figures_of(an_answer(prompt_tokens=1000, cached_tokens=0)).cache_share == 0


def test_the_speed_is_of_the_answers_that_were_timed() -> None:
    reported = figures_of(an_answer(output_tokens=100, output_s=2.0), an_answer(output_tokens=900))
    assert (reported.output_tokens, reported.tokens_per_s) == (1000, 50.0)
    assert figures_of(an_answer(output_tokens=900)).tokens_per_s is None


def test_what_is_not_known_to_have_cost_anything_is_counted() -> None:
    reported = figures_of(an_answer(cost_usd=0.25), an_answer(cost_usd=0.5), an_answer())
    assert (reported.cost_usd, reported.of_unknown_cost) == (0.75, 1)


def test_first_tokens_are_summed_and_classed() -> None:
    stats = Stats()
    for seconds in (0.1, 0.2, 400.0):
        stats.take(an_answer(first_token_s=seconds))
    stats.take(an_answer())
    first = stats.report(running=0).models["m"].first_token
    assert (first.count, first.last_s, first.longest_s) == (3, 400.0, 400.0)
    assert first.total_s == pytest.approx(400.3)
    classes = stats.first_token_classes("m")
    assert (classes[0], classes[1], classes[-1], sum(classes)) == (1, 1, 1, 3)
    assert len(classes) == len(FIRST_TOKEN_BOUNDS_S) + 1
    assert sum(stats.first_token_classes("other")) == 0


def test_models_and_sessions_have_figures_of_their_own() -> None:
    stats = Stats(now=iter(range(100)).__next__)
    stats.take(an_answer("one", "a", output_tokens=1))
    stats.take(an_answer("two", "a", output_tokens=2))
    stats.take(an_answer("one", "b", output_tokens=4))
    report = stats.report(running=2)
    assert {model: figures.output_tokens for model, figures in report.models.items()} == {"a": 3, "b": 4}
    assert {name: session.figures.output_tokens for name, session in report.sessions.items()} == {"two": 2, "one": 5}
    assert (report.sessions["one"].model, report.sessions["one"].last_at_s, report.running) == ("b", 3, 2)


def test_a_session_keeps_its_model_where_a_request_of_it_reaches_none() -> None:
    stats = Stats()
    for model in ("m", NOT_SENT):
        stats.take(an_answer("one", model))
    assert stats.report(running=0).sessions["one"].model == "m"


def test_of_very_many_sessions_the_oldest_are_forgotten() -> None:
    stats = Stats()
    stats.take(an_answer("kept"))
    for number in range(MAX_SESSIONS):
        stats.take(an_answer(str(number)))
        if number == 10:
            stats.take(an_answer("kept"))
    sessions = stats.report(running=0).sessions
    assert len(sessions) == MAX_SESSIONS
    assert "kept" in sessions
    assert "0" not in sessions
    assert stats.report(running=0).models["m"].requests == MAX_SESSIONS + 2


def test_the_report_comes_back_from_its_bytes() -> None:
    stats = Stats()
    stats.take(an_answer("one", output_tokens=1, first_token_s=0.5))
    report = stats.report(running=1)
    assert parse_stats(encode_stats(report)) == report
