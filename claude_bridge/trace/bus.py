"""The bus: hands each event to every sink, with secrets removed; a failing sink never breaks an exchange."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Protocol

from claude_bridge.trace.events import TraceEvent
from claude_bridge.trace.redact import Redactor


class Sink(Protocol):
    """Something that receives trace events."""

    def take(self, event: TraceEvent) -> None:
        """Show or keep the event; must not block for long."""
        ...

    def close(self) -> None:
        """Release what the sink holds."""
        ...


class Bus:
    """Fans events out to sinks. With none, ``active`` is False and nobody need make an event."""

    def __init__(self, sinks: Sequence[Sink] = (), *, secrets: Sequence[str] = ()) -> None:
        """``secrets`` are texts that no sink may see, such as the upstream's key."""
        self._sinks = list(sinks)
        self._redactor = Redactor(secrets)
        self.active = bool(self._sinks)

    def emit(self, event: TraceEvent) -> None:
        """Give the event to every sink; one that fails is told of on stderr and gets no more."""
        if not self.active:
            return
        event = self._redactor.redact(event)
        for sink in list(self._sinks):
            try:
                sink.take(event)
            except Exception as error:  # noqa: BLE001 - a sink must never break an exchange
                self._sinks.remove(sink)
                self.active = bool(self._sinks)
                print(f"bridge: {type(sink).__name__} stopped: {error!r}", file=sys.stderr)  # noqa: T201

    def close(self) -> None:
        """Close every sink."""
        for sink in self._sinks:
            sink.close()
        self._sinks.clear()
        self.active = False
