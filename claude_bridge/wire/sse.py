"""Server-sent events: bytes to frames and back (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from typing import NamedTuple

from claude_bridge.errors import UpstreamBrokenError

MAX_FRAME_BYTES = 32 * 1024 * 1024
"""A frame larger than this is no stream of tokens; the whole Messages API stays under it."""

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
        self._rest = b""
        self._started = False
        self._event = b""
        self._data: list[bytes] = []
        self._after_cr = False

    def feed(self, data: bytes) -> list[SseFrame]:
        """Return the frames that ``data`` completes.

        Raises:
            UpstreamBrokenError: a frame grew beyond MAX_FRAME_BYTES.
        """
        buffer = self._rest + data if self._rest else data
        if not self._started:
            if len(buffer) < len(_BOM) and _BOM.startswith(buffer):
                self._rest = buffer
                return []
            self._started = True
            buffer = buffer.removeprefix(_BOM)
        if b"\r" in buffer or self._after_cr:
            buffer = self._with_plain_line_ends(buffer)
        body, newline, self._rest = buffer.rpartition(b"\n")
        if len(self._rest) + sum(map(len, self._data)) > MAX_FRAME_BYTES:
            raise UpstreamBrokenError(f"The upstream sent one event of more than {MAX_FRAME_BYTES} bytes.")
        frames: list[SseFrame] = []
        if newline:
            self._take_lines(body, frames)
        return frames

    def close(self) -> list[SseFrame]:
        """Return what an unfinished last frame holds; servers forget the last blank line."""
        frames: list[SseFrame] = []
        self._take_lines(self._rest + b"\n", frames)
        self._rest = b""
        return frames

    def _with_plain_line_ends(self, buffer: bytes) -> bytes:
        # A CR at the very end may be half of a CRLF: it counts as a line end now, and the LF is dropped later.
        if self._after_cr and buffer.startswith(b"\n"):
            buffer = buffer[1:]
        self._after_cr = buffer.endswith(b"\r") if buffer else self._after_cr
        return buffer.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _take_lines(self, body: bytes, frames: list[SseFrame]) -> None:
        for line in body.split(b"\n"):
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line[5:6] == b" " else line[5:])
            elif not line:
                if self._data:
                    data = self._data
                    frames.append(SseFrame(self._event, data[0] if len(data) == 1 else b"\n".join(data)))
                    self._data = []
                self._event = b""
            elif line.startswith(b"event:"):
                self._event = line[6:].strip()
            elif line == b"data":
                self._data.append(b"")


def encode_frame(event: bytes, data: bytes) -> bytes:
    """Return one frame; ``data`` must be one line, as compact JSON is."""
    return b"event: %b\ndata: %b\n\n" % (event, data)
