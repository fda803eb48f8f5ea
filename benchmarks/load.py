"""The client: it sends requests and notes when each read came, and understands nothing while the clock runs."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import SocketStream
from msgspec import Struct

READ_BYTES = 256 * 1024
ANSWER_LIMIT_S = 60.0

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"


class Answer(Struct):
    """What came back, with the monotonic time of each read; ``first_s`` is 0 until the marker was seen."""

    sent_s: float
    reads: list[tuple[float, bytes]]
    first_s: float = 0.0
    ended_s: float = 0.0
    failure: str = ""


class Caller:
    """One kept connection, for one request after another."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream

    async def ask(self, request: bytes, marker: bytes = b"\r\n\r\n", *, limit_s: float = ANSWER_LIMIT_S) -> Answer:
        """Send a request and collect the answer; ``marker`` is what the first token holds."""
        answer = Answer(sent_s=time.monotonic(), reads=[])
        try:
            with anyio.fail_after(limit_s):
                await self._stream.send(request)
                await self._collect(answer, marker)
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            answer.failure = "the connection ended early"
        except TimeoutError:
            answer.failure = f"no whole answer in {limit_s:.0f} s"
        answer.ended_s = time.monotonic()
        return answer

    async def _collect(self, answer: Answer, marker: bytes) -> None:
        reads, size, seen, tail = answer.reads, 0, b"", b""
        length: int | None = None
        while True:
            data = await self._stream.receive(READ_BYTES)
            now_s = time.monotonic()
            reads.append((now_s, data))
            size += len(data)
            if not answer.first_s:
                seen += data
                length = _whole_length(seen)
                if marker in seen:
                    answer.first_s = now_s
            tail = (tail + data)[-len(_LAST_CHUNK) :]
            if tail == _LAST_CHUNK if length is None else size >= length:
                return


def _whole_length(seen: bytes) -> int | None:
    """Return the length of the response with its head, or None while that is unknown or told by chunks."""
    head, found, _ = seen.partition(b"\r\n\r\n")
    declared = _LENGTH.search(head) if found else None
    return len(head) + 4 + int(declared[1]) if declared else None


@asynccontextmanager
async def open_caller(port: int) -> AsyncIterator[Caller]:
    """Connect to a port of this machine."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        yield Caller(stream)


def encode_request(method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
    """Return the bytes of a request."""
    fields = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in (fields | (headers or {})).items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body
