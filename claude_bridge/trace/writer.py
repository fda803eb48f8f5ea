"""TraceWriter: removes the secrets from a trace and writes it to its file, in a process of its own.

None of this work holds up an exchange there: in a thread it would compete with the event loop for the interpreter.
The process runs as ``python -m claude_bridge.trace.writer FILE MAX_BYTES``. In: each batch with its length before it.
Out: a line for each batch, once it is in the file, which is empty or a ``_Failed``, the last one. It ends with its
input, so it outlives a bridge that is killed until all that it was given is written.
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
from contextlib import closing, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from claude_bridge.trace.events import EventsDropped, ExchangeEnded, RequestReceived, RequestSent, TraceEvent
from claude_bridge.trace.jsonl import MAX_FILE_BYTES, JsonlSink
from claude_bridge.trace.redact import Redactor

_LENGTH_BYTES = 8
_NICENESS = 10
"""Exchanges come first."""

_PIPE_BYTES = 1024 * 1024
"""So a batch goes out in one piece, where the system allows it; each further one wakes both processes up."""

_BLOCK_BYTES = 8 * 1024
_MAX_REPEATED_BYTES = 4 * 1024 * 1024
"""Both processes keep the last body of each kind up to this size, since the next one repeats most of it."""

_STOP_WITHIN_S = 1.0

_APART: dict[str, Any] = {"process_group": 0}
"""Ctrl-C does not reach the process: what the bridge does until its end belongs into the trace too."""
if sys.platform == "win32":
    _APART = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.BELOW_NORMAL_PRIORITY_CLASS}


_REQUESTS = (RequestReceived, RequestSent)


class _Batch(Struct):
    """What the process gets at once: more secrets to hide, and events, each in msgpack or as bytes of JSON in it.

    Behind it come the bodies of requests, which are not copied so. Each event has its kind, and three sizes: how
    much of its body the last one of this kind had at its beginning and at its end, and how much comes in between.
    """

    secrets: list[bytes]
    events: list[Raw]
    bodies: list[tuple[str, int, int, int]]


class _Failed(Struct):
    """Why the process ends: the number of the system's error, None for another one."""

    number: int | None
    message: str


class _LastBodies(dict[str, bytes]):
    """The last body of each kind of request that was not too large; both processes hold the same ones."""

    def keep(self, kind: str, body: bytes) -> None:
        """Keep a body, of which the next one may repeat most."""
        if len(body) <= _MAX_REPEATED_BYTES:
            self[kind] = body


def _repeated_sizes(before: bytes, body: bytes) -> tuple[int, int]:
    """Return how many bytes both begin with, and how many of the others both end with; in blocks, for speed."""
    most, first, last = min(len(before), len(body)), 0, 0
    if before == body:
        return most, 0
    while (end := first + _BLOCK_BYTES) <= most and before[first:end] == body[first:end]:
        first = end
    while (end := last + _BLOCK_BYTES) <= most - first and (
        before[len(before) - end : len(before) - last] == body[len(body) - end : len(body) - last]
    ):
        last = end
    return first, last


class TraceWriter:
    """A sink that keeps every event as a line in a file that only its owner may read."""

    name = "trace"
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
        self._secrets: deque[bytes] = deque()
        self._last_bodies = _LastBodies()
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-P", "-m", "claude_bridge.trace.writer", str(path.absolute()), str(max_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            **_APART,
        )
        self._finalizer = weakref.finalize(self, _stop, self._process)
        if sys.platform == "linux":
            with suppress(ImportError, OSError):
                from fcntl import F_SETPIPE_SZ, fcntl

                fcntl(_pipes(self._process)[0].fileno(), F_SETPIPE_SZ, _PIPE_BYTES)
        if sys.platform != "win32":
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self._process.pid, _NICENESS)

    def hide(self, secret: str) -> None:
        """Remove this secret from the events of later batches."""
        self._secrets.append(secret.encode("utf-8", "surrogatepass"))

    def take_all(self, events: Sequence[TraceEvent]) -> None:
        """Write the events, and wait until they are in the file.

        Raises:
            OSError: they can't be written, or the process is gone.
        """
        stdin, stdout = _pipes(self._process)
        secrets = [self._secrets.popleft() for _ in range(len(self._secrets))]
        sizes, bodies = [], []
        for event in events:
            kind, body = type(event).__name__, event.body if isinstance(event, _REQUESTS) else b""
            first, last = _repeated_sizes(self._last_bodies.get(kind, b""), body)
            bodies.append(memoryview(body)[first : len(body) - last])
            sizes.append((kind, first, last, len(bodies[-1])))
            self._last_bodies.keep(kind, body)
        encoded = [Raw(_encode(event)) for event in events]
        batch = msgspec.msgpack.encode(_Batch(secrets, encoded, sizes))
        with suppress(OSError):  # the last line of the process says why
            _write_all(stdin, [len(batch).to_bytes(_LENGTH_BYTES, "big"), batch, *bodies])
        line = stdout.readline()
        if not line:
            raise ChildProcessError(f"the process that writes the trace ended with code {self._process.wait()}")
        if line != b"\n":
            failed = msgspec.json.decode(line, type=_Failed)
            raise OSError(failed.number, failed.message) if failed.number else OSError(failed.message)

    def close(self) -> None:
        """Let the process write what it has, and end."""
        self._finalizer()


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None, "it is a pipe"
    assert process.stdout is not None, "it is a pipe"
    return process.stdin, process.stdout


def _stop(process: subprocess.Popen[bytes]) -> None:
    stdin, stdout = _pipes(process)
    with suppress(OSError):
        stdin.close()
    try:
        process.wait(_STOP_WITHIN_S)
    except subprocess.TimeoutExpired:  # its file takes nothing
        process.kill()
        process.wait()
    stdout.close()


def _write_all(pipe: IO[bytes], parts: Sequence[bytes | memoryview]) -> None:
    done = 0
    if sys.platform != "win32":
        done = os.writev(pipe.fileno(), parts)
    if done < sum(map(len, parts)):
        rest = memoryview(b"".join(parts))[done:]
        while rest:
            rest = rest[pipe.write(rest) :]


def _encode(event: TraceEvent) -> bytes:
    if isinstance(event, _REQUESTS):
        event = replace(event, body=b"")
    try:
        if not isinstance(event, ExchangeEnded):  # the inputs of its tools are JSON, which is no msgpack
            return msgspec.msgpack.encode(event)
        as_json = msgspec.json.encode(event)
    except (UnicodeError, OverflowError):  # a lone surrogate; an integer of more than 64 bits, which JSON may have
        as_json = msgspec.json.encode(Redactor([]).redact(event))
    return msgspec.msgpack.encode(as_json)


# --- the process ----------------------------------------------------------------------------------------------------


_DECODER: msgspec.msgpack.Decoder[TraceEvent | bytes] = msgspec.msgpack.Decoder(TraceEvent | bytes)
_JSON_DECODER: msgspec.json.Decoder[TraceEvent] = msgspec.json.Decoder(TraceEvent)


def main(path: str, max_bytes: str) -> None:
    """Write what comes on stdin to the file."""
    # It ends with its input; a terminal and a service manager signal all processes of the bridge.
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
        if (number := getattr(signal, name, None)) is not None:
            signal.signal(number, signal.SIG_IGN)
    redactor = Redactor([])
    try:
        with closing(JsonlSink(Path(path), max_bytes=int(max_bytes))) as sink:
            for secrets, events in _read_batches(sys.stdin.buffer):
                for secret in secrets:
                    redactor.hide(secret.decode("utf-8", "surrogatepass"))
                for event in events:
                    sink.take(redactor.redact(event))
                sink.tick()
                _answer(b"")
    except OSError as error:
        _answer(msgspec.json.encode(_Failed(error.errno, error.strerror or str(error))))
    except Exception as error:  # noqa: BLE001 - the bridge reports it
        _answer(msgspec.json.encode(_Failed(None, repr(error))))


def _read_batches(stream: BinaryIO) -> Iterator[tuple[Sequence[bytes], Sequence[TraceEvent]]]:
    """Yield secrets and events that the bridge sends; what is cut, since the bridge was killed, is left out."""
    last_bodies = _LastBodies()
    with suppress(EOFError):
        while True:
            size = int.from_bytes(_read(stream, _LENGTH_BYTES), "big")
            batch = msgspec.msgpack.decode(_read(stream, size), type=_Batch)
            events = []
            for raw, (kind, first, last, between) in zip(batch.events, batch.bodies, strict=True):
                before = last_bodies.get(kind, b"")
                body = before[:first] + _read(stream, between) + before[len(before) - last :]
                last_bodies.keep(kind, body)
                events.append(_decode(raw, body))
            yield batch.secrets, events


def _read(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _decode(raw: Raw, body: bytes) -> TraceEvent:
    try:
        decoded = _DECODER.decode(raw)
        event = _JSON_DECODER.decode(decoded) if isinstance(decoded, bytes) else decoded
    except msgspec.DecodeError:  # its types are wrong
        return EventsDropped(at_s=time.time(), count=1)
    return replace(event, body=body) if isinstance(event, _REQUESTS) else event


def _answer(line: bytes) -> None:
    with suppress(OSError):  # the bridge may be gone
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
