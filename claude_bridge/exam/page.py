"""The page of an exam: one file with plots and every transcript, for light and dark screens; it fetches nothing.

Whatever a model wrote goes through ``_e``, and there is no script.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape as _e
from math import ceil, log10

from claude_bridge.data_files import read_text
from claude_bridge.exam.catalog import GROUPS
from claude_bridge.exam.results import FIGURES, Exam, Result, figure_text
from claude_bridge.exam.verdict import Verdict

Judged = tuple[Exam, Verdict]

COLOURS = 8
LEFT, WIDTH, RIGHT = 130, 520, 90
"""Pixels of a plot: for its labels, its bars, and their numbers."""

MAX_LABEL_CHARS = 15


def page_of(judged: Sequence[Judged]) -> str:
    """Return the page as HTML."""
    return "".join(_page(judged))


def _page(judged: Sequence[Judged]) -> Iterator[str]:
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" '
    yield f'content="light dark">\n<title>bridge exam</title>\n<style>{read_text("exam/page.css")}</style>\n'
    yield "</head>\n<body>\n<main>\n"
    yield "<h1>Which model can do the work?</h1>\n"
    yield "<p class=lead>Short tasks with tools through claude-bridge, each judged by what happened. Ranges are "
    yield "95&nbsp;% intervals.</p>\n<div class=cards>\n"
    for number, (exam, verdict) in enumerate(judged):
        yield from _card(number, exam, verdict)
    yield "</div>\n"
    if judged:
        yield "<section><h2>Score by group</h2>\n" + _legend(judged) + _groups_plot(judged) + "</section>\n"
        yield "<section><h2>Speed and score</h2>\n" + _speed_plot(judged) + "</section>\n"
        yield "<section><h2>Tokens per task</h2>\n" + _tokens_plot(judged) + "</section>\n"
        yield "<section><h2>Figures</h2>\n" + _figures_table(judged) + "</section>\n"
        yield "<section><h2>Transcripts</h2>\n"
        for number, (exam, _) in enumerate(judged):
            yield from _transcripts(number, exam)
        yield "</section>\n"
    yield "</main>\n</body>\n</html>\n"


def _name(exam: Exam) -> str:
    return _e(exam.settings.model)


def _card(number: int, exam: Exam, verdict: Verdict) -> Iterator[str]:
    settings, score = exam.settings, exam.score
    kind = verdict.verdict.replace(" ", "-")
    yield f'<article class=card><h2><i class="dot m{number % COLOURS}"></i>{_name(exam)}</h2>\n'
    yield f'<p class="verdict {kind}">{_e(verdict.verdict)}</p>\n<p class=score><b>{score.share:.0%}</b> '
    yield f"{score.passed} of {score.total} passed, {score.low:.0%} to {score.high:.0%}</p>\n"
    yield f"<p>{_e(verdict.reason[:1].upper() + verdict.reason[1:])}.</p>\n"
    if verdict.advice:
        yield "<h3>What would help</h3>\n<ul>\n"
        yield from (f"<li>{_e(one.what)} <small>{_e(one.evidence)}</small></li>\n" for one in verdict.advice)
        yield "</ul>\n"
    window = f"{settings.window_tokens:,} tokens" if settings.window_tokens else "not known"
    facts = {
        "engine": settings.engine,
        "window": window,
        "exam": settings.description,
        "date": exam.started_at.replace("T", " ").rstrip("Z"),
        "left out": ", ".join(settings.left_out),
        "client": "Claude Code itself: the model's commands did run" if settings.client else "",
        "state": "" if exam.is_whole else f"interrupted after {score.total} of {exam.planned}",
    }
    rows = (f"<dt>{name}</dt><dd>{_e(text)}</dd>" for name, text in facts.items() if text)
    yield f"<dl>{''.join(rows)}</dl></article>\n"


def _legend(judged: Sequence[Judged]) -> str:
    names = (
        f'<span><i class="dot m{number % COLOURS}"></i>{_name(exam)}</span>' for number, (exam, _) in enumerate(judged)
    )
    return f"<p class=legend>{''.join(names)}</p>\n"


# --- plots --------------------------------------------------------------------------------------------------------


def _svg(height: float, inside: Sequence[str], title: str) -> str:
    size = f'viewBox="0 0 {LEFT + WIDTH + RIGHT} {height:.0f}"'
    return f"<svg role=img {size}><title>{_e(title)}</title>{''.join(inside)}</svg>\n"


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{_e(text)}</text>'


def _grid(height: float, labels: Sequence[str]) -> list[str]:
    """Return vertical lines from the left to the right of a plot, each with its label below."""
    parts = []
    for at, label in enumerate(labels):
        x = LEFT + WIDTH * at / (len(labels) - 1)
        parts.append(f'<line class=grid x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{height - 20:.1f}"/>')
        parts.append(_text(x, height - 6, label, "middle", "faint"))
    return parts


def _groups_plot(judged: Sequence[Judged]) -> str:
    groups = [group for group in GROUPS if any(group in exam.groups for exam, _ in judged)]
    bar = 14 if len(judged) > 1 else 18
    row = bar * len(judged) + 10
    height = row * len(groups) + 30
    parts = _grid(height, ["0 %", "25 %", "50 %", "75 %", "100 %"])
    for place, group in enumerate(groups):
        top = place * row + 8
        parts.append(_text(LEFT - 10, top + (row - 10) / 2 + 4, group, "end"))
        for number, (exam, _) in enumerate(judged):
            score = exam.groups.get(group)
            y = top + number * bar
            if score is None:
                parts.append(_text(LEFT + 4, y + bar - 3, "not run", kind="faint"))
                continue
            colour = f"m{number % COLOURS}"
            parts.append(
                f'<rect class={colour} x="{LEFT}" y="{y}" width="{max(1.5, WIDTH * score.share):.1f}" '
                f'height="{bar - 2}" rx="2"><title>{_name(exam)}: {score.passed} of {score.total}</title></rect>'
            )
            middle = y + (bar - 2) / 2
            parts.append(
                f'<line class=range x1="{LEFT + WIDTH * score.low:.1f}" x2="{LEFT + WIDTH * score.high:.1f}" '
                f'y1="{middle}" y2="{middle}"/>'
            )
            parts.append(_text(LEFT + WIDTH + 10, y + bar - 3, f"{score.passed}/{score.total}", kind="number"))
    return _svg(height, parts, "Share of passed tasks by group")


def _speed_plot(judged: Sequence[Judged]) -> str:
    known = [
        (number, exam, speed)
        for number, (exam, _) in enumerate(judged)
        if (speed := exam.figures.answer_tokens_per_s) is not None
    ]
    if not known:
        return "<p class=faint>The engine reports no speed.</p>\n"
    height, most = 300, _round_up(max(speed for _, _, speed in known))
    parts = _grid(height, [f"{most * step / 4:,.4g}" for step in range(5)])
    bottom, tall = height - 20, height - 34
    for share in (0, 0.5, 1):
        y = bottom - tall * share
        parts.append(f'<line class=grid x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(LEFT - 10, y + 4, f"{share:.0%}", "end", "faint"))
    for number, exam, speed in known:
        score, x = exam.score, LEFT + WIDTH * speed / most
        y, low, high = (bottom - tall * share for share in (score.share, score.low, score.high))
        parts.append(f'<line class=range x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
        parts.append(f'<circle class=m{number % COLOURS} cx="{x:.1f}" cy="{y:.1f}" r="7"/>')
        is_right = x > LEFT + WIDTH * 0.6
        parts.append(_text(x + (-12 if is_right else 12), y + 4, exam.settings.model, "end" if is_right else "start"))
    return (
        _svg(height, parts, "Score against speed") + "<p class=faint>Across: tokens written a second. Up: passed.</p>\n"
    )


def _tokens_plot(judged: Sequence[Judged]) -> str:
    tokens = [(exam.figures.prompt_tokens, exam.figures.output_tokens, max(1, len(exam.results))) for exam, _ in judged]
    most = _round_up(max((read + written) / count for read, written, count in tokens))
    row = 40
    height = row * len(judged) + 30
    parts = _grid(height, [f"{most * step / 4:,.0f}" for step in range(5)])
    for number, (exam, _) in enumerate(judged):
        read, written, count = tokens[number]
        y, wide, more = number * row + 8, WIDTH * read / count / most, WIDTH * written / count / most
        parts.append(_text(LEFT - 10, y + 17, _short(exam.settings.model), "end"))
        colour = f"m{number % COLOURS}"
        parts.append(f'<rect class="{colour} read" x="{LEFT}" y="{y}" width="{wide:.1f}" height="24" rx="2"/>')
        parts.append(f'<rect class={colour} x="{LEFT + wide:.1f}" y="{y}" width="{more:.1f}" height="24" rx="2"/>')
        parts.append(_text(LEFT + WIDTH + 10, y + 17, f"{(read + written) // count:,}", kind="number"))
    return _svg(height, parts, "Tokens per task") + "<p class=faint>Pale: read. Full: written.</p>\n"


def _short(name: str) -> str:
    return name if len(name) <= MAX_LABEL_CHARS else f"{name[: MAX_LABEL_CHARS - 1]}…"


def _round_up(number: float) -> float:
    """Return the next number above that is easy to read."""
    if number <= 0:
        return 1.0
    power = 10 ** (ceil(log10(number)) - 1)
    return float(next(step * power for step in (1, 2, 4, 5, 8, 10) if step * power >= number))


# --- figures and transcripts --------------------------------------------------------------------------------------


def _figures_table(judged: Sequence[Judged]) -> str:
    sums = [exam.figures for exam, _ in judged]
    head = "".join(f"<th>{_name(exam)}</th>" for exam, _ in judged)
    rows = (
        f"<tr><th>{label}</th>{''.join(f'<td>{figure_text(getattr(one, name), name)}</td>' for one in sums)}</tr>\n"
        for name, _, label in FIGURES
    )
    body = f"<thead><tr><th></th>{head}</tr></thead><tbody>\n{''.join(rows)}</tbody>"
    return f"<div class=wide><table>{body}</table></div>\n"


def _transcripts(number: int, exam: Exam) -> Iterator[str]:
    yield f'<h3><i class="dot m{number % COLOURS}"></i>{_name(exam)}</h3>\n'
    for group, score in exam.groups.items():
        yield f"<details class=group><summary>{_e(group)} <small>{score.passed} of {score.total}</small></summary>\n"
        for result in exam.results:
            if result.group == group:
                yield from _transcript(result)
        yield "</details>\n"


def _transcript(result: Result) -> Iterator[str]:
    mark = "<b class=ok>passed</b>" if result.passed else "<b class=bad>failed</b>"
    fault = f" <small>{_e(result.fault)}</small>" if result.fault else ""
    yield f"<details><summary>{mark} {_e(result.task)}, run {result.run}{fault}</summary>\n"
    yield from (
        f'<div class="line {_e(line.kind)}"><span>{_e(line.kind)}</span><pre>{_e(line.text)}</pre></div>\n'
        for line in result.transcript
    )
    yield "</details>\n"
