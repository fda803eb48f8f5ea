"""``bridge exam``: which models can do the work of Claude Code, and what would help."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from claude_bridge.app.options import Options
from claude_bridge.cli import terminal
from claude_bridge.cli.loading import load_config
from claude_bridge.cli.notices import TerminalNotices
from claude_bridge.cli.options import ConfigFile, checked, takes_options
from claude_bridge.errors import SetupError, UsageError, disk_errors_as

if TYPE_CHECKING:
    from claude_bridge.config.schema import Config
    from claude_bridge.exam.results import Exam, Result, Score
    from claude_bridge.exam.run import PreparedExam
    from claude_bridge.exam.store import Store
    from claude_bridge.exam.verdict import Verdict

EXAMPLES = (
    "bridge exam ollama qwen3:8b qwen3-coder:30b --html exam.html",
    "bridge exam openai --base-url http://localhost:8080/v1 --quick",
    "bridge exam --list",
)

INTERRUPTED = 130

LABEL_WIDTH, NARROWEST = 19, 9
"""Columns of a comparison: for the labels, and at least for a model's name at the head of its figures."""

MAX_NAME_CHARS = 80


@partial(takes_options, names=("provider", "base_url", "api_key", "context_window", "think", "model_file", "ca_file"))
def exam(
    options: Options,
    model: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL", help="One model, or several to compare. Not needed if the engine has only one."
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Run a third of the tasks.")] = False,
    runs: Annotated[
        int,
        typer.Option(
            help="How often each task is run, every time in another variant.",
            parser=checked(int, low=1, high=100),
            metavar="N",
        ),
    ] = 3,
    seed: Annotated[
        int,
        typer.Option(
            help="Selects the variants: the same number gives the same ones.", parser=checked(int), metavar="N"
        ),
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a page with plots and every transcript.", metavar="FILE")
    ] = None,
    as_list: Annotated[
        bool, typer.Option("--list", help="Show the kept results, without a request to any engine.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an exam that was interrupted.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Accept the cost at a paid provider without a question.")] = False,
    client: Annotated[
        Literal["claude"] | None,
        typer.Option(
            help="claude: run the tasks with the real Claude Code, in a throw-away home and folder. Commands that the "
            "model writes do run then.",
            parser=checked(Literal["claude"]),
            metavar="NAME",
        ),
    ] = None,
    allow_commands: Annotated[
        bool, typer.Option("--allow-commands", help="With --client claude: let the model's commands run.")
    ] = False,
    config_file: ConfigFile = None,
) -> None:
    """Find out what a model is good for: short tasks with tools, each judged by what happened.

    The tasks go through the bridge as a session of Claude Code does. Their files and commands exist only in memory:
    nothing that the model writes runs on this machine, unless you give --allow-commands. Results are kept. Exit code 0
    whatever the score, 1 if the engine does not answer.
    """
    from claude_bridge.exam.store import Store

    store = Store()
    if as_list:
        kept = [exam for exam, _ in store.all() if _is_meant(exam, options.provider, model)]
        _show(kept, as_json=as_json, html=html, is_list=True)
        return
    if client is not None and not allow_commands:
        raise UsageError(
            "With --client claude, commands that the model writes run on this machine.",
            "Agree to that with --allow-commands, or leave out --client: then nothing runs.",
        )
    if html is not None and not html.absolute().parent.is_dir():
        raise SetupError(f"There is no folder for {html}.", "Make it, or give another --html FILE.")
    each = [replace(options, model=name) for name in model or [""]]
    config = load_config(config_file)
    choices: dict[str, object] = {"seed": seed, "runs": runs, "is_quick": quick, "client": client or ""}
    exams: list[Exam] = []
    is_interrupted = False
    try:
        for begun in _begun(config, each, choices, store, is_resumed=resume, is_agreed=yes):
            exams.append(begun)  # noqa: PERF402 - at once: Ctrl-C may end its tasks
    except KeyboardInterrupt:
        is_interrupted = True
    if exams or not is_interrupted:
        _show(exams, as_json=as_json, html=html)
    if is_interrupted:
        next_step = " What is done is kept: the same command with --resume continues." if exams else ""
        terminal.say(f"Interrupted.{next_step}")
        raise typer.Exit(INTERRUPTED)


def _begun(
    config: Config,
    options: Sequence[Options],
    choices: Mapping[str, object],
    store: Store,
    *,
    is_resumed: bool,
    is_agreed: bool,
) -> Iterator[Exam]:
    """Yield the exam of each model as it begins; its tasks are run when the next one is fetched.

    Raises:
        SetupError: an engine does not answer.
    """
    from claude_bridge.exam.run import prepare, take

    notices = TerminalNotices()
    prepared = [prepare(config, one, notices, **choices) for one in options]
    _agree_to_cost(prepared, is_agreed=is_agreed)
    if choices["client"]:
        notices.warn("Claude Code runs the tasks: commands that the model writes run on this machine.")
    for one in prepared:
        begun, path = (store.newest(one.settings) if is_resumed else None) or store.begin(one.settings)
        yield begun
        if not begun.is_whole:
            with _progress(begun) as show:
                take(one, begun, path, store, notices, show)


def _is_meant(exam: Exam, provider: str, models: Sequence[str] | None) -> bool:
    settings = exam.settings
    return (not provider or settings.provider == provider) and (not models or settings.model in models)


def _agree_to_cost(prepared: Sequence[PreparedExam], *, is_agreed: bool) -> None:
    """Show what paid providers will cost, and ask whether that is agreed to.

    Raises:
        SetupError: there is no terminal to ask on.
        Exit: the user does not agree.
    """
    paid = [one for one in prepared if one.cost_usd]
    for one in paid:
        tasks = f"{one.settings.planned} tasks"
        terminal.say(f"{one.settings.model} at {one.settings.provider}: {tasks}, about ${one.cost_usd:.2f}")
    if not paid or is_agreed:
        return
    if not terminal.can_ask():
        raise SetupError("This costs money, and there is no terminal to ask you in.", "Agree to it with --yes.")
    terminal.ask("Go on? [y/N] ")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        terminal.say("Nothing was sent.")
        raise typer.Exit(1)


@contextmanager
def _progress(exam: Exam) -> Iterator[Callable[[Result], None]]:
    """Show on stderr how far an exam is and how long it takes; yields a function that takes each result."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.text import Text

    from claude_bridge.trace.console.printable import one_line, printable

    console = terminal.error_console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    name = printable(one_line(exam.settings.model))
    is_off = not console.is_terminal
    # Tasks differ much, so that only many of them show how fast it goes.
    with Progress(*columns, console=console, transient=True, disable=is_off, speed_estimate_period=1800) as bar:
        task = bar.add_task(Text(name).markup, total=exam.planned, completed=len(exam.results))

        def show(result: Result) -> None:
            bar.update(task, advance=1, description=Text(f"{name}: {result.task}").markup)

        yield show


# --- what is shown ------------------------------------------------------------------------------------------------


def _show(exams: Sequence[Exam], *, as_json: bool, html: Path | None, is_list: bool = False) -> None:
    """Print the exams as a table or as JSON, and write the page."""
    from claude_bridge.exam.verdict import as_json as json_of
    from claude_bridge.exam.verdict import judge

    judged = [(exam, judge(exam)) for exam in exams]
    if html is not None:
        from claude_bridge.exam.page import page_of

        with disk_errors_as(f"The page can't be written to {html}", "Check --html."):
            html.write_text(page_of(judged), encoding="utf-8")
        terminal.say(f"The page is in {html}.")
    if as_json:
        terminal.print_json({"models": [json_of(exam, one) for exam, one in judged]}, is_pretty=True)
    elif not exams:
        terminal.say(terminal.with_program("There are no results to show. To get some: `bridge exam ollama --quick`"))
    elif is_list:
        _print_list(judged)
    else:
        _print_comparison(judged)


def _print_list(judged: Sequence[tuple[Exam, Verdict]]) -> None:
    from claude_bridge.exam.results import figure_text

    columns = [
        *map(terminal.Column, ("date", "model", "verdict")),
        *terminal.numbers(passed=0, range=2, tokens_per_s=1),
        terminal.Column("engine", rank=4),
        *terminal.numbers(window=3),
        terminal.Column("exam", rank=5),
    ]
    rows = []
    for exam, verdict in judged:
        settings, figures = exam.settings, exam.figures
        kind = (
            [settings.description]
            + [f"by {settings.client}"] * bool(settings.client)
            + ["interrupted"] * (not exam.is_whole)
        )
        rows.append((
            exam.started_at[:16].replace("T", " "),
            settings.model,
            verdict.verdict if exam.results else "-",
            _share(exam.score),
            _range(exam.score),
            figure_text(figures.answer_tokens_per_s, ""),
            settings.engine,
            figure_text(settings.window_tokens, ""),
            ", ".join(kind),
        ))  # fmt: skip
    terminal.print_table("Exams", columns, rows)


def _print_comparison(judged: Sequence[tuple[Exam, Verdict]]) -> None:
    """Print the exams side by side, in several tables where the terminal is too narrow for all, and the verdicts."""
    room = terminal.screen_width() - LABEL_WIDTH
    at_once = max(1, room // (NARROWEST + 3))
    for first in range(0, len(judged), at_once):
        exams = [exam for exam, _ in judged[first : first + at_once]]
        _print_table(exams, name_width=max(NARROWEST, room // len(exams) - 3))
    for exam, verdict in judged:
        if exam.results:
            _print_verdict(exam, verdict)


def _print_table(exams: Sequence[Exam], *, name_width: int) -> None:
    from claude_bridge.exam.catalog import GROUPS
    from claude_bridge.exam.results import FIGURES, figure_text
    from claude_bridge.trace.console.printable import one_line, printable

    names = [printable(one_line(exam.settings.model))[:MAX_NAME_CHARS] for exam in exams]
    heads = ["\n".join(_in_parts(name, name_width)) for name in names]
    rows: list[list[str]] = []
    for group in GROUPS:
        scores = [exam.groups.get(group) for exam in exams]
        if any(scores):
            rows.append([group, *("-" if score is None else _share(score) for score in scores)])
    rows.append(["all", *(_share(exam.score) for exam in exams)])
    rows.append(["95 % range", *(_range(exam.score) for exam in exams)])
    sums = [exam.figures for exam in exams]
    for name, label, _ in FIGURES:
        rows.append([label, *(figure_text(getattr(one, name), name) for one in sums)])
    columns = [terminal.Column("passed"), *(terminal.Column(head, is_number=True) for head in heads)]
    terminal.print_table("Exam", columns, rows)


def _in_parts(name: str, width: int) -> list[str]:
    """Return a name in lines that fit the width, broken behind its punctuation where that is possible."""
    rows = [""]
    for part in re.findall(rf"\w{{1,{width - 1}}}\W?|\W", name):
        if len(rows[-1]) + len(part) > width:
            rows.append("")
        rows[-1] += part
    return rows


def _print_verdict(exam: Exam, verdict: Verdict) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from claude_bridge.trace.console.printable import one_line, printable

    name = printable(one_line(exam.settings.model))
    head = Text.assemble("\n", (name, "bold"), ": ", (verdict.verdict, "bold cyan"))
    terminal.print_renderable(head.append(f". {_sentence(verdict.reason)}"))
    notes = ["By the real Claude Code: commands that the model wrote did run."] * bool(exam.settings.client)
    left_out = exam.settings.left_out
    notes += [f"Left out, since they do not fit the window: {', '.join(left_out)}."] * bool(left_out)
    for note in notes:
        terminal.print_renderable(Padding(Text(note, style="dim"), (0, 0, 0, 2), expand=False))
    for advice in verdict.advice:
        row = Table.grid(padding=(0, 1))
        row.add_row(Text("→", style="bold"), Text.assemble(advice.what, (f" ({advice.evidence})", "dim")))
        terminal.print_renderable(Padding(row, (0, 0, 0, 2), expand=False))


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _share(score: Score) -> str:
    return f"{score.passed}/{score.total}"


def _range(score: Score) -> str:
    return f"{score.low:.0%}-{score.high:.0%}"
