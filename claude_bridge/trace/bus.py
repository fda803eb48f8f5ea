"""The bus: hands each event to every sink, with secrets removed; a failing sink never breaks an exchange."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
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

    def __init__(
        self, sinks: Sequence[Sink] = (), *, secrets: Sequence[str] = (), warn: Callable[[str], None] | None = None
    ) -> None:
        """``secrets`` are texts that no sink may see, such as the upstream's key; ``warn`` tells the user one."""
        self._sinks = list(sinks)
        self._redactor = Redactor(secrets)
        self.active = bool(self._sinks)
        self._warn = warn
        self._warned: set[str] = set()

    def emit(self, event: TraceEvent) -> None:
        """Give the event to every sink; one that fails is told of on stderr and gets no more."""
        if not self.active:
            return
        event = self._redactor.redact(event)
        for sink in list(self._sinks):
            try:
                sink.take(event)
            except Exception as error:  # noqa: BLE001 - a sink must never break an exchange
                self._drop(sink, error)

    def warn(self, warning: str) -> None:
        """Tell the user, who may not have asked for any trace; the same words only once."""
        if self._warn is not None and warning not in self._warned:
            self._warned.add(warning)
            with contextlib.suppress(OSError, ValueError):  # nobody may read stderr any more
                self._warn(warning)

    def close(self) -> None:
        """Close every sink, those too that come after one that fails to close."""
        for sink in list(self._sinks):
            try:
                sink.close()
            except Exception as error:  # noqa: BLE001 - the others must be closed too
                _emit(sink, error)
        self._sinks.clear()
        self.active = False

    def _drop(self, sink: Sink, error: Exception) -> None:
        self._sinks.remove(sink)
        self.active = bool(self._sinks)
        _emit(sink, error)
        with contextlib.suppress(Exception):  # it is broken already, and that has been told
            sink.close()


def _emit(sink: Sink, error: Exception) -> None:
    what = repr(error)[:300]  # repr: spells out control characters that a foreign text may bring
    with contextlib.suppress(OSError, ValueError):  # stderr itself may be what is broken
        print(f"bridge: {type(sink).__name__} stopped: {what}", file=sys.stderr)  # noqa: T201
