"""How events get to a sink: at once, or by a thread with a bounded queue before it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from threading import Event, Thread

from claude_bridge.trace.events import EventsDropped
from claude_bridge.trace.redact import CleanEvent
from claude_bridge.trace.sink import Sink, StreamSink, TickingSink

MAX_QUEUED = 2_048
MAX_QUEUED_BYTES = 128 * 1024 * 1024
"""Of the bodies and streams in a queue."""

GATHER_S = 0.05
"""How long a thread lets events come before it takes them: each time that it wakes up holds up the event loop."""

_MAX_BATCH = 128
"""So many events are redacted at once."""

TICK_S = 0.25
CLOSE_TIMEOUT_S = 2.0
"""How long the end of the program waits for a sink that takes nothing."""

_SETTLE_S = 0.01
_MAX_CLOSE_TRIES = 5
"""How often it waits for one that is slow."""


class Delivery(ABC):
    """The way to one sink."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.keeps_streams = isinstance(sink, StreamSink)
        self._ticking = sink if isinstance(sink, TickingSink) else None

    @abstractmethod
    def put(self, clean: CleanEvent) -> None:
        """Hand over an event; raises what the sink raised."""

    @abstractmethod
    def close(self) -> None:
        """Close the sink."""

    @abstractmethod
    def settle(self) -> None:
        """Wait until the sink has dealt with all that has come so far, unless it takes nothing."""

    def _tick(self) -> bool:
        return self._ticking is not None and self._ticking.tick()


class DirectDelivery(Delivery):
    """Calls the sink at once."""

    def put(self, clean: CleanEvent) -> None:
        """Give the event to the sink."""
        self.sink.take(clean.event())
        self._tick()

    def close(self) -> None:
        """Close the sink."""
        self.sink.close()

    def settle(self) -> None:
        """Return at once: it has."""


class ThreadDelivery(Delivery):
    """A thread calls the sink. What the sink can't keep up with is dropped, and counted."""

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink)
        self._queue: deque[CleanEvent] = deque()
        self._put_count = self._put_bytes = self._dropped = 0  # only the caller changes these,
        self._done_count = self._done_bytes = self._settled_count = 0  # and only the thread these: no lock is needed
        self._has_more = Event()
        self._is_closing = Event()
        self._failure: Exception | None = None
        self._thread = Thread(target=self._work, name=f"bridge-{type(sink).__name__}", daemon=True)
        self._thread.start()

    def put(self, clean: CleanEvent) -> None:
        """Hand the event to the thread; raises what the sink raised meanwhile."""
        if self._failure is not None:
            raise self._failure
        places = MAX_QUEUED - self._waiting - bool(self._dropped)  # that events are missing takes one too
        if places <= 0 or self._put_bytes - self._done_bytes + clean.body_bytes > MAX_QUEUED_BYTES:
            self._dropped += 1
            return
        if self._dropped:
            self._enqueue(CleanEvent(self._take_dropped(), clean.redactor))
        self._enqueue(clean)
        if not self._has_more.is_set():
            self._has_more.set()

    def _enqueue(self, clean: CleanEvent) -> None:
        self._put_count += 1
        self._put_bytes += clean.body_bytes
        self._queue.append(clean)

    @property
    def _waiting(self) -> int:
        return self._put_count - self._done_count

    def close(self) -> None:
        """Deliver what has come so far and close the sink; gives up on one that takes nothing."""
        self._is_closing.set()
        self._has_more.set()
        left = self._waiting
        for _ in range(_MAX_CLOSE_TRIES):
            self._thread.join(CLOSE_TIMEOUT_S)
            if not self._thread.is_alive() or self._waiting >= left:
                break
            left = self._waiting
        if self._failure is not None:
            raise self._failure
        if self._thread.is_alive():
            raise TimeoutError(f"about {self._waiting} events were not written in time")

    def settle(self) -> None:
        """Wait until the sink has dealt with all that has come so far, unless it takes nothing."""
        target, give_up_at = self._put_count, time.monotonic() + CLOSE_TIMEOUT_S
        while self._settled_count < target and self._thread.is_alive() and time.monotonic() < give_up_at:
            time.sleep(_SETTLE_S)

    def _take_dropped(self) -> EventsDropped:
        dropped, self._dropped = self._dropped, 0
        return EventsDropped(at_s=time.time(), count=dropped)

    # --- the thread -----------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            try:
                self._deliver_until_closed()
            finally:
                self.sink.close()
        except Exception as error:  # noqa: BLE001 - put() raises it where the bus reports it
            self._failure = error
        except SystemExit as error:  # Rich ends the program so, where nobody reads its output any more
            self._failure = BrokenPipeError(str(error))

    def _deliver_until_closed(self) -> None:
        goes_on = False
        while not self._is_closing.is_set():
            if self._has_more.wait(TICK_S if goes_on else None):
                self._is_closing.wait(GATHER_S)
            self._has_more.clear()
            put_count = self._put_count
            self._deliver_queued()
            goes_on = self._tick()
            self._settled_count = put_count
        self._deliver_queued()
        if self._dropped:
            self.sink.take(self._take_dropped())

    def _deliver_queued(self) -> None:
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), _MAX_BATCH))]
            batch[0].redactor.clean(batch)
            for clean in batch:
                self.sink.take(clean.event())
                self._done_count += 1
                self._done_bytes += clean.body_bytes
