"""The bus: hands each event to every sink, with secrets removed; a slow or failing sink never holds up an exchange."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence

from claude_bridge.trace.delivery import Delivery, DirectDelivery, Sink, SinkThread
from claude_bridge.trace.events import StreamsRecorded, TraceEvent
from claude_bridge.trace.redact import Redactor


class Bus:
    """Fans events out to sinks. With none, ``active`` is False and nobody need make an event."""

    def __init__(
        self,
        sinks: Sequence[Sink | Delivery] = (),
        *,
        secrets: Sequence[str] = (),
        warn: Callable[[str], None] | None = None,
        in_threads: bool = False,
    ) -> None:
        """``secrets`` are texts that no sink may see, such as the upstream's key; ``warn`` shows the user a warning.

        ``in_threads`` gives each sink a thread, so that neither its work nor a slow disk holds up an answer.
        """
        self._make_delivery = SinkThread if in_threads else DirectDelivery
        self._deliveries: list[Delivery] = []
        self._secrets = list(secrets)
        self._redactor = Redactor([])
        self.active = self.keeps_streams = False
        """Whether there is any sink, and one that takes the bytes of streams."""
        for sink in sinks:
            self.attach(sink)
        self._warn = warn
        self._warned: set[str] = set()

    def attach(self, sink: Sink | Delivery, *, so_far: Sequence[TraceEvent] = ()) -> None:
        """Give this sink too what happens from now on, after what it has missed."""
        delivery = sink if isinstance(sink, Delivery) else self._make_delivery(sink, self._redactor)
        for secret in self._secrets:
            delivery.hide(secret)
        for event in so_far:
            delivery.put(event)
        self._set_deliveries([*self._deliveries, delivery])

    def detach(self, sink: Sink) -> Callable[[], None]:
        """Give this sink nothing more; returns what closes it, which may take a moment."""
        gone = [one for one in self._deliveries if one.sink is sink]
        self._set_deliveries([one for one in self._deliveries if one not in gone])

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
            if isinstance(event, StreamsRecorded) and not delivery.takes_streams:
                continue
            try:
                delivery.put(event)
            except Exception as error:  # noqa: BLE001 - a sink must never break an exchange
                self._drop(delivery, error)

    def hide(self, secret: str) -> None:
        """Remove this secret too from all events from now on."""
        self._secrets.append(secret)
        for delivery in self._deliveries:
            delivery.hide(secret)

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

    def _set_deliveries(self, deliveries: list[Delivery]) -> None:
        self._deliveries = deliveries
        self.active = bool(deliveries)
        self.keeps_streams = any(delivery.takes_streams for delivery in deliveries)

    def _drop(self, delivery: Delivery, error: Exception) -> None:
        self._set_deliveries([one for one in self._deliveries if one is not delivery])
        _report(delivery, error)
        with contextlib.suppress(Exception):  # it is broken already, and that has been reported
            delivery.close()


def _report(delivery: Delivery, error: Exception) -> None:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
    what = reason[:300].encode("unicode_escape").decode()  # a foreign text may bring control characters
    with contextlib.suppress(OSError, ValueError):  # stderr itself may be what is broken
        print(f"bridge: The {delivery.name} stopped: {what}", file=sys.stderr)  # noqa: T201
