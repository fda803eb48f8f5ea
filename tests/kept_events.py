"""A sink of the trace that keeps what it gets."""

from __future__ import annotations

from claude_bridge.trace.events import ExchangeEnded, TraceEvent
from claude_bridge.wire.anthropic_answers import Usage


class KeptEvents:
    name = "list of events"

    def __init__(self) -> None:
        self.events: list[TraceEvent] = []
        self.closed = 0

    def take(self, event: TraceEvent) -> None:
        self.events.append(event)

    def close(self) -> None:
        self.closed += 1

    def kinds(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    @property
    def usages(self) -> list[Usage]:
        """The usage of each exchange that came to its end."""
        return [event.message.usage for event in self.events if isinstance(event, ExchangeEnded)]
