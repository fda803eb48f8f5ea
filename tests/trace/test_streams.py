"""The trace of an exchange holds all four bodies: what the client asked and got, what the engine was sent and sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from claude_bridge.trace.bus import Bus
from claude_bridge.trace.events import StreamsRecorded
from claude_bridge.trace.jsonl import JsonlSink, encode_event
from claude_bridge.trace.recorder import MAX_STREAM_BYTES, Recorder
from claude_bridge.trace.redact import REDACTED, Redactor
from tests.fake_upstream import FakeUpstream, answer, refusal
from tests.server.served import BridgeServer, Notes, question, until


@pytest.fixture
def trace(tmp_path: Path) -> Iterator[JsonlSink]:
    with closing(JsonlSink(tmp_path / "t.jsonl")) as sink:
        yield sink


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.anyio
@pytest.mark.parametrize("streamed", [True, False])
async def test_both_requests_and_both_streams_are_recorded_whole(
    tmp_path: Path, trace: JsonlSink, streamed: bool
) -> None:
    async with FakeUpstream([answer("Hello, été 🔑")]) as upstream, BridgeServer(upstream, sinks=[trace]) as server:
        asked = question(stream=streamed)
        response = await server.post("/v1/messages", asked)
        await until(lambda: lines_of(tmp_path / "t.jsonl")[-1]["type"] == "StreamsRecorded")
        lines = {line["type"]: line for line in lines_of(tmp_path / "t.jsonl")}
        assert lines["RequestReceived"]["body"] == asked
        assert lines["RequestSent"]["body"] == upstream.requests[0].json
        assert lines["RequestSent"]["kind"] == "openai-chat"
        streams = lines["StreamsRecorded"]
        assert "".join(text for _, text in streams["client"]) == response.body.decode()
        sent = "".join(text for _, text in streams["upstream"])
        assert sent.startswith("data: {")
        assert sent.endswith("data: [DONE]\n\n")
        times = [at for at, _ in (*streams["upstream"], *streams["client"])]
        assert all(0 <= at < 60 for at in times)


@pytest.mark.anyio
async def test_the_body_of_a_refusal_is_recorded(tmp_path: Path, trace: JsonlSink) -> None:
    async with (
        FakeUpstream([refusal(400, "no such thing")]) as upstream,
        BridgeServer(upstream, sinks=[trace]) as server,
    ):
        await server.messages()
        await until(lambda: lines_of(tmp_path / "t.jsonl")[-1]["type"] == "StreamsRecorded")
        ((_, text),) = lines_of(tmp_path / "t.jsonl")[-1]["upstream"]
        assert json.loads(text)["error"]["message"] == "no such thing"


@pytest.mark.anyio
async def test_a_sink_that_does_not_take_streams_gets_none_and_nothing_is_kept_for_it() -> None:
    notes = Notes()
    async with FakeUpstream([answer("Hello")]) as upstream, BridgeServer(upstream, sinks=[notes]) as server:
        await server.messages()
        assert not server.service.bus.keeps_streams
    assert "ExchangeEnded" in notes.kinds()
    assert "StreamsRecorded" not in notes.kinds()


def test_the_streams_of_one_exchange_have_a_budget(tmp_path: Path, trace: JsonlSink) -> None:
    bus = Bus([trace])
    recorder = Recorder(bus, "req_1")
    for _ in range(5):
        recorder.upstream_sent(b"x" * (MAX_STREAM_BYTES // 4))
    recorder.close()
    line = lines_of(tmp_path / "t.jsonl")[-1]
    assert sum(len(text) for _, text in line["upstream"]) == MAX_STREAM_BYTES
    assert line["omitted_bytes"] == MAX_STREAM_BYTES // 4


def test_a_character_that_a_read_cut_is_whole_in_the_trace() -> None:
    key = "🔑".encode()
    event = StreamsRecorded(exchange="r", at_s=1, upstream=[(0.1, b"a" + key[:1]), (0.2, key[1:] + b"b")], client=[])
    assert json.loads(encode_event(event))["upstream"] == [[0.1, "a"], [0.2, "🔑b"]]


SECRET = "tr0ub4dor-and-more"


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_secret_is_taken_out_of_a_stream_wherever_it_was_cut(cut: int) -> None:
    stream = f"before {SECRET} and sk-abcdefghijklmnopqrstuvwx after".encode()
    pieces = [
        (1.0, stream[:cut]),
        (2.0, stream[cut : cut + 3]),
        (3.0, stream[cut + 3 :]),
    ]
    event = Redactor([SECRET]).redact(StreamsRecorded(exchange="r", at_s=1, upstream=pieces, client=[]))
    assert isinstance(event, StreamsRecorded)
    assert b"".join(data for _, data in event.upstream) == f"before {REDACTED} and {REDACTED} after".encode()
    assert [after_s for after_s, _ in event.upstream] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize(
    "form", ['data: {{"id":"x","object":"chunk","c":"{}"}}\n\n', '{{"model":"m","message":"{}"}}\n']
)
def test_a_secret_in_one_of_many_equal_frames_is_found(form: str, place: str) -> None:
    at = {"first": 0, "middle": 150, "last": 299}[place]
    frames = [form.format(SECRET if number == at else f"word {number}").encode() for number in range(300)]
    pieces = [(0.0, frame) for frame in frames]
    event = Redactor([SECRET]).redact(StreamsRecorded(exchange="r", at_s=1, upstream=pieces, client=pieces))
    assert isinstance(event, StreamsRecorded)
    for stream in (event.upstream, event.client):
        assert b"".join(data for _, data in stream) == b"".join(frames).replace(SECRET.encode(), REDACTED.encode())


def test_a_secret_in_what_all_frames_begin_with_is_found() -> None:
    frame = b'data: {"model":"%b","n":"' % SECRET.encode()
    pieces = [(0.0, frame + b'%d"}\n\n' % number) for number in range(300)]
    event = Redactor([SECRET]).redact(StreamsRecorded(exchange="r", at_s=1, upstream=pieces, client=[]))
    assert isinstance(event, StreamsRecorded)
    assert SECRET.encode() not in b"".join(data for _, data in event.upstream)
