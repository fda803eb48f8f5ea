"""How the end of a body in HTTP/1.1 is found: by its chunks, or by its length (RFC 9112, sections 6.3 and 7.1).

Engines send a chunk for each token, and h11 takes 16 µs for a chunk: most of what a streamed token would cost. This
takes half of one (docs/explanation/decisions/chunk-decoder.md).
"""

from __future__ import annotations

import re

MAX_LINE_BYTES = 4 * 1024
"""Longest line with a chunk's size, or with a trailer, that is waited for."""

MAX_TRAILERS = 100

_MAX_SIZE_DIGITS = 15
_MAX_KNOWN_SIZES = 100
_SIZE_LINE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,%d})[ \t]*(?:;.*)?" % _MAX_SIZE_DIGITS, re.DOTALL)
_STRICT_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,%d})(?:[ \t]*;[\t -~\x80-\xff]*)?" % _MAX_SIZE_DIGITS)
_STRICT_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*")


class LengthDecoder:
    """Takes a body of a known length from what comes; it has the same members as a ChunkedDecoder."""

    broken: str | None = None

    def __init__(self, length: int | None) -> None:
        """``length`` None: the body ends with the connection."""
        self.excess = b""
        self._left = length

    @property
    def ended(self) -> bool:
        """Whether the whole body has come."""
        return self._left == 0

    def feed(self, data: bytes) -> bytes:
        """Return what of ``data`` is of the body."""
        if self._left is None:
            return data
        payload, self.excess = data[: self._left], data[self._left :]
        self._left -= len(payload)
        return payload

    def close(self) -> None:
        """Note that the connection has ended."""
        if self._left is None:
            self._left = 0
        elif self._left:
            self.broken = "the connection was closed"


class ChunkedDecoder:
    """Takes the chunks of one body apart, wherever the reads happen to end."""

    def __init__(self, *, is_strict: bool = False) -> None:
        """``is_strict`` is for requests: refuse what another reader might take for the end of the body."""
        self.ended = False
        """Whether the last chunk and the trailers have come."""
        self.broken: str | None = None
        """What is wrong with the framing, if anything is; nothing more can be read then."""
        self._is_strict = is_strict
        self._size_line = _STRICT_SIZE_LINE if is_strict else _SIZE_LINE
        self._rest = b""
        self._left = 0  # of the chunk that is being read, with its line end
        self._trailers: int | None = None  # how many have come; None: none can come yet
        self._sizes: dict[bytes, int] = {}  # by their lines: a stream of tokens has few different ones

    @property
    def excess(self) -> bytes:
        """What came behind the end of the body."""
        return self._rest if self.ended else b""

    def feed(self, data: bytes) -> bytes:
        """Return the payload that ``data`` brings; ``ended`` and ``broken`` say whether more can come."""
        if self.broken is not None:
            return b""
        data = self._rest + data if self._rest else data
        at, end = 0, len(data)
        parts: list[bytes] = []
        while at < end and not self.ended and self.broken is None:
            if self._left:
                at += self._take_chunk(data, at, parts)
                continue
            line_end = data.find(b"\r\n", at, at + MAX_LINE_BYTES + 2)
            if line_end < 0:
                if end - at > MAX_LINE_BYTES:
                    self.broken = "a line of its framing has no end"
                break
            size = self._sizes.get(data[at:line_end]) or self._take_line(data[at:line_end])
            at = line_end + 2
            if size and data.startswith(b"\r\n", at + size):  # nearly always: the whole chunk is there
                parts.append(data[at : at + size])
                at += size + 2
            elif size:
                self._left = size + 2
        self._rest = data[at:]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Note that the connection has ended."""
        if not self.ended:
            self.broken = "the connection was closed"

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

    def _take_line(self, line: bytes) -> int:
        """Return the size of the chunk that the line begins; 0 for another line."""
        if self._trailers is not None:
            self._take_trailer(line)
            return 0
        found = self._size_line.fullmatch(line)
        if found is None:
            self.broken = f"{line[:20]!r} is no size of a chunk"
            return 0
        size = int(found[1], 16)
        if not size:
            self._trailers = 0
            self._sizes.clear()  # a trailer is no size, whatever it looks like
        elif len(self._sizes) < _MAX_KNOWN_SIZES:
            self._sizes[line] = size
        return size

    def _take_trailer(self, line: bytes) -> None:
        assert self._trailers is not None, "the last chunk has come"
        self._trailers += 1
        if not line:
            self.ended = True
        elif self._trailers > MAX_TRAILERS:
            self.broken = f"it has more than {MAX_TRAILERS} trailers"
        elif self._is_strict and not _STRICT_TRAILER.fullmatch(line):
            self.broken = f"{line[:20]!r} is no trailer"
