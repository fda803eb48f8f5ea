"""The file holds one JSON object for each event, for its owner only, and is never overwritten."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from claude_bridge.trace.bus import Bus
from claude_bridge.trace.events import TraceEvent
from claude_bridge.trace.jsonl import JsonlSink
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
    received,
    repaired,
    reread,
    searched,
    sent,
)


def _written(path: Path, *events: TraceEvent) -> list[dict[str, Any]]:
    bus = Bus([JsonlSink(path)], secrets=["tr0ub4dor-and-more"])
    for event in events:
        bus.emit(event)
    bus.close()
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_every_kind_of_event_becomes_a_line_with_its_kind(tmp_path: Path) -> None:
    events: list[TraceEvent] = [
        received(),
        described(),
        searched(),
        sent(),
        first_token(),
        grew(),
        repaired(),
        answer_repaired(),
        reread(),
        cut(),
        ended(),
        failed("x"),
        client_left(),
    ]
    lines = _written(tmp_path / "trace.jsonl", *events)

    assert [line["type"] for line in lines] == [type(event).__name__ for event in events]
    assert {line["exchange"] for line in lines} == {"req_0000k7Qd"}
    assert lines[10]["message"]["content"] == [{"type": "text", "text": "Hi."}]


def test_bodies_are_json_values_where_they_are_json_and_texts_where_not(tmp_path: Path) -> None:
    pretty, broken, not_utf8 = b'{\n  "model": "m"\n}', b'{"model":', b'{"model":"\xff"}'
    lines = _written(tmp_path / "trace.jsonl", *(received(body=body) for body in (pretty, broken, not_utf8)))

    assert [line["body"] for line in lines] == [{"model": "m"}, '{"model":', '{"model":"\ufffd"}']


def test_a_tool_input_with_line_breaks_stays_in_its_line(tmp_path: Path) -> None:
    block = ToolUseBlock("toolu_1", "Bash", Raw(b'{\n "command": "ls"\n}'))
    (line,) = _written(tmp_path / "trace.jsonl", ended([block]))
    assert line["message"]["content"][0]["input"] == {"command": "ls"}


def test_the_end_of_an_exchange_is_on_disk_before_the_sink_is_closed(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "trace.jsonl")
    sink.take(grew())
    sink.take(ended())
    sink.tick()
    assert len((tmp_path / "trace.jsonl").read_bytes().splitlines()) == 2
    sink.close()


def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    _written(tmp_path / "trace.jsonl", sent())
    assert stat.S_IMODE((tmp_path / "trace.jsonl").stat().st_mode) == 0o600


def test_a_second_run_appends_and_a_line_cut_short_stays_alone(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    _written(path, sent())
    _written(path, first_token())
    with path.open("ab") as file:
        file.write(b'{"type":"Fir')

    sink = JsonlSink(path)
    sink.take(ended())
    sink.close()

    lines = path.read_bytes().splitlines()
    assert lines[2] == b'{"type":"Fir'
    assert [json.loads(lines[at])["type"] for at in (0, 1, 3)] == ["RequestSent", "FirstToken", "ExchangeEnded"]


def test_secrets_and_local_paths_are_not_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    _written(
        path,
        received([{"role": "user", "content": "tr0ub4dor-and-more"}], safeguards=["/home/me"]),
        sent([{"role": "user", "content": "Bearer tr0ub4dor-and-more"}]),
        failed("key sk-ant-api03-abcdefgh is wrong"),
    )
    text = path.read_text()
    assert "tr0ub4dor" not in text
    assert "/home/me" not in text
    assert "sk-ant" not in text


def test_a_file_that_cannot_be_opened_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        JsonlSink(tmp_path)
