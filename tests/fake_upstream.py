"""The fake upstream: a scripted engine on a real socket. Tests say what it answers, and see what it was asked.

It runs in the test's own event loop, on asyncio and on trio::

    async with FakeUpstream([answer("Hello")]) as upstream:
        ...  # point a bridge at upstream.base_url
        request = await upstream.request(0)
        assert request.json["stream"] is True

A reply is a list of steps. ``Head`` begins an HTTP answer, each ``Send`` is one HTTP chunk and one write, and where
the list ends without saying how, the answer ends as it should and the connection stays open for the next request.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, Self, assert_never

import anyio
from anyio.abc import SocketAttribute, SocketStream
from msgspec import Struct, field

WAIT_S = 20.0
"""How long a test waits for something that is bound to happen."""

MODEL = "scripted"
EVENT_STREAM = "text/event-stream"
JSON = "application/json"
TLS_HANDSHAKE = b"\x16\x03"


def free_port() -> int:
    """Return a port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- the steps of a reply -------------------------------------------------------------------------------------


class Head(Struct, frozen=True):
    """The status line and headers, in one write.

    The body is chunked, unless there is a content-length, or ``connection: close`` makes the connection's end its end.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": EVENT_STREAM})


class Send(Struct, frozen=True):
    """Bytes of the body: one chunk, one write."""

    data: bytes


class Raw(Struct, frozen=True):
    """Bytes as they are, outside of any HTTP framing: one write."""

    data: bytes


class Drip(Struct, frozen=True):
    """Bytes of the body, each one a chunk and a write of its own."""

    data: bytes


class Pause(Struct, frozen=True):
    """Silence for some seconds."""

    seconds: float


class Wait(Struct, frozen=True):
    """Silence until the test sets the event."""

    event: anyio.Event


class Stall(Struct, frozen=True):
    """Silence for ever: until the peer closes the connection, or the test ends."""


class End(Struct, frozen=True):
    """The proper end of the answer; only needed where more steps follow."""


class Close(Struct, frozen=True):
    """Close the connection; without ``End`` before it, the answer is cut."""


class Reset(Struct, frozen=True):
    """Tear the connection down: the peer gets a reset."""


Step = Head | Send | Raw | Drip | Pause | Wait | Stall | End | Close | Reset
Reply = Sequence[Step]


# --- frames of a chat stream ----------------------------------------------------------------------------------

DONE = b"data: [DONE]\n\n"


def frame(payload: object) -> bytes:
    """Return one SSE record with a JSON payload."""
    return b"data: " + json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def chunk(delta: Mapping[str, object], *, finish_reason: str | None = None) -> bytes:
    """Return one chunk of a chat stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return frame({"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": MODEL, "choices": [choice]})


def text(piece: str) -> bytes:
    """Return a chunk that adds to the answer's text."""
    return chunk({"content": piece})


def thinking(piece: str) -> bytes:
    """Return a chunk that adds to the reasoning."""
    return chunk({"reasoning_content": piece})


def tool_call(name: str, arguments: object, *, index: int = 0, call_id: str | None = None) -> bytes:
    """Return a chunk with a whole tool call; ``arguments`` is JSON text or what it stands for."""
    arguments = arguments if isinstance(arguments, str) else json.dumps(arguments)
    function = {"name": name, "arguments": arguments}
    call = {"index": index, "id": call_id or f"call_{index}", "type": "function", "function": function}
    return chunk({"tool_calls": [call]})


def tool_call_arguments(piece: str, *, index: int = 0) -> bytes:
    """Return a chunk with more of a tool call's arguments."""
    return chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})


def progress(read_tokens: int, prompt_tokens: int, *, time_ms: float) -> bytes:
    """Return llama.cpp's chunk that says how much of the prompt it has read."""
    counts = {"total": prompt_tokens, "cache": 0, "processed": read_tokens, "time_ms": time_ms}
    choice = {"index": 0, "delta": {"role": "assistant", "content": None}, "finish_reason": None}
    return frame({"object": "chat.completion.chunk", "choices": [choice], "prompt_progress": counts})


def finish(reason: str = "stop") -> bytes:
    """Return the chunk with the finish reason."""
    return chunk({}, finish_reason=reason)


def usage(prompt_tokens: int = 10, completion_tokens: int = 5, *, cached_tokens: int = 0) -> bytes:
    """Return the chunk with the token counts."""
    counts = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    }
    return frame({"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [], "usage": counts})


# --- whole replies --------------------------------------------------------------------------------------------


def stream(*frames: bytes) -> Reply:
    """Return a streamed reply, with one write for each of the frames."""
    return [Head(), *map(Send, frames)]


def answer(words: str, *, prompt_tokens: int = 10, completion_tokens: int = 5) -> Reply:
    """Return a streamed reply that says the words, one a chunk, and ends well."""
    first, *others = words.split(" ")
    pieces = [first, *(f" {other}" for other in others)]
    return stream(*map(text, pieces), finish(), usage(prompt_tokens, completion_tokens), DONE)


def calls(*named_arguments: tuple[str, object], words: str = "") -> Reply:
    """Return a streamed reply that calls tools, given as (name, arguments), after some words."""
    tool_calls = [tool_call(name, given, index=index) for index, (name, given) in enumerate(named_arguments)]
    return stream(*([text(words)] if words else []), *tool_calls, finish("tool_calls"), usage(), DONE)


def document(
    body: bytes, *, status: int = 200, content_type: str = JSON, headers: Mapping[str, str] | None = None
) -> Reply:
    """Return a reply of known length."""
    fields = {"content-type": content_type, "content-length": str(len(body)), **(headers or {})}
    return [Head(status, fields), Send(body)]


def json_document(payload: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply of known length that holds JSON."""
    return document(json.dumps(payload).encode(), status=status, headers=headers)


def refusal(status: int, message: str, *, headers: Mapping[str, str] | None = None, **fields: object) -> Reply:
    """Return an error as OpenAI-compatible engines give it."""
    return json_document({"error": {"message": message, **fields}}, status=status, headers=headers)


def model_list(*names: str, owner: str = "scripted", **fields: Any) -> Reply:
    """Return what GET /models answers."""
    rows = [{"id": name, "object": "model", "created": 0, "owned_by": owner, **fields} for name in names]
    return json_document({"object": "list", "data": rows})


# --- the server -----------------------------------------------------------------------------------------------


class ReceivedRequest:
    """One request as the fake got it, and what became of its connection."""

    def __init__(self, connection: _Connection, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        """By lower-case name."""
        self.body = body
        self.connection = connection.number
        """Which of the connections it came on, counted from 0."""
        self.sent_bytes = 0
        """How much of the reply's body has been handed to the operating system."""
        self.replied = anyio.Event()
        """Set when all steps of the reply are done."""
        self.closed_by_peer = connection.closed_by_peer

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    async def wait_until_closed_by_peer(self, within_s: float = WAIT_S) -> None:
        """Wait until the peer has closed the connection of this request; raises TimeoutError."""
        with anyio.fail_after(within_s):
            await self.closed_by_peer.wait()


Script = Sequence[Reply] | Callable[[ReceivedRequest], Reply]


class FakeUpstream:
    """A scripted engine on a loopback port; use it as an async context manager.

    POST requests are answered by ``script``: a list of replies, used in turn, or a function of the request. GET
    requests are answered by ``documents``, which maps paths to replies; any other path is a 404.
    """

    def __init__(
        self, script: Script = (), *, documents: Mapping[str, Reply] | None = None, answers_get: bool = False
    ) -> None:
        """``answers_get`` says that the script answers GET requests too."""
        self.requests: list[ReceivedRequest] = []
        """All POST requests, in the order in which they came."""
        self.probes: list[ReceivedRequest] = []
        """All GET requests."""
        self.connections = 0
        """How many connections were opened."""
        self.port = 0
        self._script = script
        self._answers_get = answers_get
        self._documents = documents if documents is not None else {"/v1/models": model_list(MODEL)}
        self._next_reply = 0
        self._requested = anyio.Event()
        self._exit = AsyncExitStack()

    @property
    def base_url(self) -> str:
        """The address to give to a bridge."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def request(self, number: int = 0, *, within_s: float = WAIT_S) -> ReceivedRequest:
        """Return the POST request of this number, waiting until it has come; raises TimeoutError."""
        with anyio.fail_after(within_s):
            while len(self.requests) <= number:
                self._requested = anyio.Event()
                await self._requested.wait()
        return self.requests[number]

    async def __aenter__(self) -> Self:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=self.port)
        self.port = int(listener.extra(SocketAttribute.local_port))
        await self._exit.enter_async_context(listener)
        tasks = await self._exit.enter_async_context(anyio.create_task_group())
        self._exit.callback(tasks.cancel_scope.cancel)
        tasks.start_soon(listener.serve, self._serve)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit.aclose()  # not told of a test's failure, so that no task group wraps it

    async def _serve(self, stream: SocketStream) -> None:
        connection = _Connection(stream, self.connections)
        self.connections += 1
        async with stream, anyio.create_task_group() as tasks:
            tasks.start_soon(connection.watch, tasks.cancel_scope)
            while True:
                request = await connection.next_request()
                if not await connection.play(request, self._reply_to(request)):
                    break
            tasks.cancel_scope.cancel()

    def _reply_to(self, request: ReceivedRequest) -> Reply:
        if request.method == "GET" and not self._answers_get:
            self.probes.append(request)
            return self._documents.get(request.path) or refusal(404, f"nothing at {request.path}")
        self.requests.append(request)
        self._requested.set()
        if callable(self._script):
            return self._script(request)
        if self._next_reply >= len(self._script):
            return refusal(500, "the script has no more replies")
        self._next_reply += 1
        return self._script[self._next_reply - 1]


class _Connection:
    """One connection: requests in, steps out, and a watch on whether the peer is still there."""

    def __init__(self, stream: SocketStream, number: int) -> None:
        self.number = number
        self.closed_by_peer = anyio.Event()
        self._stream = stream
        self._received = bytearray()
        self._grew = anyio.Event()
        self._is_open = False  # whether an answer has begun and not ended
        self._is_chunked = False
        self._ends_with_connection = False

    async def watch(self, scope: anyio.CancelScope) -> None:
        """Gather what comes, and end everything when the peer closes the connection."""
        try:
            while True:
                data = await self._stream.receive()
                self._received += data
                self._grew.set()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            self.closed_by_peer.set()
            scope.cancel()
        except anyio.ClosedResourceError:
            pass

    async def next_request(self) -> ReceivedRequest:
        """Return the next request, whole."""
        while b"\r\n\r\n" not in self._received:
            if self._received.startswith(TLS_HANDSHAKE):
                await self._stream.send(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
                await self._stream.aclose()
            await self._more()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        request_line, *lines = head.decode("latin-1").split("\r\n")
        method, path, _ = request_line.split(" ")
        fields = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in fields}
        length = int(headers.get("content-length", "0"))
        while len(self._received) < length:
            await self._more()
        body = bytes(self._received[:length])
        del self._received[:length]
        return ReceivedRequest(self, method, path, headers, body)

    async def play(self, request: ReceivedRequest, reply: Reply) -> bool:
        """Do the steps of a reply; return whether the connection is fit for another request."""
        try:
            for step in reply:
                await self._do(step, request)
                if isinstance(step, Close | Reset):
                    return False
            if self._is_open:
                await self._end()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            return False
        else:
            return not self._ends_with_connection
        finally:
            request.replied.set()

    async def _do(self, step: Step, request: ReceivedRequest) -> None:
        match step:
            case Head(status, headers):
                await self._begin(status, headers)
            case Send(data):
                await self._send_body(request, data)
            case Drip(data):
                for position in range(len(data)):
                    await self._send_body(request, data[position : position + 1])
            case Raw(data):
                await self._stream.send(data)
            case Pause(seconds):
                await anyio.sleep(seconds)
            case Wait(event):
                await event.wait()
            case Stall():
                await anyio.sleep_forever()
            case End():
                await self._end()
            case Reset():
                await self._reset()
            case Close():
                await self._stream.aclose()
            case _:
                assert_never(step)

    async def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        self._ends_with_connection = headers.get("connection") == "close"
        self._is_chunked = "content-length" not in headers and not self._ends_with_connection
        lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
        if self._is_chunked:
            lines.append("transfer-encoding: chunked")
        self._is_open = True
        await self._stream.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def _send_body(self, request: ReceivedRequest, data: bytes) -> None:
        await self._stream.send(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)
        request.sent_bytes += len(data)

    async def _end(self) -> None:
        self._is_open = False
        if self._is_chunked:
            await self._stream.send(b"0\r\n\r\n")

    async def _reset(self) -> None:
        raw_socket = self._stream.extra(SocketAttribute.raw_socket)
        with suppress(OSError):  # the other side may have closed it
            raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await anyio.aclose_forcefully(self._stream)

    async def _more(self) -> None:
        self._grew = anyio.Event()
        await self._grew.wait()
