"""LiveTrace: the exchanges that the page of a running bridge shows, within a budget."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

import msgspec
from msgspec import ValidationError

from claude_bridge.trace.detail import Detail, Pool, detail_of, read_lines
from claude_bridge.trace.events import RequestReceived, TraceEvent
from claude_bridge.trace.jsonl import encode_event, path_of_older
from claude_bridge.trace.summary import OVER, TracedExchange, TraceLine, UnreadableLineError, add_entry, read_entry

MAX_KEPT_BYTES = 64 * 1024 * 1024
"""Of what exchanges carried, in the form of a trace. Of older ones only the summaries stay."""

MAX_SUMMARIES = 2_000


class LiveTrace:
    """A sink that keeps the newest exchanges within a budget; asked by the event loop, filled by a thread."""

    name = "page"
    takes_streams = True

    def __init__(
        self, *, max_bytes: int = MAX_KEPT_BYTES, max_summaries: int = MAX_SUMMARIES, has_past: bool = False
    ) -> None:
        """``has_past``: events wait until ``begin`` has been called."""
        self._max_bytes = max_bytes
        self._max_summaries = max_summaries
        self._lock = Lock()  # for all that follows
        self._exchanges: OrderedDict[str, TracedExchange] = OrderedDict()
        self._lines: OrderedDict[str, list[bytes]] = OrderedDict()
        self._changed_at: dict[str, int] = {}
        self._revision = self._number = 0
        self._waiting: list[TraceEvent] | None = [] if has_past else None
        self.kept_bytes = 0

    def begin(self, trace_file: Path) -> None:
        """Show the last part of a trace, as much as is kept, and then what has come since this sink was attached.

        Exchanges without a beginning or an end are left out: they were cut off, or ran when a bridge was killed.
        """
        past = _last_lines(trace_file, self._max_bytes)
        with self._lock:
            waiting, self._waiting = self._waiting or [], None
            new = {event.exchange for event in waiting if isinstance(event, RequestReceived)}
            for line in past:
                with suppress(UnreadableLineError, ValidationError):
                    entry = read_entry(line)
                    if entry.exchange not in new and (entry.exchange in self._lines or entry.type == "RequestReceived"):
                        self._add(entry, line)
            for name in [name for name, one in self._exchanges.items() if one.state not in OVER]:
                self._forget(name)
            self._number = len(self._exchanges)
            for number, one in enumerate(self._exchanges.values(), 1):
                one.number = number
            for event in waiting:
                line = encode_event(event)
                if line not in self._lines.get(event.exchange, ()):  # it may have been written meanwhile
                    self._add(read_entry(line), line)

    def take(self, event: TraceEvent) -> None:
        """Add an event, and forget the oldest of what is beyond the budget."""
        if not event.exchange:
            return  # of EventsDropped: it belongs to none
        with self._lock:
            if self._waiting is not None:
                self._waiting.append(event)
                return
            line = encode_event(event)
            self._add(read_entry(line), line)

    def _add(self, entry: TraceLine, line: bytes) -> None:
        name = entry.exchange
        found = self._exchanges.get(name)
        if found is None:
            self._number += 1
            found = self._exchanges[name] = TracedExchange(exchange=name, number=self._number, at_s=entry.at_s)
        add_entry(found, entry, len(line))
        self._revision += 1
        self._changed_at[name] = self._revision
        self._lines.setdefault(name, []).append(line)
        self.kept_bytes += len(line)
        while self.kept_bytes > self._max_bytes and self._lines:
            self._forget_lines(next(iter(self._lines)))
        while len(self._exchanges) > self._max_summaries:
            self._forget(next(iter(self._exchanges)))

    def _forget(self, name: str) -> None:
        del self._exchanges[name], self._changed_at[name]
        self._forget_lines(name)

    def _forget_lines(self, name: str) -> None:
        self.kept_bytes -= sum(map(len, self._lines.pop(name, [])))

    def close(self) -> None:
        """Nothing is held but what the page may still show."""

    def changes(self, since: int) -> tuple[list[bytes], int]:
        """Return the summaries that have changed since a revision, each as JSON, and the revision that this is."""
        with self._lock:
            changed = [one for name, one in self._exchanges.items() if self._changed_at[name] > since]
            return [msgspec.json.encode(one) for one in changed], self._revision

    def detail(self, exchange: str) -> tuple[Detail, Pool] | None:
        """Return an exchange in full; None where it is not kept."""
        with self._lock:
            lines: Sequence[bytes] | None = self._lines.get(exchange)
            lines = None if lines is None else list(lines)
        if lines is None:
            return None
        pool = Pool()
        return detail_of(read_lines(lines), pool), pool


def _last_lines(path: Path, max_bytes: int) -> list[bytes]:
    """Return the last whole lines of a trace, of the file before the last one too; none where it can't be read."""
    lines: list[bytes] = []
    for part in (path, path_of_older(path)):
        with suppress(OSError):
            if max_bytes > 0 and part.is_file():
                size = part.stat().st_size
                with part.open("rb") as file:
                    file.seek(max(0, size - max_bytes))
                    lines[:0] = file.read(max_bytes).splitlines()[1 if size > max_bytes else 0 :]
                max_bytes -= size
    return lines
