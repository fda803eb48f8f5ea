"""What an exam means: a verdict and advice, each by a rule in a table, with its evidence."""

from __future__ import annotations

import re
from collections.abc import Callable
from math import inf
from typing import Any, NamedTuple

from msgspec import Struct, to_builtins

from claude_bridge.clients.claude_code import COMFORTABLE_TOKENS, FULL_PROMPT, LITE_PROMPT
from claude_bridge.exam.asking import SLOW_FIRST_S, SLOW_TOKENS_PER_S
from claude_bridge.exam.results import Exam

DAILY, SMALL, QUESTIONS, NO_TOOLS = "daily work", "small edits", "questions only", "not with tools"

Evidence = Callable[[Exam], str | None]
"""Returns what shows that a rule holds, or None where it does not."""


class Rule(NamedTuple):
    """One row: a verdict or an advice, and its evidence."""

    says: str
    evidence: Evidence


class Advice(Struct, frozen=True):
    """What would help, and what shows it."""

    what: str
    evidence: str


class Verdict(Struct, frozen=True):
    """What the model is good for, why, and what would help."""

    verdict: str
    reason: str
    advice: list[Advice]


def _below(share: float, *groups: str) -> Evidence:
    """The share of these groups, as far as they were run, is below this."""

    def evidence(exam: Exam) -> str | None:
        known = [group for group in groups if group in exam.groups]
        if not known or exam.share(*known) >= share:
            return None
        weakest = min(known, key=exam.share)
        score = exam.groups[weakest]
        return f"{exam.share(*known):.0%} in {', '.join(known)}; weakest: {weakest} ({score.passed} of {score.total})"

    return evidence


def _passed(*, below: float, words: str = "") -> Evidence:
    """The share of all tasks that were passed is below this."""

    def evidence(exam: Exam) -> str | None:
        score = exam.score
        return f"{score.passed} of {score.total} tasks passed{words}" if score.share < below else None

    return evidence


def _often(figure: str, words: str) -> Evidence:
    """It happened in more than one task of twenty."""

    def evidence(exam: Exam) -> str | None:
        count, tasks = getattr(exam.figures, figure), len(exam.results)
        return words.format(f"{count} of {tasks}") if count * 20 > tasks else None

    return evidence


def _slow(exam: Exam) -> str | None:
    rate, first_s = exam.figures.answer_tokens_per_s, exam.figures.first_token_s
    if rate is not None and rate < SLOW_TOKENS_PER_S:
        return f"it writes {rate} tokens/s"
    return f"the first token comes after {first_s:.0f} s" if first_s is not None and first_s > SLOW_FIRST_S else None


def _window_below(tokens: int, what: str) -> Evidence:
    def evidence(exam: Exam) -> str | None:
        window = exam.settings.window_tokens
        return None if window is None or window >= tokens else f"the window of {window:,} tokens is {what}"

    return evidence


VERDICTS = (
    Rule(NO_TOOLS, _below(0.5, "one tool", "choice of tools", "arguments")),
    Rule(QUESTIONS, _below(0.5, "edits", "stopping", "honesty")),
    Rule(QUESTIONS, _window_below(LITE_PROMPT.needs_window_tokens, "too small even for few tools")),
    Rule(SMALL, _below(0.7, "edits", "recovery", "plan")),
    Rule(SMALL, _passed(below=0.75)),
    Rule(SMALL, _often("claims_without_acting", "in {} tasks it claimed work that no call had done")),
    Rule(SMALL, _window_below(FULL_PROMPT.needs_window_tokens, "too small for all of Claude Code's tools")),
    Rule(SMALL, _slow),
    Rule(DAILY, _passed(below=inf, words=", those with edits and plans among them")),
)
"""The first rule with evidence gives the verdict."""


def _left_out(exam: Exam) -> str | None:
    window, names = exam.settings.window_tokens, exam.settings.left_out
    if names:
        return f"{', '.join(names)} did not fit the window of {window or 0:,} tokens"
    too_small = window is not None and window < COMFORTABLE_TOKENS
    return f"in {window:,} tokens Claude Code compacts often" if too_small else None


def _thinks_too_long(exam: Exam) -> str | None:
    sums = exam.figures
    share = sums.thinking_tokens / max(1, sums.output_tokens)
    if share < 0.5 or not sums.ended_at_a_limit:
        return None
    return f"{share:.0%} of what it writes is thinking, and {sums.ended_at_a_limit} tasks ended at their limit"


def _may_think(exam: Exam) -> str | None:
    sums, hard = exam.figures, exam.share("plan", "recovery", "rules")
    if hard >= 0.6 or exam.share("one tool") < 0.5 or exam.settings.think == "on" or sums.thinking_tokens:
        return None
    return f"it did not think, and passed {hard:.0%} of the difficult tasks"


def _fewer_tools(exam: Exam) -> str | None:
    one, many = exam.share("one tool"), exam.share("choice of tools")
    if one - many < 0.3:
        return _window_below(FULL_PROMPT.needs_window_tokens, "too small for all tools")(exam)
    return f"{one:.0%} with few tools, {many:.0%} with 25"


def _prints(exam: Exam) -> str | None:
    sums = exam.figures
    return f"{sums.printed_calls} calls were printed as text" if sums.printed_calls * 10 > sums.calls else None


_MARKS = re.compile(
    r"<\|(?:im_start|im_end|eot_id|start_header_id|user|assistant)\|>|<(?:start|end)_of_turn>|\[/?INST\]"
)
"""Marks of chat formats, which no answer has where the engine's template is the model's own."""


def _marks(exam: Exam) -> str | None:
    texts = ["".join(line.text for line in result.transcript if line.kind == "text") for result in exam.results]
    found = [mark[0] for text in texts if (mark := _MARKS.search(text)) is not None]
    return f"{len(found)} of {len(texts)} answers have marks of a chat format, such as {found[0]}" if found else None


def _breaks_json(exam: Exam) -> str | None:
    sums = exam.figures
    many = sums.repaired_calls * 10 > max(sums.calls, 9)
    return f"{sums.repaired_calls} of {sums.calls} calls would have failed without a repair" if many else None


def _no_cache(exam: Exam) -> str | None:
    share = exam.figures.cache_share
    return f"only {share:.0%} of a turn's prompt is kept for the next" if share is not None and share < 0.5 else None


ADVICE = (
    Rule("Give the engine a larger context window, or take a model that was trained for one.", _left_out),
    Rule("Try it without thinking: --think off", _thinks_too_long),
    Rule("Try it with thinking, if the model can: --think on", _may_think),
    Rule("Start Claude Code with few tools: bridge run … --lite", _fewer_tools),
    Rule(
        "Give the engine the chat template with tools that the model was trained with (llama.cpp: --jinja, or "
        "--chat-template-file), or a newer engine that reads its calls.",
        _prints,
    ),
    Rule(
        "Give the engine the chat template that the model was trained with; a base model, which was trained for none, "
        "can't do this work.",
        _marks,
    ),
    Rule("Take a newer engine, or a finer quantisation: fewer calls will need a repair.", _breaks_json),
    Rule(
        "Take a finer quantisation, or the sampling parameters that the model's card names.",
        _often("loops", "{} tasks ended in a loop"),
    ),
    Rule("Switch on the engine's prefix cache, or give it a slot for each session.", _no_cache),
    Rule("Take a smaller model, or one that fits on the GPU.", _slow),
)
"""Every rule with evidence gives an advice."""


def judge(exam: Exam) -> Verdict:
    """Return what an exam means."""
    if not exam.results:
        return Verdict("not known", "no task was run", [])
    reasons = ((rule.says, evidence) for rule in VERDICTS if (evidence := rule.evidence(exam)) is not None)
    verdict, reason = next(reasons)
    advice = [Advice(rule.says, evidence) for rule in ADVICE if (evidence := rule.evidence(exam)) is not None]
    return Verdict(verdict, reason, advice)


def as_json(exam: Exam, verdict: Verdict) -> dict[str, Any]:
    """Return an exam as JSON."""
    settings = to_builtins(exam.settings)
    return {
        "model": settings.pop("model"),
        **to_builtins(verdict),
        **to_builtins(exam.score),
        "groups": to_builtins(exam.groups),
        **to_builtins(exam.figures),
        **{name: value for name, value in settings.items() if name != "window_tokens"},
        "left_out": exam.settings.left_out,
        "started_at": exam.started_at,
        "is_whole": exam.is_whole,
        "tasks": [
            {"task": one.task, "group": one.group, "run": one.run, "passed": one.passed, "fault": one.fault}
            for one in exam.results
        ],
    }
