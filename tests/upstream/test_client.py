"""The HTTP client on a real socket: what it sends, what it hands over, and how it tells failures."""

from __future__ import annotations

import gzip
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import anyio
import pytest

from claude_bridge.adapters.base import OutgoingRequest
from claude_bridge.conversion.upstream_errors.translate import explain_refusal
from claude_bridge.errors import (
    BridgeError,
    PromptTooLongError,
    UpstreamBrokenError,
    UpstreamDroppedError,
    UpstreamRefusedError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from claude_bridge.upstream.call import MAX_REFUSAL_BYTES, UpstreamCall
from claude_bridge.upstream.client import UpstreamClient, advice_on
from tests.fake_upstream import (
    Close,
    End,
    FakeUpstream,
    Head,
    Pause,
    Raw,
    Reply,
    Reset,
    Send,
    Stall,
    Step,
    Wait,
    document,
    refusal,
)

pytestmark = pytest.mark.anyio

REQUEST = OutgoingRequest(method="POST", path="/chat/completions", body=b'{"stream":true}')
KEY = "sk-very-secret-key"


@asynccontextmanager
async def client_of(base_url: str, api_key: str | None = None) -> AsyncIterator[UpstreamClient]:
    async with UpstreamClient(base_url, api_key=api_key, name="The engine") as client:
        yield client


@asynccontextmanager
async def call_of(client: UpstreamClient, *, idle_s: float = 5.0) -> AsyncIterator[UpstreamCall]:
    with anyio.fail_after(60):
        async with client.open(REQUEST, explain_refusal, idle_s=idle_s) as call:
            yield call


async def body_of(client: UpstreamClient) -> bytes:
    """Return the whole body of one answer."""
    body = b""
    async with call_of(client) as call:
        while data := await call.receive():
            body += data
    return body


async def error_of(base_url: str, api_key: str | None = None) -> BridgeError:
    """Return the error in which one call ends."""
    async with client_of(base_url, api_key) as client:
        with pytest.raises(BridgeError) as caught:
            await body_of(client)
    return caught.value


@contextmanager
def closed_port() -> Iterator[int]:
    """Yield a port that refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


# --- the request ----------------------------------------------------------------------------------------------


async def test_the_request_goes_out_with_key_and_length() -> None:
    async with FakeUpstream([document(b"ok")]) as upstream, client_of(upstream.base_url + "/", KEY) as client:
        assert await body_of(client) == b"ok"
        request = upstream.requests[0]
        assert (request.method, request.path, request.body) == ("POST", "/v1/chat/completions", REQUEST.body)
        assert request.headers["authorization"] == f"Bearer {KEY}"
        assert request.headers["host"] == f"127.0.0.1:{upstream.port}"
        assert request.headers["content-type"] == "application/json"
        assert request.headers["user-agent"].startswith("claude-bridge/")


async def test_a_query_of_the_base_url_comes_behind_the_path() -> None:
    async with (
        FakeUpstream([document(b"ok")], documents={"/v1/models?api-version=1": document(b"[]")}) as upstream,
        client_of(f"{upstream.base_url}/?api-version=1") as client,
    ):
        assert await body_of(client) == b"ok"
        assert upstream.requests[0].path == "/v1/chat/completions?api-version=1"
        assert (await client.fetch("/models", timeout_s=5)).body == b"[]"
        assert (await client.fetch("/props", timeout_s=5, at_root=True)).status == 404
        assert upstream.probes[1].path == "/props?api-version=1"


async def test_without_a_key_none_is_sent() -> None:
    async with FakeUpstream([document(b"ok")]) as upstream, client_of(upstream.base_url) as client:
        await body_of(client)
        assert "authorization" not in upstream.requests[0].headers


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"])
async def test_proxies_are_ignored_for_this_machine(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    async with FakeUpstream([document(b"ok")]) as upstream, client_of(upstream.base_url) as client:
        assert await body_of(client) == b"ok"
        assert (await client.fetch("/models", timeout_s=5)).status == 200


async def test_proxies_are_used_for_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeUpstream([document(b"by proxy")]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        async with client_of("http://engine.example/v1") as client:
            assert await body_of(client) == b"by proxy"
        assert proxy.requests[0].path == "http://engine.example/v1/chat/completions"


# --- the answer -----------------------------------------------------------------------------------------------


async def test_what_came_between_two_calls_is_handed_over_at_once() -> None:
    steps: Reply = [Head(), Raw(b"1\r\nx\r\n" * 50), End()]
    async with FakeUpstream([steps]) as upstream, client_of(upstream.base_url) as client, call_of(client) as call:
        await (await upstream.request()).replied.wait()
        await anyio.wait_all_tasks_blocked()
        assert await call.receive() == b"x" * 50
        assert call.status == 200
        assert await call.receive() == b""


async def test_silence_is_reported_again_and_again_and_bytes_end_it() -> None:
    go_on = anyio.Event()
    steps: Reply = [Head(), Wait(go_on), Send(b"x")]
    async with (
        FakeUpstream([steps]) as upstream,
        client_of(upstream.base_url) as client,
        call_of(client, idle_s=0.02) as call,
    ):
        assert [await call.receive() for _ in range(3)] == [None] * 3
        go_on.set()
        while (data := await call.receive()) is None:
            pass
        assert data == b"x"


async def test_a_receiver_that_waits_no_longer_loses_nothing() -> None:
    go_on = anyio.Event()
    steps: Reply = [Head(), Wait(go_on), Send(b"x")]
    async with FakeUpstream([steps]) as upstream, client_of(upstream.base_url) as client, call_of(client) as call:
        with anyio.move_on_after(0.05):
            await call.receive()
        go_on.set()
        assert await call.receive() == b"x"


async def test_the_connection_is_used_again_after_a_whole_answer() -> None:
    async with FakeUpstream([document(b"1"), [Head(), Send(b"2")], refusal(429, "3"), document(b"4")]) as upstream:
        async with client_of(upstream.base_url) as client:
            assert [await body_of(client), await body_of(client)] == [b"1", b"2"]
            with pytest.raises(UpstreamRefusedError):
                await body_of(client)
            assert await body_of(client) == b"4"
        assert upstream.connections == 1


async def test_an_answer_that_is_left_half_read_closes_its_connection() -> None:
    script: list[Reply] = [[Head(), Send(b"1"), Stall()], document(b"2")]
    async with FakeUpstream(script) as upstream, client_of(upstream.base_url) as client:
        async with call_of(client) as call:
            assert await call.receive() == b"1"
        await upstream.requests[0].wait_until_closed_by_peer()
        assert await body_of(client) == b"2"


async def test_an_answer_whose_last_bytes_follow_soon_keeps_its_connection() -> None:
    async with FakeUpstream([[Head(), Send(b"1"), Pause(0.02), End()], document(b"2")]) as upstream:
        async with client_of(upstream.base_url) as client:
            async with call_of(client) as call:
                assert await call.receive() == b"1"
            assert await body_of(client) == b"2"
        assert upstream.connections == 1


async def test_being_cancelled_closes_the_connection_before_the_first_byte() -> None:
    async with FakeUpstream([[Stall()]]) as upstream, client_of(upstream.base_url) as client:
        with anyio.move_on_after(0.05) as scope:
            await body_of(client)
        assert scope.cancelled_caught
        await (await upstream.request()).wait_until_closed_by_peer()


async def test_an_error_inside_the_call_comes_out_as_itself() -> None:
    async with FakeUpstream([[Stall()]]) as upstream, client_of(upstream.base_url) as client:
        with pytest.raises(LookupError, match="mine"):
            async with call_of(client):
                raise LookupError("mine")


async def test_an_error_while_being_cancelled_comes_out_as_itself() -> None:
    async with FakeUpstream([[Stall()]]) as upstream, client_of(upstream.base_url) as client:

        async def cancel_and_fail(scope: anyio.CancelScope) -> None:
            async with client.open(REQUEST, explain_refusal, idle_s=5):
                await upstream.request()
                scope.cancel()
                raise LookupError("mine")

        with anyio.CancelScope() as scope, pytest.raises(LookupError, match="mine"):
            await cancel_and_fail(scope)


# --- trying again ---------------------------------------------------------------------------------------------


async def test_what_came_before_a_broken_chunk_is_handed_over() -> None:
    reply: Reply = [Head(), Raw(b"3\r\none\r\nzzz\r\n")]
    async with FakeUpstream([reply]) as upstream, client_of(upstream.base_url) as client, call_of(client) as call:
        assert await call.receive() == b"one"
        with pytest.raises(UpstreamBrokenError, match="broke off its answer"):
            await call.receive()


async def test_idle_connections_that_were_closed_are_not_used_however_many_there_are() -> None:
    close = anyio.Event()
    reply: Reply = [*document(b"1"), End(), Wait(close), Close()]
    async with FakeUpstream([reply, reply, reply, document(b"2")]) as upstream, client_of(upstream.base_url) as client:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(body_of, client)
        close.set()
        for request in upstream.requests:
            await request.replied.wait()
        await anyio.wait_all_tasks_blocked()
        assert await body_of(client) == b"2"
        assert upstream.connections == 4


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([Head(), Close()], id="after the head"),
        pytest.param([Raw(b"HTTP/1.1 200"), Close()], id="in the head"),
        pytest.param([Head(), Send(b"1"), Reset()], id="after the first bytes"),
    ],
)
async def test_a_request_that_got_an_answer_is_never_sent_again(steps: Reply) -> None:
    async with FakeUpstream([steps, document(b"2")]) as upstream:
        assert isinstance(await error_of(upstream.base_url), UpstreamBrokenError)
        assert len(upstream.requests) == 1


async def test_an_engine_that_breaks_down_after_a_while_is_not_asked_twice() -> None:
    async with FakeUpstream([[Pause(1.05), Close()], document(b"2")]) as upstream:
        assert isinstance(await error_of(upstream.base_url), UpstreamDroppedError)
        assert len(upstream.requests) == 1


async def test_an_engine_that_starts_in_the_same_moment_is_found() -> None:
    async def is_found() -> bool:
        upstream = FakeUpstream([document(b"ok")])
        with closed_port() as port:
            upstream.port = port

        async def start_late() -> None:
            await anyio.sleep(0.03)  # the first try must find nobody; the second one comes after 0.1 s
            async with upstream:
                await is_over.wait()

        is_over, body = anyio.Event(), b""
        async with client_of(upstream.base_url) as client, anyio.create_task_group() as tasks:
            tasks.start_soon(start_late)
            with suppress(UpstreamUnreachableError):  # a busy machine starts it too late
                body = await body_of(client)
            is_over.set()
        return body == b"ok"

    assert any([await is_found() for _ in range(5)])


# --- failures -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("trouble", "advice"), [
    ("refused the connection. Is it running? Start it: `ollama serve`", "If it runs elsewhere, give its address"),
    ("refused the connection. Is it running?", "Start it, or check --base-url"),
    ("can't be reached: the proxy http://p (from ALL_PROXY) refused the connection.", "Correct the proxy's variable"),
    ("can't be found: the host name is unknown.", "Check --base-url, and the network"),
])  # fmt: skip
def test_the_advice_on_an_engine_that_does_not_answer_fits_the_reason(trouble: str, advice: str) -> None:
    assert advice_on(UpstreamUnreachableError(f"The engine at http://x {trouble}")).startswith(advice)


async def test_a_refused_connection_is_reported() -> None:
    with closed_port() as port:
        error = await error_of(f"http://127.0.0.1:{port}/v1")
    assert isinstance(error, UpstreamUnreachableError)
    assert error.message == f"The engine at http://127.0.0.1:{port}/v1 refused the connection. Is it running?"


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_an_unknown_host_is_reported(scheme: str) -> None:
    error = await error_of(f"{scheme}://engine.invalid/v1")
    assert isinstance(error, UpstreamUnreachableError)
    assert error.message == f"The engine at {scheme}://engine.invalid/v1 can't be found: the host name is unknown."


async def test_tls_to_a_plain_port_is_reported() -> None:
    async with FakeUpstream([document(b"ok")]) as upstream:
        error = await error_of(f"https://127.0.0.1:{upstream.port}/v1")
    assert isinstance(error, UpstreamUnreachableError)
    assert "does not speak TLS" in error.message


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        pytest.param([Close()], "without an answer", id="closed at once"),
        pytest.param([Reset()], "without an answer", id="reset at once"),
        pytest.param([Head(), Send(b"1"), Close()], "broke off its answer", id="cut"),
        pytest.param([Head(), Send(b"1"), Reset()], "broke off its answer", id="reset"),
        pytest.param([Raw(b"SSH-2.0-OpenSSH\r\n\r\n")], "broke off its answer", id="no HTTP"),
        pytest.param([Head(), Raw(b"zzz\r\n")], "broke off its answer", id="broken chunks"),
        pytest.param([Raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 2000)], "interim answers", id="interim answers only"),
    ],
)
async def test_a_broken_answer_is_reported(steps: Reply, words: str) -> None:
    async with FakeUpstream([steps] * 2) as upstream:
        error = await error_of(upstream.base_url, KEY)
        assert isinstance(error, UpstreamBrokenError)
        assert error.message.startswith(f"The engine at {upstream.base_url} ")
        assert words in error.message
        assert KEY not in error.message


async def test_bytes_before_a_failure_are_handed_over() -> None:
    steps: Reply = [Head(), Send(b"1"), Close()]
    async with FakeUpstream([steps]) as upstream, client_of(upstream.base_url) as client, call_of(client) as call:
        assert await call.receive() == b"1"
        with pytest.raises(UpstreamBrokenError):
            await call.receive()


@pytest.mark.parametrize("key", [KEY, "an-odd~key"])
async def test_a_refusal_does_not_give_the_key_away(key: str) -> None:
    async with FakeUpstream([refusal(401, f"Incorrect key: {key}")]) as upstream:
        error = await error_of(upstream.base_url, key)
        assert key not in error.message
        assert "[key removed]" in error.message


async def test_a_short_key_is_not_looked_for() -> None:
    async with FakeUpstream([refusal(400, "exceeds 1")]) as upstream:
        assert "exceeds 1" in (await error_of(upstream.base_url, "1")).message


async def test_a_refusal_is_understood_before_the_key_is_taken_out_of_its_words() -> None:
    words = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."
    async with FakeUpstream([refusal(400, words)]) as upstream:
        assert isinstance(await error_of(upstream.base_url, "maximum context"), PromptTooLongError)


async def test_a_huge_refusal_is_cut() -> None:
    reply: Reply = [Head(500, {"content-type": "text/plain"}), *[Send(b"x" * 10_000)] * 200, Stall()]
    async with FakeUpstream([reply]) as upstream, client_of(upstream.base_url) as client, call_of(client) as call:
        with pytest.raises(BridgeError) as caught:
            await call.receive()
        assert len(caught.value.message) < 1000
        assert len(call.refusal) <= 2 * MAX_REFUSAL_BYTES  # the last read may bring as much again


# --- documents ------------------------------------------------------------------------------------------------


async def test_a_document_is_fetched_whole_whatever_its_status() -> None:
    documents = {"/v1/models": document(b"no", status=418, headers={"x-a": "b"})}
    async with FakeUpstream(documents=documents) as upstream, client_of(upstream.base_url, KEY) as client:
        found = await client.fetch("/models", timeout_s=5)
        assert (found.status, found.headers["x-a"], found.body) == (418, "b", b"no")
        assert upstream.probes[0].headers["authorization"] == f"Bearer {KEY}"


async def test_headers_of_the_user_stand_before_the_key_in_requests_and_questions() -> None:
    headers = {"authorization": "Basic own"}
    async with (
        FakeUpstream([document(b"ok")], documents={"/v1/models": document(b"[]")}) as upstream,
        UpstreamClient(upstream.base_url, api_key=KEY, name="The engine", headers=headers) as client,
    ):
        await body_of(client)
        await client.fetch("/models", timeout_s=5)
        sent = [*upstream.requests, *upstream.probes]
        assert [request.headers["authorization"] for request in sent] == ["Basic own", "Basic own"]


async def test_a_document_that_does_not_come_in_time_is_reported() -> None:
    async with FakeUpstream(documents={"/v1/models": [Stall()]}) as upstream, client_of(upstream.base_url) as client:
        with pytest.raises(BridgeError, match=r"did not answer within 0\.05 s"):
            await client.fetch("/models", timeout_s=0.05)


async def test_a_document_without_end_is_given_up() -> None:
    reply: Reply = [Head(), *[Send(b"x" * 1_000_000)] * 20, Stall()]
    async with FakeUpstream(documents={"/v1/models": reply}) as upstream, client_of(upstream.base_url) as client:
        with pytest.raises(UpstreamBrokenError, match="sent more than 16 MiB at /models"):
            await client.fetch("/models", timeout_s=20)
        await upstream.probes[0].wait_until_closed_by_peer()


async def test_a_document_that_drips_is_given_up_in_time() -> None:
    drops: list[Step] = [Send(b"x"), Pause(0.02)]
    reply: Reply = [Head(), *drops * 100]
    async with FakeUpstream(documents={"/v1/models": reply}) as upstream, client_of(upstream.base_url) as client:
        with pytest.raises(UpstreamTimeoutError):
            await client.fetch("/models", timeout_s=0.2)


async def test_a_redirect_is_not_followed() -> None:
    moved = document(b"", status=302, headers={"location": "/v1/elsewhere"})
    async with (
        FakeUpstream([moved], documents={"/v1/models": moved}) as upstream,
        client_of(upstream.base_url) as client,
    ):
        assert (await client.fetch("/models", timeout_s=5)).status == 302
        with pytest.raises(UpstreamRefusedError):
            await body_of(client)
        assert (len(upstream.probes), len(upstream.requests)) == (1, 1)


# --- what is compressed, though it was not asked for ----------------------------------------------------------


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
@pytest.mark.parametrize("status", [200, 400])
async def test_an_answer_that_is_compressed_unasked_is_refused(encoding: str, status: int) -> None:
    packed = document(gzip.compress(b"data: hello\n\n"), status=status, headers={"content-encoding": encoding})
    async with FakeUpstream([packed]) as upstream:
        error = await error_of(upstream.base_url)
        assert upstream.requests[0].headers["accept-encoding"] == "identity"
    assert isinstance(error, UpstreamBrokenError)
    assert f"sent a compressed answer ({encoding}), which was not requested" in error.message


async def test_a_small_document_that_unpacks_into_a_huge_one_is_given_up() -> None:
    bomb = document(gzip.compress(b"\0" * 50_000_000), headers={"content-encoding": "gzip"})
    async with FakeUpstream(documents={"/v1/models": bomb}) as upstream, client_of(upstream.base_url) as client:
        with pytest.raises(UpstreamBrokenError, match="which was not requested"):
            await client.fetch("/models", timeout_s=20)
