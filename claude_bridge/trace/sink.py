"""What a sink of the trace is."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from claude_bridge.trace.events import TraceEvent


class Sink(Protocol):
    """Something that receives trace events, all from one thread."""

    def take(self, event: TraceEvent) -> None:
        """Show or keep the event."""
        ...

    def close(self) -> None:
        """Release what the sink holds."""
        ...


@runtime_checkable
class TickingSink(Sink, Protocol):
    """A sink that has something to do when it has taken all that came, or as time passes."""

    def tick(self) -> bool:
        """Do it, and return whether to be called several times a second until more comes."""
        ...


@runtime_checkable
class StreamSink(Sink, Protocol):
    """A sink that also takes what went over the wire (StreamsRecorded); others are spared that work."""

    takes_streams: bool
