"""What engines send is decoded in time that grows with its length, however it is cut, and however hostile it is."""

from __future__ import annotations

from collections.abc import Callable
from time import process_time

import pytest

from claude_bridge.wire.chunked import ChunkedDecoder
from claude_bridge.wire.ndjson import NdjsonDecoder
from claude_bridge.wire.sse import FrameCutter, SseDecoder

pytestmark = pytest.mark.timing

SMALL_BYTES = 40_000
FACTOR = 4
MAX_GROWTH = 2.5 * FACTOR
"""Linear work grows by FACTOR, quadratic work by its square."""

DECODERS: dict[str, Callable[[], SseDecoder | FrameCutter | NdjsonDecoder | ChunkedDecoder]] = {
    "sse": SseDecoder, "frames": FrameCutter, "ndjson": NdjsonDecoder, "chunked": ChunkedDecoder,
}  # fmt: skip

UNITS = {
    "one line without end": b"x", "one data line without end": b"data", "data lines": b"data: x\n",
    "empty data lines": b"data\n", "frames": b"data: x\n\n", "line feeds": b"\n", "carriage returns": b"\r",
    "line ends": b"\r\n", "mixed line ends": b"\r\n\r\n\n", "colons": b": ", "events without data": b"event: x\n\n",
    "marks": b"\xef\xbb\xbf", "documents": b"{}\n", "blanks": b" ", "chunks": b"1\r\nx\r\n", "sizes": b"0",
    "extensions": b"1;x\r\nx\r\n",
}  # fmt: skip

STARTS = {"chunked": b"5\r\nHello\r\n"}


def seconds(
    make: Callable[[], SseDecoder | FrameCutter | NdjsonDecoder | ChunkedDecoder], data: bytes, step: int
) -> float:
    """Return the CPU time that the data takes, the best of some runs."""
    best = float("inf")
    for _ in range(3):
        decoder = make()
        began = process_time()
        for at in range(0, len(data), step):
            decoder.feed(data[at : at + step])
        best = min(best, process_time() - began)
    return best


@pytest.mark.parametrize("step", [1, 7, 65_536])
@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS.keys())
@pytest.mark.parametrize("name", DECODERS)
def test_four_times_the_bytes_take_about_four_times_the_time(name: str, unit: bytes, step: int) -> None:
    size = SMALL_BYTES if step > 1 else SMALL_BYTES // 4
    small = unit * (size // len(unit))
    start = STARTS.get(name, b"")
    took = seconds(DECODERS[name], start + small, step)
    assert seconds(DECODERS[name], start + small * FACTOR, step) < MAX_GROWTH * max(took, 0.002)
