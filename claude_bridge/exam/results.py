"""What came of an exam: the results of its tasks, their sums by group and as a whole, and the same as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt
from statistics import median
from typing import Any

from msgspec import Struct, field, to_builtins
from msgspec.structs import replace

from claude_bridge.exam.asking import Figures
from claude_bridge.exam.catalog import GROUPS, Kind, chosen

Z = 1.96
"""Of the normal distribution, for intervals of 95 %."""


class Line(Struct, frozen=True):
    """A piece of a transcript: ``kind`` is user, text, thinking, call, result, error or note."""

    kind: str
    text: str


class Result(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of one task in one run."""

    task: str
    group: str
    run: int
    passed: bool
    fault: str = ""
    """Why it is not passed."""
    seconds: float = 0.0
    answers: list[Figures] = []
    unknown_tools: int = 0
    empty_answers: int = 0
    loops: int = 0
    claims: int = 0
    """1: the model said that it did something, and no call had done anything."""
    limits: int = 0
    """1: it ended at the limit in time or tokens."""
    transcript: list[Line] = []

    @property
    def key(self) -> tuple[str, int]:
        """The task and the run."""
        return self.task, self.run


class Settings(Struct, frozen=True, kw_only=True):
    """What the same exam has in common with one that goes on with it."""

    provider: str
    model: str
    base_url: str
    engine: str
    """With its version, where it is known."""
    digest: str = ""
    """Of the model's file; empty: the engine does not report it."""
    window_tokens: int | None = None
    seed: int = 0
    runs: int = 3
    is_quick: bool = False
    think: str = "auto"
    client: str = ""
    """``claude``: the tasks were run by the real Claude Code."""

    @property
    def kinds(self) -> Sequence[Kind]:
        """The tasks of the exam that fit the window."""
        return [kind for kind in self._chosen if kind.fits(self.window_tokens)]

    @property
    def left_out(self) -> list[str]:
        """The tasks that do not fit the window."""
        return [kind.name for kind in self._chosen if not kind.fits(self.window_tokens)]

    @property
    def _chosen(self) -> Sequence[Kind]:
        kinds = chosen(is_quick=self.is_quick)
        return [kind for kind in kinds if kind.is_for_client] if self.client else kinds

    @property
    def words(self) -> str:
        """Which exam it is, for people."""
        runs = "1 run" if self.runs == 1 else f"{self.runs} runs"
        return f"{'quick' if self.is_quick else 'whole'}, {runs}, seed {self.seed}"

    @property
    def planned(self) -> int:
        """How many results there are in the end."""
        return len(self.kinds) * self.runs


class Score(Struct, frozen=True):
    """How many tasks were passed, and between which shares the true one lies with 95 % (Wilson's interval)."""

    passed: int
    total: int
    low: float = 0.0
    high: float = 1.0

    @property
    def share(self) -> float:
        """Which part was passed; 0 without any task."""
        return self.passed / self.total if self.total else 0.0


def score_of(results: Iterable[Result]) -> Score:
    """Return the score of some results."""
    passes = [result.passed for result in results]
    passed, total = sum(passes), len(passes)
    if not total:
        return Score(0, 0)
    share, spread = passed / total, Z * Z / total
    middle = (share + spread / 2) / (1 + spread)
    half = Z * sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return Score(passed, total, round(max(0.0, middle - half), 3), round(min(1.0, middle + half), 3))


class Exam(Struct, frozen=True, kw_only=True):
    """One model's exam, whole or as far as it has come."""

    settings: Settings
    started_at: str
    """In UTC, as ISO 8601 writes it."""
    planned: int
    """How many results there are in the end; another version of the bridge may have other tasks."""
    results: list[Result] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether all tasks were run."""
        return len(self.results) >= self.planned

    @property
    def score(self) -> Score:
        """The score of all tasks."""
        return score_of(self.results)

    @property
    def groups(self) -> dict[str, Score]:
        """The score of each group that has results."""
        by_group = {group: [one for one in self.results if one.group == group] for group in GROUPS}
        return {group: score_of(results) for group, results in by_group.items() if results}

    def share(self, *groups: str) -> float:
        """Return which part of the tasks of these groups was passed; 1 where none was run."""
        score = score_of(result for result in self.results if result.group in groups)
        return score.share if score.total else 1.0

    @property
    def figures(self) -> Sums:
        """The sums and rates of all answers."""
        sums = sums_of(self.results, self.settings.window_tokens)
        if not self.settings.client:
            return sums
        # Of a session of Claude Code only the sums are known.
        return replace(sums, window_used_share=None, prompt_tokens_per_s=None, cache_share=None)


class Sums(Struct, frozen=True, kw_only=True):
    """What all answers came to. None means that it is not known."""

    answers: int = 0
    calls: int = 0
    repaired_calls: int = 0
    printed_calls: int = 0
    unknown_tools: int = 0
    empty_answers: int = 0
    loops: int = 0
    claims_without_acting: int = 0
    ended_at_a_limit: int = 0
    prompt_tokens_per_s: float | None = None
    answer_tokens_per_s: float | None = None
    first_token_s: float | None = None
    """The median."""
    cache_share: float | None = None
    """Which part of each turn's prompt the next one found in the cache."""
    window_tokens: int | None = None
    window_used_share: float | None = None
    """Of the longest prompt with its answer."""
    prompt_tokens: int = 0
    output_tokens: int = 0
    thinking_tokens: int = 0
    tokens_per_task: int = 0
    seconds: float = 0.0
    cost_usd: float | None = None


def sums_of(results: Sequence[Result], window_tokens: int | None) -> Sums:
    """Return the sums and rates of some results."""
    answers = [answer for result in results for answer in result.answers]
    first_tokens = [answer.first_token_s for answer in answers if answer.first_token_s is not None]
    turns = [pair for result in results for pair in zip(result.answers, result.answers[1:], strict=False)]
    reported = [(before.prompt_tokens, now.cached_tokens) for before, now in turns if now.cached_tokens is not None]
    kept = [(before, min(cached, before)) for before, cached in reported if before]
    costs = [answer.cost_usd for answer in answers]
    prompt, output = sum(one.prompt_tokens or 0 for one in answers), sum(one.output_tokens for one in answers)
    longest = max(((one.prompt_tokens or 0) + one.output_tokens for one in answers), default=0)
    reading = [one for one in answers if one.prompt_tokens and one.prompt_s]
    writing = [one for one in answers if one.output_tokens > 1 and one.output_s]
    return Sums(
        answers=len(answers),
        calls=sum(one.calls for one in answers),
        repaired_calls=sum(one.repaired for one in answers),
        printed_calls=sum(one.printed for one in answers),
        unknown_tools=sum(result.unknown_tools for result in results),
        empty_answers=sum(result.empty_answers for result in results),
        loops=sum(result.loops for result in results),
        claims_without_acting=sum(result.claims for result in results),
        ended_at_a_limit=sum(result.limits for result in results),
        prompt_tokens_per_s=_rate(
            sum((one.prompt_tokens or 0) - (one.cached_tokens or 0) for one in reading),
            sum(one.prompt_s or 0.0 for one in reading),
        ),
        answer_tokens_per_s=_rate(
            sum(one.output_tokens for one in writing), sum(one.output_s or 0.0 for one in writing)
        ),
        first_token_s=round(median(first_tokens), 3) if first_tokens else None,
        cache_share=round(sum(part for _, part in kept) / sum(all_ for all_, _ in kept), 3) if kept else None,
        window_tokens=window_tokens,
        window_used_share=round(longest / window_tokens, 3) if window_tokens and longest else None,
        prompt_tokens=prompt,
        output_tokens=output,
        thinking_tokens=sum(one.thinking_tokens for one in answers),
        tokens_per_task=(prompt + output) // max(1, len(results)),
        seconds=round(sum(result.seconds for result in results), 1),
        cost_usd=round(sum(cost or 0.0 for cost in costs), 6) if costs and None not in costs else None,
    )


def _rate(count: int, seconds: float) -> float | None:
    return round(count / seconds, 1) if count > 0 and seconds > 0 else None


def as_json(exam: Exam, verdict: str, reason: str, advice: Sequence[Any]) -> dict[str, Any]:
    """Return an exam as programs read it."""
    settings, score = exam.settings, exam.score
    groups = {name: to_builtins(score) for name, score in exam.groups.items()}
    return {
        "model": settings.model,
        "verdict": verdict,
        "reason": reason,
        "advice": [to_builtins(one) for one in advice],
        **to_builtins(score),
        "groups": groups,
        **to_builtins(exam.figures),
        **{name: value for name, value in to_builtins(settings).items() if name not in ("model", "window_tokens")},
        "left_out": settings.left_out,
        "started_at": exam.started_at,
        "is_whole": exam.is_whole,
        "tasks": [
            {"task": one.task, "group": one.group, "run": one.run, "passed": one.passed, "fault": one.fault}
            for one in exam.results
        ],
    }
