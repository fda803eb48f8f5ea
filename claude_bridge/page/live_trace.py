"""LiveTrace: the exchanges that the page of a running bridge shows, within a budget."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import msgspec

from claude_bridge.trace.detail import Detail, Pool, detail_of, read_lines
from claude_bridge.trace.events import TraceEvent
from claude_bridge.trace.jsonl import encode_event
from claude_bridge.trace.summary import TracedExchange, add_entry, read_entry

MAX_KEPT_BYTES = 64 * 1024 * 1024
"""Of what exchanges carried, in the form of a trace. Of older ones only the summaries stay."""

MAX_SUMMARIES = 2_000


class LiveTrace:
    """A sink that keeps the newest exchanges within a budget; asked by the event loop, filled by a thread."""

    takes_streams = True

    def __init__(self, *, max_bytes: int = MAX_KEPT_BYTES, max_summaries: int = MAX_SUMMARIES) -> None:
        self._max_bytes = max_bytes
        self._max_summaries = max_summaries
        self._lock = Lock()  # for all that follows
        self._exchanges: OrderedDict[str, TracedExchange] = OrderedDict()
        self._lines: OrderedDict[str, list[bytes]] = OrderedDict()
        self._changed_at: dict[str, int] = {}
        self._revision = self._number = 0
        self.kept_bytes = 0

    def take(self, event: TraceEvent) -> None:
        """Add an event, and forget the oldest of what is beyond the budget."""
        if not event.exchange:
            return  # of EventsDropped: it belongs to none
        line = encode_event(event)
        entry = read_entry(line)
        with self._lock:
            found = self._exchanges.get(event.exchange)
            if found is None:
                self._number += 1
                found = TracedExchange(exchange=event.exchange, number=self._number, at_s=event.at_s)
                self._exchanges[event.exchange] = found
            add_entry(found, entry, len(line))
            self._revision += 1
            self._changed_at[event.exchange] = self._revision
            self._lines.setdefault(event.exchange, []).append(line)
            self.kept_bytes += len(line)
            while self.kept_bytes > self._max_bytes and self._lines:
                _, lines = self._lines.popitem(last=False)
                self.kept_bytes -= sum(map(len, lines))
            while len(self._exchanges) > self._max_summaries:
                oldest, _ = self._exchanges.popitem(last=False)
                self._changed_at.pop(oldest, None)
                self.kept_bytes -= sum(map(len, self._lines.pop(oldest, [])))

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
