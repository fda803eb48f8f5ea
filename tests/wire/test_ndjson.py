"""Newline-delimited JSON, wherever the reads end."""

from __future__ import annotations

import pytest

from claude_bridge.errors import UpstreamBrokenError
from claude_bridge.wire.sse import LINE_END, MAX_FRAME_BYTES, FrameCutter

DOCUMENTS = [b'{"a":"\xc3\xb6"}', b"[1]"]

STREAMS = {
    "lf": b'{"a":"\xc3\xb6"}\n[1]\n',
    "crlf": b'{"a":"\xc3\xb6"}\r\n[1]\r\n',
    "blank lines": b'\n \n{"a":"\xc3\xb6"}\n\n\n[1]\n\t\n',
    "no last line end": b'{"a":"\xc3\xb6"}\n[1]',
}

each_stream = pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())


def _decoded(*reads: bytes) -> list[bytes]:
    cutter = FrameCutter(end=LINE_END)
    lines = [line for data in reads for line in cutter.feed(data)] + cutter.close()
    assert b"".join(lines).rstrip() == b"".join(reads).rstrip()
    return [line.strip() for line in lines if line.strip()]


@each_stream
def test_documents_are_read_whole(stream: bytes) -> None:
    assert _decoded(stream) == DOCUMENTS


@each_stream
def test_documents_are_read_byte_by_byte(stream: bytes) -> None:
    assert _decoded(*(stream[at : at + 1] for at in range(len(stream)))) == DOCUMENTS


@each_stream
def test_documents_are_read_in_any_two_reads(stream: bytes) -> None:
    for at in range(len(stream) + 1):
        assert _decoded(stream[:at], stream[at:]) == DOCUMENTS, f"cut at {at}"


def test_a_document_comes_as_soon_as_its_line_ends() -> None:
    assert FrameCutter(end=LINE_END).feed(b"{}\n{") == [b"{}\n"]


def test_a_line_may_not_grow_without_end() -> None:
    decoder = FrameCutter(end=LINE_END)
    for _ in range(MAX_FRAME_BYTES // 1_000_000):
        decoder.feed(b"x" * 1_000_000)
    with pytest.raises(UpstreamBrokenError, match="more than 33554432 bytes"):
        decoder.feed(b"x" * 1_000_000)
