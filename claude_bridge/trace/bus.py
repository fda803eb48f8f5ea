"""The bus: hands each event to every sink, with secrets removed; a failing sink never breaks an exchange."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence

from claude_bridge.trace.delivery import Delivery, DirectDelivery, ThreadDelivery
from claude_bridge.trace.events import TraceEvent
from claude_bridge.trace.redact import CleanEvent, Redactor
from claude_bridge.trace.sink import Sink


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
        make_delivery = ThreadDelivery if in_threads else DirectDelivery
        self._deliveries: list[Delivery] = [make_delivery(sink) for sink in sinks]
        self._redactor = Redactor(secrets)
        self.active = bool(self._deliveries)
        self._warn = warn
        self._warned: set[str] = set()

    def emit(self, event: TraceEvent) -> None:
        """Give the event to every sink; one that fails is reported on stderr and gets no more."""
        if not self.active:
            return
        clean = CleanEvent(event, self._redactor)
        for delivery in list(self._deliveries):
            try:
                delivery.put(clean)
            except Exception as error:  # noqa: BLE001 - a sink must never break an exchange
                self._drop(delivery, error)

    def warn(self, warning: str) -> None:
        """Warn the user, who may not have asked for any trace; the same words only once."""
        if self._warn is not None and warning not in self._warned:
            self._warned.add(warning)
            with contextlib.suppress(OSError, ValueError):  # nobody may read stderr any more
                self._warn(warning)

    def close(self) -> None:
        """Close every sink, those too that come after one that fails to close."""
        for delivery in self._deliveries:
            try:
                delivery.close()
            except Exception as error:  # noqa: BLE001 - the others must be closed too
                _report(delivery, error)
        self._deliveries.clear()
        self.active = False

    def _drop(self, delivery: Delivery, error: Exception) -> None:
        self._deliveries.remove(delivery)
        self.active = bool(self._deliveries)
        _report(delivery, error)
        with contextlib.suppress(Exception):  # it is broken already, and that has been reported
            delivery.close()


def _report(delivery: Delivery, error: Exception) -> None:
    what = repr(error)[:300]  # repr: spells out control characters that a foreign text may bring
    with contextlib.suppress(OSError, ValueError):  # stderr itself may be what is broken
        print(f"bridge: {type(delivery.sink).__name__} stopped: {what}", file=sys.stderr)  # noqa: T201
