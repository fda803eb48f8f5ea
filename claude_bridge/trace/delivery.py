"""The delivery of events to one sink: at once, or by a thread, with limits to what waits and for how long."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from threading import Event, Thread
from typing import Generic, Never, Protocol, TypeVar, runtime_checkable

from msgspec import Struct

from claude_bridge.trace.events import (
    EventsDropped,
    RequestReceived,
    RequestSent,
    StreamReads,
    StreamsRecorded,
    TraceEvent,
)
from claude_bridge.trace.redact import Redactor

TICK_S = 0.25
_SETTLE_S = 0.01

NOT_READY = -1
"""The count of events of a sink that may still be starting."""


EventWithBytes = RequestReceived | RequestSent | StreamsRecorded
EVENTS_WITH_BYTES = (RequestReceived, RequestSent, StreamsRecorded)
Item = TypeVar("Item")


class Sink(Protocol):
    """Something that receives trace events without their secrets, all from one thread."""

    name: str
    """What the user knows it by, such as "trace"."""

    def take(self, event: TraceEvent) -> None:
        """Show or keep the event."""

    def close(self) -> None:
        """Release what the sink holds."""


@runtime_checkable
class TickingSink(Protocol):
    """A sink that has something to do when it has taken all that came, or as time passes."""

    def tick(self) -> bool:
        """Do it, and return whether to be called several times a second until more comes."""


@runtime_checkable
class StreamSink(Protocol):
    """A sink that also takes what went over the wire (StreamsRecorded); others are spared that work."""

    takes_streams: bool


class Delivery(ABC):
    """The way of the events to one sink."""

    sink: object
    name: str
    takes_streams: bool

    @abstractmethod
    def put(self, event: TraceEvent) -> None:
        """Hand over an event; raises what the sink raised, perhaps in a thread meanwhile."""

    @abstractmethod
    def hide(self, secret: str) -> None:
        """Remove this secret from all events from now on."""

    @abstractmethod
    def settle(self) -> None:
        """Wait until the sink has dealt with all that has come so far, unless it takes nothing."""

    @abstractmethod
    def close(self) -> None:
        """Deliver what has come so far and close the sink; gives up on one that takes nothing."""


class DeliveryLimits(Struct, frozen=True, kw_only=True):
    """How much may wait for a sink, and for how long."""

    max_events: int = 2_048
    max_bytes: int = 128 * 1024 * 1024
    """The approximate limit of the waiting bodies and streams."""

    batch_size: int = 1
    """How many events are delivered at once."""

    gather_s: float = 0.05
    """How long events may come before they are delivered: each time that the thread wakes up delays the event loop."""

    gather_bytes: int = 128 * 1024 * 1024
    """When this much waits, it is delivered at once."""

    close_timeout_s: float = 3.0
    """How long the end of the program waits for a sink that takes nothing."""

    max_close_tries: int = 5
    """How often it waits for one that is slow."""


SINK_LIMITS = DeliveryLimits()


class DirectDelivery(Delivery):
    """Calls the sink at once."""

    def __init__(self, sink: Sink, redactor: Redactor) -> None:
        self.sink = self._sink = sink
        self._redactor = redactor
        self.name, self.takes_streams = sink.name, isinstance(sink, StreamSink)
        self._ticking = sink if isinstance(sink, TickingSink) else None

    def put(self, event: TraceEvent) -> None:
        """Give the event to the sink; raises what the sink raises."""
        self.take(event)
        self.tick()

    def hide(self, secret: str) -> None:
        """Take this secret out of all events from now on."""
        self._redactor.hide(secret)

    def settle(self) -> None:
        """Return: nothing waits."""

    def close(self) -> None:
        """Close the sink."""
        self._sink.close()

    def take(self, event: TraceEvent) -> None:
        """Give the event to the sink without secrets, and do nothing else yet."""
        self._sink.take(self._redactor.redact(event))

    def tick(self) -> bool:
        """Let the sink do what waits; return whether to call it several times a second until more comes."""
        return self._ticking is not None and self._ticking.tick()


class ThreadDelivery(Delivery, Generic[Item]):
    """A thread delivers what waits. What it can't keep up with is dropped, and counted; one caller alone may put."""

    def __init__(self, limits: DeliveryLimits) -> None:
        self._limits = limits
        self._queue: deque[tuple[Item | TraceEvent, int]] = deque()
        self._put_count = self._put_bytes = self._dropped = 0  # only the caller changes these,
        self._delivered_count = self._delivered_bytes = 0  # and only the thread these: no lock is needed
        self._has_more = Event()
        self._is_urgent = Event()
        self._is_closing = False
        self._failure: Exception | None = None
        self._thread = Thread(target=self._work, name=f"bridge-{self.name}", daemon=True)
        self._thread.start()

    def put(self, event: TraceEvent) -> None:
        """Hand the event to the thread; raises what the sink raised meanwhile."""
        if self._failure is not None:
            raise self._failure
        waiting_bytes = self._put_bytes - self._delivered_bytes
        if len(self._queue) >= self._limits.max_events or waiting_bytes > self._limits.max_bytes:
            self._dropped += 1
            return
        if self._dropped:
            self._enqueue(self._take_dropped(), 0)
        if isinstance(event, EVENTS_WITH_BYTES):
            self._enqueue(*self._pack(event))
        else:
            self._enqueue(event, 0)

    def settle(self) -> None:
        """Wait until the sink has dealt with all that has come so far, unless it takes nothing."""
        self._is_urgent.set()
        target, give_up_at = self._put_count, time.monotonic() + self._limits.close_timeout_s
        while self._done_count < target and self._goes_on and time.monotonic() < give_up_at:
            time.sleep(_SETTLE_S)

    def close(self) -> None:
        """Deliver what has come so far and close the sink; gives up on one that takes nothing."""
        self._is_closing = True
        self._is_urgent.set()
        self._has_more.set()
        for _ in range(self._limits.max_close_tries):
            done_count = self._done_count
            self._thread.join(self._limits.close_timeout_s)
            takes_nothing = self._done_count == done_count != NOT_READY
            if takes_nothing or not self._thread.is_alive():
                break
        if self._failure is not None:
            raise self._failure
        if self._thread.is_alive():
            raise TimeoutError(f"about {self._put_count - max(0, self._done_count)} events were not written in time")

    def _pack(self, event: EventWithBytes) -> tuple[Item | TraceEvent, int]:
        """Return what of an event waits for the thread, and how many bytes that holds."""
        match event:
            case StreamsRecorded(upstream=StreamReads() as upstream, client=StreamReads() as client):
                return event, upstream.size + client.size
            case RequestReceived(body=body) | RequestSent(body=body):
                return event, len(body)
        return event, 0

    @abstractmethod
    def _deliver(self, items: Sequence[Item | TraceEvent]) -> None:
        """Deliver some of what waits, in the thread; what it raises ends the delivery."""

    @abstractmethod
    def _finish(self) -> None:
        """Close the sink, in the thread, when all is delivered or delivering has failed."""

    def _tick(self) -> bool:
        return False

    @property
    def _goes_on(self) -> bool:
        return self._failure is None and self._thread.is_alive()

    @property
    def _done_count(self) -> int:
        """How many events the sink has dealt with, or NOT_READY."""
        return self._delivered_count

    def _enqueue(self, item: Item | TraceEvent, size: int) -> None:
        self._queue.append((item, size))
        self._put_count += 1
        if size:
            self._put_bytes += size
            if self._put_bytes - self._delivered_bytes > self._limits.gather_bytes:
                self._is_urgent.set()
        if not self._has_more.is_set():
            self._has_more.set()

    def _take_dropped(self) -> EventsDropped:
        dropped, self._dropped = self._dropped, 0
        return EventsDropped(at_s=time.time(), count=dropped)

    # --- the thread -----------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            try:
                self._deliver_until_closed()
            finally:
                self._finish()
        except Exception as error:  # noqa: BLE001 - put() raises it where the bus reports it
            self._failure = error
        except SystemExit as error:  # Rich ends the program so, where nobody reads its output any more
            self._failure = BrokenPipeError(str(error))

    def _deliver_until_closed(self) -> None:
        goes_on = False
        while not self._is_closing:
            if self._has_more.wait(TICK_S if goes_on else None):
                self._is_urgent.wait(self._limits.gather_s)
            self._has_more.clear()
            self._is_urgent.clear()
            self._deliver_queued()
            goes_on = self._tick()
        self._deliver_queued()
        if self._dropped:
            self._deliver([self._take_dropped()])

    def _deliver_queued(self) -> None:
        limits = self._limits
        while self._queue:
            batch: list[Item | TraceEvent] = []
            batch_bytes = 0
            while self._queue and len(batch) < limits.batch_size and batch_bytes < limits.gather_bytes:
                item, size = self._queue.popleft()
                batch.append(item)
                batch_bytes += size
            self._deliver(batch)
            self._delivered_count += len(batch)
            self._delivered_bytes += batch_bytes


class SinkThread(ThreadDelivery[Never]):
    """Calls the sink in a thread."""

    def __init__(self, sink: Sink, redactor: Redactor, *, limits: DeliveryLimits = SINK_LIMITS) -> None:
        self.sink, self._direct = sink, DirectDelivery(sink, redactor)
        self.name, self.takes_streams = sink.name, self._direct.takes_streams
        super().__init__(limits)

    def hide(self, secret: str) -> None:
        """Remove this secret from all events from now on."""
        self._direct.hide(secret)

    def _deliver(self, items: Sequence[TraceEvent]) -> None:
        for event in items:
            self._direct.take(event)

    def _tick(self) -> bool:
        return self._direct.tick()

    def _finish(self) -> None:
        self._direct.close()
