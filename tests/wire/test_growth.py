"""What engines send is decoded in time that grows with its length, however it is cut, and however hostile it is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from claude_bridge.wire.chunked import ChunkedDecoder
from claude_bridge.wire.sse import LINE_END, FrameCutter, SseDecoder
from tests.growth import assert_linear

DECODERS: dict[str, Callable[[], SseDecoder | FrameCutter | ChunkedDecoder]] = {
    "sse": SseDecoder, "frames": FrameCutter, "lines": lambda: FrameCutter(end=LINE_END), "chunked": ChunkedDecoder,
}  # fmt: skip

UNITS = {
    "one line without end": b"x", "one data line without end": b"data", "data lines": b"data: x\n",
    "empty data lines": b"data\n", "frames": b"data: x\n\n", "line feeds": b"\n", "carriage returns": b"\r",
    "line ends": b"\r\n", "mixed line ends": b"\r\n\r\n\n", "colons": b": ", "events without data": b"event: x\n\n",
    "marks": b"\xef\xbb\xbf", "documents": b"{}\n", "blanks": b" ", "chunks": b"1\r\nx\r\n", "sizes": b"0",
    "extensions": b"1;x\r\nx\r\n",
}  # fmt: skip

STARTS = {"chunked": b"5\r\nHello\r\n"}


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS.keys())
@pytest.mark.parametrize("name", DECODERS)
def test_the_time_to_decode_grows_with_the_bytes_and_no_faster(name: str, unit: bytes) -> None:
    def work(size: int, step: int) -> Callable[[], object]:
        data = STARTS.get(name, b"") + unit * (size // len(unit))
        decoder = DECODERS[name]()
        return lambda: [decoder.feed(data[at : at + step]) for at in range(0, len(data), step)]

    assert_linear(partial(work, step=1), 40_000)
    assert_linear(partial(work, step=65_536), 160_000)
