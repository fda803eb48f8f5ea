"""Bytes in, bytes out: what one connection does, with a handler of the test's own behind it."""

from __future__ import annotations

import anyio
import pytest

from claude_bridge.errors import BridgeError
from claude_bridge.server.http1 import HttpRequest, Responder, ServerLimits
from tests.fake_upstream import WAIT_S
from tests.server.served import HandlerServer, get

pytestmark = pytest.mark.anyio


async def echo(request: HttpRequest, responder: Responder) -> None:
    body = await request.read_body()
    await responder.send(200, b"%b %b %b" % (request.method.encode(), request.path.encode(), body))


async def start_streaming(request: HttpRequest, responder: Responder) -> None:
    """Stream two parts to /stream; echo everything else."""
    if request.path != "/stream":
        await echo(request, responder)
        return
    responder.start_stream()
    await responder.write(b"one")
    await responder.write(b"two")
    await responder.end()


def with_body(body: bytes, *, path: str = "/", length: int | None = None) -> bytes:
    return b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (
        path.encode(),
        len(body) if length is None else length,
        body,
    )


async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with HandlerServer(echo) as server, server.connect() as wire:
        for path in ("/a", "/b"):
            await wire.send(get(path))
            assert (await wire.response()).body == f"GET {path} ".encode()


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with HandlerServer(start_streaming) as server, server.connect() as wire:
        await wire.send(with_body(b"first") + get("/stream") + with_body(b"third"))
        bodies = [(await wire.response()).body for _ in range(3)]
        assert bodies == [b"POST / first", b"onetwo", b"POST / third"]


async def test_who_sends_many_requests_at_once_lets_others_have_their_turn() -> None:
    go_on, is_waiting, handled = anyio.Event(), anyio.Event(), list[str]()

    async def note(request: HttpRequest, responder: Responder) -> None:
        if request.path == "/first":
            is_waiting.set()
            await go_on.wait()
        handled.append(request.path)
        await echo(request, responder)

    async with HandlerServer(note) as server, server.connect() as many, server.connect() as one:
        await many.send(get("/first") + get("/many") * 500)
        await is_waiting.wait()
        await one.send(get("/one"))
        go_on.set()
        assert (await one.response()).body == b"GET /one "
        assert handled.count("/many") < 500


async def test_a_request_that_comes_while_an_answer_streams_is_answered_after_it() -> None:
    go_on = anyio.Event()

    async def slowly(request: HttpRequest, responder: Responder) -> None:
        if request.path == "/next":
            await echo(request, responder)
            return
        responder.start_stream()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(responder.cancel_when_client_leaves, anyio.CancelScope())
            await responder.write(b"one")
            await go_on.wait()
            await responder.end()
            tasks.cancel_scope.cancel()

    async with HandlerServer(slowly) as server, server.connect() as wire:
        await wire.send(get("/slow"))
        await wire.head()
        assert await wire.chunk() == b"one"
        await wire.send(get("/next")[:10])
        await wire.send(get("/next")[10:])
        go_on.set()
        assert await wire.chunk() == b""
        assert (await wire.response()).body == b"GET /next "


async def test_more_pipelined_bytes_than_the_buffer_holds_arrive_whole() -> None:
    body = bytes(range(256)) * 4096
    go_on = anyio.Event()

    async def watched(request: HttpRequest, responder: Responder) -> None:
        async with anyio.create_task_group() as tasks:

            async def fail_when_client_leaves() -> None:
                await responder.cancel_when_client_leaves(anyio.CancelScope())
                raise AssertionError("it has not left")

            tasks.start_soon(fail_when_client_leaves)
            await go_on.wait()
            tasks.cancel_scope.cancel()
        await responder.send(200, await request.read_body())

    async with HandlerServer(watched) as server, server.connect() as wire:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wire.send, with_body(b"first") + with_body(body))
            await anyio.wait_all_tasks_blocked()
            go_on.set()
        assert (await wire.response()).body == b"first"
        assert (await wire.response()).body == body


async def test_a_body_may_come_byte_by_byte() -> None:
    async with HandlerServer(echo) as server, server.connect() as wire:
        for byte in with_body(b"slowly"):
            await wire.send(bytes([byte]))
        assert (await wire.response()).body == b"POST / slowly"


async def test_a_body_may_come_in_chunks() -> None:
    async with HandlerServer(echo) as server, server.connect() as wire:
        await wire.send(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await wire.send(b"2\r\nde\r\n0\r\n\r\n" + get("/next"))
        assert (await wire.response()).body == b"POST / abcde"
        assert (await wire.response()).body == b"GET /next "


async def test_a_client_that_expects_100_is_reported_to_go_on() -> None:
    async with HandlerServer(echo) as server, server.connect() as wire:
        await wire.send(b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        assert (await wire.response()).status == 100
        await wire.send(b"hi")
        assert (await wire.response()).body == b"POST / hi"


async def test_head_gets_the_headers_of_get_and_no_body() -> None:
    async with HandlerServer(echo) as server, server.connect() as wire:
        await wire.send(get("/a", method="HEAD") + get("/b"))
        head = await wire.response(to_head=True)
        assert (head.status, head.headers["content-length"]) == (200, str(len("HEAD /a ")))
        assert (await wire.response()).body == b"GET /b "


async def test_a_whole_url_as_target_is_understood() -> None:
    async with HandlerServer(echo) as server:
        assert (await server.ask(get("http://localhost:1/a/b?c=d", host="localhost:1"))).body == b"GET /a/b "


async def test_http_1_0_is_answered_and_its_connection_closed() -> None:
    async with HandlerServer(start_streaming) as server, server.connect() as wire:
        await wire.send(b"GET /stream HTTP/1.0\r\n\r\n")
        head = await wire.head()
        assert "transfer-encoding" not in head.headers
        assert await wire._exactly(6) == b"onetwo"
        assert await wire.is_closed()


async def test_connection_close_is_honoured() -> None:
    async with HandlerServer(echo) as server, server.connect() as wire:
        await wire.send(get("/", connection="close"))
        assert (await wire.response()).headers["connection"] == "close"
        assert await wire.is_closed()


async def test_each_answer_has_a_request_id_and_a_date() -> None:
    async with HandlerServer(echo) as server, server.connect() as wire:
        await wire.send(get("/") + get("/"))
        first, second = await wire.response(), await wire.response()
        assert first.headers["date"].endswith("GMT")
        assert first.headers["request-id"] != second.headers["request-id"]


SMALL = ServerLimits(
    max_header_bytes=1000, max_body_bytes=100, header_timeout_s=0.05, body_timeout_s=0.05, idle_timeout_s=0.05
)


@pytest.mark.parametrize(
    ("data", "status", "error_type", "words"),
    [
        pytest.param(b"nonsense\r\n\r\n", 400, "invalid_request_error", "valid HTTP", id="no HTTP"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00", 400, "invalid_request_error", "http://", id="TLS"),
        pytest.param(
            b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: no\r\n\r\n", 400, "invalid_request_error", "", id="length"
        ),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, "invalid_request_error", "Host", id="no host"),
        pytest.param(
            b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
            400,
            "invalid_request_error",
            "",
            id="broken chunk",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nhost: x\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\n",
            415,
            "invalid_request_error",
            "content-encoding",
            id="compressed",
        ),
        pytest.param(get("/", padding="x" * 2000)[:-2], 431, "invalid_request_error", "1000 bytes", id="headers"),
        pytest.param(with_body(b"", length=101), 413, "request_too_large", "100 bytes", id="declared body"),
        pytest.param(
            b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n65\r\n" + b"x" * 101,
            413,
            "request_too_large",
            "100 bytes",
            id="chunked body",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 101\r\n\r\n",
            413,
            "request_too_large",
            "100 bytes",
            id="before 100-continue",
        ),
        pytest.param(b"GET / HT", 408, "invalid_request_error", "headers", id="slow headers"),
        pytest.param(with_body(b"x", length=2), 408, "invalid_request_error", "body", id="slow body"),
    ],
)
async def test_a_request_that_cannot_be_read_is_refused_and_the_connection_closed(
    data: bytes, status: int, error_type: str, words: str
) -> None:
    async with HandlerServer(echo, SMALL) as server, server.connect() as wire:
        await wire.send(data)
        response = await wire.response()
        assert response.status == status
        assert response.json["type"] == "error"
        assert response.json["error"]["type"] == error_type
        assert words in response.json["error"]["message"]
        assert response.json["request_id"] == response.headers["request-id"]
        assert response.headers["connection"] == "close"
        assert await wire.is_closed()


async def test_a_client_that_is_still_sending_is_not_cut_off_by_a_refusal() -> None:
    async with HandlerServer(echo, SMALL) as server, server.connect() as wire:
        await wire.send(with_body(b"", length=1_000_000))
        assert (await wire.response()).status == 413
        for _ in range(10):
            await wire.send(b"x" * 100_000)
        assert await wire.is_closed()


async def test_a_slow_second_request_times_out_too() -> None:
    async with HandlerServer(echo, SMALL) as server, server.connect() as wire:
        await wire.send(get("/") + b"GET / HT")
        assert (await wire.response()).status == 200
        assert (await wire.response()).status == 408


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    async with HandlerServer(echo, SMALL) as server, server.connect() as wire:
        assert await wire.is_closed()
    async with HandlerServer(echo, SMALL) as server, server.connect() as wire:
        await wire.send(get("/"))
        await wire.response()
        assert await wire.is_closed()


@pytest.mark.parametrize("sent", [b"", b"GET / HT", with_body(b"x", length=2)], ids=["idle", "headers", "body"])
async def test_a_client_that_leaves_before_its_request_is_whole_harms_nobody(sent: bytes) -> None:
    async with HandlerServer(echo) as server:
        async with server.connect() as wire:
            await wire.send(sent or b"\r\n")
        assert (await server.ask(get("/"))).status == 200


async def test_a_client_that_has_shut_down_its_side_still_gets_its_answer() -> None:
    async with HandlerServer(echo) as server, server.connect() as wire:
        await wire.send(get("/"))
        await wire.stream.send_eof()
        assert (await wire.response()).status == 200


async def fail(request: HttpRequest, responder: Responder) -> None:
    """Have a bug on /bug, before or in the middle of an answer; echo everything else."""
    if request.path == "/late-bug":
        responder.start_stream()
        await responder.write(b"one")
    if request.path.endswith("bug"):
        async with anyio.create_task_group():
            raise LookupError("not\nfound")
    await echo(request, responder)


async def test_a_bug_is_answered_with_500_and_reported_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    async with HandlerServer(fail) as server, server.connect() as wire:
        await wire.send(get("/bug") + get("/next"))
        response = await wire.response()
        assert (response.status, response.json["error"]["type"]) == (500, "api_error")
        assert "LookupError" in response.json["error"]["message"]
        assert (await wire.response()).status == 200
    reported = capsys.readouterr().err
    assert reported.count("\n") == 1
    assert response.headers["request-id"] in reported
    assert "LookupError" in reported


async def test_a_bug_in_the_middle_of_a_stream_cuts_it_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    async with HandlerServer(fail) as server:
        async with server.connect() as wire:
            await wire.send(get("/late-bug"))
            await wire.head()
            assert await wire.chunk() == b"one"
            assert await wire.is_closed()
        assert (await server.ask(get("/next"))).status == 200
    assert "LookupError" in capsys.readouterr().err


async def test_a_bridge_error_with_a_time_to_wait_says_so() -> None:
    async def refuse(_request: HttpRequest, responder: Responder) -> None:
        await responder.send_error(BridgeError("busy", retry_after_s=0.2))

    async with HandlerServer(refuse) as server:
        assert (await server.ask(get("/"))).headers["retry-after"] == "1"


async def test_a_client_that_does_not_read_is_given_up() -> None:
    gone = anyio.Event()

    async def pour(_request: HttpRequest, responder: Responder) -> None:
        responder.start_stream()
        async with anyio.create_task_group() as tasks:

            async def cancel_when_client_leaves() -> None:
                await responder.cancel_when_client_leaves(anyio.CancelScope())
                gone.set()
                tasks.cancel_scope.cancel()

            tasks.start_soon(cancel_when_client_leaves)
            while True:
                await responder.write(b"x" * 1_000_000)

    async with HandlerServer(pour, ServerLimits(write_timeout_s=0.1)) as server, server.connect() as wire:
        await wire.send(get("/"))
        with anyio.fail_after(WAIT_S):
            await gone.wait()
