"""Streams over TLS and through proxies, by httpx: the same promises as on the fast path, on real sockets."""

from __future__ import annotations

import gzip
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSListener

from claude_bridge.adapters.base import OutgoingRequest
from claude_bridge.attachments.public_web import PublicWeb
from claude_bridge.conversion.upstream_errors.translate import explain_refusal
from claude_bridge.errors import UpstreamBrokenError, UpstreamDroppedError
from claude_bridge.upstream.client import UpstreamClient
from tests.tls_engine import AUTHORITY
from tests.upstream.test_network import proxy_to, trusted

__all__ = ["trusted"]  # the fixture

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.usefixtures("trusted"),
    pytest.mark.filterwarnings("ignore:Async generator '(httpx|httpcore):ResourceWarning"),
]

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"


class Engine:
    """An engine behind TLS that does what a function does with each connection."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.closed = anyio.Event()
        self.port = 0

    async def read(self, stream: ByteStream) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += await stream.receive()
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
        pieces = [body]
        while length > sum(map(len, pieces)):
            pieces.append(await stream.receive())
        self.requests.append(head)


@asynccontextmanager
async def engine_of(serve: Callable[[Engine, ByteStream], Awaitable[None]]) -> AsyncIterator[Engine]:
    engine = Engine()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost", "engine.example").configure_cert(context)

    async def handle(stream: ByteStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                await serve(engine, stream)
        engine.closed.set()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    engine.port = listener.extra(SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(TLSListener(listener, context, standard_compatible=False).serve, handle)
        with anyio.fail_after(60):
            yield engine
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def client_of(
    serve: Callable[[Engine, ByteStream], Awaitable[None]],
) -> AsyncIterator[tuple[Engine, UpstreamClient]]:
    async with (
        engine_of(serve) as engine,
        UpstreamClient(f"https://localhost:{engine.port}/v1", api_key="sk-a-secret-key", name="It") as client,
    ):
        yield engine, client


def request_of(size: int = 10) -> OutgoingRequest:
    return OutgoingRequest(method="POST", path="/chat/completions", body=b"x" * size)


async def body_of(client: UpstreamClient, size: int = 10) -> bytes:
    body = b""
    async with client.open(request_of(size), explain_refusal, idle_s=5) as call:
        while data := await call.receive():
            body += data
    return body


async def test_an_answer_streams_and_silence_in_it_loses_nothing() -> None:
    go_on = anyio.Event()

    async def serve(engine: Engine, stream: ByteStream) -> None:
        await engine.read(stream)
        await stream.send(HEAD + b"3\r\none\r\n")
        await go_on.wait()
        await stream.send(b"3\r\ntwo\r\n0\r\n\r\n")
        await stream.receive()

    async with client_of(serve) as (engine, client), client.open(request_of(), explain_refusal, idle_s=0.05) as call:
        while (data := await call.receive()) is None:
            pass
        assert data == b"one"
        assert [await call.receive() for _ in range(2)] == [None] * 2
        go_on.set()
        while (data := await call.receive()) is None:
            pass
        assert data == b"two"
        assert await call.receive() == b""
        (head,) = engine.requests
        assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
        assert b"authorization: bearer sk-a-secret-key" in head.lower()
        assert b"accept-encoding: identity" in head.lower()


async def test_whoever_leaves_closes_the_connection_at_once() -> None:
    async def serve(engine: Engine, stream: ByteStream) -> None:
        await engine.read(stream)
        await stream.send(HEAD + b"3\r\none\r\n")
        await stream.receive()

    async with client_of(serve) as (engine, client):
        async with client.open(request_of(), explain_refusal, idle_s=5) as call:
            assert await call.receive() == b"one"
        with anyio.fail_after(30):  # the engine of this test waits for 60
            await engine.closed.wait()


async def test_a_large_request_is_sent_whole() -> None:
    async def serve(engine: Engine, stream: ByteStream) -> None:
        await engine.read(stream)
        await stream.send(WHOLE + b"one")

    async with client_of(serve) as (engine, client):
        assert await body_of(client, 5_000_000) == b"one"
        assert b"content-length: 5000000" in engine.requests[0].lower()


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (b"", UpstreamDroppedError, "closed the connection without an answer"),
        (HEAD + b"3\r\none\r\n", UpstreamBrokenError, "broke off its answer"),
        (b"SSH-2.0\r\n\r\n", UpstreamBrokenError, "broke off its answer"),
    ],
    ids=["no answer", "cut", "no HTTP"],
)
async def test_an_answer_that_breaks_is_reported_and_not_requested_again(
    answer: bytes, error: type[Exception], words: str
) -> None:
    async def serve(engine: Engine, stream: ByteStream) -> None:
        await engine.read(stream)
        if answer:
            await stream.send(answer)

    async with client_of(serve) as (engine, client):
        with pytest.raises(error, match=words):
            await body_of(client)
        assert len(engine.requests) == 1


async def test_a_second_answer_that_was_not_requested_reaches_nobody() -> None:
    async def serve(engine: Engine, stream: ByteStream) -> None:
        await engine.read(stream)
        await stream.send(WHOLE + b"one" + WHOLE + b"BAD")
        await stream.receive()

    async with client_of(serve) as (_, client):
        assert [await body_of(client) for _ in range(3)] == [b"one"] * 3


async def test_an_answer_that_is_compressed_unasked_is_refused_and_not_unpacked() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)

    async def serve(engine: Engine, stream: ByteStream) -> None:
        await engine.read(stream)
        await stream.send(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(bomb) + bomb)

    async with client_of(serve) as (_, client):
        with pytest.raises(UpstreamBrokenError, match=r"compressed answer \(gzip\), which was not requested"):
            await body_of(client)


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_proxy_leads_to_the_address_that_was_checked_and_the_certificate_is_the_names(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    async def serve(engine: Engine, stream: ByteStream) -> None:
        await engine.read(stream)
        await stream.send(WHOLE + b"one")

    async def resolve(host: str, port: int) -> list[str]:
        return ["93.184.216.34"]

    async with engine_of(serve) as engine, proxy_to(engine.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://127.0.0.1:{proxy.port}")
        document = await PublicWeb(resolve=resolve).fetch("https://engine.example/a.txt")
        assert document.body == b"one"
        assert proxy.targets == ["CONNECT 93.184.216.34:443" if scheme == "http" else "5db8d822:443"]
        assert b"host: engine.example" in engine.requests[0].lower()


def test_httpx_is_not_imported_for_an_engine_in_plain_http() -> None:
    code = (
        "import sys, claude_bridge.server.app, claude_bridge.app.build, claude_bridge.attachments.prepare\n"
        "from claude_bridge.upstream.client import transport_to\n"
        "from claude_bridge.wire.urls import parse_url\n"
        "transport_to(parse_url('http://localhost:11434'), {})\n"
        "assert not {'httpx', 'httpcore'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
