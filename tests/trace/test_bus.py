"""Every sink gets every event, redacted; one that breaks harms nobody."""

from __future__ import annotations

import sys

import msgspec
import pytest

from claude_bridge.trace.bus import Bus
from claude_bridge.trace.events import TraceEvent
from tests.kept_events import KeptEvents
from tests.trace.samples import ended, received, sent


class Breaking(KeptEvents):
    def take(self, event: TraceEvent) -> None:
        super().take(event)
        raise OSError(28, "No space left on device")

    def close(self) -> None:
        super().close()
        raise ValueError("closing fails too")


def test_sinks_get_events_without_secrets() -> None:
    first, second = KeptEvents(), KeptEvents()
    bus = Bus([first, second], secrets=["tr0ub4dor-and-more"])

    bus.emit(received([{"role": "user", "content": "tr0ub4dor-and-more"}]))

    assert first.events == second.events
    assert b"tr0ub4dor" not in msgspec.json.encode(first.events[0])
    assert "tr0ub4dor" not in repr(first.events)


def test_a_broken_sink_is_closed_and_reported_once_and_the_others_continue(capsys: pytest.CaptureFixture[str]) -> None:
    breaking, healthy = Breaking(), KeptEvents()
    bus = Bus([breaking, healthy])

    bus.emit(sent())
    bus.emit(ended())
    bus.close()

    assert (len(breaking.events), breaking.closed) == (1, 1)
    assert (len(healthy.events), healthy.closed) == (2, 1)
    assert capsys.readouterr().err == "bridge: The list of events stopped: No space left on device\n"


def test_a_sink_that_fails_to_close_does_not_keep_others_open(capsys: pytest.CaptureFixture[str]) -> None:
    healthy = KeptEvents()
    Bus([Breaking(), healthy]).close()

    assert healthy.closed == 1
    assert "closing fails too" in capsys.readouterr().err


def test_nothing_is_raised_where_stderr_is_gone_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    Bus([Breaking()]).emit(sent())


def test_a_bus_without_sinks_is_not_active() -> None:
    assert not Bus().active
    bus = Bus([Breaking()])
    assert bus.active
    bus.emit(sent())
    assert not bus.active


def test_the_user_is_warned_once_with_the_same_words() -> None:
    reported: list[str] = []
    bus = Bus(warn=reported.append)
    for warning in ("one", "two", "one"):
        bus.warn(warning)
    assert reported == ["one", "two"]


def test_a_warning_that_nobody_can_read_breaks_nothing() -> None:
    def fail(_: str) -> None:
        raise BrokenPipeError

    Bus(warn=fail).warn("one")
    Bus().warn("one")


def test_a_sink_that_comes_back_at_once_gets_what_happens_then_and_what_it_has_missed() -> None:
    sink, other = KeptEvents(), KeptEvents()
    bus = Bus([other], secrets=["tr0ub4dor-and-more"])
    bus.attach(sink)
    close = bus.detach(sink)
    bus.emit(sent())
    bus.attach(sink, so_far=[received([{"role": "user", "content": "tr0ub4dor-and-more"}])])
    close()
    bus.emit(ended())
    assert [type(event).__name__ for event in sink.events] == ["RequestReceived", "ExchangeEnded"]
    assert b"tr0ub4dor" not in msgspec.json.encode(sink.events[0])
    assert [type(event).__name__ for event in other.events] == ["RequestSent", "ExchangeEnded"]
