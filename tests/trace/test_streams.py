"""The trace of an exchange holds all four bodies: what the client asked and got, what the engine was sent and sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from claude_bridge.trace.bus import Bus
from claude_bridge.trace.events import StreamReads, StreamsRecorded
from claude_bridge.trace.jsonl import JsonlSink, encode_event
from claude_bridge.trace.recorder import MAX_STREAM_BYTES, Recorder
from claude_bridge.trace.redact import Redactor
from claude_bridge.trace.secrets import REDACTED, Secrets
from claude_bridge.trace.stream_text import read_stream
from claude_bridge.wire.anthropic import TextBlock
from tests.fake_upstream import FakeUpstream, answer, refusal
from tests.kept_events import KeptEvents
from tests.server.served import BridgeServer, question, until
from tests.trace.samples import ended


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
        requested = question(stream=streamed)
        response = await server.post("/v1/messages", requested)
        await until(lambda: lines_of(tmp_path / "t.jsonl")[-1]["type"] == "StreamsRecorded")
        lines = {line["type"]: line for line in lines_of(tmp_path / "t.jsonl")}
        assert lines["RequestReceived"]["body"] == requested
        assert lines["RequestSent"]["body"] == upstream.requests[0].json
        assert lines["RequestSent"]["kind"] == "openai-chat"
        streams = lines["StreamsRecorded"]
        client, upstream_reads = (read_stream(Raw(json.dumps(streams[side]))) for side in ("client", "upstream"))
        assert text_of(client) == response.body.decode()
        sent = text_of(upstream_reads)
        assert sent.startswith("data: {")
        assert sent.endswith("data: [DONE]\n\n")
        times = [at for at, _ in (*upstream_reads, *client)]
        assert all(0 <= at < 60 for at in times)


@pytest.mark.anyio
async def test_the_body_of_a_refusal_is_recorded(tmp_path: Path, trace: JsonlSink) -> None:
    async with (
        FakeUpstream([refusal(400, "no such thing")]) as upstream,
        BridgeServer(upstream, sinks=[trace]) as server,
    ):
        await server.messages()
        await until(lambda: lines_of(tmp_path / "t.jsonl")[-1]["type"] == "StreamsRecorded")
        (block,) = lines_of(tmp_path / "t.jsonl")[-1]["upstream"]
        assert json.loads(block["text"])["error"]["message"] == "no such thing"


@pytest.mark.anyio
async def test_a_sink_that_does_not_take_streams_gets_none_and_nothing_is_kept_for_it() -> None:
    notes = KeptEvents()
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
    assert sum(size for block in line["upstream"] for size in block["sizes"]) == MAX_STREAM_BYTES
    assert line["omitted_bytes"] == MAX_STREAM_BYTES // 4


def test_a_character_that_a_read_cut_is_whole_in_the_trace() -> None:
    key = "🔑".encode()
    assert written_and_read([b"a" + key[:1], key[1:] + b"b"], at_s=[0.1, 0.2]) == [(0.1, "a"), (0.2, "🔑b")]


SECRET = "tr0ub4dor-and-more"


def redacted_streams(
    reads: list[bytes], at_s: list[float] | None = None, *, answer: str | None = None
) -> dict[str, Raw]:
    """Return both streams of an exchange as they are written; ``answer`` is what it came to, where it ended well."""
    redactor = Redactor([SECRET])
    times = at_s or [0.01 * number for number in range(len(reads))]
    sides = [StreamReads(list(reads), list(times), sum(map(len, reads))) for _ in range(2)]
    streams = StreamsRecorded(exchange="r", upstream=sides[0], client=sides[1])
    if answer is not None:
        redactor.redact(msgspec.structs.replace(ended([TextBlock(answer)]), exchange="r"))
    line = encode_event(redactor.redact(streams))
    assert SECRET.encode() not in line
    return msgspec.json.decode(line, type=dict[str, Raw])


def written_and_read(
    reads: list[bytes], at_s: list[float] | None = None, *, answer: str | None = None
) -> list[tuple[float, str]]:
    """Return what a reader of the trace sees of a stream."""
    fields = redacted_streams(reads, at_s, answer=answer)
    assert bytes(fields["upstream"]) == bytes(fields["client"])
    return read_stream(fields["upstream"])


def text_of(timed: list[tuple[float, str]]) -> str:
    return "".join(text for _, text in timed)


WORDS = " and ".join(f"word {number}" for number in range(300))


@pytest.mark.parametrize("answer", [None, "all of it"], ids=["broken", "whole"])
def test_a_secret_is_taken_out_of_a_stream_wherever_it_was_cut(answer: str | None) -> None:
    stream = f"before {SECRET} and sk-abcdefghijklmnopqrstuvwx after".encode()
    for cut in range(1, 60):
        reads = [stream[:cut], stream[cut : cut + 3], stream[cut + 3 :]]
        timed = written_and_read(reads, [1.0, 2.0, 3.0], answer=answer)
        assert text_of(timed) == f"before {REDACTED} and {REDACTED} after", cut
        assert [after_s for after_s, _ in timed] == [1.0, 2.0, 3.0], cut


FORMS = [
    'data: {{"id":"x","object":"chunk","c":"{}"}}\n\n',
    'data: {{"id": "x", "object": "chunk", "c": "{}"}}\n\n',
    '{{"model":"m","message":"{}"}}\n',
]


@pytest.mark.parametrize("reads", [1, 7], ids=["a read for each frame", "frames in few reads"])
@pytest.mark.parametrize("answer", [None, WORDS], ids=["broken", "whole"])
@pytest.mark.parametrize("form", FORMS)
def test_a_stream_is_read_as_it_was_though_what_its_frames_share_is_written_once(
    form: str, answer: str | None, reads: int
) -> None:
    frames = [form.format(f"word {number} and ").encode() for number in range(300)]
    together = [b"".join(frames[at : at + reads]) for at in range(0, 300, reads)]
    timed = written_and_read(together, answer=answer)
    assert [text.encode() for _, text in timed] == together
    (block,) = msgspec.json.decode(redacted_streams(together, answer=answer)["upstream"])
    assert len(block["text"]) < len(b"".join(frames)) * 0.6


@pytest.mark.parametrize("answer", [None, WORDS], ids=["broken", "whole"])
@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("form", FORMS)
def test_a_secret_in_one_of_many_equal_frames_is_found(form: str, place: str, answer: str | None) -> None:
    at = {"first": 0, "middle": 150, "last": 299}[place]
    frames = [form.format(SECRET if number == at else f"word {number} and ").encode() for number in range(300)]
    clean = b"".join(frames).replace(SECRET.encode(), REDACTED.encode())
    assert text_of(written_and_read(frames, answer=answer)).encode() == clean


def test_a_secret_in_what_all_frames_begin_with_is_found() -> None:
    frames = [b'data: {"model":"%b","n":"%d"}\n\n' % (SECRET.encode(), number) for number in range(300)]
    assert REDACTED in text_of(written_and_read(frames, answer=""))


@pytest.mark.parametrize("answer", [None, f"the key is {SECRET}."], ids=["broken", "whole"])
@pytest.mark.parametrize("form", FORMS)
def test_a_secret_of_which_each_frame_has_some_characters_is_taken_out_of_all_of_them(
    form: str, answer: str | None
) -> None:
    pieces = ["the ", "key is ", SECRET[:1], SECRET[1:5], SECRET[5:], "."]
    timed = written_and_read([form.format(piece).encode() for piece in pieces], answer=answer)
    parts = [SECRET[:1], SECRET[1:5], SECRET[5:]]
    assert not [text for _, text in timed for part in parts if f'"{part}"' in text]


SPLIT = [SECRET[:4], SECRET[4:9], SECRET[9:]]
TIMED_FORM = '{{"model":"m","at":"2026-11-30T12:00:{:05.2f}Z","message":{{"role":"assistant","content":"{}"}}}}\n'


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("many", [0, 200], ids=["few frames", "many frames"])
def test_a_secret_in_pieces_of_which_the_answer_has_nothing_is_taken_out(form: str, many: int) -> None:
    usual = [form.format(f"word {number} and ").encode() for number in range(many)]
    other = [form.replace("}}", ',"thought":"{}"}}', 1).format("", piece).encode() for piece in SPLIT]
    text = text_of(written_and_read([*usual, *other, *usual], answer="all of it"))
    assert not [part for part in SPLIT if f'"{part}"' in text]


def test_a_secret_in_pieces_is_found_where_frames_differ_in_two_texts() -> None:
    usual = [TIMED_FORM.format(number / 10, f"word {number}").encode() for number in range(200)]
    thought = TIMED_FORM.replace('"content":"{}"', '"content":"","thought":"{}"')
    other = [thought.format(number, piece).encode() for number, piece in enumerate(SPLIT)]
    text = text_of(written_and_read([*usual, *other, *usual], answer="all of it"))
    assert not [part for part in SPLIT if f'"{part}"' in text]


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_in_pieces_behind_a_stop_sequence_is_taken_out(form: str) -> None:
    frames = [form.format(piece).encode() for piece in ["all of it", "STOP", *SPLIT]]
    redactor = Redactor([SECRET])
    redactor.redact(ended([TextBlock("all of it")], exchange="r", stop_reason="stop_sequence"))
    side = StreamReads(frames, [0.1] * len(frames), sum(map(len, frames)))
    line = encode_event(redactor.redact(StreamsRecorded(exchange="r", upstream=side, client=side)))
    assert not [part for part in SPLIT if part.encode() in line]


@pytest.mark.parametrize("filler", ["x", "\\n", 'word \\"'])
def test_a_secret_that_begins_at_the_end_of_a_very_long_text_is_found(filler: str) -> None:
    pieces = [filler * 70_000 + SECRET[:5], SECRET[5:]]
    timed = written_and_read([FORMS[0].format(piece).encode() for piece in pieces])
    assert SECRET[:5] not in text_of(timed)
    assert SECRET[5:] not in text_of(timed)


@given(st.lists(st.binary(max_size=300), max_size=40), st.booleans())
def test_any_bytes_are_read_as_they_were_as_far_as_they_are_text(reads: list[bytes], is_whole: bool) -> None:
    reads = [read * 30 for read in reads]
    timed = written_and_read(reads, answer="" if is_whole else None)
    data = b"".join(reads)
    if data.isascii() and not Secrets([SECRET]).spans(data):
        assert text_of(timed).encode() == data
