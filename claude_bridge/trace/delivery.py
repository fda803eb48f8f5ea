"""How events get to a sink: at once, or by a thread with a bounded queue before it."""

from __future__ import annotations

import contextlib
import queue
import time
from threading import Lock, Thread
from typing import Protocol

from msgspec.structs import replace

from claude_bridge.trace.events import (
    AnswerGrew,
    ClientLeft,
    EventsDropped,
    ExchangeEnded,
    ExchangeFailed,
    RequestReceived,
    RequestSent,
    StreamsRecorded,
    TraceEvent,
)
from claude_bridge.trace.redact import CleanEvent
from claude_bridge.trace.sink import Sink, TickingSink

MAX_QUEUED = 2_048
MAX_QUEUED_BYTES = 128 * 1024 * 1024
"""Of the bodies in a queue."""

TICK_S = 0.25
CLOSE_TIMEOUT_S = 2.0
"""How long the end of the program waits for a sink that takes nothing."""


class Delivery(Protocol):
    """The way to one sink."""

    @property
    def sink(self) -> Sink:
        """The sink at its end."""
        ...

    def put(self, clean: CleanEvent) -> None:
        """Hand over an event; raises what the sink raised."""
        ...

    def close(self) -> None:
        """Close the sink."""
        ...


class DirectDelivery:
    """Calls the sink at once."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink

    def put(self, clean: CleanEvent) -> None:
        """Give the event to the sink."""
        self.sink.take(clean.event())

    def close(self) -> None:
        """Close the sink."""
        self.sink.close()


class ThreadDelivery:
    """A thread calls the sink. What the sink can't keep up with is dropped, and counted.

    The growth of an answer, which comes with every read from the engine, is summed up to a few events a second.
    """

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self._queue: queue.Queue[CleanEvent | None] = queue.Queue(MAX_QUEUED)
        self._lock = Lock()  # for all that follows
        self._growth: dict[str, AnswerGrew] = {}
        self._queued_bytes = 0
        self._dropped = 0
        self._failure: Exception | None = None
        self._under_way: set[str] = set()  # this and the next are only the thread's
        self._ticked_at = 0.0
        self._thread = Thread(target=self._work, name=f"bridge-{type(sink).__name__}", daemon=True)
        self._thread.start()

    def put(self, clean: CleanEvent) -> None:
        """Hand the event to the thread; raises what the sink raised meanwhile."""
        if self._failure is not None:
            raise self._failure
        event = clean.raw
        if isinstance(event, AnswerGrew):
            self._add_growth(event)
            return
        with self._lock:
            growth = self._growth.pop(event.exchange, None)
        if growth is not None:
            self._enqueue(clean.of(growth))
        self._enqueue(clean)

    def close(self) -> None:
        """Deliver what has come so far and close the sink; gives up on one that takes nothing."""
        give_up_at = time.monotonic() + CLOSE_TIMEOUT_S
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=CLOSE_TIMEOUT_S)
            self._thread.join(max(0.0, give_up_at - time.monotonic()))
        if self._failure is not None:
            raise self._failure
        if self._thread.is_alive():
            raise TimeoutError(f"about {self._queue.qsize()} events were not written in time")

    def _add_growth(self, event: AnswerGrew) -> None:
        with self._lock:
            before = self._growth.get(event.exchange)
            if before is not None:
                event = replace(event, deltas=before.deltas + event.deltas, chars=before.chars + event.chars)
            self._growth[event.exchange] = event

    def _enqueue(self, clean: CleanEvent) -> None:
        size = _body_bytes(clean.raw)
        with self._lock:
            places = MAX_QUEUED - self._queue.qsize() - (self._dropped > 0)
            if places <= 0 or self._queued_bytes + size > MAX_QUEUED_BYTES:
                self._dropped += 1
                return
            self._queued_bytes += size
            if self._dropped:
                self._queue.put_nowait(clean.of(self._take_dropped()))
            self._queue.put_nowait(clean)

    def _take_dropped(self) -> EventsDropped:
        dropped, self._dropped = self._dropped, 0
        return EventsDropped(exchange="", at_s=time.time(), count=dropped)

    # --- the thread -----------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            try:
                while self._deliver_next():
                    pass
            finally:
                self.sink.close()
        except Exception as error:  # noqa: BLE001 - put() raises it where the bus reports it
            self._failure = error
        except SystemExit as error:  # Rich ends the program so, where nobody reads its output any more
            self._failure = BrokenPipeError(str(error))

    def _deliver_next(self) -> bool:
        """Wait for the next event, and give it to the sink; return whether more can come."""
        try:
            clean = self._queue.get(timeout=TICK_S if self._under_way else None)
        except queue.Empty:
            self._tick()
            return True
        if clean is None:
            if self._dropped:
                self.sink.take(self._take_dropped())
            return False
        event = clean.event()
        with self._lock:
            self._queued_bytes -= _body_bytes(clean.raw)
        if isinstance(event, EventsDropped):
            self._under_way.clear()  # their ends may be among what was dropped
        elif isinstance(event, ExchangeEnded | ExchangeFailed | ClientLeft | StreamsRecorded):
            self._under_way.discard(event.exchange)
        else:
            self._under_way.add(event.exchange)
        self.sink.take(event)
        if time.monotonic() - self._ticked_at > TICK_S and self._queue.empty():
            self._tick()
        return True

    def _tick(self) -> None:
        """Deliver how much the answers under way have grown; nothing that comes before it is in the queue."""
        self._ticked_at = time.monotonic()
        with self._lock:
            growth, self._growth = self._growth, {}
        for event in growth.values():
            self.sink.take(event)
        if isinstance(self.sink, TickingSink):
            self.sink.tick()


def _body_bytes(event: TraceEvent) -> int:
    if isinstance(event, StreamsRecorded):
        return sum(len(piece.data) for piece in (*event.upstream, *event.client))
    return len(event.body) if isinstance(event, RequestReceived | RequestSent) else 0
