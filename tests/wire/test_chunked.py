"""Chunked framing, wherever the reads end, and what is wrong with it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.wire.chunked import MAX_LINE_BYTES, ChunkedDecoder

HELLO = b"5\r\nHello\r\n7;name=value\r\n, world\r\n0\r\nx-trailer: 1\r\n\r\n"


def framed(payloads: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(payload), payload) for payload in payloads if payload) + b"0\r\n\r\n"


def test_the_payload_comes_out_in_one_piece_for_each_read() -> None:
    decoder = ChunkedDecoder()

    assert decoder.feed(HELLO) == b"Hello, world"
    assert decoder.ended
    assert decoder.excess == b""


def test_a_cut_anywhere_changes_nothing() -> None:
    for cut in range(1, len(HELLO)):
        decoder = ChunkedDecoder()

        assert decoder.feed(HELLO[:cut]) + decoder.feed(HELLO[cut:]) == b"Hello, world", cut
        assert (decoder.ended, decoder.broken) == (True, None), cut


@given(st.lists(st.binary(max_size=40), max_size=8), st.lists(st.integers(min_value=1, max_value=9), max_size=60))
def test_any_payload_survives_any_cuts(payloads: list[bytes], sizes: list[int]) -> None:
    decoder, rest, out = ChunkedDecoder(), framed(payloads), b""
    for size in [*sizes, len(rest)]:
        out += decoder.feed(rest[:size]) if rest else b""
        rest = rest[size:]

    assert out == b"".join(payloads)
    assert decoder.ended


def test_without_its_last_line_the_body_has_not_ended() -> None:
    for cut in range(1, len(HELLO)):
        decoder = ChunkedDecoder()

        decoder.feed(HELLO[:cut])

        assert not decoder.ended, cut


def test_what_follows_the_end_is_excess() -> None:
    decoder = ChunkedDecoder()

    decoder.feed(HELLO + b"HTTP/1.1")

    assert decoder.excess == b"HTTP/1.1"


@pytest.mark.parametrize(
    "framing",
    [
        b"zzz\r\n",
        b"\r\n",
        b"-1\r\n",
        b"0x5\r\nHello\r\n",
        b"5_0\r\n",
        b"f" * 16 + b"\r\n",
        b"5\r\nHello!\r\n",
        b"5\r\nHello\n0\r\n\r\n",
        b"1" * (MAX_LINE_BYTES + 1),
    ],
    ids=[
        "no number",
        "empty",
        "negative",
        "prefixed",
        "underscore",
        "huge",
        "too long",
        "bare line end",
        "no line end",
    ],
)
def test_broken_framing_is_reported_and_nothing_more_is_read(framing: bytes) -> None:
    decoder = ChunkedDecoder()

    out = decoder.feed(b"3\r\none\r\n" + framing)

    assert out.startswith(b"one")
    assert decoder.broken is not None
    assert decoder.feed(b"3\r\ntwo\r\n") == b""


def test_a_trailer_is_never_taken_for_a_chunk() -> None:
    decoder = ChunkedDecoder()

    assert decoder.feed(b"5\r\nHello\r\n0\r\n5\r\nHello\r\n\r\n") == b"Hello"
    assert decoder.ended


def test_broken_framing_byte_by_byte_is_found_too() -> None:
    decoder = ChunkedDecoder()

    for byte in b"5\r\nHello!\r\n":
        decoder.feed(bytes([byte]))

    assert decoder.broken == "a chunk is longer than its size says"
