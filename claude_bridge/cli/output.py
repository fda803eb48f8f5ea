"""What the commands print: problems, progress, and the lines to paste; the only place that picks colours."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from claude_bridge import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console


def _print_version(wanted: bool) -> None:
    if wanted:
        print_line(__version__)
        raise typer.Exit


def root(
    _version: Annotated[  # read by its callback, before a command is asked for
        bool, typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that go before any command."""


def print_line(text: str) -> None:
    """Print to stdout, at once: what programs read."""
    typer.echo(text)


def say(text: str = "") -> None:
    """Print to stderr: what only people read."""
    typer.echo(text, err=True, color=_wants_colour(sys.stderr))


def strong(text: str) -> str:
    """Return the text in bold."""
    return typer.style(text, bold=True)


def faint(text: str) -> str:
    """Return the text in a weaker colour."""
    return typer.style(text, dim=True)


def warning(text: str) -> str:
    """Return the text in the colour of warnings."""
    return typer.style(text, fg=typer.colors.YELLOW)


def print_problem(what: str, hint: str, *, is_warning: bool = False) -> None:
    """Print one panel on stderr: what is wrong, and what to do next."""
    from rich.panel import Panel
    from rich.text import Text

    body = Text.assemble(what, "\n", ("→ ", "bold"), hint)
    style = "yellow" if is_warning else "red"
    title = Text("Warning" if is_warning else "Error", style=style)
    error_console().print(Panel(body, title=title, title_align="left", border_style=style))


def error_console() -> Console:
    """Return a Rich console on stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on stderr while the context lasts; yields a function of bytes done and bytes in all."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=error_console(), transient=True) as bar:
        task = bar.add_task(label, total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance


@contextmanager
def spinner(label: str) -> Iterator[None]:
    """Show on stderr that something goes on, while the context lasts."""
    with error_console().status(label):
        yield


def _wants_colour(stream: object) -> bool:
    return "NO_COLOR" not in os.environ and bool(getattr(stream, "isatty", bool)())
