"""A trace is read as far as it goes, whatever has become of the file, and what is missing is reported."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from claude_bridge.errors import SetupError
from claude_bridge.trace.detail import read_lines
from claude_bridge.trace.events import EventsDropped, RequestQueued, StreamReads, StreamsRecorded, TraceEvent
from claude_bridge.trace.jsonl import VERSION, encode_event
from claude_bridge.trace.redact import Redactor
from claude_bridge.trace.summary import is_known, read_entry
from claude_bridge.trace.trace_file import TraceFile
from tests.trace.samples import EXCHANGE, NOON, ended, failed, first_token, grew, received, repaired, reread, sent

# What a bridge wrote before lines had versions and streams.
VERSION_1 = """\
{"type":"RequestReceived","exchange":"req_old1","at_s":5.0,"path":"/v1/messages","model":"claude-x","streamed":true,\
"messages":1,"tools":0,"max_tokens":100,"session":"s-1","user_agent":"x","not_read":[],"body":{"model":"claude-x",\
"messages":[{"role":"user","content":"Hello"}]}}
{"type":"RequestSent","exchange":"req_old1","at_s":5.1,"after_s":0.1,"method":"POST",\
"url":"http://h/v1/chat/completions","model":"m","upstream":"Engine","reason":null,"estimated_tokens":9,"losses":[],\
"body":{"model":"m","messages":[{"role":"user","content":"Hello"}]}}
{"type":"ExchangeEnded","exchange":"req_old1","at_s":6.0,"after_s":1.0,"first_token_s":0.5,"message":{"id":"msg_1",\
"model":"m","content":[{"type":"text","text":"Hi."}],"stop_reason":"end_turn","stop_sequence":null,"usage":\
{"input_tokens":9,"output_tokens":2},"type":"message","role":"assistant"},"prompt_tokens":9,"cached_tokens":null,\
"prompt_ms":null,"output_ms":null,"load_ms":null,"usage_is_estimated":false,"cost_usd":null}
"""


def streams(exchange: str = "req_0000k7Qd") -> TraceEvent:
    upstream, client = StreamReads([b"data: 1\n\n"], [3.9]), StreamReads([b"event"], [4.0])
    event = StreamsRecorded(exchange=exchange, at_s=NOON + 7, upstream=upstream, client=client)
    return Redactor([]).redact(event)


def written(path: Path, *events: TraceEvent, behind: bytes = b"") -> Path:
    path.write_bytes(b"".join(encode_event(event) + b"\n" for event in events) + behind)
    return path


def an_exchange(exchange: str) -> list[TraceEvent]:
    return [received(exchange=exchange), sent(exchange=exchange), ended(exchange=exchange)]


def test_an_exchange_has_its_figures_and_its_lines(tmp_path: Path) -> None:
    events: list[TraceEvent] = [received(), sent(), first_token(), grew(), repaired(), reread(), ended(), streams()]
    trace = TraceFile(written(tmp_path / "t.jsonl", *events))

    (one,) = trace.exchanges.values()
    assert (one.state, one.stop_reason, one.prompt_tokens, one.cached_tokens) == ("answered", "end_turn", 9_100, 8_760)
    assert (one.output_tokens, one.first_token_s, one.took_s) == (212, 3.9, 6.4)
    assert (one.repairs, one.reread_tokens, one.model, one.upstream) == (1, 21_200, "qwen3:1.7b", "ollama")
    assert [step.is_trouble for step in one.steps] == [False, False, True, True, False]
    lines = read_lines(trace.lines(one.exchange))
    assert lines.upstream == [(3.9, "data: 1\n\n")]
    assert lines.answer is not None
    assert trace.notes == []


def test_the_time_in_the_queue_is_not_the_time_in_which_the_engine_reads(tmp_path: Path) -> None:
    waits, begins = (
        RequestQueued(exchange=EXCHANGE, after_s=at_s, position=place) for at_s, place in ((0.1, 1), (3, 0))
    )
    (one,) = TraceFile(written(tmp_path / "t.jsonl", received(), sent(), waits)).exchanges.values()
    assert (one.state, one.position) == ("queued", 1)
    (one,) = TraceFile(written(tmp_path / "t.jsonl", received(), sent(), waits, begins)).exchanges.values()
    assert (one.state, one.sent_after_s) == ("reading", 3)
    assert [step.text for step in one.steps][1:] == ["waits for its turn", "its turn has come"]


def test_a_trace_without_versions_opens(tmp_path: Path) -> None:
    path = tmp_path / "old.jsonl"
    path.write_text(VERSION_1)
    trace = TraceFile(path)

    (one,) = trace.exchanges.values()
    assert (one.kind, one.upstream, one.state, one.output_tokens) == ("openai-chat", "Engine", "answered", 2)
    assert len(read_lines(trace.lines("req_old1")).sent) == 1
    assert trace.notes == []


def test_the_streams_of_version_2_open(tmp_path: Path) -> None:
    line = (
        b'{"version":2,"type":"StreamsRecorded","exchange":"req_old1","at_s":6.0,"after_s":1.0,"omitted_bytes":0,'
        b'"upstream":[[0.1,"data: 1\\n"],[0.2,"data: 2\\n"]],"client":[[0.3,"\\u00e9"]]}\n'
    )
    path = tmp_path / "old.jsonl"
    path.write_bytes(VERSION_1.encode() + line)
    lines = read_lines(TraceFile(path).lines("req_old1"))
    assert lines.upstream == [(0.1, "data: 1\n"), (0.2, "data: 2\n")]
    assert lines.client == [(0.3, "é")]


def test_every_line_has_the_version_of_its_format() -> None:
    assert {json.loads(encode_event(event))["version"] for event in (received(), grew(), streams())} == {VERSION}


@pytest.mark.parametrize("kind", get_args(TraceEvent), ids=lambda kind: kind.__name__)
def test_every_kind_of_event_is_known_and_documented(kind: type[msgspec.Struct]) -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "reference" / "trace.md").read_text("utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `{kind.__name__}` |")]
    fields = {field.name for field in msgspec.structs.fields(kind)} - {"exchange", "at_s", "after_s"}
    assert [name for name in fields if f"`{name}`" not in row] == []
    line = b'{"type":"%b","exchange":"r","at_s":1}' % kind.__name__.encode()
    assert is_known(read_entry(line))


@pytest.mark.parametrize("left_of_the_last_line", range(1, 400, 37))
def test_a_cut_file_is_read_up_to_the_cut(tmp_path: Path, left_of_the_last_line: int) -> None:
    path = written(tmp_path / "t.jsonl", *an_exchange("req_1"), received(exchange="req_2"))
    whole = path.read_bytes()
    start = whole[:-1].rindex(b"\n") + 1
    path.write_bytes(whole[: start + left_of_the_last_line])
    trace = TraceFile(path)

    assert list(trace.exchanges) == ["req_1"]
    assert trace.notes == ["Its last line is cut off; everything before it is shown."]


def test_a_newer_version_is_read_as_far_as_it_is_known_and_reported(tmp_path: Path) -> None:
    newer = json.loads(encode_event(sent())) | {"version": VERSION + 1, "colour": "red"}
    strange = {"version": VERSION + 1, "type": "SomethingNew", "exchange": "req_0000k7Qd", "at_s": "noon"}
    unknown = {"version": VERSION + 1, "type": "SomethingNew", "exchange": "req_0000k7Qd"}
    behind = b"".join(json.dumps(line).encode() + b"\n" for line in (newer, strange, unknown))
    trace = TraceFile(written(tmp_path / "t.jsonl", received(), behind=behind))

    assert trace.exchanges["req_0000k7Qd"].model == "qwen3:1.7b"
    newer_note, unreadable, unknown_note = trace.notes
    assert f"format {VERSION + 1}; this one knows up to {VERSION}" in newer_note
    assert unreadable == "1 line can't be read and is left out."
    assert unknown_note == "1 line is of an unknown kind and left out."


def test_a_line_that_a_crash_cut_and_lines_that_are_no_events_are_counted(tmp_path: Path) -> None:
    behind = b'{"type":"Fir\n[1]\n\xff\xfe\n\n' + b"[" * 100_000 + b"\n" + encode_event(ended()) + b"\n"
    trace = TraceFile(written(tmp_path / "t.jsonl", received(), behind=behind))

    assert trace.exchanges["req_0000k7Qd"].state == "answered"
    assert trace.notes == ["4 lines can't be read and are left out."]


def test_what_the_sink_dropped_is_reported(tmp_path: Path) -> None:
    dropped = EventsDropped(exchange="", at_s=NOON, count=7)
    assert TraceFile(written(tmp_path / "t.jsonl", received(), dropped)).notes == [
        "7 events had been dropped while it was written."
    ]


def test_the_limits_hold_and_are_reported(tmp_path: Path) -> None:
    events = [event for number in range(5) for event in an_exchange(f"req_{number}")]
    path = written(tmp_path / "t.jsonl", *events)

    assert len(TraceFile(path, max_exchanges=2).exchanges) == 2
    assert "more than 2 exchanges" in TraceFile(path, max_exchanges=2).notes[0]
    assert "more than 4 lines" in TraceFile(path, max_lines=4).notes[0]
    long = written(tmp_path / "long.jsonl", received(body=b'"' + b"x" * 9_000 + b'"'), *an_exchange("req_1"))
    trace = TraceFile(long, max_line_bytes=2_000)
    assert list(trace.exchanges) == ["req_1"]
    assert trace.notes == ["1 line can't be read and is left out."]


def test_an_exchange_is_found_by_its_number_its_id_and_the_end_of_that(tmp_path: Path) -> None:
    trace = TraceFile(written(tmp_path / "t.jsonl", *an_exchange("req_abc9"), *an_exchange("req_abd2")))

    assert {trace.find(name).exchange for name in ("2", "req_abd2", "d2", "req_abd")} == {"req_abd2"}
    with pytest.raises(SetupError, match="2 exchanges match 'req_'"):
        trace.find("req_")
    with pytest.raises(SetupError, match="There is no exchange '9'"):
        trace.find("9")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"hello\n", "is no trace: no line of it is an event"),
        (b"\x89PNG\r\n\x1a\n", "is no trace: no line of it is an event"),
        (b'{"a":1}\n', "is no trace: no line of it is an event"),
        (b'{"type":"New","version":99}\n', "has no exchange that can be read. It was written by a newer bridge"),
    ],
)
def test_a_file_that_is_no_trace_is_an_error_with_a_hint(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(SetupError, match=words):
        TraceFile(path)
    with pytest.raises(SetupError, match="can't be read: No such file"):
        TraceFile(tmp_path / "nowhere")


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="this system has no files for open pipes")
def test_of_a_pipe_there_are_the_summaries_and_an_error_for_more(tmp_path: Path) -> None:
    events = written(tmp_path / "t.jsonl", *an_exchange("req_1")).read_bytes()
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(events)
    with os.fdopen(reading, "rb"):
        trace = TraceFile(Path(f"/dev/fd/{reading}"))
        assert list(trace.exchanges) == ["req_1"]
        with pytest.raises(SetupError, match="is a pipe"):
            list(trace.lines("req_1"))


def test_a_failure_keeps_its_words(tmp_path: Path) -> None:
    trace = TraceFile(written(tmp_path / "t.jsonl", received(), failed("The engine is off.")))
    (one,) = trace.exchanges.values()
    assert one.failure is not None
    assert (one.failure.status, one.failure.message) == (400, "The engine is off.")
