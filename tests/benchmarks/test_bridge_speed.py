"""The benchmark runs on this machine, tells all that it should, and would notice an answer that is not intact."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RUN_LIMIT_S = 90.0

ROWS = [
    "first token, 0.1 KB request",
    "first token, 100 KB request",
    "first token, 1 MB request",
    "first token in a growing session, 100 KB",
    "first token in a growing session, 1 MB",
    "CPU for 100,000 events, 1 stream",
    "CPU for 100,000 events, 32 streams",
    "requests per second, 0.1 KB, 32 connections",
    "requests per second, 100 KB, 32 connections",
    "8 paced streams: intact",
    "8 paced streams: delay, p50",
    "8 paced streams: delay, p99",
    "8 paced streams: CPU for 100,000 events",
    "8 paced streams: peak memory",
    "start to first answer",
    "start to first message answered",
    "idle memory",
]

INTACT = (
    b'data: {"type":"content_block_delta","delta":{"text":" 3.00000@1.500000; 3.00001@1.750000;"}}\n\n'
    b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n'
    b'data: {"type":"message_stop"}\n\n'
)


def run_benchmark(*options: str) -> str:
    command = [sys.executable, str(BENCHMARKS / "bridge_speed.py"), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            output, _ = process.communicate(timeout=RUN_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.terminate()  # it ends what it has started
            raise
    assert process.returncode == 0, output
    return output


def test_a_run_fills_every_row_and_all_streams_are_intact(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    sizes = ("--quick", "--rounds", "1", "--streams", "8", "--seconds", "0.5")
    machine, _, *table = run_benchmark(*sizes, "--json", str(figures)).splitlines()

    assert "CPUs" in machine
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    assert [row[0] for row in cells] == ROWS
    assert all("nan" not in cell for row in cells for cell in row)
    assert cells[ROWS.index("8 paced streams: intact")][2:4] == ["8 (8 to 8)", "8 (8 to 8)"]

    rows = json.loads(figures.read_bytes())["rows"]
    assert [row["title"] for row in rows] == ROWS
    assert all(figure > 0 for row in rows for figure in (*row["direct"], *row["bridge"]))


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of this name: a script's folder is no package."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("answers")


def delays_ms(answers: Any, body: bytes, status: bytes = b"200 OK") -> list[float]:
    response = b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)
    answer = answers.Answer(sent_s=1.0, reads=[(2.0, response[:-60]), (3.0, response[-60:])])
    delays: list[float] = answers.measure_delays_ms(answers.MESSAGES, answer, fragments=2)
    return delays


def test_a_delay_is_from_the_write_to_the_read_that_brought_the_fragment(answers: Any) -> None:
    assert delays_ms(answers, INTACT) == [500.0, 250.0]


@pytest.mark.parametrize(
    ("found", "put"),
    [
        pytest.param(b" 3.00001@1.750000;", b"", id="a fragment is missing"),
        pytest.param(b" 3.00001@", b" 4.00001@", id="a fragment is of another stream"),
        pytest.param(b"3.00001@1.75", b"3.00001@x.75", id="a fragment is garbled"),
        pytest.param(b'"end_turn"', b'"max_tokens"', id="the stop reason is another one"),
        pytest.param(b'data: {"type":"message_stop"}\n\n', b"", id="the stream does not end"),
        pytest.param(b'{"type":"message_stop"}', b'{"type":"error"}', id="an error comes"),
    ],
)
def test_a_stream_that_is_not_intact_is_reported(answers: Any, found: bytes, put: bytes) -> None:
    assert found in INTACT
    with pytest.raises(answers.BrokenAnswerError):
        delays_ms(answers, INTACT.replace(found, put))


def test_a_status_other_than_200_is_reported(answers: Any) -> None:
    with pytest.raises(answers.BrokenAnswerError, match="status 529"):
        delays_ms(answers, INTACT, status=b"529 Overloaded")
