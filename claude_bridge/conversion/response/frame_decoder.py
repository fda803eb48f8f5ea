"""Frames that differ in nothing but a text, as nearly all of an answer do: read without taking their JSON apart."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod

import msgspec

from claude_bridge.conversion.deltas import Delta, TextDelta, ThinkingDelta

PROBE = "\N{SNOWMAN} probe"
"""The text in the frame that shows whether the place of a text was found."""

_MAX_FRAME_BYTES = 4 * 1024
"""Of a frame without its text: a longer one is not worth comparing."""

_MAX_TEXT_CHARS = 200
_MAX_LOOKS = 8
"""How often a frame is looked at without use; each read that it helps with allows another time."""

_encode = msgspec.json.Encoder().encode
_decode_text = msgspec.json.Decoder(str).decode


class FrameDecoder(ABC):
    """Reads a stream of frames: one whose text alone is new by the bytes around that, all others as the API has it."""

    frame_ends: tuple[bytes, ...]
    """What ends a frame: the usual bytes, and the rarer ones."""
    ignored: re.Pattern[bytes] | None = None
    """What differs between frames and means nothing; it can't stand in a text."""

    def __init__(self) -> None:
        self.done = False
        self._head = self._tail = self._between = self._frame_end = b""
        self._kind: type[TextDelta | ThinkingDelta] = TextDelta
        self._looks_left = _MAX_LOOKS
        self._is_between = False

    @property
    @abstractmethod
    def is_between_frames(self) -> bool:
        """Whether a frame has ended, and no other one has begun."""

    @abstractmethod
    def decode(self, data: bytes) -> list[Delta]:
        """Return the deltas that ``data`` completes; raises UpstreamBrokenError beyond all limits."""

    @abstractmethod
    def lone_delta(self, frame: bytes) -> Delta | None:
        """Return the delta of a frame with one piece of text or thinking and nothing else that matters, else None."""

    def feed(self, data: bytes) -> list[Delta]:
        """Return the deltas that ``data`` completes; raises UpstreamBrokenError beyond all limits."""
        if self.done or not data:
            return []
        deltas: list[Delta] = []
        if self._is_between:
            deltas, data = self._read_repeated(data)
        if data:
            deltas += self._take_apart(data)
            self._is_between = self.is_between_frames
        return deltas

    def _take_apart(self, data: bytes) -> list[Delta]:
        """Return the deltas; what is before the first whole frame and behind the last one is decoded by itself."""
        end = self.frame_ends[0] if self.frame_ends[0] in data else self.frame_ends[-1]
        stop = data.rfind(end) + len(end)
        start = 0 if self._is_between else data.find(end) + len(end)
        if not len(end) <= stop > start:
            return self.decode(data)
        deltas = self.decode(data[:start]) if start else []
        frames, rest = data[start:stop], data[stop:]
        size = 1  # of what is decoded as a whole, in vain: it grows, so that long reads stay linear
        while frames and self._may_repeat():
            at = frames.find(end, min(size, len(frames) - len(end))) + len(end)
            decoded = self.decode(frames[:at])
            self._learn(frames[:at], end, decoded)
            deltas += decoded
            frames = frames[at:]
            if self._may_repeat():
                repeated, frames = self._read_repeated(frames)
                deltas += repeated
            size *= 2
        rest = frames + rest
        return deltas + self.decode(rest) if rest and not self.done else deltas

    def _may_repeat(self) -> bool:
        return not self.done and self.is_between_frames

    def _read_repeated(self, frames: bytes) -> tuple[list[Delta], bytes]:
        """Return the deltas of the first frames that are like the one that is known, and the bytes behind these."""
        head, tail, between = self._head, self._tail, self._between
        if not head:
            return [], frames
        alike = frames if self.ignored is None else self.ignored.sub(b"", frames)
        if not alike.startswith(head):
            return [], frames
        *texts, last = alike[len(head) :].split(between)
        text, is_whole, behind = last.partition(tail)
        if is_whole:
            texts.append(text)
        deltas: list[Delta] = []
        try:
            for text in texts:
                if not (decoded := _decode_text(b'"%b"' % text)):
                    break  # an empty text is none
                deltas.append(self._kind(decoded))
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass  # the frame is no JSON, or more than this text differs
        if deltas:
            self._looks_left = _MAX_LOOKS
        is_all = is_whole and not behind and len(deltas) == len(texts)
        return deltas, b"" if is_all else frames.split(self._frame_end, len(deltas))[-1]

    def _learn(self, frames: bytes, end: bytes, deltas: list[Delta]) -> None:
        """Take the last frame as the one that others may be like, if all that it says is the last delta."""
        last = deltas[-1] if deltas else None
        if not isinstance(last, TextDelta | ThinkingDelta) or not self._looks_left:
            return
        self._looks_left -= 1
        if self.ignored is not None:
            frames = self.ignored.sub(b"", frames)
        frame = frames[: -len(end)].rpartition(end)[2] + end
        head, found, tail = frame.partition(_encode(last.text[:_MAX_TEXT_CHARS]))
        head, tail = head + b'"', b'"' + tail
        if not found or len(head) + len(tail) > _MAX_FRAME_BYTES:
            return
        if self.lone_delta(head + PROBE.encode() + tail) == type(last)(PROBE):
            self._head, self._tail, self._between = head, tail, tail + head
            self._frame_end, self._kind = end, type(last)
