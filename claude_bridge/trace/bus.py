"""The bus: hands each event to every sink, with secrets removed; a slow or failing sink never holds up an exchange."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import Protocol, runtime_checkable

from claude_bridge.trace.events import (
    EventsDropped,
    RequestReceived,
    RequestSent,
    StreamReads,
    StreamsRecorded,
    TraceEvent,
)
from claude_bridge.trace.redact import Redactor

MAX_QUEUED, MAX_QUEUED_RAW = 2_048, 8_192
"""Events that wait for a sink; a sink that takes them in batches keeps up with more."""

MAX_QUEUED_BYTES = 128 * 1024 * 1024
"""Of the bodies and streams in a queue."""

GATHER_S, GATHER_RAW_S = 0.05, 0.2
"""How long a thread lets events come before it takes them: each time that it wakes up holds up the event loop."""

GATHER_BYTES = 1024 * 1024
"""It takes them at once where so much waits: what a processor keeps at hand, and memory that can be used again."""

_MAX_BATCH = 128
"""So many events a sink gets at once that takes them in batches."""

TICK_S = 0.25
CLOSE_TIMEOUT_S = 3.0
"""How long the end of the program waits for a sink that takes nothing."""

_SETTLE_S = 0.01
_MAX_CLOSE_TRIES = 5
"""How often it waits for one that is slow."""


class PlainSink(Protocol):
    """Something that receives trace events without their secrets, all from one thread."""

    name: str
    """What the user knows it by, such as "trace"."""

    def take(self, event: TraceEvent) -> None:
        """Show or keep the event."""

    def close(self) -> None:
        """Release what the sink holds."""


@runtime_checkable
class RawSink(Protocol):
    """Something that receives the events as they are, in batches, and removes their secrets itself."""

    name: str

    def hide(self, secret: str) -> None:
        """Remove this secret from the events of later batches."""

    def take_all(self, events: Sequence[TraceEvent]) -> None:
        """Keep the events."""

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


Sink = PlainSink | RawSink


class Bus:
    """Fans events out to sinks. With none, ``active`` is False and nobody need make an event."""

    def __init__(
        self,
        sinks: Sequence[Sink] = (),
        *,
        secrets: Sequence[str] = (),
        warn: Callable[[str], None] | None = None,
        in_threads: bool = False,
    ) -> None:
        """``secrets`` are texts that no sink may see, such as the upstream's key; ``warn`` shows the user a warning.

        ``in_threads`` gives each sink a thread, so that neither its work nor a slow disk holds up an answer.
        """
        self._make_delivery = _ThreadDelivery if in_threads else _Delivery
        self._deliveries: list[_Delivery] = []
        self._secrets = list(secrets)
        self._redactor = Redactor(secrets)
        self.active = self.keeps_streams = False
        """Whether there is any sink, and one that takes the bytes of streams."""
        for sink in sinks:
            self.attach(sink)
        self._warn = warn
        self._warned: set[str] = set()

    def attach(self, sink: Sink, *, so_far: Sequence[TraceEvent] = ()) -> None:
        """Give this sink too what happens from now on, after what it has missed."""
        if isinstance(sink, RawSink):
            for secret in self._secrets:
                sink.hide(secret)
        delivery = self._make_delivery(sink, self._redactor)
        for event in so_far:
            delivery.put(event)
        self._set_deliveries([*self._deliveries, delivery])

    def detach(self, sink: Sink) -> Callable[[], None]:
        """Give this sink nothing more; returns what closes it, which may take a moment."""
        gone = [one for one in self._deliveries if one.sink is sink]
        self._set_deliveries([one for one in self._deliveries if one.sink is not sink])

        def close() -> None:
            for delivery in gone:
                with contextlib.suppress(Exception):  # nobody needs it any more
                    delivery.close()

        return close

    def emit(self, event: TraceEvent) -> None:
        """Give the event to every sink; one that fails is reported on stderr and gets no more."""
        if not self.active:
            return
        for delivery in self._deliveries:
            if isinstance(event, StreamsRecorded) and not delivery.keeps_streams:
                continue
            try:
                delivery.put(event)
            except Exception as error:  # noqa: BLE001 - a sink must never break an exchange
                self._drop(delivery, error)

    def hide(self, secret: str) -> None:
        """Take this secret too out of all events from now on."""
        self._secrets.append(secret)
        self._redactor.hide(secret)
        for delivery in self._deliveries:
            if isinstance(delivery.sink, RawSink):
                delivery.sink.hide(secret)

    def warn(self, warning: str) -> None:
        """Warn the user, who may not have asked for any trace; the same words only once."""
        if self._warn is not None and warning not in self._warned:
            self._warned.add(warning)
            with contextlib.suppress(OSError, ValueError):  # nobody may read stderr any more
                self._warn(warning)

    def settle(self) -> None:
        """Wait until every sink has dealt with what has come so far; it may take a moment."""
        for delivery in self._deliveries:
            delivery.settle()

    def close(self) -> None:
        """Close every sink, those too that come after one that fails to close."""
        for delivery in self._deliveries:
            try:
                delivery.close()
            except Exception as error:  # noqa: BLE001 - the others must be closed too
                _report(delivery, error)
        self._set_deliveries([])

    def _set_deliveries(self, deliveries: list[_Delivery]) -> None:
        self._deliveries = deliveries
        self.active = bool(deliveries)
        self.keeps_streams = any(delivery.keeps_streams for delivery in deliveries)

    def _drop(self, delivery: _Delivery, error: Exception) -> None:
        self._set_deliveries([one for one in self._deliveries if one is not delivery])
        _report(delivery, error)
        with contextlib.suppress(Exception):  # it is broken already, and that has been reported
            delivery.close()


def _report(delivery: _Delivery, error: Exception) -> None:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    what = reason[:300].encode("unicode_escape").decode()  # a foreign text may bring control characters
    with contextlib.suppress(OSError, ValueError):  # stderr itself may be what is broken
        print(f"bridge: The {delivery.sink.name} stopped: {what}", file=sys.stderr)  # noqa: T201


def _size_bytes(event: TraceEvent) -> int:
    """Return about what an event takes in memory."""
    match event:
        case RequestReceived(body=body) | RequestSent(body=body):
            return len(body)
        case StreamsRecorded(upstream=StreamReads() as upstream, client=StreamReads() as client):
            return upstream.size + client.size
        case _:
            return 0


class _Delivery:
    """The way to one sink: this one calls it at once."""

    def __init__(self, sink: Sink, redactor: Redactor) -> None:
        self.sink = sink
        self.keeps_streams = isinstance(sink, StreamSink)
        self._redactor = redactor
        self._raw_sink = sink if isinstance(sink, RawSink) else None
        self._plain_sink = None if isinstance(sink, RawSink) else sink
        self._ticking = sink if isinstance(sink, TickingSink) else None

    def put(self, event: TraceEvent) -> None:
        """Hand over an event; raises what the sink raised."""
        self._deliver([event])
        self._tick()

    def close(self) -> None:
        """Close the sink."""
        self.sink.close()

    def settle(self) -> None:
        """Wait until the sink has dealt with all that has come so far, unless it takes nothing."""

    def _deliver(self, events: Sequence[TraceEvent]) -> None:
        if self._raw_sink is not None:
            self._raw_sink.take_all(events)
        if self._plain_sink is not None:
            for event in events:
                self._plain_sink.take(self._redactor.redact(event))

    def _tick(self) -> bool:
        return self._ticking is not None and self._ticking.tick()


class _ThreadDelivery(_Delivery):
    """A thread calls the sink. What the sink can't keep up with is dropped, and counted."""

    def __init__(self, sink: Sink, redactor: Redactor) -> None:
        super().__init__(sink, redactor)
        self._queue: deque[tuple[TraceEvent, int]] = deque()
        is_raw = self._raw_sink is not None
        self._batch_size, self._max_queued = (_MAX_BATCH, MAX_QUEUED_RAW) if is_raw else (1, MAX_QUEUED)
        self._gather_s = GATHER_RAW_S if is_raw else GATHER_S
        self._put_count = self._put_bytes = self._dropped = 0  # only the caller changes these,
        self._done_count = self._done_bytes = self._settled_count = 0  # and only the thread these: no lock is needed
        self._has_more = Event()
        self._is_closing = False
        self._is_urgent = Event()
        self._failure: Exception | None = None
        self._thread = Thread(target=self._work, name=f"bridge-{type(sink).__name__}", daemon=True)
        self._thread.start()

    def put(self, event: TraceEvent) -> None:
        """Hand the event to the thread; raises what the sink raised meanwhile."""
        if self._failure is not None:
            raise self._failure
        size = _size_bytes(event)
        places = self._max_queued - self._waiting - bool(self._dropped)  # that events are missing takes one too
        if places <= 0 or self._put_bytes - self._done_bytes + size > MAX_QUEUED_BYTES:
            self._dropped += 1
            return
        if self._dropped:
            self._put_count += 1
            self._queue.append((self._take_dropped(), 0))
        self._put_count += 1
        self._put_bytes += size
        self._queue.append((event, size))
        if not self._has_more.is_set():
            self._has_more.set()
        if self._put_bytes - self._done_bytes > GATHER_BYTES and not self._is_urgent.is_set():
            self._is_urgent.set()

    @property
    def _waiting(self) -> int:
        return self._put_count - self._done_count

    def close(self) -> None:
        """Deliver what has come so far and close the sink; gives up on one that takes nothing."""
        self._is_closing = True
        self._is_urgent.set()
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
        self._is_urgent.set()
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
        while not self._is_closing:
            if self._has_more.wait(TICK_S if goes_on else None):
                self._is_urgent.wait(self._gather_s)
            self._has_more.clear()
            self._is_urgent.clear()
            put_count = self._put_count
            self._deliver_queued()
            goes_on = self._tick()
            self._settled_count = put_count
        self._deliver_queued()
        if self._dropped:
            self._deliver([self._take_dropped()])

    def _deliver_queued(self) -> None:
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._batch_size))]
            self._deliver([event for event, _ in batch])
            self._done_count += len(batch)
            self._done_bytes += sum([size for _, size in batch])
