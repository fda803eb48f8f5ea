"""JsonlSink: keeps every event as one line of JSON in a file."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

import msgspec
from msgspec.structs import replace

from claude_bridge.trace.events import (
    ExchangeEnded,
    RequestReceived,
    RequestSent,
    StreamBlock,
    StreamsRecorded,
    TraceEvent,
)
from claude_bridge.trace.stream_text import encode_blocks

VERSION = 3
"""Of the format, in each line; lines of version 1 do not have it. See docs/reference/trace.md."""

MAX_FILE_BYTES = 256 * 1024 * 1024
"""A file of this size is renamed to FILE.1, in place of the one before, and a new one begun."""

_BUFFER_BYTES = 64 * 1024
_PRIVATE_MODE, _FOR_OTHERS = 0o600, 0o077


class JsonlSink:
    """Appends events to a file that only its owner may read; whole bodies, as JSON values where they are JSON."""

    name = "trace"
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
        """Write the event."""
        if self._is_regular and self._size >= self._max_bytes:
            self._file.close()
            self._path.replace(path_of_older(self._path))
            self._file = self._open()
        self._size += self._file.write(encode_event(event) + b"\n")

    def tick(self) -> bool:
        """Write to the disk what has come."""
        self._file.flush()
        return False

    def close(self) -> None:
        """Flush and close the file."""
        self._file.close()

    def _open(self) -> BinaryIO:
        # For reading too: a pipe without a reader would hold up the open.
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, _PRIVATE_MODE)
        file = os.fdopen(descriptor, "ab", buffering=_BUFFER_BYTES)
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


def path_of_older(path: Path) -> Path:
    """Return where the part of a trace is that came before the one in this file."""
    return path.with_name(path.name + ".1")


def encode_event(event: TraceEvent) -> bytes:
    """Return an event without its secrets as one line of JSON, its kind in ``type``; a body that is no JSON is a text.

    Bodies and streams are the last fields of their events.
    """
    match event:
        case RequestReceived(body=body) | RequestSent(body=body):
            head = _encode_head(replace(event, body=b"")).removesuffix(b'""')
            return b"%b%b}" % (head, _json_or_text(body))
        case ExchangeEnded():  # its tool inputs are kept as the engine wrote them: with line breaks even
            line = _encode_head(event) + b"}"
            return _json_or_text(line) if b"\n" in line or b"\r" in line else line
        case StreamsRecorded(upstream=upstream, client=client):
            head = _encode_head(replace(event, upstream=[], client=[])).removesuffix(b',"upstream":[],"client":[]')
            blocks = [encode_blocks(cast("Sequence[StreamBlock]", side)) for side in (upstream, client)]
            return b'%b,"upstream":%b,"client":%b}' % (head, *blocks)
        case _:
            return _encode_head(event) + b"}"


def _encode_head(event: TraceEvent) -> bytes:
    return b'{"version":%d,%b' % (VERSION, msgspec.json.encode(event)[1:-1])


def _json_or_text(body: bytes) -> bytes:
    """Return the JSON value in one line, or a JSON text of what is none."""
    try:
        body.decode()  # what follows does not look into strings
        return msgspec.json.format(body, indent=-1)
    except (ValueError, RecursionError):
        return msgspec.json.encode(body.decode("utf-8", "replace"))
