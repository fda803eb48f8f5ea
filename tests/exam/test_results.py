"""What results come to: scores with their intervals, verdicts and advice by rule, files, costs, and the page."""

from __future__ import annotations

import re
import stat
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from claude_bridge.conversion.pricing import FREE, Prices
from claude_bridge.exam.asking import AnswerFigures
from claude_bridge.exam.catalog import CATALOG
from claude_bridge.exam.page import page_of
from claude_bridge.exam.results import Exam, Result, TranscriptLine, score_of
from claude_bridge.exam.run import expected_cost_usd
from claude_bridge.exam.store import Store
from claude_bridge.exam.verdict import ADVICE, VERDICTS, Verdict, as_json, judge
from tests.exam.scripted import settings_of

AT = "2026-11-30T04:00:00Z"


def exam_of(*failed: str, answer: AnswerFigures | None = None, loops: int = 0, **settings: object) -> Exam:
    """Return an exam in which all tasks but some, by their names or groups, are passed."""
    results = [
        Result(
            task=kind.name,
            group=kind.group,
            run=1,
            passed=not {kind.group, kind.name} & set(failed),
            answers=[answer or AnswerFigures(prompt_tokens=1_000, output_tokens=50, calls=1)],
            loops=loops,
        )
        for kind in CATALOG
    ]
    return Exam(settings=settings_of(**settings), started_at=AT, planned=36, results=results)


@pytest.mark.parametrize(
    ("passed", "total", "low", "high"), [(3, 3, 0.438, 1.0), (0, 3, 0.0, 0.562), (50, 100, 0.404, 0.596), (0, 0, 0, 1)]
)
def test_a_share_has_wilsons_interval(passed: int, total: int, low: float, high: float) -> None:
    results = [Result(task="t", group="g", run=run, passed=run < passed) for run in range(total)]

    score = score_of(results)

    assert (score.passed, score.total) == (passed, total)
    assert (score.low, score.high) == pytest.approx((low, high), abs=0.001)


@pytest.mark.parametrize(
    ("exam", "verdict", "reason"),
    [
        (exam_of(), "daily work", "36 of 36 tasks passed"),
        (exam_of("one tool", "arguments"), "not with tools", "one tool (0 of 3)"),
        (exam_of("edits", "stopping"), "questions only", "edits (0 of 4)"),
        (exam_of("plan", "recovery"), "small edits", "recovery (0 of 3)"),
        (exam_of(window_tokens=4_096), "questions only", "too small even for few tools"),
        (exam_of(window_tokens=8_192), "small edits", "too small for all of Claude Code's tools"),
        (exam_of(answer=AnswerFigures(output_tokens=100, output_s=50.0)), "small edits", "2.0 tokens/s"),
    ],
)
def test_a_verdict_has_its_reason(exam: Exam, verdict: str, reason: str) -> None:
    judged = judge(exam)

    assert judged.verdict == verdict
    assert reason in judged.reason


@pytest.mark.parametrize(
    ("exam", "advice", "evidence"),
    [
        (exam_of(window_tokens=32_768), "larger context window", "32,768"),
        (exam_of(window_tokens=8_192), "larger context window", "fact 8k, fact 24k did not fit the window of 8,192"),
        (exam_of(window_tokens=8_192), "--lite", "too small for all tools"),
        (exam_of("choose ticket"), "--lite", "100% with few tools, 67% with 25"),
        (exam_of("choice of tools"), "--lite", "100% with few tools, 0% with 25"),
        (exam_of("plan", "rules"), "--think on", "43% of the difficult tasks"),
        (exam_of(answer=AnswerFigures(calls=2, printed=1)), "chat template", "36 calls were printed"),
        (exam_of(answer=AnswerFigures(calls=2, repaired=1)), "newer engine", "36 of 72 calls"),
        (exam_of(loops=1), "finer quantisation", "36 of 36 tasks ended in a loop"),
    ],
)
def test_an_advice_has_its_evidence(exam: Exam, advice: str, evidence: str) -> None:
    given = [one for one in judge(exam).advice if advice in one.what]

    assert [evidence in one.evidence for one in given] == [True]


def test_marks_of_a_chat_format_in_answers_are_evidence_of_a_wrong_template() -> None:
    lines = [TranscriptLine("user", "<|im_end|>?"), TranscriptLine("text", "Hello<|im_end|>\n<|im_start|>user\nHello")]
    one = Result(task="t", group="edits", run=1, passed=False, transcript=lines)
    (advice,) = [
        advice for advice in judge(Exam(settings=settings_of(), started_at=AT, planned=1, results=[one])).advice
        if "base model" in advice.what
    ]  # fmt: skip

    assert advice.evidence == "1 of 1 answers have marks of a chat format, such as <|im_end|>"


def test_thinking_at_the_limit_is_advised_against() -> None:
    results = [
        replace(one, limits=1) for one in exam_of(answer=AnswerFigures(output_tokens=90, thinking_tokens=80)).results
    ]
    exam = Exam(settings=settings_of(), started_at=AT, planned=36, results=results)

    assert "--think off" in judge(exam).advice[0].what


def test_every_rule_has_words_and_a_perfect_exam_needs_no_advice() -> None:
    assert all(rule.says for rule in (*VERDICTS, *ADVICE))
    assert judge(exam_of(window_tokens=131_072)).advice == []


def test_what_the_cache_keeps_is_measured_between_turns() -> None:
    def exam_with(cached_tokens: int) -> Exam:
        turns = [AnswerFigures(prompt_tokens=100, cached_tokens=0)]
        turns += [AnswerFigures(prompt_tokens=150, cached_tokens=cached_tokens), AnswerFigures(prompt_tokens=200)]
        one = Result(task="t", group="edits", run=1, passed=True, answers=turns)
        return Exam(settings=settings_of(), started_at=AT, planned=36, results=[one])

    assert exam_with(100).figures.cache_share == 1.0
    assert judge(exam_with(100)).advice == []
    assert [one.evidence for one in judge(exam_with(20)).advice] == ["only 20% of a turn's prompt is kept for the next"]


def test_the_json_has_the_fields_that_programs_read() -> None:
    exam = exam_of("plan", window_tokens=65_536)
    document = as_json(exam, Verdict("small edits", "because", []))

    assert document["model"] == "scripted"
    assert (document["verdict"], document["reason"]) == ("small edits", "because")
    assert document["groups"]["plan"] == {"passed": 0, "total": 2, "low": 0.0, "high": 0.658}
    assert document["groups"]["edits"]["passed"] == document["groups"]["edits"]["total"] == 4
    figures = "repaired_calls printed_calls unknown_tools empty_answers loops prompt_tokens_per_s answer_tokens_per_s "
    figures += "first_token_s cache_share window_tokens window_used_share thinking_tokens cost_usd"
    assert set(figures.split()) <= document.keys()
    assert document["window_tokens"] == 65_536


# --- what is kept -------------------------------------------------------------------------------------------------


def test_results_are_kept_as_they_come(tmp_path: Path) -> None:
    store, settings = Store(tmp_path / "exams"), settings_of(is_quick=True)
    exam, path = store.begin(settings)
    first, second = (Result(task=name, group="edits", run=1, passed=True) for name in ("one", "two"))
    store.add(path, first)
    with path.open("ab") as file:
        file.write(b'\n{"task": "cut o')  # the power failed
    store.add(path, second)

    found = store.newest(settings)

    assert found is not None
    assert found[0].results == [first, second]
    assert not found[0].is_whole
    assert store.newest(replace(settings, seed=1)) is None
    assert exam.started_at == found[0].started_at


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_nobody_else_can_read_what_is_kept(tmp_path: Path) -> None:
    _, path = Store(tmp_path).begin(settings_of(model="../../etc/passwd"))

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.parent == tmp_path


def test_files_that_are_no_results_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("nothing", "utf-8")
    (tmp_path / "b.jsonl").write_bytes(b"")

    assert list(Store(tmp_path).all()) == []
    assert list(Store(tmp_path / "missing").all()) == []


# --- costs --------------------------------------------------------------------------------------------------------


def test_what_has_no_price_costs_nothing() -> None:
    assert expected_cost_usd(settings_of(), FREE) == expected_cost_usd(settings_of(), None) == 0


def test_the_expected_cost_grows_with_prices_and_runs() -> None:
    prices, quick = Prices(input=3, output=15), settings_of(is_quick=True)
    cost = expected_cost_usd(quick, prices)

    assert 0.05 < cost < 1.0
    assert expected_cost_usd(quick, Prices(input=6, output=30)) == pytest.approx(2 * cost)
    assert expected_cost_usd(replace(quick, runs=3), prices) == pytest.approx(3 * cost, rel=0.05)


# --- the page -----------------------------------------------------------------------------------------------------


def test_the_page_is_one_file_without_scripts_or_addresses() -> None:
    page = page_of([(exam, judge(exam)) for exam in (exam_of(), exam_of("plan", model="other"))])

    assert "<script" not in page
    assert not re.findall(r"""(?:src|href|url|@import)\s*[=(]""", page)
    assert "http" not in page.replace("http-equiv", "")
    assert "default-src 'none'" in page
    assert "prefers-color-scheme:dark" in page
    assert page.count("<svg") == 2  # no speed is known
    assert page.count("</details>") == page.count("<details") == 2 * (14 + 36)


def test_what_a_model_writes_is_only_ever_escaped() -> None:
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)></pre></div>"
    lines = [TranscriptLine("text", evil), TranscriptLine("call", evil), TranscriptLine(evil, evil)]
    answer = AnswerFigures(output_tokens=10, output_s=1.0)
    one = Result(task=evil, group="edits", run=1, passed=False, fault=evil, transcript=lines, answers=[answer])
    settings = settings_of(model=evil, engine=evil, client="claude")
    exam = Exam(settings=settings, started_at=AT, planned=36, results=[one])

    page = page_of([(exam, judge(exam))])

    assert "<script" not in page
    assert "<img" not in page
    assert page.count("&lt;script&gt;alert(1)") > 8


def test_a_page_without_results_is_a_page() -> None:
    assert page_of([]).startswith("<!doctype html>")
    empty = Exam(settings=settings_of(), started_at=AT, planned=36)
    assert "0 of 0" in page_of([(empty, judge(empty))])
    assert judge(empty).verdict == "not known"
