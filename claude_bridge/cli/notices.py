"""TerminalNotices: what happens in a bridge, on stderr, and the questions that only the user can answer."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from claude_bridge.app.notices import Notices
from claude_bridge.cli import terminal
from claude_bridge.errors import SeveralModelsError

if TYPE_CHECKING:
    from claude_bridge.providers import Upstream
    from claude_bridge.upstream.engines.report import OfferedModel


ANSWER_WITHIN_S = math.inf if sys.platform == "win32" else 15.0
"""How long the question about searches waits: a program may have opened the terminal. On Windows the thread that reads
would take the next line from Claude Code."""

_YES_OR_NO = {"y": True, "yes": True, "n": False, "no": False, "": False}

MOST_LISTED = 15
"""How many models are shown at once; of more, a part of the name finds the one."""


class TerminalNotices(Notices):
    """Shows on stderr what happens, and asks there where somebody can answer."""

    def say(self, text: str) -> None:
        """Print a line."""
        terminal.say(text)

    def warn(self, text: str) -> None:
        """Print a line in the colour of warnings."""
        terminal.warn(text)

    def problem(self, what: str, hint: str) -> None:
        """Print a warning and what to do."""
        terminal.print_problem(what, hint, is_warning=True)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Show a spinner."""
        with terminal.spinner(what):
            yield

    @contextmanager
    def downloading(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """Show a progress bar."""
        with terminal.progress_bar(f"Downloading {what}") as advance:
            yield advance

    async def choose_model(self, offered: Sequence[OfferedModel], several: SeveralModelsError) -> str:
        """Return the model that the user chooses.

        Raises:
            SeveralModelsError: there is no terminal to ask in, or the user ended the input instead.
        """
        if not terminal.can_ask():
            raise several
        from anyio import to_thread

        for module in ("rich.console", "rich.table"):  # which would hold up the event loop for 250 ms
            await to_thread.run_sync(import_module, module)
        shown, default = offered, default_of(offered)
        terminal.say(f"{several.engine} has {len(offered)} models to choose from:")
        _show(shown)
        while True:
            line = await _answered(f"Which one? A number or a name [{default + 1}]: ")
            if line is None:
                raise several
            match = find_choice(line, [model.id for model in shown], [model.id for model in offered], default)
            if len(match) == 1:
                return match[0]
            if match:
                terminal.say(f"{len(match)} of them match {line!r}:")
                shown = [model for model in offered if model.id in match]
                default = default_of(shown)
                _show(shown)
            else:
                terminal.warn(f"None of them is {line!r}.")

    async def agrees_to_search(self) -> bool | None:
        """Return whether searches may go to DuckDuckGo; None: there is no terminal to ask in, or no answer."""
        if not terminal.can_ask():
            return None
        import anyio

        terminal.say("Claude Code can search the web with DuckDuckGo.")
        terminal.say("The search queries then leave this machine and go to DuckDuckGo.")
        terminal.say(terminal.faint("Asked once; --web-search or [web] search in the configuration changes it."))
        with anyio.move_on_after(ANSWER_WITHIN_S):
            while True:
                line = await _answered("Search with DuckDuckGo? [y/N]: ")
                if line is None:
                    return None
                if (answer := _YES_OR_NO.get(line.casefold())) is not None:
                    return answer
        return None


def facts_of(upstream: Upstream) -> list[str]:
    """Return what a banner says of an engine and its model, the context window first."""
    if any(note.startswith("context window") for note in upstream.notes):
        return [*upstream.notes]
    if upstream.window_tokens is not None:
        return [f"context window {upstream.window_tokens:,} tokens", *upstream.notes]
    unknown = ["context window unknown: give it with --context-window N"] if upstream.model else []
    return [*unknown, *upstream.notes]


def default_of(shown: Sequence[OfferedModel]) -> int:
    """Return the place of the model that is taken without another word: one that is loaded, else the first."""
    return next((at for at, model in enumerate(shown[:MOST_LISTED]) if model.loaded), 0)


def find_choice(line: str, shown: Sequence[str], offered: Sequence[str], default: int) -> list[str]:
    """Return the models that the answer may mean: by its number on the list, its name, or a part of that."""
    wanted = line.casefold()
    if not wanted:
        return [shown[default]]
    exact = [name for name in offered if wanted in (name.casefold(), name.casefold().removesuffix(":latest"))]
    if exact:
        return exact[:1]
    if line.isascii() and line.isdigit() and 1 <= int(line) <= min(len(shown), MOST_LISTED):
        return [shown[int(line) - 1]]
    return [name for name in offered if wanted in name.casefold()]


class ModelRow(NamedTuple):
    """What is shown of a model beside its number."""

    name: str
    window: str
    size: str
    notes: str


def row_of(model: OfferedModel) -> ModelRow:
    """Return what is shown of a model; what its engine does not tell stays empty."""
    notes = {
        "loaded": model.loaded,
        "thinks": model.thinking,
        "sees images": model.images,
        "cloud": model.remote_host is not None,
    }
    return ModelRow(
        name=model.id,
        window=f"{model.context_window:,} tokens" if model.context_window else "",
        size=terminal.size(model.size_bytes) if model.size_bytes else "",
        notes=", ".join(note for note, holds in notes.items() if holds),
    )


def _print_choices(rows: Sequence[Sequence[str]]) -> None:
    """Print numbered rows on stderr; in a narrow terminal what is known stands below the name, else beside it."""
    from rich.table import Table
    from rich.text import Text

    from claude_bridge.trace.console.printable import one_line, printable

    is_narrow = terminal.screen_width() < terminal.NARROW
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for _ in rows[0][1:] if rows and not is_narrow else ():
        table.add_column(no_wrap=True, overflow="ellipsis")
    for number, row in enumerate(rows, 1):
        name, *facts = (printable(one_line(cell)) for cell in row)
        known = [fact for fact in facts if fact]
        shown = [", ".join(known)] * bool(known) if is_narrow else facts
        cells = [Text(name), *(Text(fact, style="dim") for fact in shown)]
        table.add_row(Text(f"  {number}", style="bold"), *([Text("\n").join(cells)] if is_narrow else cells))
    terminal.error_console().print(table)


def _show(shown: Sequence[OfferedModel]) -> None:
    _print_choices([row_of(model) for model in shown[:MOST_LISTED]])
    if len(shown) > MOST_LISTED:
        terminal.say(f"  … and {len(shown) - MOST_LISTED} more: a part of the name finds them.")


async def _answered(question: str) -> str | None:
    """Return the line that the user types, or None at the end of the input."""
    import anyio

    terminal.ask(question)
    try:
        typed = await _typed_line()
    except anyio.get_cancelled_exc_class():
        terminal.say()  # the next words do not belong behind the question
        raise
    if not typed:
        terminal.say()
        return None
    return typed.strip()


async def _typed_line() -> str:
    """Return a line from the terminal; "" at the end of the input.

    Waits for the terminal and not in a thread: a thread that reads could not be ended by Ctrl-C.
    """
    import anyio  # not before somebody is asked

    if sys.platform == "win32":  # its consoles can't be waited for
        return await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
    await anyio.wait_readable(sys.stdin.fileno())
    line = os.read(sys.stdin.fileno(), 4_096)  # a terminal is readable when a line is whole, and gives that
    return line.decode("utf-8", "replace")
