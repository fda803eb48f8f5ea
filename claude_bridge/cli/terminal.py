"""What the commands print: problems, progress, tables, and lines to paste; the only place that picks colours."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from io import TextIOWrapper
from typing import TYPE_CHECKING, NamedTuple, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console, RenderableType


PIPED_WIDTH = 200
"""Columns of a table that goes to a file or another program, where there is no terminal, nor COLUMNS."""

NARROW = 60
"""Below so many columns a text stands below its name, and not beside it."""

WIDE = 110
"""From so many columns on, those of a table stand further apart, and have headers of one line."""

_SAYS_LITTLE = frozenset({"", "?", "-", "0"})
"""A column with nothing else in it is the first to be left out."""

_WORD_STYLES = {"yes": "green", "no": "dim", "?": "dim"}
"""How a cell of a table looks that is one of these words."""

_ADVICE = re.compile(r"(?:^|(?<=`)|(?<=: ))bridge(?= [a-z])", re.MULTILINE)
"""The beginning of a command in a message; each is one that works, and the tests parse it."""


_BOLD, _RED, _YELLOW, _PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[33m", "\x1b[0m"
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


class Column(NamedTuple):
    """A column of a table; numbers stand at its right side."""

    header: str
    is_number: bool = False
    rank: int = 0
    """In a narrow terminal the columns of the highest rank are left out first; 0: never."""
    narrowest: int | None = None
    """Its texts take several lines, down to this width, before another column is left out; None: they do not."""


def numbers(**ranks: int) -> tuple[Column, ...]:
    """Return columns of numbers by their ranks; in their names ``_`` stands for a space, and ``_per_`` for a stroke."""
    headers = {name.replace("_per_", "/").replace("_", " "): rank for name, rank in ranks.items()}
    return tuple(Column(header, is_number=True, rank=rank) for header, rank in headers.items())


def _print(text: str, stream: TextIO, *, has_colour: bool) -> None:
    """Print at once; old consoles of Windows show colours by Typer alone, which takes 100 ms to load."""
    if sys.platform == "win32" and has_colour:
        import typer

        typer.echo(text, file=stream, nl=False, color=True)
    else:
        stream.write(text if has_colour else _STYLE.sub("", text))
        stream.flush()


def print_line(text: str) -> None:
    """Print to stdout, at once: what programs read."""
    _print(text + "\n", sys.stdout, has_colour=wants_colour())


def print_json(value: object, *, is_pretty: bool = False) -> None:
    """Print a value to stdout as JSON: in one line, or in lines that a person can read too."""
    import msgspec

    encoded = msgspec.json.encode(value)
    print_line((msgspec.json.format(encoded, indent=2) if is_pretty else encoded).decode())


def say(text: str = "") -> None:
    """Print to stderr: what only people read. On a terminal no word breaks at its edge, and no command to paste."""
    if sys.stderr.isatty():
        width = screen_width()
        text = "\n".join(row for line in text.split("\n") for row in in_words(line, width))
    _print(text + "\n", sys.stderr, has_colour=wants_colour(sys.stderr))


def in_words(line: str, width: int) -> list[str]:
    """Return a line as several that fit the width, broken between words.

    What stands between backquotes stays in one piece, and so does an indented line: both are there to be copied.
    """
    found = _MARK.match(line)
    mark = found[0] if found else ""
    if _length(line) <= width or (line.startswith(" ") and not mark):
        return [line]
    return _filled(line[len(mark) :], width, mark)


def _filled(text: str, width: int, first: str) -> list[str]:
    """Return a text in lines that fit the width: ``first`` stands before it, and the others are indented as far."""
    rows, row, indent = list[str](), first, " " * _length(first)
    for word in _WORDS.findall(text):
        begins = row in (first, indent)
        if not begins and _length(row) + 1 + _length(word) > width:
            rows.append(row)
            row, begins = indent, True
        row += word if begins else f" {word}"
    return [*rows, row]


_MARK = re.compile(r"(?:\x1b\[\d+m)*(?: *· |→(?:\x1b\[\d+m)* )")
"""What a line of a list begins with, with its style."""

_WORDS = re.compile(r"`[^`]*`[^ \n]*|[^ \n]+")


def _length(text: str) -> int:
    """Return how many columns a text takes."""
    return len(_STYLE.sub("", text))


def strong(text: str) -> str:
    """Return the text in bold."""
    return f"{_BOLD}{text}{_PLAIN}"


def faint(text: str) -> str:
    """Return the text in a weaker colour."""
    return f"\x1b[2m{text}{_PLAIN}"


def warning(text: str) -> str:
    """Return the text in the colour of warnings."""
    return f"{_YELLOW}{text}{_PLAIN}"


def program() -> str:
    """Return what to type for ``bridge`` in this shell: its path where the shell would not find this one."""
    from pathlib import Path
    from shutil import which

    from claude_bridge.app.shells import this_shell

    shell, started_by = this_shell(), Path(sys.argv[0])
    if started_by.stem != "bridge":  # python -m claude_bridge
        return f"{shell.program(sys.executable)} -m claude_bridge"
    found = which("bridge")
    is_found = found is not None and Path(found).resolve() == started_by.resolve()
    return "bridge" if is_found else shell.program(str(started_by))


def with_program(text: str) -> str:
    """Return a message with the commands in it as they work here."""
    return _ADVICE.sub(lambda _: program(), text)


def warn(text: str) -> None:
    """Print to stderr in the colour of warnings, with the commands in it as they work here."""
    say(warning(with_program(text)))


def can_ask() -> bool:
    """Return whether there is a terminal in which a person can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def print_problem(what: str, hint: str, *, is_warning: bool = False) -> None:
    """Print on stderr what is wrong, and what to do next."""
    from claude_bridge.trace.console.printable import printable

    title = f"{_YELLOW}{_BOLD}Warning:" if is_warning else f"{_RED}{_BOLD}Error:"
    say(f"{title}{_PLAIN} {printable(with_program(what))}")
    say(f"{strong('→')} {printable(with_program(hint))}")


def print_table(title: str, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout, for people; the first column takes several lines where the terminal is narrow."""
    print_renderable(table_of(title, columns, rows))


def print_renderable(renderable: RenderableType) -> None:
    """Print something of Rich's on stdout, for people."""
    table_console().print(renderable)


def screen_width(otherwise: int = PIPED_WIDTH) -> int:
    """Return how wide the terminal is.

    Where stdout is a pipe, it is that of stderr: a pager shows the text there. ``otherwise``: there is no terminal.
    """
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    for stream in (sys.stdout, sys.stderr):
        if stream.isatty():
            return os.get_terminal_size(stream.fileno()).columns or otherwise
    return otherwise


def table_of(
    title: str, columns: Sequence[Column], rows: Sequence[Sequence[str]], *, width: int | None = None
) -> RenderableType:
    """Return a table with its title, in ``width`` columns (None: those of the terminal).

    What does not fit is left out by rank, which the title says, and first what says little; then long texts take
    several lines, and numbers stay whole. Foreign text is made harmless.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from claude_bridge.trace.console.printable import printable

    width = width or screen_width()
    gap = 1 if width < WIDE else 3
    headers = [column.header.replace(" ", "\n") if width < WIDE else column.header for column in columns]
    cells = [[printable(cell) for cell in row] for row in rows]
    natural = [_text_width([header, *(row[at] for row in cells)]) + gap for at, header in enumerate(headers)]
    narrowed = [min(wide, (column.narrowest or wide) + gap) for wide, column in zip(natural, columns, strict=True)]
    ranks = [column.rank for column in columns]
    empty = [rank if all(row[at] in _SAYS_LITTLE for row in cells) else 0 for at, rank in enumerate(ranks)]
    shown = _that_fit(_that_fit(range(len(columns)), empty, natural, width), ranks, narrowed, width)
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for at in shown:
        is_number = columns[at].is_number
        table.add_column(
            headers[at], justify="right" if is_number else "left", vertical="top", overflow="fold", no_wrap=is_number
        )
    for row in cells:
        table.add_row(*(Text(row[at], style=_WORD_STYLES.get(row[at], "")) for at in shown))
    hidden = sum(at not in shown and not empty[at] for at in range(len(columns)))
    more = f"  ({hidden} more column{'s' * (hidden > 1)} if the terminal is wider)" if hidden else ""
    return Group(Text.assemble((printable(title), "bold"), (more, "dim")), table)


def _that_fit(shown: Sequence[int], ranks: Sequence[int], widths: Sequence[int], width: int) -> list[int]:
    """Return which of the columns to show; the highest rank is left out first, and 0 never."""
    shown = list(shown)
    while sum(widths[at] for at in shown) > width and any(ranks[at] for at in shown):
        shown.remove(max(shown, key=lambda at: ranks[at]))
    return shown


def _text_width(texts: Sequence[str]) -> int:
    from rich.cells import cell_len

    return max(cell_len(line) for text in texts for line in text.split("\n"))


def table_console() -> Console:
    """Return a Rich console on stdout."""
    from rich.console import Console

    return Console(highlight=False, width=screen_width())


def size(n_bytes: int) -> str:
    """Return a size on disk as people say it, such as ``4.7 GB``."""
    return f"{n_bytes / 1e9:.1f}\N{NO-BREAK SPACE}GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f}\N{NO-BREAK SPACE}MB"


def ask(question: str) -> None:
    """Print a question on stderr, and leave the cursor behind it."""
    _print(strong(question), sys.stderr, has_colour=wants_colour(sys.stderr))


_MARKS = {"ok": ("✓", "\x1b[32m"), "warn": ("!", _YELLOW), "bad": ("✗", _RED)}


_KEPT_SPACE = "\N{NO-BREAK SPACE}"

FINDING_NAME_WIDTH = 15
"""Columns for the name of a finding where not all names are known yet: the longest one of `bridge doctor`."""


def print_finding(mark: str, name: str, seen: str, remedy: str | None, *, width: int = FINDING_NAME_WIDTH) -> None:
    """Print one finding on stdout, with its remedy on a line of its own."""
    from claude_bridge.trace.console.printable import printable

    sign, colour = _MARKS[mark]
    wide = screen_width(otherwise=80)
    head = f"{colour}{_BOLD}{sign}{_PLAIN}  {strong(name)}{' ' * (width - len(name))}  "
    if wide < NARROW:
        print_line(head.rstrip())
        head = "   "
    lines = _filled(printable(seen), wide, head)
    if remedy is not None:  # with all the width that there is, and a command to paste stays in one line
        command, gap, others = printable(with_program(remedy)).partition("  (")
        if remedy[:1].islower():  # else it is a sentence
            command = command.replace(" ", _KEPT_SPACE)
        lines += _filled(f"{command}{gap}{others}", wide, f"   {strong('→')} {colour}")
        lines[-1] += _PLAIN
    for line in lines:
        print_line(line.replace(_KEPT_SPACE, " "))


def print_verdict(marks: Sequence[str]) -> None:
    """Print how many findings need something done."""
    failed, doubtful = marks.count("bad"), marks.count("warn")
    counts = [f"{failed} broken"] * bool(failed) + [f"{doubtful} warning{'s' * (doubtful > 1)}"] * bool(doubtful)
    print_line(strong(f"\n{', '.join(counts) or 'All is well'}."))


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
def spinner(label: str) -> Iterator[Callable[[str], None]]:
    """Show on stderr that work is under way while the context lasts; yields a function that changes the label."""
    with error_console().status(label) as status:
        yield status.update


@contextmanager
def stopwatch() -> Iterator[tuple[Callable[[str, float], None], Callable[[], AbstractContextManager[None]]]]:
    """Show on stderr the current step, its time so far, and the limit.

    Yields a function that begins a new step, and one whose context has the terminal for other lines.
    """
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = error_console()
    if not console.is_terminal:
        yield (lambda *_: None), nullcontext
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    # With Rich's redirection, prints to stdout would go to stderr's terminal, even if stdout is a file or a pipe.
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as progress:
        task = progress.add_task("")

        def begin(what: str, limit_s: float) -> None:
            progress.reset(task, description=f"{what} (up to {limit_s:.0f} s)")

        @contextmanager
        def away() -> Iterator[None]:
            progress.stop()
            yield
            progress.start()

        yield begin, away


def wants_colour(stream: object = None) -> bool:
    """Return whether a stream takes colours; None: stdout."""
    return "NO_COLOR" not in os.environ and bool(getattr(stream or sys.stdout, "isatty", bool)())


def open_closed_streams() -> None:
    """Put /dev/null where the standard streams are closed (``bridge serve >&-``).

    Else a socket would get the number of the closed one, and with it all that is meant for a terminal.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def use_utf8() -> None:
    """Write UTF-8 to files and other programs, whatever the system's encoding: no character can end a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="replace")
