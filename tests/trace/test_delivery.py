"""A sink in a thread holds up nobody, gets every event in order, and says what it could not take."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from claude_bridge.trace.bus import Bus
from claude_bridge.trace.delivery import DeliveryLimits, SinkThread
from claude_bridge.trace.events import EventsDropped, TraceEvent
from claude_bridge.trace.jsonl import JsonlSink
from claude_bridge.trace.redact import Redactor
from claude_bridge.trace.trace_file import TraceFile
from claude_bridge.trace.writer import WRITER_LIMITS, TraceWriter
from tests.trace.samples import client_left, ended, first_token, grew, received, sent


class Gate:
    """A sink that takes nothing until it may, and keeps what it took."""

    name = "gate"

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.events: list[TraceEvent] = []
        self.threads: set[str] = set()
        self.closed = False

    def take(self, event: TraceEvent) -> None:
        self.threads.add(threading.current_thread().name)
        self.may_go_on.wait(30)
        self.events.append(event)

    def close(self) -> None:
        self.closed = True


def bus_to(sink: Gate, limits: DeliveryLimits) -> Bus:
    return Bus([SinkThread(sink, Redactor([]), limits=limits)])


def test_a_sink_that_stands_still_holds_up_nobody_and_what_is_missing_is_counted_where_it_is_missing() -> None:
    sink = Gate()
    bus = bus_to(sink, DeliveryLimits(max_events=100))
    for _ in range(150):
        bus.emit(client_left())
    sink.may_go_on.set()
    while len(sink.events) < 100:
        time.sleep(0.001)
    bus.emit(ended())
    bus.close()

    assert sink.closed
    *before, dropped, last = sink.events
    assert isinstance(dropped, EventsDropped)
    assert len(before) + dropped.count == 150
    assert dropped.count > 40
    assert last == ended()
    assert threading.current_thread().name not in sink.threads


def test_the_bodies_that_wait_are_bounded() -> None:
    sink = Gate()
    bus = bus_to(sink, DeliveryLimits(max_bytes=4_000))
    for _ in range(10):
        bus.emit(received(body=bytes(1_000)))
    sink.may_go_on.set()
    give_up_at = time.monotonic() + 30
    while not any(isinstance(event, EventsDropped) for event in sink.events) and time.monotonic() < give_up_at:
        time.sleep(0.01)
        bus.emit(first_token())
    bus.close()
    kinds = [type(event).__name__ for event in sink.events]
    assert kinds.count("RequestReceived") in (4, 5)
    assert "EventsDropped" in kinds


def test_events_are_delivered_while_an_answer_goes_on() -> None:
    sink = Gate()
    sink.may_go_on.set()
    bus = Bus([sink], in_threads=True)
    bus.emit(first_token())
    bus.emit(grew())
    give_up_at = time.monotonic() + 30
    while len(sink.events) < 2 and time.monotonic() < give_up_at:
        time.sleep(0.01)
    assert sink.events == [first_token(), grew()]
    bus.close()


def test_a_sink_that_never_goes_on_ends_with_the_program_and_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    sink = Gate()
    bus = bus_to(sink, DeliveryLimits(close_timeout_s=0.2))
    for _ in range(3):
        bus.emit(sent())
    started = time.monotonic()
    bus.close()
    assert time.monotonic() - started < 20
    assert "The gate stopped: about 3 events were not written in time" in capsys.readouterr().err
    sink.may_go_on.set()


def test_a_sink_that_breaks_in_its_thread_is_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    class Full(Gate):
        def take(self, _event: TraceEvent) -> None:
            raise OSError(28, "No space left on device")

    bus = Bus([Full()], in_threads=True)
    give_up_at = time.monotonic() + 30
    while bus.active and time.monotonic() < give_up_at:
        bus.emit(client_left())
    assert not bus.active
    assert capsys.readouterr().err == "bridge: The gate stopped: No space left on device\n"


# --- files ----------------------------------------------------------------------------------------------------


def test_a_pipe_that_nobody_reads_holds_up_nobody(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    bus = Bus([TraceWriter(path, limits=replace(WRITER_LIMITS, close_timeout_s=0.2))])
    started = time.monotonic()
    for _ in range(1000):
        bus.emit(received(body=b"x" * 10_000))
    assert time.monotonic() - started < 20
    with path.open("rb") as reader:
        assert json.loads(reader.readline())["type"] == "RequestReceived"
        bus.close()


def test_a_program_ends_though_its_trace_goes_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    program = f"""
from pathlib import Path
from claude_bridge.trace.bus import Bus
from claude_bridge.trace.delivery import DeliveryLimits
from claude_bridge.trace.writer import TraceWriter
from tests.trace.samples import received
bus = Bus([TraceWriter(Path({str(path)!r}), limits=DeliveryLimits(close_timeout_s=0.2))])
for _ in range(100):
    bus.emit(received(body=b"x" * 10_000))
bus.close()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert "The trace stopped: about" in done.stderr


def test_what_came_before_a_bridge_is_killed_is_in_its_trace(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    program = f"""
import time
from pathlib import Path
from claude_bridge.trace.bus import Bus
from claude_bridge.trace.writer import TraceWriter
from tests.trace.samples import received
Bus([TraceWriter(Path({str(path)!r}))], in_threads=True).emit(received())
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        give_up_at = time.monotonic() + 30
        while not (path.exists() and path.read_bytes().endswith(b"\n")) and time.monotonic() < give_up_at:
            time.sleep(0.01)
        process.kill()
    written = path.read_bytes()
    assert json.loads(written)["type"] == "RequestReceived"
    path.write_bytes(written + b'{"type":"Exch')  # and it was in the middle of a line
    sink = JsonlSink(path)
    sink.take(ended())
    sink.close()
    trace = TraceFile(path)
    assert [one.state for one in trace.exchanges.values()] == ["answered"]
    assert trace.notes == ["1 line can't be read and is left out."]


def test_a_file_that_others_could_read_is_made_private(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.touch(mode=0o644)
    path.chmod(0o644)
    sink = JsonlSink(path)
    sink.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sink.warning is None


def test_a_file_that_stays_readable_to_others_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trace.jsonl"
    path.touch()
    path.chmod(0o644)
    monkeypatch.setattr("os.fchmod", lambda *_: None)  # as a file system without modes does
    sink = JsonlSink(path)
    sink.close()
    assert sink.warning is not None
    assert str(path) in sink.warning


def test_a_file_that_grows_too_large_is_begun_anew_and_the_one_before_kept(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    sink = JsonlSink(path, max_bytes=2_000)
    for number in range(100):
        sink.take(received(body=b'{"number":%d}' % number))
    sink.close()
    old = tmp_path / "trace.jsonl.1"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["trace.jsonl", "trace.jsonl.1"]
    for file in (path, old):
        assert file.stat().st_size <= 2_500  # and a line
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    numbers = [json.loads(line)["body"]["number"] for file in (old, path) for line in file.read_bytes().splitlines()]
    assert numbers == list(range(numbers[0], 100))
