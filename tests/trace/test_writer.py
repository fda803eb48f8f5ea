"""A process of its own writes the trace: all that it is given gets into the file, and no fault breaks an exchange."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw
from msgspec.structs import replace

from claude_bridge.trace.bus import Bus
from claude_bridge.trace.events import StreamReads, StreamsRecorded, TraceEvent
from claude_bridge.trace.jsonl import JsonlSink
from claude_bridge.trace.writer import WRITER_LIMITS, TraceWriter, _repeated_sizes
from claude_bridge.wire.anthropic import ToolUseBlock
from tests.trace.samples import (
    answer_repaired,
    client_left,
    cut,
    described,
    ended,
    failed,
    first_token,
    grew,
    read,
    received,
    repaired,
    reread,
    retried,
    searched,
    sent,
    waiting,
)

SECRET = "tr0ub4dor-and-more"

STREAM = StreamReads(data=[b'data: {"text":"a"}\n\n', b"b\xff"], after_s=[0.1, 1 / 3], size=22)

EVENTS: list[TraceEvent] = [
    received([{"role": "user", "content": SECRET}], safeguards=["/home/me"], system="y" * 50_000),
    replace(received(body=b'{"max_tokens":'), max_tokens=10**30),
    described(),
    searched(error="unavailable", reason="a \ud800"),
    sent([{"role": "user", "content": f"Bearer {SECRET}"}]),
    retried(),
    waiting(),
    read(5, 0.5),
    first_token(),
    grew(),
    repaired(),
    answer_repaired(),
    reread(),
    cut(),
    ended([ToolUseBlock("toolu_1", "Bash", Raw(b'{\n "command": "ls %b"\n}' % SECRET.encode()))]),
    failed(f"key sk-ant-api03-abcdefgh and {SECRET} \ud800"),
    client_left(),
    StreamsRecorded(exchange="r", upstream=STREAM, client=StreamReads(data=[SECRET.encode()], after_s=[0.5], size=18)),
]


PIECES = [
    "".join(f"{number:07d} " for number in range(start, start + size)) for start, size in ((0, 3000), (5000, 900))
]


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trace.jsonl"


@pytest.fixture
def writer(path: Path) -> Iterator[TraceWriter]:
    writer = TraceWriter(path)
    yield writer
    with suppress(OSError):  # one test has killed its process
        writer.close()


def write(writer: TraceWriter, *events: TraceEvent) -> None:
    for event in events:
        writer.put(event)
    for _ in range(10):  # one gives up before a busy machine has started the process
        writer.settle()


def process_of(writer: TraceWriter) -> subprocess.Popen[bytes]:
    return writer._child.process


def test_the_process_writes_what_a_sink_beside_the_bridge_writes_and_no_secret(path: Path, tmp_path: Path) -> None:
    for in_threads, sink in ((True, TraceWriter(path)), (False, JsonlSink(tmp_path / "beside.jsonl"))):
        bus = Bus([sink], secrets=[SECRET], in_threads=in_threads)
        for event in EVENTS:
            bus.emit(event)
        bus.close()
    assert lines_of(path) == lines_of(tmp_path / "beside.jsonl")
    assert [line["type"] for line in lines_of(path)] == [type(event).__name__ for event in EVENTS]
    for secret in (SECRET, "sk-ant", "/home/me"):
        assert secret not in path.read_text()


def test_a_secret_that_becomes_known_later_is_hidden_from_then_on(path: Path, writer: TraceWriter) -> None:
    bus = Bus([writer], secrets=["another-secret"], in_threads=True)
    bus.hide(SECRET)
    bus.emit(failed(f"{SECRET} and another-secret"))
    bus.close()
    assert lines_of(path)[0]["message"] == "[redacted] and [redacted]"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_secret_is_in_the_command_line_or_the_environment_of_the_process(writer: TraceWriter) -> None:
    writer.hide(SECRET)
    write(writer, client_left())
    process = Path(f"/proc/{process_of(writer).pid}")
    assert SECRET.encode() not in (process / "cmdline").read_bytes() + (process / "environ").read_bytes()


def test_what_has_come_is_in_the_file_when_the_bus_has_settled_and_when_it_is_closed(
    path: Path, writer: TraceWriter
) -> None:
    write(writer, client_left())
    bus = Bus([writer], in_threads=True)
    bus.emit(sent())
    bus.settle()
    assert len(lines_of(path)) == 2
    for _ in range(1_000):
        bus.emit(first_token())
    bus.close()
    assert len(lines_of(path)) == 1_002
    assert process_of(writer).returncode == 0


def test_a_file_that_cannot_be_opened_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        TraceWriter(tmp_path)


def test_the_file_is_begun_anew_where_it_grows_too_large(path: Path) -> None:
    bus = Bus([TraceWriter(path, max_file_bytes=2_000)], in_threads=True)
    for _ in range(20):
        bus.emit(received())
    bus.close()
    assert path.with_name("trace.jsonl.1").stat().st_size >= 2_000


def emit_until_dropped(bus: Bus) -> None:
    for _ in range(100):
        bus.emit(first_token())
        bus.settle()
        if not bus.active:
            return
    pytest.fail("the sink was not dropped")


def test_bodies_that_repeat_others_are_in_the_file_whole(path: Path, writer: TraceWriter) -> None:
    long, short = PIECES
    texts = [long, long, long + short, short + long, long + "x" + long, "x" + long, short, long * 200, long + short, ""]
    contents = [[{"role": "user", "content": text}] for text in texts]
    for messages in contents:
        write(writer, received(messages), sent(messages), client_left())
    writer.close()
    lines = lines_of(path)
    for kind in ("RequestReceived", "RequestSent"):
        assert [line["body"]["messages"] for line in lines if line["type"] == kind] == contents


def test_of_a_body_that_grows_only_the_new_is_sent() -> None:
    long, short = (piece.encode() for piece in PIECES)
    first, last = _repeated_sizes(long, long)
    assert first <= len(long) < first + last + 8 * 1024
    for before, body in ((long, long + short), (long + long, long + short + long), (long, short + long)):
        first, last = _repeated_sizes(before, body)
        assert before[:first] + body[first : len(body) - last] + before[len(before) - last :] == body
        assert len(body) - first - last < len(short) + 16 * 1024


def test_a_process_that_is_killed_is_reported_and_the_bridge_goes_on(
    path: Path, writer: TraceWriter, capsys: pytest.CaptureFixture[str]
) -> None:
    write(writer, sent())
    bus = Bus([writer], in_threads=True)
    process_of(writer).kill()
    emit_until_dropped(bus)
    assert [line["type"] for line in lines_of(path)] == ["RequestSent"]
    assert "The trace stopped: the process that writes the trace ended" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no disk that is always full")
def test_a_full_disk_is_reported_and_the_bridge_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    emit_until_dropped(Bus([TraceWriter(Path("/dev/full"))], in_threads=True))
    assert capsys.readouterr().err == "bridge: The trace stopped: No space left on device\n"


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signals")
def test_signals_that_all_processes_of_a_terminal_or_a_service_get_do_not_end_it(
    path: Path, writer: TraceWriter
) -> None:
    write(writer, sent())
    bus = Bus([writer], in_threads=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process_of(writer).send_signal(number)
    bus.emit(ended())
    bus.close()
    assert [line["type"] for line in lines_of(path)] == ["RequestSent", "ExchangeEnded"]


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGSTOP")
def test_what_comes_while_the_process_takes_nothing_is_kept_within_a_budget_and_what_is_missing_is_counted(
    path: Path,
) -> None:
    writer = TraceWriter(path, limits=replace(WRITER_LIMITS, max_events=100))
    write(writer, sent())
    bus = Bus([writer], in_threads=True)
    process_of(writer).send_signal(signal.SIGSTOP)
    for _ in range(2_000):  # some are in the pipe, before the thread waits
        bus.emit(received(system="".join(map(str, range(200)))))
    process_of(writer).send_signal(signal.SIGCONT)
    bus.close()
    lines = lines_of(path)
    missing = [line["count"] for line in lines if line["type"] == "EventsDropped"]  # in one piece or in several
    assert sum(missing) > 0
    assert sum(line["type"] == "RequestReceived" for line in lines) + sum(missing) == 2_000


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGSTOP")
def test_a_process_that_takes_long_to_start_is_waited_for(path: Path) -> None:
    writer = TraceWriter(path, limits=replace(WRITER_LIMITS, close_timeout_s=1.0, max_close_tries=100))
    process = process_of(writer)
    process.send_signal(signal.SIGSTOP)
    threading.Timer(1.2, process.send_signal, (signal.SIGCONT,)).start()
    writer.put(first_token())
    writer.close()
    assert len(lines_of(path)) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="has no such pipes")
def test_a_bridge_that_is_killed_leaves_whole_lines_and_no_process(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    program = f"""
from pathlib import Path
from claude_bridge.trace.bus import Bus
from claude_bridge.trace.writer import TraceWriter, _repeated_sizes
from tests.trace.samples import received
bus = Bus([TraceWriter(Path({str(path)!r}))], in_threads=True)
while True:
    bus.emit(received(system="y" * 100_000))
"""
    with subprocess.Popen([sys.executable, "-c", program]) as process, path.open("rb") as reader:
        for _ in range(20):
            reader.readline()
        process.kill()
        rest = reader.read()  # until the process that writes has closed it
    assert all(json.loads(line)["type"] == "RequestReceived" for line in rest.splitlines())
    assert not rest or rest.endswith(b"\n")
