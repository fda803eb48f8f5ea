"""Server-sent events, wherever the reads end and however sloppily they are written."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from claude_bridge.errors import UpstreamBrokenError
from claude_bridge.wire.sse import (
    MAX_FRAME_BYTES,
    SSE_BEGINNINGS,
    CharacterCutter,
    FrameCutter,
    SseDecoder,
    SseFrame,
    encode_frame,
    read_frames,
)
from tests.growth import assert_linear

TWO = [SseFrame(b"", b"one"), SseFrame(b"more", "zwö".encode())]

STREAMS = {
    "lf": (b"data: one\n\nevent: more\ndata: zw\xc3\xb6\n\n", TWO),
    "crlf": (b"data: one\r\n\r\nevent: more\r\ndata: zw\xc3\xb6\r\n\r\n", TWO),
    "cr": (b"data: one\r\revent: more\rdata: zw\xc3\xb6\r\r", TWO),
    "mixed line ends": (b"data: one\r\n\nevent: more\rdata: zw\xc3\xb6\n\r\n", TWO),
    "byte order mark": (b"\xef\xbb\xbfdata: one\n\nevent: more\ndata: zw\xc3\xb6\n\n", TWO),
    "no blank after the colon": (b"data:one\n\nevent:more\ndata:zw\xc3\xb6\n\n", TWO),
    "comments": (b": hello\n\n:\ndata: one\n: between\n\n: \n\nevent: more\ndata: zw\xc3\xb6\n\n:bye\n\n", TWO),
    "ids and retries": (b"id: 1\nretry: 5\ndata: one\n\nid\nevent: more\ndata: zw\xc3\xb6\n\n", TWO),
    "unknown fields and lines": (b"novelty: 1\ndata: one\njunk\n\nevent: more\ndata: zw\xc3\xb6\n\n", TWO),
    "many blank lines": (b"\n\n\ndata: one\n\n\n\nevent: more\ndata: zw\xc3\xb6\n\n\n", TWO),
    "an event without data": (b"event: lost\n\ndata: one\n\nevent: more\ndata: zw\xc3\xb6\n\n", TWO),
    "no last blank line": (b"data: one\n\nevent: more\ndata: zw\xc3\xb6\n", TWO),
    "no last line end": (b"data: one\n\nevent: more\ndata: zw\xc3\xb6", TWO),
    "several data lines": (b"data: a\ndata: b\ndata\ndata:\ndata:  c\n\n", [SseFrame(b"", b"a\nb\n\n\n c")]),
    "empty data": (b"data:\n\n", [SseFrame(b"", b"")]),
    "nothing": (b"", []),
    "only a byte order mark": (b"\xef\xbb\xbf", []),
    "half a byte order mark": (b"\xef\xbb", []),
}

each_stream = pytest.mark.parametrize(("stream", "frames"), STREAMS.values(), ids=STREAMS.keys())


def _decoded(*reads: bytes) -> list[SseFrame]:
    decoder = SseDecoder()
    return [frame for data in reads for frame in decoder.feed(data)] + decoder.close()


@each_stream
def test_a_stream_is_read_whole(stream: bytes, frames: list[SseFrame]) -> None:
    assert _decoded(stream) == frames


@each_stream
def test_a_stream_is_read_byte_by_byte(stream: bytes, frames: list[SseFrame]) -> None:
    assert _decoded(*(stream[at : at + 1] for at in range(len(stream)))) == frames


@each_stream
def test_a_stream_is_read_in_any_two_reads(stream: bytes, frames: list[SseFrame]) -> None:
    for at in range(len(stream) + 1):
        assert _decoded(stream[:at], b"", stream[at:]) == frames, f"cut at {at}"


def test_a_frame_comes_as_soon_as_its_blank_line_does() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b"data: one\r\n\r") == [SseFrame(b"", b"one")]
    assert decoder.feed(b"\ndata: two\n\n") == [SseFrame(b"", b"two")]


def test_a_second_byte_order_mark_costs_no_event() -> None:
    assert _decoded(b"data: a\n\n\xef\xbb\xbfdata: b\n\n") == [SseFrame(b"", b"a"), SseFrame(b"", b"b")]


def test_a_decoder_that_was_closed_says_nothing_twice() -> None:
    decoder = SseDecoder()
    decoder.feed(b"data: a")
    assert decoder.close() == [SseFrame(b"", b"a")]
    assert decoder.close() == []


@pytest.mark.parametrize(
    "line", [b"x" * 1_000_000, b"data: " + b"x" * 1_000_000 + b"\n"], ids=["one line", "many lines"]
)
def test_a_frame_may_not_grow_without_end(line: bytes) -> None:
    decoder = SseDecoder()
    for _ in range(MAX_FRAME_BYTES // 1_000_000):
        decoder.feed(line)
    with pytest.raises(UpstreamBrokenError, match="more than 33554432 bytes"):
        decoder.feed(line)


@pytest.mark.parametrize("end", [b"\n", b"\r"], ids=["lf", "cr"])
def test_a_flood_of_short_lines_is_a_large_frame_too(end: bytes) -> None:
    with pytest.raises(UpstreamBrokenError, match="more than 33554432 bytes"):
        SseDecoder().feed((b"data:" + end) * (MAX_FRAME_BYTES // 64 + 1) + end)


def test_the_limit_is_for_one_frame_and_not_for_the_stream() -> None:
    decoder = SseDecoder()
    frame = b"data: " + b"x" * 1_000_000 + b"\n\n"
    assert sum(len(decoder.feed(frame)) for _ in range(40)) == 40


def test_a_huge_line_in_small_reads_costs_no_more_than_its_length() -> None:
    def work(size: int) -> Callable[[], object]:
        decoder, piece = SseDecoder(), b"x" * 1_000
        return lambda: [decoder.feed(piece) for _ in range(size // len(piece))]

    assert_linear(work, 16_000_000)


def test_a_frame_is_encoded_as_the_client_reads_it() -> None:
    assert encode_frame(b"ping", b'{"type":"ping"}') == b'event: ping\ndata: {"type":"ping"}\n\n'
    assert _decoded(encode_frame(b"ping", b"{}")) == [SseFrame(b"ping", b"{}")]


@pytest.mark.parametrize("place", range(5))
def test_what_stands_before_a_document_or_a_stream_does_not_matter_in_whichever_pieces_it_comes(place: int) -> None:
    mark = b"\r\n\xef\xbb\xbf"
    reader = FrameCutter(SSE_BEGINNINGS)
    assert [*reader.feed(mark[:place]), *reader.feed(mark[place:] + b'{"a"'), *reader.feed(b":1}")] == []
    assert reader.document == bytearray(b'{"a":1}')
    reader = FrameCutter(SSE_BEGINNINGS)
    frames = [*reader.feed(mark[:place]), *reader.feed(mark[place:] + b"data: one\n\n")]
    assert read_frames(frames) == [SseFrame(b"", b"one")]


@pytest.mark.parametrize(
    ("first", "held"),
    [
        (rb'{"type":"response.output_text.delta","delta":"\ud83d"}', True),
        (rb'{"choices":[{"delta":{"content":"a \uD83D"},"finish_reason":null}]}', True),
        (rb'{"choices":[{"delta":{"content":"a \ud83d"},"finish_reason":"stop"}]}', False),
        (rb'{"type":"response.completed","text":"\ud83d"}', False),
        (rb'{"delta":"\\ud83d"}', False),
        (rb'{"delta":"\ud83d\ude00"}', False),
    ],
)
def test_only_half_a_character_that_may_get_its_end_is_waited_for(first: bytes, held: bool) -> None:
    frame, cutter = b"data: %b\n\n" % first, CharacterCutter(SSE_BEGINNINGS)
    assert cutter.feed(frame) == ([] if held else [frame])
    assert cutter.is_between_frames is not held
    assert cutter.close() == ([frame] if held else [])


def test_a_character_in_halves_is_whole_where_its_second_half_comes() -> None:
    halves = [rb'data: {"delta":"a \ud83d"}' + b"\n\n", rb'data: {"delta":"\ude00 b"}' + b"\n\n"]
    whole = [rb'data: {"delta":"a "}' + b"\n\n", rb'data: {"delta":"\ud83d\ude00 b"}' + b"\n\n"]
    assert CharacterCutter().feed(b"".join(halves)) == whole
