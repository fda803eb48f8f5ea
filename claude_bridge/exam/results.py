"""What came of an exam: the results of its tasks, their sums by group and as a whole, and the same as JSON."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import product
from math import sqrt
from statistics import median
from typing import Annotated, Any, get_origin, get_type_hints

from msgspec import Struct, field
from msgspec.structs import replace

from claude_bridge.exam.asking import AnswerFigures
from claude_bridge.exam.catalog import GROUPS, Kind, chosen

Z = 1.96
"""Of the normal distribution, for intervals of 95 %."""

MAX_LINE_CHARS = 4_000
MAX_TRANSCRIPT_CHARS = 40_000


class TranscriptLine(Struct, frozen=True):
    """A piece of a transcript: ``kind`` is user, text, thinking, call, result, error or note."""

    kind: str
    text: str


class Result(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of one task in one run; ``fault`` is why it is not passed.

    ``claims`` is 1 where the model claimed work that no call had done, ``limits`` where a limit ended the task.
    """

    task: str
    group: str
    run: int
    passed: bool
    fault: str = ""
    seconds: float = 0.0
    answers: list[AnswerFigures] = []
    unknown_tools: int = 0
    empty_answers: int = 0
    loops: int = 0
    claims: int = 0
    limits: int = 0
    transcript: list[TranscriptLine] = []

    @property
    def key(self) -> tuple[str, int]:
        """The task and the run."""
        return self.task, self.run


def result_of(
    kind: Kind,
    run: int,
    fault: str | None,
    *,
    seconds: float,
    transcript: Sequence[TranscriptLine],
    **more: Any,  # noqa: ANN401 - fields
) -> Result:
    """Return what came of a task; ``fault`` None: it is passed. ``more`` are other fields of a Result."""
    return Result(
        task=kind.name,
        group=kind.group,
        run=run,
        passed=fault is None,
        fault=fault or "",
        seconds=round(seconds, 3),
        transcript=_shortened(transcript),
        **more,
    )


def _shortened(lines: Sequence[TranscriptLine]) -> list[TranscriptLine]:
    """Return a transcript that is short enough to keep; what is left out is noted."""
    kept: list[TranscriptLine] = []
    room = MAX_TRANSCRIPT_CHARS
    for line in lines:
        if room <= 0:
            return [*kept, TranscriptLine("note", f"{len(lines) - len(kept)} more pieces are left out")]
        text, size = line.text, len(line.text)
        kept.append(
            replace(line, text=text if size <= MAX_LINE_CHARS else f"{text[:MAX_LINE_CHARS]}… ({size:,} characters)")
        )
        room -= size
    return kept


class Settings(Struct, frozen=True, kw_only=True):
    """What an exam has in common with one that continues it.

    ``engine`` has its version where that is known, ``digest`` is that of the model's file, and ``client`` is ``claude``
    where the real Claude Code runs the tasks.
    """

    provider: str
    model: str
    base_url: str
    engine: str
    digest: str = ""
    window_tokens: int | None = None
    seed: int = 0
    runs: int = 3
    is_quick: bool = False
    think: str = "auto"
    client: str = ""

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

    def left(self, done: Collection[tuple[str, int]]) -> Iterator[tuple[Kind, int]]:
        """Yield each task that is not ``done``, and its run; every task comes once before any comes again."""
        runs = product(range(1, self.runs + 1), self.kinds)
        return ((kind, run) for run, kind in runs if (kind.name, run) not in done)

    @property
    def description(self) -> str:
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


class Exam(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model's exam, whole or as far as it has come; ``planned`` is how many results it has in the end."""

    settings: Settings
    started_at: str
    planned: int
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
    """What all answers came to, with the label of each figure in a terminal and on a page. None: it is not known.

    ``first_token_s`` is the median, ``cache_share`` the part of each turn's prompt that the next one found in the
    cache, and ``window_used_share`` that of the longest prompt with its answer.
    """

    answers: int
    calls: Annotated[int, "calls", "calls"]
    repaired_calls: Annotated[int, "repaired calls", "calls that needed a repair"]
    printed_calls: Annotated[int, "calls as text", "calls printed as text"]
    unknown_tools: Annotated[int, "unknown tools", "calls of tools that do not exist"]
    empty_answers: Annotated[int, "empty answers", "empty answers"]
    loops: Annotated[int, "loops", "loops"]
    claims_without_acting: Annotated[int, "false claims", "claims of work that no call did"]
    ended_at_a_limit: Annotated[int, "at a limit", "ended at a limit"]
    prompt_tokens_per_s: Annotated[float | None, "tokens/s read", "tokens read a second"]
    answer_tokens_per_s: Annotated[float | None, "tokens/s written", "tokens written a second"]
    first_token_s: Annotated[float | None, "first token, s", "first token, seconds (median)"]
    cache_share: Annotated[float | None, "cache kept", "prompt kept in the cache between turns"]
    window_tokens: Annotated[int | None, "window", "window, tokens"]
    window_used_share: Annotated[float | None, "window used", "longest use of the window"]
    prompt_tokens: int
    output_tokens: int
    tokens_per_task: Annotated[int, "tokens per task", "tokens per task"]
    thinking_tokens: Annotated[int, "thinking tokens", "thinking tokens"]
    seconds: Annotated[float, "seconds", "seconds in all"]
    cost_usd: Annotated[float | None, "cost, $", "cost in US dollars"]


FIGURES = tuple(
    (name, *kind.__metadata__)
    for name, kind in get_type_hints(Sums, include_extras=True).items()
    if get_origin(kind) is Annotated
)
"""The figures that people see, as (field of Sums, label in a terminal, label on a page)."""


def figure_text(value: float | None, name: str) -> str:
    """Return a figure for people; ``name`` is its field."""
    if value is None:
        return "?"
    if name.endswith("_share"):
        return f"{value:.0%}"
    return f"{value:,.0f}" if isinstance(value, int) or value >= 1_000 else f"{value:.4g}"


def sums_of(results: Sequence[Result], window_tokens: int | None) -> Sums:
    """Return the sums and rates of some results."""
    answers = [answer for result in results for answer in result.answers]
    first_tokens = [answer.first_token_s for answer in answers if answer.first_token_s is not None]
    turns = [pair for result in results for pair in zip(result.answers, result.answers[1:], strict=False)]
    reported = [(before.prompt_tokens, now.cached_tokens) for before, now in turns if now.cached_tokens is not None]
    kept = [(before, min(cached, before)) for before, cached in reported if before]
    costs = [answer.cost_usd for answer in answers]
    prompt, output = _total("prompt_tokens", answers), _total("output_tokens", answers)
    longest = max(((one.prompt_tokens or 0) + one.output_tokens for one in answers), default=0)
    reading = [one for one in answers if one.prompt_tokens and one.prompt_s]
    writing = [one for one in answers if one.output_tokens > 1 and one.output_s]
    read = _total("prompt_tokens", reading) - _total("cached_tokens", reading)
    return Sums(
        answers=len(answers),
        calls=_total("calls", answers),
        repaired_calls=_total("repaired", answers),
        printed_calls=_total("printed", answers),
        unknown_tools=_total("unknown_tools", results),
        empty_answers=_total("empty_answers", results),
        loops=_total("loops", results),
        claims_without_acting=_total("claims", results),
        ended_at_a_limit=_total("limits", results),
        prompt_tokens_per_s=_rate(read, _total("prompt_s", reading)),
        answer_tokens_per_s=_rate(_total("output_tokens", writing), _total("output_s", writing)),
        first_token_s=round(median(first_tokens), 3) if first_tokens else None,
        cache_share=round(sum(part for _, part in kept) / sum(all_ for all_, _ in kept), 3) if kept else None,
        window_tokens=window_tokens,
        window_used_share=round(longest / window_tokens, 3) if window_tokens and longest else None,
        prompt_tokens=prompt,
        output_tokens=output,
        thinking_tokens=_total("thinking_tokens", answers),
        tokens_per_task=(prompt + output) // max(1, len(results)),
        seconds=round(_total("seconds", results), 1),
        cost_usd=round(_total("cost_usd", answers), 6) if costs and None not in costs else None,
    )


def _total(name: str, items: Sequence[Struct]) -> Any:  # noqa: ANN401 - an integer or a fraction, as the field is
    return sum(getattr(one, name) or 0 for one in items)


def _rate(count: int, seconds: float) -> float | None:
    return round(count / seconds, 1) if count > 0 and seconds > 0 else None
