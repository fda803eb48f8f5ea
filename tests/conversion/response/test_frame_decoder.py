"""Frames that differ in their text alone are read by the bytes around it, and say the same as when they are decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claude_bridge.adapters.ollama_chat.stream import OllamaStreamDecoder
from claude_bridge.adapters.openai_chat.stream import ChatStreamDecoder
from claude_bridge.conversion.deltas import Delta, StreamDecoder, TextDelta, ThinkingDelta
from tests.dialogues import cut

_CHAT = b'data: {"id":"c1","choices":[{"index":0,"delta":%b}]}\n\n'
_LINE = b'{"model":"m","created_at":"2026-11-30T07:26:%02d.5Z","message":{"role":"assistant",%b},"done":false}\n'

_SHAPES: dict[str, tuple[bytes, ...]] = {
    "chat": (
        _CHAT % b'{"content":"%b"}',
        _CHAT.replace(b"\n", b"\r\n") % b'{"content":"%b"}',
        _CHAT % b'{"content":null,"reasoning_content":"%b"}',
        _CHAT % b'{"content":"%b","reasoning_content":""}',
        _CHAT % b'{"content":"%b","refusal":"no"}',
        _CHAT % b'{"content":"%b","extra_content":{"google":{"thought":true}}}',
        _CHAT % b'{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"%b"}}]}',
        b'data: {"choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":"stop"}]}\n\n',
        b'data: {"choices":[{"index":1,"delta":{"content":"%b"}}]}\n\n',
        b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}],"usage":{"prompt_tokens":3}}\n\n',
        b'event: error\ndata: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n',
        b": %b\n\n",
        b"data: [DONE]\n\n",
    ),
    "ollama": (
        _LINE % (1, b'"content":"%b"'),
        _LINE % (2, b'"content":"%b"'),
        _LINE % (3, b'"content":"","thinking":"%b"'),
        _LINE % (4, b'"content":"%b","tool_calls":[{"function":{"name":"f","arguments":{}}}]'),
        b'{"message":{"content":"%b"},"done":true,"done_reason":"stop"}\n',
        b'{"error":"%b"}\n',
    ),
}
_DECODERS: dict[str, Callable[[str], StreamDecoder]] = {"chat": ChatStreamDecoder, "ollama": OllamaStreamDecoder}
every_shape = pytest.mark.parametrize("kind", _SHAPES)

_words = st.sampled_from(
    [b"a", b" the", "ö☃".encode(), rb"\n", rb"\"", rb"\u00e9", rb"\ud83d\ude00", b"", b"<thought>", b"1"]
)
_hostile = st.sampled_from(
    [
        b'"',
        b"\\",
        b'","',
        b'"}}]}\n\ndata: {"choices":[]}',
        b"\n",
        b"\xff",
        rb"\ud800",
        rb"\udc00",
        b"\x00",
        b'"created_at":"1Z",',
        b"%",
    ]
)
_texts = st.lists(st.one_of(_words, _words, _hostile), max_size=2).map(b"".join)
_runs = st.lists(st.tuples(st.integers(0, 99), st.lists(_texts, min_size=1, max_size=4)), min_size=1, max_size=4)


def _frames(kind: str, runs: list[tuple[int, list[bytes]]]) -> list[bytes]:
    """Return runs of frames; those of a run differ in what stands in the place of their text, a plain word at first."""
    shapes = _SHAPES[kind]
    return [shapes[at % len(shapes)].replace(b"%b", text) for at, texts in runs for text in (b" word", *texts)]


def _deltas(kind: str, reads: Iterable[bytes]) -> list[Delta]:
    decoder = _DECODERS[kind]("engine")
    deltas = [delta for read in reads for delta in decoder.feed(read)]
    return deltas + decoder.close()


@every_shape
@example(runs=[(0, [b""]), (0, [b'a"created_at":"1Z",'])], places=[])
@example(runs=[(0, [b"a", b"b"]), (64, [b""]), (0, [b"behind the end"])], places=[])
@given(_runs, st.lists(st.integers(0, 3000), max_size=5))
def test_frames_in_whole_reads_say_what_they_say_byte_by_byte(
    kind: str, runs: list[tuple[int, list[bytes]]], places: list[int]
) -> None:
    frames = _frames(kind, runs)
    stream = b"".join(frames)
    letters = list(map(str, _deltas(kind, (stream[at : at + 1] for at in range(len(stream))))))
    assert list(map(str, _deltas(kind, frames))) == letters
    assert list(map(str, _deltas(kind, cut(stream, places)))) == letters


class _Counting(ChatStreamDecoder):
    decoded = 0

    def decode(self, data: bytes) -> list[Delta]:
        self.decoded += data.count(b"data:")
        return super().decode(data)


@pytest.mark.parametrize("shape", [0, 1, 2], ids=["text", "text in frames with CRLF", "thoughts"])
@pytest.mark.parametrize("read_bytes", [None, 1_000], ids=["a read for each frame", "reads that end anywhere"])
def test_nearly_all_of_a_long_answer_is_read_without_its_json(shape: int, read_bytes: int | None) -> None:
    texts = [b" word %d" % at for at in range(1_000)]
    frames = [_SHAPES["chat"][shape].replace(b"%b", text) for text in texts]
    stream = b"".join(frames)
    reads = frames if read_bytes is None else list(cut(stream, range(read_bytes, len(stream), read_bytes)))
    decoder = _Counting("engine")
    kind = ThinkingDelta if shape == 2 else TextDelta
    found = [delta for read in reads for delta in decoder.feed(read) if delta != ThinkingDelta("")]
    assert found == [kind(text.decode()) for text in texts]
    assert decoder.decoded <= (len(texts) / 5 if read_bytes else 5)
