"""HTTP/1.1 chunked framing: bytes to the payload inside (RFC 9112, section 7.1).

Engines send a chunk for each token. h11 takes 16 µs for a chunk, which is most of what a streamed token costs the
bridge; this takes one.
"""

from __future__ import annotations

MAX_LINE_BYTES = 4 * 1024
"""Longest line with a chunk's size, or with a trailer, that is waited for."""

_HEX_DIGITS = frozenset(b"0123456789abcdefABCDEF")
_MAX_SIZE_DIGITS = 15


class ChunkedDecoder:
    """Takes the chunks of one body apart, wherever the reads happen to end."""

    def __init__(self) -> None:
        self.ended = False
        """Whether the last chunk and the trailers have come."""
        self.broken: str | None = None
        """What is wrong with the framing, if anything is; nothing more can be read then."""
        self._rest = b""
        self._left = 0  # of the chunk that is being read, with its line end
        self._in_trailers = False

    @property
    def excess(self) -> bytes:
        """What came behind the end of the body."""
        return self._rest if self.ended else b""

    def feed(self, data: bytes) -> bytes:
        """Return the payload that ``data`` brings; ``ended`` and ``broken`` say whether more can come."""
        data = self._rest + data if self._rest else data
        at, end = 0, len(data)
        parts: list[bytes] = []
        while at < end and not self.ended and self.broken is None:
            if self._left:
                at += self._take_chunk(data, at, parts)
                continue
            line_end = data.find(b"\r\n", at)
            if line_end < 0:
                if end - at > MAX_LINE_BYTES:
                    self.broken = "a line of its framing has no end"
                break
            self._take_line(data[at:line_end])
            at = line_end + 2
        self._rest = data[at:]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _take_chunk(self, data: bytes, at: int, parts: list[bytes]) -> int:
        """Take what there is of a chunk and its line end; return how many bytes that was."""
        taken = min(self._left, len(data) - at)
        payload = min(taken, max(self._left - 2, 0))
        if payload:
            parts.append(data[at : at + payload])
        line_end = data[at + payload : at + taken]
        expected = b"\r\n"[2 - min(self._left, 2) :] if payload < taken else b""
        if line_end != expected[: len(line_end)]:
            self.broken = "a chunk is longer than its size says"
        self._left -= taken
        return taken

    def _take_line(self, line: bytes) -> None:
        if self._in_trailers:
            self.ended = not line
            return
        digits = line.partition(b";")[0].strip()
        if not digits or len(digits) > _MAX_SIZE_DIGITS or not _HEX_DIGITS.issuperset(digits):
            self.broken = f"{digits[:20]!r} is no size of a chunk"
            return
        size = int(digits, 16)
        self._in_trailers = size == 0
        self._left = size + 2 if size else 0
