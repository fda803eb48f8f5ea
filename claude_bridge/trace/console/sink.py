"""ConsoleSink: the debug log for a person at a terminal; the only place of the trace that picks colours."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.live import Live
from rich.text import Text

from claude_bridge.trace.console.entries import LogEntry, Mark, Tone
from claude_bridge.trace.console.printable import NO_BREAK, counted, one_line, printable
from claude_bridge.trace.console.timeline import Log
from claude_bridge.trace.events import EventsDropped, TraceEvent

LOG_COLUMNS = 120
"""How wide a debug log in a file is."""

_MAX_STATUS_ROWS = 8
_LABEL_WIDTH = 7
_NO_SPACE = "\ue000"  # Rich breaks rows at no-break spaces too, but not at a private character

_TAG_STYLES = ("cyan", "magenta", "yellow", "blue", "green", "bright_red", "bright_cyan", "bright_magenta")
_MARKS: dict[Mark, tuple[str, str]] = {
    "received": ("▶", "bold cyan"),
    "sent": ("→", "bold blue"),
    "first": ("·", "dim"),
    "done": ("◀", "bold green"),
    "failed": ("✗", "bold red"),
}
_TONES: dict[Tone, str] = {"plain": "", "dim": "dim", "warning": "yellow", "bad": "bold red"}
_HEAD_TONES: dict[Tone, str] = _TONES | {"plain": "bold"}
_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_ASCII = str.maketrans(
    {"▶": ">", "→": "-", "·": ".", "◀": "<", "✗": "x", "│": "|", "…": "~"} | dict.fromkeys(_SPINNER, "*")
)


class StderrConsole(Console):
    """Rich's console on stderr, which does not end the program when nobody reads stderr any more."""

    def __init__(self) -> None:
        super().__init__(stderr=True, highlight=False)

    def on_broken_pipe(self) -> None:
        """Let the error pass: Rich would point stdout at nothing and exit."""
        raise  # noqa: PLE0704 - Rich calls this while it handles the BrokenPipeError


class ConsoleSink:
    """Shows each exchange as entries that a tag ties together, and what is under way in a transient area below.

    ``live`` says whether there is such an area; None: if the console is a terminal. Without it, a line tells of the
    first token.
    """

    name = "debug log"

    def __init__(
        self, console: Console | None = None, *, live: bool | None = None, now: Callable[[], float] = time.time
    ) -> None:
        self._console = console or StderrConsole()
        # FORCE_COLOR alone does not make a pipe a terminal.
        is_terminal = self._console.is_interactive and self._console.file.isatty()
        self._is_live = is_terminal if live is None else live
        self._now = now
        self._log = Log()
        self._screen = _Screen(self._console, is_live=self._is_live)

    def take(self, event: TraceEvent) -> None:
        """Show the event."""
        if isinstance(event, EventsDropped):
            self._screen.show_note(f"{counted(event.count, 'event')} not shown: the terminal was too slow")
            self._log.forget()
            return
        for entry in self._log.take(event):
            if not (self._is_live and entry.mark == "first"):
                self._screen.show_entry(entry)

    def tick(self) -> bool:
        """Show what is under way, and return whether anything is."""
        if self._is_live:
            now_s, speed = self._now(), self._log.reading_tokens_per_s
            exchanges = self._log.open.values()  # the oldest first
            self._screen.show_status([(one.tag, one.summary.number, one.progress(now_s, speed)) for one in exchanges])
        return bool(self._log.open)

    def close(self) -> None:
        """Take away what is under way."""
        self._screen.close()


class LogFileSink(ConsoleSink):
    """The same log in a file that only its owner may read: it holds whole conversations."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it and its folder; raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "w", encoding="utf-8")
        super().__init__(Console(file=self._file, width=LOG_COLUMNS, highlight=False))

    def close(self) -> None:
        """Write what has come so far, and close the file."""
        super().close()
        self._file.close()


class _Screen:
    """Prints entries above a transient status area."""

    def __init__(self, console: Console, *, is_live: bool) -> None:
        self._console = console
        self._is_live = is_live
        self._live: Live | None = None
        self._ticks = 0
        self._encoding = getattr(console.file, "encoding", None) or "utf-8"
        self._is_unicode = self._encoding.lower().startswith("utf")

    def show_entry(self, entry: LogEntry) -> None:
        """Print the entry in one go; the exchange's tag begins each of its rows."""
        tag_style = _TAG_STYLES[entry.number % len(_TAG_STYLES)]
        mark, mark_style = _MARKS[entry.mark]
        clock = time.strftime("%H:%M:%S ", time.localtime(entry.at_s))
        tag, bar = (f"{entry.tag} ", tag_style), ("│ ", tag_style)
        width = self._console.width - len(entry.tag) - 3
        text = Text("\n" if entry.mark == "received" else "", end="")
        for at, row in enumerate(self._rows(entry.head, width - len(clock), 3)):
            start = [tag, (f"{mark} ", mark_style), (clock, "dim")] if at == 0 else [tag, bar, (" " * len(clock), "")]
            self._append(text, *start, (f"{row}\n", _HEAD_TONES[entry.tone]))
        for line in entry.lines:
            for at, row in enumerate(self._rows(line.text, width - _LABEL_WIDTH, line.rows)):
                label = (line.label if at == 0 else "").ljust(_LABEL_WIDTH)
                self._append(text, tag, bar, (label, "dim"), (f"{row}\n", _TONES[line.tone]))
        self._print(text)

    def show_note(self, note: str) -> None:
        """Print a word of the log's own."""
        text = Text(end="")
        self._append(text, (f"{note}\n", "yellow"))
        self._print(text)

    def show_status(self, rows: list[tuple[str, int, str]]) -> None:
        """Put these rows (tag, number, progress) into the area below the log; it is away while there are none."""
        if not self._is_live:
            return
        if not rows:
            self.close()
            return
        self._ticks += 1
        spinner = _SPINNER[self._ticks % len(_SPINNER)]
        most = max(1, min(_MAX_STATUS_ROWS, self._console.height - 3))
        text = Text(no_wrap=True, overflow="ellipsis")
        for tag, number, progress in rows[:most]:
            style = _TAG_STYLES[number % len(_TAG_STYLES)]
            self._append(
                text, (f"{tag} {spinner} ", style), (one_line(printable(progress)).replace(NO_BREAK, " ") + "\n", "")
            )
        if len(rows) > most:
            self._append(text, (f"and {len(rows) - most} more under way\n", "dim"))
        text.right_crop(1)
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
            self._live.start()
        self._live.update(text, refresh=True)

    def close(self) -> None:
        """Take the status area away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _rows(self, foreign: str, width: int, max_rows: int) -> list[str]:
        """Return the text in rows of at most ``width`` cells, safe to print; blank lines are left out."""
        width = max(width, 20)
        max_chars = 4 * width * max_rows
        rows: list[str] = []
        for line in printable(foreign[:max_chars]).replace(NO_BREAK, _NO_SPACE).split("\n"):
            if line.strip():
                wrapped = Text(line).wrap(self._console, width, overflow="fold")
                rows += [row.plain.rstrip().replace(_NO_SPACE, " ") for row in wrapped]
        if len(rows) > max_rows or len(foreign) > max_chars:
            rows = rows[:max_rows] or [""]
            rows[-1] = set_cell_size(rows[-1], min(cell_len(rows[-1]), width - 2)).rstrip() + " …"
        return rows or ["(empty)"]

    def _append(self, text: Text, *pieces: tuple[str, str]) -> None:
        for piece, style in pieces:
            harmless = printable(piece)  # rows are so already: this is the door that nothing gets around
            if not self._is_unicode:
                harmless = harmless.translate(_ASCII).encode(self._encoding, "replace").decode(self._encoding)
            text.append(harmless, style)

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True, end="")
