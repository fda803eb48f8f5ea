"""TraceFile: a trace on disk, read as far as it goes: its exchanges in short, and the lines of each on demand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from msgspec import ValidationError

from claude_bridge.errors import SetupError, disk_errors_as
from claude_bridge.trace.console.printable import counted
from claude_bridge.trace.jsonl import VERSION
from claude_bridge.trace.summary import TracedExchange, UnreadableLineError, add_entry, is_known, read_entry

MAX_LINE_BYTES = 128 * 1024 * 1024
"""A longer line is passed over; the bridge writes none."""

MAX_EXCHANGES = 100_000
"""The file is read up to here: a page or a list of more is of no use, and each takes memory."""

MAX_LINES = 2_000_000
"""Of those whose places are kept, in all exchanges together."""

_READ_BYTES = 1024 * 1024
_PASSING = frozenset({"AnswerGrew", "WaitingForUpstream", "FirstToken", "PromptRead", "RequestQueued"})
"""Lines that are read once: all of them is in the summary."""


MIN_ID_DIGITS = 4
"""Fewer digits are the number of an exchange, never a part of its id: the log shows four characters of it."""


class _LinePosition(NamedTuple):
    offset: int
    size: int


class TraceFile:
    """A trace, indexed by one pass over the file that keeps no body in memory."""

    def __init__(
        self,
        path: Path,
        *,
        max_exchanges: int = MAX_EXCHANGES,
        max_lines: int = MAX_LINES,
        max_line_bytes: int = MAX_LINE_BYTES,
    ) -> None:
        """Read the file, up to the limits.

        Raises:
            SetupError: it can't be read, or is no trace.
        """
        self.path = path
        self.exchanges: dict[str, TracedExchange] = {}
        """By their ids, in the order in which they began."""
        self.notes: list[str] = []
        """What could not be read, each in a sentence."""
        self._places: dict[str, list[_LinePosition]] = {}
        self._has_events = False
        with disk_errors_as(f"{path} can't be read", "Give the file that --trace has written."):
            self._index(max_exchanges, max_lines, max_line_bytes)
        if not self.exchanges:
            nothing = "is no trace: no line of it is an event." if self.notes else "is empty."
            has_none = " ".join(["has no exchange that can be read.", *self.notes])
            raise SetupError(
                f"{path} {has_none if self._has_events else nothing}",
                "Give a file that `bridge serve --trace FILE` has written.",
            )

    def lines(self, exchange: str) -> Iterator[bytes]:
        """Yield the lines of an exchange that have more in them than its summary.

        Raises:
            SetupError: the trace comes from a pipe, and can't be read a second time.
        """
        if not self.path.is_file():
            raise SetupError(
                f"{self.path} is a pipe, and what is in an exchange is read a second time.",
                "Write the trace to a file first; `bridge trace list` takes a pipe too.",
            )
        with self.path.open("rb") as file:
            for place in self._places.get(exchange, ()):
                file.seek(place.offset)
                yield file.read(place.size)

    def find(self, name: str) -> TracedExchange:
        """Return the exchange with this number, id, or end or beginning of an id.

        Raises:
            SetupError: there is none, or there are several.
        """
        if name in self.exchanges:
            return self.exchanges[name]
        is_part = bool(name) and not (name.isdigit() and len(name) < MIN_ID_DIGITS)
        found = [one for one in self.exchanges.values() if name == str(one.number)] or [
            one
            for one in self.exchanges.values()
            if is_part and (one.exchange.endswith(name) or one.exchange.startswith(name))
        ]
        if len(found) == 1:
            return found[0]
        what = f"{len(found)} exchanges match {name!r}" if found else f"There is no exchange {name!r}"
        raise SetupError(f"{what} in {self.path}.", f"`bridge trace list {self.path}` shows their numbers and ids.")

    def _index(self, max_exchanges: int, max_lines: int, max_line_bytes: int) -> None:
        unreadable = unknown = dropped = lines = 0
        newest = VERSION
        is_cut = False
        for place, line in _lines_of(self.path, max_line_bytes):
            if not line.strip():
                continue
            try:
                if len(line) < place.size:
                    raise UnreadableLineError("the line is too long")
                entry = read_entry(line)
                newest = max(newest, entry.version)
                self._has_events = True
                if not is_known(entry):
                    unknown += 1
                    continue
                if entry.type == "EventsDropped":
                    dropped += entry.count
                    continue
                if entry.exchange not in self.exchanges and len(self.exchanges) >= max_exchanges:
                    self.notes.append(f"It has more than {max_exchanges:,} exchanges; these are the first ones.")
                    break
                found = self.exchanges.setdefault(
                    entry.exchange,
                    TracedExchange(exchange=entry.exchange, number=len(self.exchanges) + 1, at_s=entry.at_s),
                )
                add_entry(found, entry, len(line))
            except (UnreadableLineError, ValidationError):
                is_cut = not line.endswith(b"\n")
                unreadable += not is_cut
                continue
            if entry.type not in _PASSING:
                lines += 1
                if lines > max_lines:
                    self.notes.append(f"It has more than {max_lines:,} lines; these are the first ones.")
                    break
                self._places.setdefault(entry.exchange, []).append(place)
        self._add_notes(newest=newest, unreadable=unreadable, unknown=unknown, dropped=dropped, is_cut=is_cut)

    def _add_notes(self, *, newest: int, unreadable: int, unknown: int, dropped: int, is_cut: bool) -> None:
        if newest > VERSION:
            self.notes.append(
                f"It was written by a newer bridge (format {newest}; this one knows up to {VERSION}), "
                "so what is new in it is not shown until this one is updated."
            )
        if is_cut:
            self.notes.append("Its last line is cut off; everything before it is shown.")
        if unreadable:
            self.notes.append(f"{counted(unreadable, 'line')} can't be read and {_is(unreadable)} left out.")
        if unknown:
            self.notes.append(f"{counted(unknown, 'line')} {_is(unknown)} of an unknown kind and left out.")
        if dropped:
            self.notes.append(f"{counted(dropped, 'event')} had been dropped while it was written.")
        if self.path.with_name(self.path.name + ".1").exists():
            self.notes.append(f"{self.path.name}.1 holds what came before.")


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


def _lines_of(path: Path, max_bytes: int) -> Iterator[tuple[_LinePosition, bytes]]:
    """Yield each line with its place; of one above the budget only its beginning."""
    offset = 0
    with path.open("rb", buffering=_READ_BYTES) as file:
        while line := file.readline(max_bytes):
            size = len(line)
            kept = line
            while not line.endswith(b"\n") and len(line) == max_bytes:
                kept = line[:1] + b"\n"
                line = file.readline(max_bytes)
                size += len(line)
            yield _LinePosition(offset, size), kept
            offset += size
