"""JsonlSink: keeps every event as one line of JSON in a file."""

from __future__ import annotations

import codecs
import os
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from msgspec import Raw

from claude_bridge.trace.events import (
    AnswerGrew,
    ExchangeEnded,
    RequestReceived,
    RequestSent,
    StreamPiece,
    StreamsRecorded,
    TraceEvent,
)

VERSION = 2
"""Of the format, in each line; lines of version 1 do not have it. See docs/reference/trace.md."""

MAX_FILE_BYTES = 256 * 1024 * 1024
"""A file that would outgrow this is renamed to FILE.1, in place of the one before, and a new one begun."""

_PRIVATE_MODE, _FOR_OTHERS = 0o600, 0o077


class JsonlSink:
    """Appends events to a file that only its owner may read; whole bodies, as JSON values where they are JSON."""

    takes_streams = True

    def __init__(self, path: Path, *, max_bytes: int = MAX_FILE_BYTES) -> None:
        """Open the file, or make it.

        Raises:
            OSError: it can't be opened for writing.
        """
        self.warning: str | None = None
        """Who else may read the file, where that could not be changed."""
        self._path = path
        self._max_bytes = max_bytes
        self._file = self._open()

    def take(self, event: TraceEvent) -> None:
        """Write the event; all but the growth of an answer is flushed at once."""
        line = encode_event(event) + b"\n"
        if self._is_regular and self._size and self._size + len(line) > self._max_bytes:
            self._file.close()
            self._path.replace(self._path.with_name(self._path.name + ".1"))
            self._file = self._open()
        self._file.write(line)
        self._size += len(line)
        if not isinstance(event, AnswerGrew):
            self._file.flush()

    def close(self) -> None:
        """Flush and close the file."""
        self._file.close()

    def _open(self) -> BinaryIO:
        # For reading too: a pipe without a reader would hold up the open.
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, _PRIVATE_MODE)
        file = os.fdopen(descriptor, "ab")
        status = os.fstat(descriptor)
        self._is_regular, self._size = stat.S_ISREG(status.st_mode), status.st_size
        if self._is_regular and sys.platform != "win32":  # elsewhere such modes protect nothing
            with suppress(OSError):
                os.fchmod(descriptor, _PRIVATE_MODE)
            if os.fstat(descriptor).st_mode & _FOR_OTHERS:
                self.warning = f"Others may be able to read {self._path}, and it gets whole conversations."
        if self._is_regular and self._size:
            os.lseek(descriptor, -1, os.SEEK_END)
            if os.read(descriptor, 1) != b"\n":
                file.write(b"\n")  # a line that a crash cut short must not swallow the next one
        return file


def encode_event(event: TraceEvent) -> bytes:
    """Return the event as one line of JSON, its kind in ``type``; a body that is no JSON becomes a text."""
    fields: dict[str, Any] = {"version": VERSION, "type": type(event).__name__, **msgspec.structs.asdict(event)}
    if isinstance(event, RequestReceived | RequestSent):
        fields["body"] = _json_or_text(event.body)
    elif isinstance(event, ExchangeEnded):  # its tool inputs are kept as the engine wrote them: with line breaks even
        fields["message"] = _json_or_text(msgspec.json.encode(event.message))
    elif isinstance(event, StreamsRecorded):
        fields |= {"upstream": _texts(event.upstream), "client": _texts(event.client)}
    return msgspec.json.encode(fields)


def _texts(pieces: Sequence[StreamPiece]) -> list[tuple[float, str]]:
    """Return the pieces as texts; a character that was cut by a read is in the second one."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    last = len(pieces) - 1
    return [(round(piece.after_s, 4), decoder.decode(piece.data, final=at == last)) for at, piece in enumerate(pieces)]


def _json_or_text(body: bytes) -> Raw | str:
    try:
        body.decode()  # what follows does not look into strings
        if b"\n" in body or b"\r" in body or not body.startswith(b"{"):
            return Raw(msgspec.json.format(body, indent=-1))
        msgspec.json.decode(body, type=dict[str, Raw])  # a fifth of the work: most bodies are one line already
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")
    return Raw(body)
