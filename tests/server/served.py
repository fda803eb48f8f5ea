"""A server on a loopback port for one test, and a client that speaks bytes."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import anyio
import msgspec
from anyio.abc import SocketStream

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.engine_profiles import UNKNOWN
from claude_bridge.attachments.prepare import Attachments
from claude_bridge.bridge import ModelBridge
from claude_bridge.exchange import Waiting
from claude_bridge.page.live import LivePage
from claude_bridge.providers import Upstream
from claude_bridge.router import AnyBridge
from claude_bridge.server.app import Service
from claude_bridge.server.http1 import ClientConnection, Handler, ServerLimits
from claude_bridge.server.listener import accept_connections, accept_sockets, open_listener
from claude_bridge.server.memory import MemoryBudget
from claude_bridge.server_tools.tools import WebTools
from claude_bridge.stream_socket import StreamSocket
from claude_bridge.trace.bus import Bus
from claude_bridge.trace.delivery import Sink
from claude_bridge.upstream.client import client_for
from claude_bridge.upstream.request_queue import RequestQueues
from claude_bridge.wire.anthropic_answers import StreamEvent
from claude_bridge.wire.anthropic_codec import parse_stream_event
from claude_bridge.wire.sse import SseDecoder
from tests.fake_upstream import MODEL, WAIT_S, FakeUpstream

QUICK = Waiting(first_byte_grace_s=0.1, keep_alive_s=0.05)
"""For tests of silence."""


class Response(msgspec.Struct, kw_only=True):
    """An answer as it came; ``chunks`` are its HTTP chunks, empty where it has a content-length."""

    status: int
    headers: dict[str, str]
    body: bytes
    chunks: list[bytes]

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def events(self) -> list[StreamEvent]:
        """The body as a stream of events."""
        return parse_events(self.body)


def parse_events(body: bytes) -> list[StreamEvent]:
    return [parse_stream_event(frame.data) for frame in SseDecoder().feed(body)]


class Wire:
    """A client's end of one connection: bytes out, bytes in; every wait has a bound."""

    def __init__(self, stream: SocketStream) -> None:
        self.stream = stream
        self.reads: list[bytes] = []
        """What each read from the socket gave."""
        self._rest = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send(data)

    async def response(self, *, to_head: bool = False) -> Response:
        """Read one whole answer; the answer to a HEAD request has no body."""
        response = await self.head()
        if to_head or response.status == 100:
            return response
        if response.headers.get("transfer-encoding") == "chunked":
            while chunk := await self.chunk():
                response.chunks.append(chunk)
            response.body = b"".join(response.chunks)
        else:
            response.body = await self._exactly(int(response.headers["content-length"]))
        return response

    async def head(self) -> Response:
        """Read the status line and headers only."""
        head = await self._until(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(": ") for line in lines)
        headers = {name.lower(): value for name, _, value in pairs}
        return Response(status=int(status_line.split(" ")[1]), headers=headers, body=b"", chunks=[])

    async def chunk(self) -> bytes:
        """Read one HTTP chunk; the last one is empty."""
        size = int(await self._until(b"\r\n"), 16)
        return (await self._exactly(size + 2))[:-2]

    async def is_closed(self) -> bool:
        """Return whether the server closes the connection without another byte."""
        try:
            with anyio.fail_after(WAIT_S):
                self._rest += await self.stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return not self._rest
        return False

    async def _until(self, mark: bytes) -> bytes:
        while mark not in self._rest:
            await self._more()
        found, _, self._rest = self._rest.partition(mark)
        return found

    async def _exactly(self, size: int) -> bytes:
        while len(self._rest) < size:
            await self._more()
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    async def _more(self) -> None:
        with anyio.fail_after(WAIT_S):
            data = await self.stream.receive()
        self.reads.append(data)
        self._rest += data


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what the operating system is about to bring."""
    with anyio.fail_after(WAIT_S):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await anyio.sleep(0.005)


class Server:
    """Something that listens on ``port``; use it as an async context manager."""

    def __init__(self) -> None:
        self.port = 0
        self._exit = AsyncExitStack()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Wire]:
        stream = await anyio.connect_tcp("127.0.0.1", self.port)
        try:
            yield Wire(stream)
        finally:
            await anyio.aclose_forcefully(stream)

    async def ask(self, data: bytes) -> Response:
        """Send bytes on a connection of their own, and return the answer."""
        async with self.connect() as wire:
            await wire.send(data)
            return await wire.response()

    async def __aenter__(self) -> Server:
        await self._start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit.aclose()  # not told of a test's failure, so that no task group wraps it

    async def _start(self) -> None:
        raise NotImplementedError

    async def _run(self, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Let the server run until the end of the context."""
        tasks = await self._exit.enter_async_context(anyio.create_task_group())
        self._exit.callback(tasks.cancel_scope.cancel)
        tasks.start_soon(serve)


class HandlerServer(Server):
    """Connections with a handler of the test's own behind them."""

    def __init__(self, handler: Handler, limits: ServerLimits | None = None) -> None:
        super().__init__()
        self._handler = handler
        self._limits = limits or ServerLimits()
        self._memory = MemoryBudget(self._limits.max_memory_bytes or 2**30)
        self._ids = iter(range(1, 1000))

    async def _start(self) -> None:
        (listening,), self.port = await open_listener("127.0.0.1", 0)
        self._exit.enter_context(listening)
        await self._run(partial(self._accept, listening))

    async def _accept(self, listening: socket.socket) -> None:
        async with anyio.create_task_group() as tasks:
            async for connected in accept_sockets(listening):
                tasks.start_soon(self._serve, connected)

    async def _serve(self, connected: socket.socket) -> None:
        connection = ClientConnection(
            StreamSocket(connected),
            self._handler,
            limits=self._limits,
            memory=self._memory,
            new_request_id=self._new_request_id,
        )
        await connection.run()

    def _new_request_id(self) -> str:
        return f"req_{next(self._ids)}"


class BridgeServer(Server):
    """The whole bridge before a fake upstream."""

    def __init__(
        self,
        upstream: FakeUpstream | Upstream | str,
        *,
        waiting: Waiting | None = None,
        limits: ServerLimits | None = None,
        sinks: Sequence[Sink] = (),
        sinks_in_threads: bool = False,
        auth_token: str | None = None,
        api_key: str | None = None,
        loopback_only: bool = True,
        model: str = MODEL,
        window_tokens: int | None = None,
        warn: Callable[[str], None] | None = None,
        attachments: Attachments | None = None,
        say: Callable[[str], None] = lambda _: None,
        queues: RequestQueues | None = None,
        web_tools: WebTools | None = None,
        page: LivePage | None = None,
        client_settings: Callable[[AnyBridge], dict[str, str]] | None = None,
        keeps_histories: bool = True,
    ) -> None:
        """``upstream`` is an engine for Chat Completions, unless it says itself how it is asked."""
        super().__init__()
        self.service: Service
        self._upstream = (
            upstream
            if isinstance(upstream, Upstream)
            else Upstream(
                name="The engine",
                base_url=upstream if isinstance(upstream, str) else upstream.base_url,
                model=model,
                adapter=ADAPTERS["openai-chat"],
                profile=UNKNOWN,
                window_tokens=window_tokens,
            )
        )
        self._waiting = waiting
        self._limits = limits
        self._sinks = sinks
        self._sinks_in_threads = sinks_in_threads
        self._warn = warn
        self._attachments = attachments
        self._say = say
        self._queues = queues
        self._web_tools = web_tools
        self._page = page
        self._client_settings = client_settings
        self._keeps_histories = keeps_histories
        self._auth_token = auth_token
        self._api_key = api_key
        self._loopback_only = loopback_only

    async def __aenter__(self) -> BridgeServer:
        await super().__aenter__()
        return self

    async def _start(self) -> None:
        bus = Bus(self._sinks, warn=self._warn, in_threads=self._sinks_in_threads)
        self._exit.callback(bus.close)
        client = client_for(self._upstream, self._api_key)
        await self._exit.enter_async_context(client)
        self.service = Service(
            bus,
            auth_token=self._auth_token,
            loopback_only=self._loopback_only,
            queues=self._queues,
            page=self._page,
            client_settings=self._client_settings,
        )
        bridge = ModelBridge(
            self._upstream,
            client,
            bus=bus,
            waiting=self._waiting,
            attachments=self._attachments,
            queues=self._queues,
            web_tools=self._web_tools,
        )
        self.service.provide(bridge, keeps_histories=self._keeps_histories)
        listening, self.port = await open_listener("127.0.0.1", 0)
        await self._run(partial(self._serve, listening))

    async def _serve(self, listening: Sequence[socket.socket]) -> None:
        await accept_connections(listening, self.service, limits=self._limits, say=self._say)

    async def post(self, path: str, payload: object, **headers: str) -> Response:
        return await self.ask(post(path, payload, **headers))

    async def messages(self, **fields: Any) -> Response:
        """Ask for a message and return the whole answer."""
        return await self.post("/v1/messages", question(**fields))


def question(**fields: Any) -> dict[str, Any]:
    """Return a small Messages request."""
    return {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}], **fields}


def post(path: str, payload: object, **headers: str) -> bytes:
    """Return the bytes of a POST request with a JSON body; underscores in header names stand for hyphens."""
    body = msgspec.json.encode(payload)
    fields = {"host": "localhost", "content-type": "application/json", "content-length": str(len(body))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def get(path: str, *, method: str = "GET", **headers: str) -> bytes:
    """Return the bytes of a request without a body."""
    fields = {"host": "localhost"} | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def streamed(**fields: Any) -> bytes:
    """Return the bytes of a small Messages request that asks for a stream."""
    return post("/v1/messages", question(stream=True, **fields))
