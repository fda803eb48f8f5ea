"""What went over the wire in one direction, as it stands in a trace: what all frames share is written once.

Frames of a stream differ in a tenth of their bytes. Of each block of reads the part between those is kept apart, and
one character stands in its place: so there is a tenth to search for secrets, to encode and to write.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from msgspec import Raw, Struct, UnsetType

from claude_bridge.trace.events import StreamBlock, StreamReads
from claude_bridge.trace.seen_bodies import same_bytes

SHARED = b"\x1f"
"""Stands in a block's text for what its frames share. JSON texts do not hold this character as it is."""

SAME_MOMENT_S = 0.002
"""Reads that follow each other so closely are shown as one."""

_BLOCK_BYTES = 64 * 1024
"""Blocks of this size stay in the processor's cache."""

_MIN_SHARING_BYTES = 4 * 1024
_MAX_FRAME_BYTES = 1024


class _WrittenBlock(Struct):
    """A StreamBlock as it stands in a trace."""

    text: str
    sizes: list[int]
    after_us: list[int]
    shared: str = ""


Timed = tuple[float, str]
"""Seconds after the request was received, and what came then."""


def blocks_of(reads: StreamReads) -> list[StreamBlock]:
    """Return a stream in blocks."""
    sizes, microseconds = list(map(len, reads.data)), [int(after_s * 1e6) for after_s in reads.after_s]
    blocks: list[StreamBlock] = []
    first = size = 0
    for end, read_bytes in enumerate(sizes, 1):
        size += read_bytes
        if size >= _BLOCK_BYTES or end == len(sizes):
            text = b"".join(reads.data[first:end])
            if shared := _shared_part(text):
                text = text.replace(shared, SHARED)
            blocks.append(StreamBlock(text, sizes[first:end], microseconds[first:end], shared))
            first, size = end, 0
    return blocks


def searched_text(blocks: Iterable[StreamBlock]) -> bytes:
    """Return a text in which each secret of a stream is found: all that its frames differ in, and one of them whole."""
    texts = []
    for block in blocks:
        first, _, rest = block.text.partition(SHARED)
        middle, _, last = rest.rpartition(SHARED)
        texts += [first, block.shared, middle.replace(SHARED, b""), block.shared, last, b"\n"]
    return b"".join(texts)


def unlike_frames(blocks: Iterable[StreamBlock]) -> bytes:
    """Return the frames that differ from the others in more than their texts, and the texts of the others."""
    texts = []
    for block in blocks:
        text, parts = block.text, block.text.split(SHARED, 3)[1:3]
        between = {part[part.find(b'"') : part.rfind(b'"') + 1] for part in parts}  # where frames differ in two texts
        if len(parts) == 2 and len(between) == 1 and any(between):
            text = text.replace(between.pop(), b'"')
        texts.append(text.replace(SHARED, b'"'))
    return b"".join(texts)


def _shared_part(stream: bytes) -> bytes:
    """Return what stands between what two frames differ in: it begins and ends with a quotation mark; "" for none."""
    if len(stream) < _MIN_SHARING_BYTES or SHARED in stream:
        return b""
    frame_end = b"\n\n" if b"\n\n" in stream else b"\n"
    first = stream.find(frame_end, len(stream) // 2)
    second = stream.find(frame_end, first + 2)
    third = stream.find(frame_end, second + 2)
    if not 0 < first < second < third:
        return b""
    one = stream[first : min(second, first + _MAX_FRAME_BYTES)]
    other = stream[second : min(third, second + _MAX_FRAME_BYTES)]
    start = one[: one.rfind(b'"', 0, same_bytes(one, other)) + 1]
    end = one[len(one) - same_bytes(one, other, from_end=True) :]
    has_member = b'":"' in start or b'": "' in start
    return end[end.find(b'"') :] + start if b'"' in end and has_member else b""


def encode_blocks(blocks: Sequence[StreamBlock]) -> bytes:
    """Return the JSON of a stream."""
    return msgspec.json.encode(
        [
            _WrittenBlock(
                block.text.decode("utf-8", "replace"),
                block.sizes,
                block.after_us,
                block.shared.decode("utf-8", "replace"),
            )
            for block in blocks
        ]
    )


def read_stream(raw: Raw | UnsetType) -> list[Timed]:
    """Return what a stream of a trace carried, and when; before version 3 a stream was a list of these.

    Raises:
        ValueError: it is no stream.
    """
    timed: list[Timed] = []
    decoder = codecs.getincrementaldecoder("utf-8")("replace")  # of a character that was cut, the second read has all
    for block in () if isinstance(raw, UnsetType) else msgspec.json.decode(raw, type=list[_WrittenBlock | Timed]):
        if not isinstance(block, _WrittenBlock):
            timed.append(block)
            continue
        data, start = block.text.replace(SHARED.decode(), block.shared or SHARED.decode()).encode(), 0
        for size, after_us in zip(block.sizes, block.after_us, strict=False):
            timed.append((after_us / 1e6, decoder.decode(data[start : start + size])))
            start += size
    return list(_by_moment(timed))


def _by_moment(reads: Iterable[Timed]) -> Iterator[Timed]:
    """Yield reads that follow each other closely as one."""
    begun_at_s, texts = 0.0, list[str]()
    for after_s, text in reads:
        if texts and after_s - begun_at_s >= SAME_MOMENT_S:
            yield begun_at_s, "".join(texts)
            texts = []
        begun_at_s = begun_at_s if texts else after_s
        texts.append(text)
    if texts:
        yield begun_at_s, "".join(texts)
