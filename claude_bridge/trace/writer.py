"""TraceWriter: removes the secrets from a trace and writes it to its file, in a process of its own.

None of this work holds up an exchange there: in a thread it would compete with the event loop for the interpreter.
The process runs as ``python -m claude_bridge.trace.writer FILE MAX_BYTES``. In: batches, each with its length before
it. Out: once it is ready, and after each batch, a line with the number of events that it has dealt with; the last line
may be a ``_Failed``. It ends with its input, so it outlives a bridge that is killed until it has written all that came.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from threading import Thread
from typing import IO, BinaryIO, NamedTuple

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from claude_bridge.child_process import ChildProcess
from claude_bridge.trace.delivery import NOT_READY, DeliveryLimits, EventWithBytes, ThreadDelivery
from claude_bridge.trace.events import (
    EventsDropped,
    ExchangeEnded,
    RequestReceived,
    RequestSent,
    StreamsRecorded,
    TraceEvent,
)
from claude_bridge.trace.jsonl import MAX_FILE_BYTES, JsonlSink
from claude_bridge.trace.redact import Redactor

WRITER_LIMITS = DeliveryLimits(max_events=65_536, batch_size=500, gather_s=0.2, gather_bytes=1024 * 1024)

_LENGTH_BYTES = 8
_NICENESS, _BELOW_NORMAL_PRIORITY_CLASS = 10, 0x4000
"""Exchanges come first: for POSIX, and for Windows."""

_PIPE_BYTES = 1024 * 1024
"""So a batch goes out in one piece, where the system allows it; each further one wakes both processes up."""

_BLOCK_BYTES = 8 * 1024
_MIN_REPEATED_BYTES = 4 * _BLOCK_BYTES
_MAX_REPEATED_BYTES = 4 * 1024 * 1024
"""Both processes keep the last body of each kind up to this size, since the next one repeats most of it."""


_REQUESTS = (RequestReceived, RequestSent)


class _Body(Struct, array_like=True):
    """A request's body: which event of the batch has it, and how many bytes of it follow.

    The last body of its kind (None: of no kind) had ``first`` bytes at its beginning too, and ``last`` at its end.
    """

    at: int
    size: int
    kind: str | None
    first: int
    last: int


class _Batch(Struct, array_like=True):
    """What the process gets at once: more secrets to hide, events without their bodies, and where these belong.

    An event is itself, or its JSON as bytes. The bodies follow the batch: they are not copied so.
    """

    secrets: list[bytes]
    events: list[TraceEvent | bytes]
    bodies: list[_Body]


class _ReceivedBatch(Struct, array_like=True):
    """The same, where one event that can't be read does not spoil the others."""

    secrets: list[bytes]
    events: list[Raw]
    bodies: list[_Body]


class _Failed(Struct):
    """Why the process ends: the number of the system's error, None for another one."""

    number: int | None
    message: str


class _LastBodies(dict[str, bytes]):
    """The last body of each kind of request; both processes hold the same ones."""

    def shortened(self, kind: str, body: bytes) -> tuple[bytes, int, int]:
        """Return what of a body the last one did not have, and how much it had at the beginning and the end."""
        before = self.get(kind, b"")
        if body == before:
            return b"", len(body), 0
        first, last = _repeated_sizes(before, body)
        self[kind] = body
        return body[first : len(body) - last], first, last

    def restored(self, between: bytes, body: _Body) -> bytes:
        """Return the whole body."""
        if body.kind is None:
            return between
        before = self.get(body.kind, b"")
        self[body.kind] = before[: body.first] + between + before[len(before) - body.last :]
        return self[body.kind]


def _repeated_sizes(before: bytes, body: bytes) -> tuple[int, int]:
    """Return how many bytes both begin with, and how many of the others both end with; in blocks, for speed."""
    most, first, last = min(len(before), len(body)), 0, 0
    while (end := first + _BLOCK_BYTES) <= most and before[first:end] == body[first:end]:
        first = end
    while (end := last + _BLOCK_BYTES) <= most - first and (
        before[len(before) - end : len(before) - last] == body[len(body) - end : len(body) - last]
    ):
        last = end
    return first, last


class _Shortened(NamedTuple):
    """A request without what the last body of its kind had too."""

    event: RequestReceived | RequestSent
    kind: str
    first: int
    last: int


class TraceWriter(ThreadDelivery[_Shortened | bytes]):
    """Keeps every event as a line in a file that only its owner may read."""

    name = "trace"
    takes_streams = True

    def __init__(
        self, path: Path, *, max_file_bytes: int = MAX_FILE_BYTES, limits: DeliveryLimits = WRITER_LIMITS
    ) -> None:
        """Open the file, or make it.

        Raises:
            OSError: it can't be opened for writing.
        """
        file = JsonlSink(path)
        file.close()
        self.sink = self
        self.warning = file.warning
        """Who else may read the file, where that could not be changed."""
        self._last_bodies = _LastBodies()
        self._written_count = NOT_READY
        arguments = ("-m", "claude_bridge.trace.writer", str(path.absolute()), str(max_file_bytes))
        self._child = ChildProcess(*arguments, windows_flags=_BELOW_NORMAL_PRIORITY_CLASS)
        if sys.platform == "linux":
            with suppress(ImportError, OSError):
                from fcntl import F_SETPIPE_SZ, fcntl

                fcntl(self._child.stdin.fileno(), F_SETPIPE_SZ, _PIPE_BYTES)
        if sys.platform != "win32":
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self._child.process.pid, _NICENESS)
        super().__init__(limits)
        self._reader = Thread(target=self._read_answers, name="bridge-trace-answers", daemon=True)
        self._reader.start()

    def hide(self, secret: str) -> None:
        """Remove this secret from later events."""
        self._enqueue(secret.encode("utf-8", "surrogatepass"), 0)

    def close(self) -> None:
        """Let the process write what it has, and end; gives up on one that takes nothing."""
        try:
            super().close()
        finally:
            self._child.close()

    def _pack(self, event: EventWithBytes) -> tuple[_Shortened | bytes | TraceEvent, int]:
        if isinstance(event, StreamsRecorded) or not _MIN_REPEATED_BYTES <= len(event.body) <= _MAX_REPEATED_BYTES:
            return super()._pack(event)
        # At once, so that the memory of the body can be used again
        kind = type(event).__name__
        between, first, last = self._last_bodies.shortened(kind, event.body)
        return _Shortened(replace(event, body=between), kind, first, last), len(between)

    @property
    def _done_count(self) -> int:
        return self._written_count

    # --- the thread that writes, and the one that reads -------------------------------------------------------

    def _deliver(self, items: Sequence[_Shortened | bytes | TraceEvent]) -> None:
        batch, parts = _Batch([], [], []), [b"", b""]
        for item in items:
            if isinstance(item, bytes):
                batch.secrets.append(item)
                continue
            event, kind, first, last = item if isinstance(item, _Shortened) else (item, None, 0, 0)
            if isinstance(event, _REQUESTS):
                parts.append(event.body)
                batch.bodies.append(_Body(len(batch.events), len(event.body), kind, first, last))
                event = replace(event, body=b"")
            # The inputs of an answer's tools are JSON, which is no msgpack
            batch.events.append(_encode_json(event) if isinstance(event, ExchangeEnded) else event)
        parts[1] = _encode(batch)
        parts[0] = len(parts[1]).to_bytes(_LENGTH_BYTES, "big")
        with suppress(OSError):  # the last line of the process says why
            _write_all(self._child.stdin, parts)

    def _finish(self) -> None:
        with suppress(OSError):
            self._child.stdin.close()
        self._reader.join()

    def _read_answers(self) -> None:
        failure: Exception | None = None
        with self._child.stdout as answers:
            for line in answers:
                if line.startswith(b"{"):
                    failed = msgspec.json.decode(line, type=_Failed)
                    failure = OSError(failed.number, failed.message) if failed.number else OSError(failed.message)
                else:
                    self._written_count = int(line)
        code = self._child.process.wait()
        if failure is None and (code or not self._is_closing):
            failure = ChildProcessError(f"the process that writes the trace ended with code {code}")
        self._failure = failure


def _write_all(pipe: IO[bytes], parts: Sequence[bytes]) -> None:
    done = 0
    if sys.platform != "win32":
        done = os.writev(pipe.fileno(), parts)
    for part in parts:
        rest = memoryview(part)[done:]
        done = max(0, done - len(part))
        while rest:
            rest = rest[pipe.write(rest) :]


def _encode(batch: _Batch) -> bytes:
    try:
        return msgspec.msgpack.encode(batch)
    except (UnicodeError, OverflowError):  # a lone surrogate; an integer of more than 64 bits, which JSON may have
        batch.events = [event if isinstance(event, bytes) else _encode_json(event) for event in batch.events]
        return msgspec.msgpack.encode(batch)


def _encode_json(event: TraceEvent) -> bytes:
    try:
        return msgspec.json.encode(event)
    except (UnicodeError, OverflowError):
        return msgspec.json.encode(Redactor([]).redact(event))


# --- the process ----------------------------------------------------------------------------------------------------


_BATCH_DECODER = msgspec.msgpack.Decoder(_ReceivedBatch)
_DECODER: msgspec.msgpack.Decoder[TraceEvent | bytes] = msgspec.msgpack.Decoder(TraceEvent | bytes)
_JSON_DECODER: msgspec.json.Decoder[TraceEvent] = msgspec.json.Decoder(TraceEvent)


def main(path: str, max_bytes: str) -> None:
    """Write what comes on stdin to the file."""
    # It ends with its input; a terminal and a service manager signal all processes of the bridge.
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        if (number := getattr(signal, name, None)) is not None:
            signal.signal(number, signal.SIG_IGN)
    redactor, count = Redactor([]), 0
    try:
        with closing(JsonlSink(Path(path), max_bytes=int(max_bytes))) as sink:
            _answer(b"0")
            for secrets, events in _read_batches(sys.stdin.buffer):
                for secret in secrets:
                    redactor.hide(secret.decode("utf-8", "surrogatepass"))
                for event in events:
                    sink.take(redactor.redact(event))
                sink.tick()
                count += len(secrets) + len(events)
                _answer(b"%d" % count)
    except OSError as error:
        _answer(msgspec.json.encode(_Failed(error.errno, error.strerror or str(error))))
    except Exception as error:  # noqa: BLE001 - the bridge reports it
        _answer(msgspec.json.encode(_Failed(None, repr(error))))


def _read_batches(stream: BinaryIO) -> Iterator[tuple[Sequence[bytes], Sequence[TraceEvent]]]:
    """Yield secrets and events that the bridge sends; what is cut, since the bridge was killed, is left out."""
    last_bodies = _LastBodies()
    with suppress(EOFError):
        while True:
            batch = _BATCH_DECODER.decode(_read(stream, int.from_bytes(_read(stream, _LENGTH_BYTES), "big")))
            events = list(map(_decode, batch.events))
            for body in batch.bodies:
                whole, event = last_bodies.restored(_read(stream, body.size), body), events[body.at]
                if isinstance(event, _REQUESTS):
                    events[body.at] = replace(event, body=whole)
            yield batch.secrets, events


def _read(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _decode(raw: Raw) -> TraceEvent:
    try:
        decoded = _DECODER.decode(raw)
        return _JSON_DECODER.decode(decoded) if isinstance(decoded, bytes) else decoded
    except msgspec.DecodeError:  # its types are wrong
        return EventsDropped(at_s=time.time(), count=1)


def _answer(line: bytes) -> None:
    with suppress(OSError):  # the bridge may be gone
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
