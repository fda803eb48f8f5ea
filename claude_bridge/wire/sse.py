"""Streams of frames: server-sent events (WHATWG HTML, section 9.2) and lines, cut from bytes, read, and written."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from claude_bridge.errors import UpstreamBrokenError
from claude_bridge.wire.lenient_json import FIRST_HALF_AT_END, SECOND_HALF_AT_START

MAX_FRAME_BYTES = 32 * 1024 * 1024
"""A frame larger than this is no stream of tokens; the whole Messages API stays under it."""

_LAST_FRAME = re.compile(rb'"finish_reason": ?"')
"""In a frame that may be the last one."""

_LINE_COST_BYTES = 64
"""The memory that a line takes besides its bytes: many short lines make a large frame too."""

_FEW_LINES_BYTES = 1024 * 1024
"""The lines of a shorter frame need not be counted."""

_BOM = b"\xef\xbb\xbf"

EVENT_END, LINE_END = b"\n\n", b"\n"
_ANY_EVENT_END = re.compile(rb"\n\n|\r\n\r\n?|\r\n\n|\r\r\n?|\n\r\n?")
"""Two line ends of any kind: a few engines end lines with carriage returns."""
_LONGEST_END = len(b"\r\n\r\n")

SSE_BEGINNINGS = (b"d", b"e", b"i", b"r", b":")
"""What a stream can begin with: data, event, id, retry or a comment."""

_BEFORE_BEGINNING = b" \t\r\n" + _BOM
"""What may come before that, and before a document; a byte order mark may come in pieces."""


class FrameCutter:
    """Cuts a byte stream into whole frames as they came, with their ends, wherever the reads happen to end.

    From an engine that does not stream it takes one document.
    """

    def __init__(self, beginnings: tuple[bytes, ...] | None = None, end: bytes = EVENT_END) -> None:
        """``beginnings`` are the bytes that can begin a stream; anything else is a document (None: nothing is)."""
        self.document: bytearray | None = None
        """The document so far; None: this is a stream, or nothing has come."""
        self._beginnings = beginnings
        self._end = end
        self._has_started = beginnings is None
        self._has_other_ends = False
        # Grows in place: a huge frame that comes in small reads must not be copied at each of them.
        self._rest = bytearray()

    @property
    def is_between_frames(self) -> bool:
        """Whether this is a stream, a frame has ended, and no other one has begun."""
        return self._has_started and self.document is None and not self._rest

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames that ``data`` completes; joined, all frames are the stream itself.

        Raises:
            UpstreamBrokenError: a frame or the document grew beyond MAX_FRAME_BYTES.
        """
        if not self._has_started:
            data = data.lstrip(_BEFORE_BEGINNING)
            self._has_started = bool(data)
            self.document = bytearray() if data and data[:1] not in (self._beginnings or ()) else None
        if self.document is not None:
            self.document += data
            check_size(len(self.document), "document")
            return []
        self._has_other_ends = self._has_other_ends or (b"\r" in data and self._end == EVENT_END)
        if self._rest:
            searched = max(0, len(self._rest) - _LONGEST_END + 1)
            self._rest += data
            if not self._holds_end(searched):
                check_size(len(self._rest), "event")
                return []
            data = bytes(self._rest)
            self._rest.clear()
        if self._has_other_ends:
            places = [0, *(end.end() for end in _ANY_EVENT_END.finditer(data)), len(data)]
            frames = [data[start:end] for start, end in pairwise(places)]
            rest = frames.pop()
        else:
            end = self._end
            frames = data.split(end)
            rest = frames.pop()
            frames = [frame + end for frame in frames]
        if rest:
            self._rest += rest
            check_size(len(rest), "event")
        return frames

    def _holds_end(self, searched: int) -> bool:
        if self._has_other_ends:
            return _ANY_EVENT_END.search(self._rest, searched) is not None
        return self._rest.find(self._end, searched) >= 0

    def close(self) -> list[bytes]:
        """Return the unfinished last frame; servers forget to end it. ``document`` is complete now."""
        rest = bytes(self._rest)
        self._rest.clear()
        return [rest] if rest.strip() else []


class CharacterCutter(FrameCutter):
    """Cuts a stream of events into frames, and joins characters that are split between two frames.

    Gateways in JavaScript split texts between UTF-16 halves. So a frame that ends in a first half waits for the next
    one; if that begins with the second half, it gets the whole character.
    """

    def __init__(self, beginnings: tuple[bytes, ...] | None = None) -> None:
        super().__init__(beginnings)
        self._held = b""

    @property
    def is_between_frames(self) -> bool:
        """Whether this is a stream, a frame has ended, no other one has begun, and none waits."""
        return not self._held and super().is_between_frames

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames that ``data`` completes; raises UpstreamBrokenError as that of FrameCutter."""
        frames: list[bytes] = []
        for frame in super().feed(data):
            if self._held or b"\\u" in frame:
                frames += self._put_together(frame)
            else:
                frames.append(frame)
        return frames

    def close(self) -> list[bytes]:
        """Return the waiting frame, and the unfinished last one."""
        held, self._held = self._held, b""
        return [*([held] if held else ()), *super().close()]

    def _put_together(self, frame: bytes) -> list[bytes]:
        held, self._held = self._held, b""
        if held:
            first, second = FIRST_HALF_AT_END.search(held), SECOND_HALF_AT_START.search(frame)
            if first and second:
                held = held[: first.start()] + held[first.end() :]
                frame = frame[: second.start()] + first[0] + frame[second.start() :]
        goes_on = b'"delta"' in frame and not _LAST_FRAME.search(frame)
        if goes_on and FIRST_HALF_AT_END.search(frame):
            self._held, frame = frame, b""
        return [one for one in (held, frame) if one]


def check_size(size_bytes: int, what: str) -> None:
    """Check that a part of an answer is not larger than MAX_FRAME_BYTES; raises UpstreamBrokenError where it is."""
    if size_bytes > MAX_FRAME_BYTES:
        raise UpstreamBrokenError(f"The upstream sent one {what} of more than {MAX_FRAME_BYTES} bytes.")


class SseFrame(NamedTuple):
    """One event as it was on the wire: its name (empty when none was given) and its data lines joined by LF."""

    event: bytes
    data: bytes


_USUAL_FRAME = re.compile(rb"(?:event: (.*+)\n)?data: (.*+)\n\n")
"""A frame of only these two lines, as nearly all are."""


def read_frames(frames: list[bytes]) -> list[SseFrame]:
    """Return the events in whole frames, without comments.

    Tolerates a byte order mark, missing blanks after the colon and ``error`` in place of ``data``: all were seen from
    engines.

    Raises:
        UpstreamBrokenError: a frame has lines without end.
    """
    events: list[SseFrame] = []
    for frame in frames:
        if (usual := _USUAL_FRAME.fullmatch(frame)) and b"\r" not in frame:
            events.append(SseFrame((usual[1] or b"").strip(), usual[2]))
            continue
        if len(frame) > _FEW_LINES_BYTES:
            check_size((frame.count(b"\n") + frame.count(b"\r")) * _LINE_COST_BYTES, "event")
        name, data = b"", list[bytes]()
        for line in frame.removeprefix(_BOM).splitlines():
            if line.startswith(b"data:"):
                data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif line.startswith(b"event:"):
                name = line[6:].strip()
            elif line.startswith(b"error:"):  # llama.cpp before 2025-08
                name = b"error"
                data.append(line[6:].strip())
            elif line == b"data":
                data.append(b"")
        if data:
            events.append(SseFrame(name, data[0] if len(data) == 1 else b"\n".join(data)))
    return events


class SseDecoder:
    """Reads server-sent events, wherever the reads happen to end."""

    def __init__(self) -> None:
        self._cutter = FrameCutter()

    def feed(self, data: bytes) -> list[SseFrame]:
        """Return the events that ``data`` completes; raises UpstreamBrokenError beyond all limits."""
        return read_frames(self._cutter.feed(data))

    def close(self) -> list[SseFrame]:
        """Return what an unfinished last frame holds."""
        return read_frames(self._cutter.close())


def frame_data(frame: bytes) -> bytes:
    """Return the data lines of one whole frame, joined by LF; empty for a comment."""
    events = read_frames([frame])
    return events[0].data if events else b""


def encode_frame(event: bytes, data: bytes) -> bytes:
    """Return one frame; ``data`` must be one line, as compact JSON is."""
    return b"event: %b\ndata: %b\n\n" % (event, data)
