"""Server-sent events: bytes to frames and back (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import re
from typing import Generic, NamedTuple, Protocol, TypeVar

from claude_bridge.errors import UpstreamBrokenError

MAX_FRAME_BYTES = 32 * 1024 * 1024
"""A frame larger than this is no stream of tokens; the whole Messages API stays under it."""

_LINE_COST_BYTES = 64
"""What a data line takes in memory beside its bytes: a flood of short ones is a large frame too."""

_BOM = b"\xef\xbb\xbf"


class SseFrame(NamedTuple):
    """One event as it was on the wire: its name (empty when none was given) and its data lines joined by LF."""

    event: bytes
    data: bytes


class SseDecoder:
    """Cuts a byte stream into frames, wherever the reads happen to end.

    Tolerates CRLF and CR line ends, a byte order mark, comments, missing blanks after the colon and a last
    frame without its blank line: all were seen from engines.
    """

    def __init__(self) -> None:
        # Grows in place: a huge line that comes in small reads must not be copied at each of them.
        self._rest = bytearray()
        self._started = False
        self._event = b""
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._after_cr = False

    @property
    def is_between_frames(self) -> bool:
        """Whether a frame has ended, and no other one has begun."""
        return self._started and not (self._rest or self._data or self._event or self._after_cr)

    def feed(self, data: bytes) -> list[SseFrame]:
        """Return the frames that ``data`` completes.

        Raises:
            UpstreamBrokenError: a frame grew beyond MAX_FRAME_BYTES.
        """
        if not self._started:
            data = bytes(self._rest) + data
            self._rest.clear()
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._rest += data
                return []
            self._started = True
            data = data.removeprefix(_BOM)
        if b"\r" in data or self._after_cr:
            data = self._with_plain_line_ends(data)
        body, newline, rest = data.rpartition(b"\n")
        frames: list[SseFrame] = []
        if newline:
            if self._rest:
                body = bytes(self._rest) + body
                self._rest.clear()
            self._take_lines(body, frames)
        self._rest += rest
        if len(self._rest) + self._data_bytes > MAX_FRAME_BYTES:
            raise UpstreamBrokenError(f"The upstream sent one event of more than {MAX_FRAME_BYTES} bytes.")
        return frames

    def close(self) -> list[SseFrame]:
        """Return what an unfinished last frame holds; servers forget the last blank line."""
        frames: list[SseFrame] = []
        self._take_lines(bytes(self._rest) + b"\n", frames)
        self._rest.clear()
        return frames

    def _with_plain_line_ends(self, data: bytes) -> bytes:
        if not data:
            return data
        # A CR at the very end may be half of a CRLF: it counts as a line end now, and the LF is dropped later.
        if self._after_cr:
            data = data.removeprefix(b"\n")
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _take_lines(self, body: bytes, frames: list[SseFrame]) -> None:
        for line in body.split(b"\n"):
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
                self._data_bytes += len(line) + _LINE_COST_BYTES
            elif not line:
                if self._data:
                    data = self._data
                    frames.append(SseFrame(self._event, data[0] if len(data) == 1 else b"\n".join(data)))
                    self._data = []
                    self._data_bytes = 0
                self._event = b""
            elif line.startswith(b"event:"):
                self._event = line[6:].strip()
            elif line.startswith(b"error:"):  # llama.cpp before 2025-08
                self._event = b"error"
                self._data.append(line[6:].strip())
                self._data_bytes += len(line) + _LINE_COST_BYTES
            elif line == b"data":
                self._data.append(b"")
                self._data_bytes += _LINE_COST_BYTES


SSE_BEGINNINGS = (b"d", b"e", b"i", b"r", b":")
"""What a stream can begin with: data, event, id, retry or a comment."""

_BEFORE_BEGINNING = b" \t\r\n" + _BOM
"""What may stand before that, and before a document; a mark may come in pieces."""


def append_limited(document: bytearray, data: bytes) -> None:
    """Add to a document that came in place of a stream.

    Raises:
        UpstreamBrokenError: it grew beyond MAX_FRAME_BYTES.
    """
    document += data
    if len(document) > MAX_FRAME_BYTES:
        raise UpstreamBrokenError(f"The upstream sent one document of more than {MAX_FRAME_BYTES} bytes.")


_LONGEST_FRAME_END = len(b"\r\n\r\n")
_FRAME_END = re.compile(rb"\r\n\r\n|\n\n|\r\r|\n\r\n|\r\n\n")


_Frame = TypeVar("_Frame")


class Cutter(Protocol[_Frame]):
    """What cuts a byte stream into frames, or into lines."""

    @property
    def is_between_frames(self) -> bool:
        """Whether no frame has begun."""

    def feed(self, data: bytes) -> list[_Frame]:
        """Return the frames that ``data`` completes; raises UpstreamBrokenError beyond all limits."""

    def close(self) -> list[_Frame]:
        """Return what an unfinished last frame holds."""


class StreamOrDocument(Generic[_Frame]):
    """Reads a stream of frames, or one document from an engine that does not stream."""

    def __init__(self, cutter: Cutter[_Frame], beginnings: tuple[bytes, ...] = SSE_BEGINNINGS) -> None:
        """``beginnings`` are what a stream can begin with; what begins otherwise is a document."""
        self.document: bytearray | None = None
        """What has come of a document; None: this is a stream, or nothing has come."""
        self._cutter = cutter
        self._beginnings = beginnings
        self._started = False

    @property
    def is_between_frames(self) -> bool:
        """Whether this is a stream, a frame has ended, and no other one has begun."""
        return self._started and self.document is None and self._cutter.is_between_frames

    def feed(self, data: bytes) -> list[_Frame]:
        """Return the frames that ``data`` completes; raises UpstreamBrokenError beyond all limits."""
        if not self._started:
            data = data.lstrip(_BEFORE_BEGINNING)
            if not data:
                return []
            self._started = True
            self.document = None if data[:1] in self._beginnings else bytearray()
        if self.document is None:
            return self._cutter.feed(data)
        append_limited(self.document, data)
        return []

    def close(self) -> list[_Frame]:
        """Return the frames that were waiting for their end; ``document`` is whole now."""
        return self._cutter.close()


class FrameCutter:
    """Cuts a byte stream into whole frames as they came, with their blank lines, wherever the reads happen to end."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._searched = 0

    @property
    def is_between_frames(self) -> bool:
        """Whether no frame has begun."""
        return not self._rest

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames that ``data`` completes; joined, all frames are the stream itself.

        Raises:
            UpstreamBrokenError: a frame grew beyond MAX_FRAME_BYTES.
        """
        self._rest += data
        frames: list[bytes] = []
        at = 0
        for end in _FRAME_END.finditer(self._rest, self._searched):
            frames.append(bytes(memoryview(self._rest)[at : end.end()]))
            at = end.end()
        del self._rest[:at]
        self._searched = max(0, len(self._rest) - _LONGEST_FRAME_END + 1)
        if len(self._rest) > MAX_FRAME_BYTES:
            raise UpstreamBrokenError(f"The upstream sent one event of more than {MAX_FRAME_BYTES} bytes.")
        return frames

    def close(self) -> list[bytes]:
        """Return what an unfinished last frame holds."""
        rest = bytes(self._rest)
        self._rest.clear()
        self._searched = 0
        return [rest] if rest.strip() else []


def frame_data(frame: bytes) -> bytes:
    """Return the data lines of one whole frame, joined by LF; empty for a comment."""
    name, mark, data = frame.partition(b"\ndata: ")
    if mark and b"\n" not in name and data.find(b"\n") == len(data) - 2:  # a name and one line: nearly all are so
        return data[:-2]
    lines = [line for line in frame.removeprefix(_BOM).splitlines() if line.startswith(b"data")]
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines if line[4:5] in (b":", b""))


def encode_frame(event: bytes, data: bytes) -> bytes:
    """Return one frame; ``data`` must be one line, as compact JSON is."""
    return b"event: %b\ndata: %b\n\n" % (event, data)
