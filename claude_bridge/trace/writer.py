"""TraceWriter: removes the secrets from a trace and writes it to its file, in a process of its own.

None of this work holds up an exchange there: in a thread it would compete with the event loop for the interpreter.
The process runs as ``python -m claude_bridge.trace.writer``. In: frames, each with its length before it: ``_Open``,
``_Hide`` and the events, in msgpack or JSON. Out: a line for each empty frame, once all before it is in the file;
and one with an error, the last one. It ends with its input, so it outlives a bridge that is killed until all that it
was given is written.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from msgspec import Struct

from claude_bridge.trace.events import EventsDropped, ExchangeEnded, TraceEvent
from claude_bridge.trace.jsonl import MAX_FILE_BYTES, JsonlSink
from claude_bridge.trace.redact import Redactor

_LENGTH_BYTES = 8
_NICENESS = 10
"""Exchanges come first."""

_WRITE_BYTES = 1024 * 1024
"""So much goes to the process at once: each write holds up the event loop for a moment."""

_STOP_WITHIN_S = 2.0

_APART: dict[str, Any] = {"process_group": 0}
"""Ctrl-C does not reach the process: what the bridge does until its end belongs into the trace too."""
if sys.platform == "win32":
    _APART = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.BELOW_NORMAL_PRIORITY_CLASS}


class _Open(Struct, tag=True, tag_field="type"):
    """The first frame. ``path`` is the file's, as the system knows it."""

    path: bytes
    max_bytes: int


class _Hide(Struct, tag=True, tag_field="type"):
    """A secret that no later event may show."""

    secret: bytes


class _Failed(Struct):
    """Why the process ends: the number of the system's error, None for another one."""

    number: int | None
    message: str


class TraceWriter:
    """A sink that keeps every event as a line in a file that only its owner may read."""

    takes_streams = True

    def __init__(self, path: Path, *, max_bytes: int = MAX_FILE_BYTES) -> None:
        """Open the file, or make it.

        Raises:
            OSError: it can't be opened for writing.
        """
        file = JsonlSink(path)
        file.close()
        self.warning = file.warning
        """Who else may read the file, where that could not be changed."""
        self._pending: deque[bytes] = deque([_frame(_Open(os.fsencode(path.absolute()), max_bytes))])
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "claude_bridge.trace.writer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            **_APART,
        )
        self._finalizer = weakref.finalize(self, _stop, self._process)
        if sys.platform != "win32":
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, _NICENESS)

    def hide(self, secret: str) -> None:
        """Remove this secret from the events of later batches."""
        self._pending.append(_frame(_Hide(secret.encode("utf-8", "surrogatepass"))))

    def take_all(self, events: Sequence[TraceEvent]) -> None:
        """Write the events, and wait until they are in the file.

        Raises:
            OSError: they can't be written, or the process is gone.
        """
        frames = bytearray()
        while self._pending:
            frames += self._pending.popleft()
        for event in events:
            _add_frame(frames, event)
            if len(frames) > _WRITE_BYTES:
                self._write(frames)
                frames = bytearray()
        frames += bytes(_LENGTH_BYTES)
        self._write(frames)
        self._read_answer()

    def close(self) -> None:
        """Let the process write what it has, and end."""
        self._finalizer()

    def _write(self, frames: bytearray) -> None:
        assert self._process.stdin is not None, "it is a pipe"
        rest = memoryview(frames)
        with suppress(OSError):  # the last line of the process says why
            while rest:
                rest = rest[self._process.stdin.write(rest) :]

    def _read_answer(self) -> None:
        assert self._process.stdout is not None, "it is a pipe"
        line = self._process.stdout.readline()
        if line == b"\n":
            return
        if not line:
            raise ChildProcessError(f"the process that writes the trace ended with code {self._process.wait()}")
        failed = msgspec.json.decode(line, type=_Failed)
        raise OSError(failed.number, failed.message) if failed.number else OSError(failed.message)


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None, "it is a pipe"
    assert process.stdout is not None, "it is a pipe"
    with suppress(OSError):
        process.stdin.close()
    try:
        process.wait(_STOP_WITHIN_S)
    except subprocess.TimeoutExpired:  # its file takes nothing
        process.kill()
        process.wait()
    process.stdout.close()


def _frame(content: object) -> bytes:
    frame = msgspec.msgpack.encode(content)
    return len(frame).to_bytes(_LENGTH_BYTES, "big") + frame


_MSGPACK, _JSON = msgspec.msgpack.Encoder(), msgspec.json.Encoder()


def _add_frame(frames: bytearray, event: TraceEvent, *, as_json: bool = False) -> None:
    # The inputs of tools are JSON, which msgpack would take for its own kind.
    as_json = as_json or isinstance(event, ExchangeEnded)
    start = len(frames)
    frames += bytes(_LENGTH_BYTES)
    try:
        (_JSON if as_json else _MSGPACK).encode_into(event, frames, -1)
    except (UnicodeError, OverflowError) as error:  # a lone surrogate; an integer of more than 64 bits
        del frames[start:]
        is_text = isinstance(error, UnicodeError)
        _add_frame(frames, Redactor([]).redact(event) if is_text else event, as_json=as_json or not is_text)
    else:
        size = len(frames) - start - _LENGTH_BYTES
        frames[start : start + _LENGTH_BYTES] = size.to_bytes(_LENGTH_BYTES, "big")


# --- the process ----------------------------------------------------------------------------------------------------


def main() -> None:
    """Do what the frames on stdin say."""
    # It ends with its input; a terminal and a service manager signal all processes of the bridge.
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        if (number := getattr(signal, name, None)) is not None:
            signal.signal(number, signal.SIG_IGN)
    try:
        _write_trace(sys.stdin.buffer)
    except OSError as error:
        _answer(msgspec.json.encode(_Failed(error.errno, error.strerror or str(error))))
    except Exception as error:  # noqa: BLE001 - the bridge reports it
        _answer(msgspec.json.encode(_Failed(None, repr(error))))


_MSGPACK_DECODER: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(_Open | _Hide | TraceEvent)
_JSON_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(TraceEvent)


def _write_trace(frames: BinaryIO) -> None:
    redactor = Redactor([])
    sink: JsonlSink | None = None
    for frame in _read_frames(frames):
        if not frame:
            if sink is not None:
                sink.tick()
            _answer(b"")
            continue
        try:
            content = (_JSON_DECODER if frame.startswith(b"{") else _MSGPACK_DECODER).decode(frame)
        except msgspec.DecodeError:
            content = EventsDropped(at_s=time.time(), count=1)
        match content:
            case _Open(path, max_bytes):
                sink = JsonlSink(Path(os.fsdecode(path)), max_bytes=max_bytes)
            case _Hide(secret):
                redactor.hide(secret.decode("utf-8", "surrogatepass"))
            case _ if sink is not None:
                sink.take(redactor.redact(content))
    if sink is not None:
        sink.close()


def _read_frames(stream: BinaryIO) -> Iterator[bytes]:
    """Yield what follows each length; a frame that is cut, since the bridge was killed, is left out."""
    while len(length := stream.read(_LENGTH_BYTES)) == _LENGTH_BYTES:
        size = int.from_bytes(length, "big")
        frame = stream.read(size)
        if len(frame) == size:
            yield frame


def _answer(line: bytes) -> None:
    with suppress(OSError):  # the bridge may be gone
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
