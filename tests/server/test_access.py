"""Who may ask: the token, the names of this machine, and no web page; judged before a body is sent."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress

import anyio
import pytest

from tests.fake_upstream import FakeUpstream, answer
from tests.server.served import BridgeServer, get, post, question

pytestmark = pytest.mark.anyio

UNUSED = "http://127.0.0.1:9/v1"


# --- the token ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"authorization": "Bearer s3cret"}, id="bearer"),
        pytest.param({"authorization": "bearer s3cret"}, id="lower case"),
        pytest.param({"x_api_key": "s3cret"}, id="x-api-key"),
        pytest.param({"authorization": "Bearer s3cret", "x_api_key": "sk-ant-of-another"}, id="with a key of its own"),
    ],
)
async def test_the_token_opens_the_bridge(headers: dict[str, str]) -> None:
    async with FakeUpstream([answer("Hello")]) as upstream, BridgeServer(upstream, auth_token="s3cret") as server:
        assert (await server.post("/v1/messages", question(), **headers)).status == 200


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("name", ["x_api_key", "authorization"])
async def test_a_token_outside_ascii_opens_the_bridge(name: str, encoding: str) -> None:
    token = "schlüssel-é"
    sent = token.encode(encoding).decode("latin-1")  # the test's client writes headers as latin-1
    async with BridgeServer(UNUSED, auth_token=token) as server:
        value = f"Bearer {sent}" if name == "authorization" else sent
        assert (await server.ask(get("/v1/models", **{name: value}))).status == 200
        assert (await server.ask(get("/v1/models", **{name: value[:-1]}))).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"authorization": "Bearer wrong"}, id="wrong bearer"),
        pytest.param({"authorization": "Basic s3cret"}, id="not a bearer"),
        pytest.param({"x_api_key": "s3cre"}, id="wrong key"),
        pytest.param({"x_api_key": "s3cr\xe9t"}, id="not ASCII"),
        pytest.param({"x_api_key": ""}, id="empty"),
    ],
)
async def test_without_the_token_nothing_is_answered_and_nothing_retried(headers: dict[str, str]) -> None:
    async with FakeUpstream() as upstream, BridgeServer(upstream, auth_token="s3cret") as server:
        response = await server.post("/v1/messages", question(), **headers)
        assert (response.status, response.json["error"]["type"]) == (401, "authentication_error")
        assert response.headers["x-should-retry"] == "false"
        assert "s3cret" not in response.body.decode()
        assert not upstream.requests


async def test_health_and_root_need_no_token() -> None:
    async with BridgeServer(UNUSED, auth_token="s3cret") as server:
        assert (await server.ask(get("/healthz"))).status == 200
        assert (await server.ask(get("/"))).status == 200


# --- before the body ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"x_api_key": "wrong"}, 401, id="token"),
        pytest.param({"x_api_key": "s3cret", "origin": "https://evil.example"}, 403, id="page"),
        pytest.param({"x_api_key": "s3cret", "content_type": "text/plain"}, 415, id="type"),
    ],
)
async def test_who_may_not_ask_is_refused_before_the_body_is_sent(headers: dict[str, str], status: int) -> None:
    async with BridgeServer(UNUSED, auth_token="s3cret") as server, server.connect() as wire:
        request = post("/v1/messages", question(), expect="100-continue", **headers)
        await wire.send(request.partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        response = await wire.response()
        assert (response.status, response.headers["connection"]) == (status, "close")


async def test_bodies_of_clients_without_the_token_take_no_memory() -> None:
    size = 4_000_000
    head = post("/v1/messages", {}).replace(b"content-length: 2", b"content-length: %d" % size)[:-2]

    async def ask() -> None:
        async with server.connect() as wire:
            with suppress(anyio.BrokenResourceError):  # a refused client may go on for two seconds only
                await wire.send(head)
                for _ in range(size // 100_000):
                    await wire.send(bytes(100_000))
                assert (await wire.response()).status == 401

    async with BridgeServer(UNUSED, auth_token="s3cret") as server:
        tracemalloc.start()
        try:
            async with anyio.create_task_group() as tasks:
                for _ in range(30):
                    tasks.start_soon(ask)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 30 * size / 4  # reads of what is thrown away at once, on both ends


# --- names of this machine ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8765", "LocalHost.", "127.0.0.1:1", "127.1.2.3", "[::1]:8765", "[::1]", "a.localhost"],
)
async def test_loopback_hosts_are_answered(host: str) -> None:
    async with BridgeServer(UNUSED) as server:
        assert (await server.ask(get("/v1/models", host=host))).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example:8765",
        "127.evil.com",
        "127.0.0.1.nip.io",
        "127.0.0.1.evil.example:80",
        "0.0.0.0",
        "[::]:8765",
        "",
        "10.0.0.1",
    ],
)
async def test_foreign_hosts_are_turned_away(host: str) -> None:
    async with BridgeServer(UNUSED) as server:
        response = await server.ask(get("/v1/models", host=host))
        assert (response.status, response.json["error"]["type"]) == (403, "permission_error")
        assert f"{host!r}" in response.json["error"]["message"]


async def test_any_host_is_answered_where_a_token_guards_the_bridge() -> None:
    async with BridgeServer(UNUSED, auth_token="t", loopback_only=False) as server:
        assert (await server.ask(get("/v1/models", host="box.example", x_api_key="t"))).status == 200


# --- web pages ------------------------------------------------------------------------------------------------

PAGES = [
    pytest.param(b"Origin: https://evil.example", id="page"),
    pytest.param(b"Origin: chrome-extension://abc", id="extension"),
    pytest.param(b"Origin: null", id="null"),
    pytest.param(b"Origin:", id="empty"),
    pytest.param(b"Origin: http://localhost:3000", id="another port of this machine"),
    pytest.param(b"Origin: http://127.0.0.1", id="another name of this machine"),
    pytest.param(b"Origin: http://127.evil.com", id="almost this machine"),
    pytest.param(b"Origin: http://localhost\r\nOrigin: https://evil.example", id="two, the last one foreign"),
    pytest.param(b"Origin: https://evil.example\r\nOrigin: http://localhost", id="two, the first one foreign"),
    pytest.param(b"Origin: http://localhost\r\nOrigin: http://localhost", id="its own twice"),
    pytest.param(b"Sec-Fetch-Site: cross-site", id="fetched across sites"),
    pytest.param(b"Sec-Fetch-Site: same-site", id="fetched on the same site"),
    pytest.param(b"Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site", id="fetched by two"),
]


@pytest.mark.parametrize("lines", PAGES)
@pytest.mark.parametrize("auth_token", [None, "s3cret"], ids=["no token", "token"])
async def test_web_pages_are_turned_away_with_or_without_the_token(lines: bytes, auth_token: str | None) -> None:
    async with FakeUpstream() as upstream, BridgeServer(upstream, auth_token=auth_token) as server:
        request = post("/v1/messages", question(), x_api_key="s3cret")
        response = await server.ask(request.replace(b"\r\n", b"\r\n" + lines + b"\r\n", 1))
        assert (response.status, response.json["error"]["type"]) == (403, "permission_error")
        assert "access-control-allow-origin" not in response.headers
        assert not upstream.requests


@pytest.mark.parametrize(
    "lines",
    [
        b"Origin: http://localhost",
        b"Origin: https://localhost",
        b"Sec-Fetch-Site: same-origin",
        b"Sec-Fetch-Site: none",
    ],
)
async def test_what_the_bridge_itself_served_may_ask(lines: bytes) -> None:
    async with BridgeServer(UNUSED) as server:
        request = get("/v1/models").replace(b"\r\n", b"\r\n" + lines + b"\r\n", 1)
        assert (await server.ask(request)).status == 200


async def test_a_preflight_gets_no_leave() -> None:
    async with BridgeServer(UNUSED) as server:
        response = await server.ask(
            get(
                "/v1/messages",
                method="OPTIONS",
                origin="https://evil.example",
                access_control_request_method="POST",
                access_control_request_headers="content-type",
            )
        )
        assert response.status == 403
        assert not [name for name in response.headers if name.startswith("access-control")]


# --- the type of a body ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/json;charset=UTF-8"],
)
async def test_json_is_taken(content_type: str) -> None:
    async with FakeUpstream([answer("Hello")]) as upstream, BridgeServer(upstream) as server:
        assert (await server.post("/v1/messages", question(), content_type=content_type)).status == 200


async def test_a_body_without_a_type_is_taken_for_json() -> None:
    async with FakeUpstream([answer("Hello")]) as upstream, BridgeServer(upstream) as server:
        request = post("/v1/messages", question()).replace(b"content-type: application/json\r\n", b"")
        assert (await server.ask(request)).status == 200


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx", ""],
)
async def test_other_types_are_refused_with_the_remedy(content_type: str) -> None:
    async with FakeUpstream() as upstream, BridgeServer(upstream) as server:
        response = await server.post("/v1/messages", question(), content_type=content_type)
        assert (response.status, response.json["error"]["type"]) == (415, "invalid_request_error")
        assert "application/json" in response.json["error"]["message"]
        assert not upstream.requests
