"""A fast engine for one scenario at a time: it answers Chat Completions requests with bytes made beforehand.

``PUT /scenario`` with ``{"fragments": 500, "per_second": 0}`` says what an answer is: so many pieces of text, sent at
full speed (one write each) or at a pace. It stands outside the requests, so that no bridge can change the work.
At a pace each fragment tells its stream, its number and the time at which it was written.
"""

from __future__ import annotations

import itertools
import re
import socket
import time
from importlib.util import find_spec

import anyio
import msgspec
from anyio import lowlevel

READ_BYTES = 1024 * 1024
WRITES_IN_TURN = 16
"""How many writes one stream may do before the others have theirs."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAM = re.compile(rb'"stream": ?true')

_CHUNK = b'{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"bench-model","choices":[%s]%s}'
_COMPLETION = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"bench-model","choices":[%s],"usage":%s}'
)
_CHOICE = b'{"index":0,"delta":%s,"finish_reason":%s}'
_USAGE = b'{"prompt_tokens":1000,"completion_tokens":%d,"total_tokens":%d}'
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_MODELS = b'{"object":"list","data":[{"id":"bench-model","object":"model","owned_by":"benchmark"}]}'


class Scenario(msgspec.Struct, frozen=True):
    """What an answer is; ``per_second`` 0 is full speed."""

    fragments: int = 5
    per_second: float = 0.0


def fragment_text(number: int) -> str:
    """Return the text of one fragment at full speed."""
    return f" word{number:05}"


def paced_text(stream: int, number: int, written_s: float) -> str:
    """Return the text of one fragment at a pace; ``written_s`` is of the monotonic clock, which processes share."""
    return f" {stream}.{number:05}@{written_s:.6f};"


def _frame(data: bytes) -> bytes:
    payload = b"data: %s\n\n" % data
    return b"%x\r\n%s\r\n" % (len(payload), payload)


def _delta(delta: bytes, finish: bytes = b"null") -> bytes:
    return _frame(_CHUNK % (_CHOICE % (delta, finish), b""))


def _text_frame(text: str) -> bytes:
    return _delta(b'{"content":"%s"}' % text.encode())


class Script:
    """The bytes of one scenario, ready to be sent."""

    def __init__(self, scenario: Scenario) -> None:
        count = scenario.fragments
        usage = _USAGE % (count, count + 1000)
        self.scenario = scenario
        self.begin = _STREAM_HEAD + _delta(b'{"role":"assistant","content":""}')
        self.frames = [] if scenario.per_second else [_text_frame(fragment_text(number)) for number in range(count)]
        self.end = (
            _delta(b"{}", b'"stop"') + _frame(_CHUNK % (b"", b',"usage":' + usage)) + _frame(b"[DONE]") + b"0\r\n\r\n"
        )
        text = "".join(map(fragment_text, range(count))).encode()
        message = b'{"index":0,"message":{"role":"assistant","content":"%s"},"finish_reason":"stop"}' % text
        self.whole = _json_response(_COMPLETION % (message, usage))
        self.stream_numbers = itertools.count()


def _json_response(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body)


class Engine:
    """Serves the current script on every connection."""

    def __init__(self) -> None:
        self.script = Script(Scenario())

    async def serve(self, listener: socket.socket) -> None:
        """Accept connections until cancelled."""
        async with anyio.create_task_group() as tasks:
            while True:
                await anyio.wait_readable(listener)
                connection, _ = listener.accept()
                tasks.start_soon(self._converse, connection)

    async def _converse(self, connection: socket.socket) -> None:
        with connection:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            buffer = bytearray()
            try:
                while request := await _receive_request(connection, buffer):
                    await self._answer(connection, *request)
            except ConnectionError:
                return

    async def _answer(self, connection: socket.socket, target: bytes, body: bytes) -> None:
        if target.endswith(b"/chat/completions"):
            if _STREAM.search(body):
                await self._stream(connection)
            else:
                await _send(connection, self.script.whole)
        elif target == b"/scenario":
            self.script = Script(msgspec.json.decode(body, type=Scenario))
            await _send(connection, _json_response(b"{}"))
        elif target.endswith(b"/models"):
            await _send(connection, _json_response(_MODELS))
        else:
            await _send(connection, _json_response(b'{"error":{"message":"no such path"}}', b"404 Not Found"))

    async def _stream(self, connection: socket.socket) -> None:
        script = self.script
        if script.scenario.per_second:
            await _send_paced(connection, script)
            return
        for number, frame in enumerate((script.begin, *script.frames, script.end)):
            await _send(connection, frame)
            if number % WRITES_IN_TURN == WRITES_IN_TURN - 1:
                await lowlevel.checkpoint()


async def _send_paced(connection: socket.socket, script: Script) -> None:
    stream = next(script.stream_numbers)
    gap_s = 1 / script.scenario.per_second
    await _send(connection, script.begin)
    started_s = time.monotonic()
    for number in range(script.scenario.fragments):
        await anyio.sleep(max(0.0, started_s + number * gap_s - time.monotonic()))
        await _send(connection, _text_frame(paced_text(stream, number, time.monotonic())))
    await _send(connection, script.end)


async def _receive_request(connection: socket.socket, buffer: bytearray) -> tuple[bytes, bytes] | None:
    """Return a request's target and body, or None at the connection's end; what follows stays in the buffer."""
    while (head_end := buffer.find(b"\r\n\r\n")) < 0:
        if not await _receive_into(connection, buffer):
            return None
    head = bytes(buffer[:head_end])
    declared = _LENGTH.search(head)
    end = head_end + 4 + (int(declared[1]) if declared else 0)
    while len(buffer) < end:
        if not await _receive_into(connection, buffer):
            return None
    body = bytes(buffer[head_end + 4 : end])
    del buffer[:end]
    return head.split(b" ", 2)[1], body


async def _receive_into(connection: socket.socket, buffer: bytearray) -> bool:
    while True:
        try:
            data = connection.recv(READ_BYTES)
        except BlockingIOError:
            await anyio.wait_readable(connection)
        else:
            buffer += data
            return bool(data)


async def _send(connection: socket.socket, data: bytes) -> None:
    while data:
        try:
            data = data[connection.send(data) :]
        except BlockingIOError:
            await anyio.wait_writable(connection)


async def main() -> None:
    """Listen on a free port, say where, and serve until ended."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        listener.setblocking(False)
        print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        await Engine().serve(listener)


if __name__ == "__main__":
    anyio.run(main, backend_options={"use_uvloop": find_spec("uvloop") is not None})
