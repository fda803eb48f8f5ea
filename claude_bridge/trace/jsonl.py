"""JsonlSink: keeps every event as one line of JSON in a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Raw

from claude_bridge.trace.events import AnswerGrew, ExchangeEnded, RequestReceived, RequestSent, TraceEvent


class JsonlSink:
    """Appends events to a file that only its owner may read; whole bodies, as JSON values where they are JSON."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it with mode 0600.

        Raises:
            OSError: it can't be opened for writing.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        self._file = os.fdopen(descriptor, "ab")
        if os.fstat(descriptor).st_size:
            os.lseek(descriptor, -1, os.SEEK_END)
            if os.read(descriptor, 1) != b"\n":
                self._file.write(b"\n")  # a line that a crash cut short must not swallow the next one

    def take(self, event: TraceEvent) -> None:
        """Write the event; all but the growth of an answer is flushed at once."""
        self._file.write(encode_event(event) + b"\n")
        if not isinstance(event, AnswerGrew):
            self._file.flush()

    def close(self) -> None:
        """Flush and close the file."""
        self._file.close()


def encode_event(event: TraceEvent) -> bytes:
    """Return the event as one line of JSON, its kind in ``type``; a body that is no JSON becomes a text."""
    fields: dict[str, Any] = {"type": str(event.__struct_config__.tag), **msgspec.structs.asdict(event)}
    if isinstance(event, RequestReceived | RequestSent):
        fields["body"] = _json_or_text(event.body)
    elif isinstance(event, ExchangeEnded):  # its tool inputs are kept as the engine wrote them: with line breaks even
        fields["message"] = _json_or_text(msgspec.json.encode(event.message))
    return msgspec.json.encode(fields)


def _json_or_text(body: bytes) -> Raw | str:
    try:
        one_line = msgspec.json.format(body, indent=-1)
        one_line.decode()  # format() does not look into strings
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")
    return Raw(one_line)
