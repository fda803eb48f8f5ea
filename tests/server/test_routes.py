"""What there is to ask beside messages."""

from __future__ import annotations

import anyio
import httpx
import pytest

from claude_bridge import __version__
from claude_bridge.server.app import Service
from claude_bridge.server.listener import accept_connections, open_listener
from claude_bridge.trace.bus import Bus
from tests.fake_upstream import MODEL, FakeUpstream, answer, refusal
from tests.server.served import BridgeServer, get, post, question

pytestmark = pytest.mark.anyio

UNUSED = "http://127.0.0.1:9/v1"
"""An engine that is never asked."""


async def test_health_is_reported_without_asking_the_engine() -> None:
    async with BridgeServer(UNUSED) as server:
        response = await server.ask(get("/healthz"))
        assert (response.status, response.json) == (200, {"status": "ok", "version": __version__})


async def test_a_bridge_is_ready_when_its_engine_answers_anything() -> None:
    documents = {"/v1/models": refusal(401, "no key")}
    async with FakeUpstream(documents=documents) as upstream, BridgeServer(upstream, window_tokens=8192) as server:
        response = await server.ask(get("/readyz"))
        assert response.status == 200
        assert response.json == {
            "ready": True,
            "version": __version__,
            "upstream": "The engine",
            "kind": "openai-chat",
            "base_url": upstream.base_url,
            "model": MODEL,
            "window_tokens": 8192,
        }
        assert [(request.method, request.path) for request in upstream.probes] == [("GET", "/v1/models")]


async def test_a_bridge_without_an_engine_is_not_ready_and_says_why() -> None:
    async with BridgeServer(UNUSED) as server:
        response = await server.ask(get("/readyz"))
        assert (response.status, response.json["ready"]) == (503, False)
        assert "refused the connection" in response.json["reason"]


async def test_a_bridge_that_does_not_know_its_engine_yet_is_not_ready() -> None:
    service = Service(Bus(), auth_token=None, loopback_only=True)
    listener, port = await open_listener("127.0.0.1", 0)
    async with anyio.create_task_group() as tasks, httpx.AsyncClient() as client:
        tasks.start_soon(accept_connections, listener, service)
        response = await client.get(f"http://127.0.0.1:{port}/readyz")
        assert (response.status_code, response.json()["ready"]) == (503, False)
        tasks.cancel_scope.cancel()


async def test_head_of_the_root_is_ok() -> None:
    async with BridgeServer(UNUSED) as server, server.connect() as wire:
        await wire.send(get("/", method="HEAD") + get("/"))
        assert (await wire.response(to_head=True)).status == 200
        assert b"running" in (await wire.response()).body


async def test_the_model_list_has_the_served_model() -> None:
    async with BridgeServer(UNUSED, model="qwen3:1.7b") as server:
        page = (await server.ask(get("/v1/models?limit=1000"))).json
        assert [row["id"] for row in page["data"]] == ["qwen3:1.7b", "claude-bridge/qwen3:1.7b"]
        assert (page["has_more"], page["first_id"]) == (False, "qwen3:1.7b")
        assert page["last_id"] == "claude-bridge/qwen3:1.7b", "the client's model picker shows no other names"


@pytest.mark.parametrize(
    ("query", "ids", "has_more"),
    [
        ("limit=1", ["m"], True),
        ("limit=2", ["m", "claude-bridge/m"], False),
        ("limit=1&after_id=m", ["claude-bridge/m"], False),
        ("after_id=claude-bridge%2Fm", [], False),
        ("limit=1&before_id=claude-bridge/m", ["m"], False),
        ("before_id=m", [], False),
        ("", ["m", "claude-bridge/m"], False),
    ],
)
async def test_the_model_list_comes_in_pages(query: str, ids: list[str], *, has_more: bool) -> None:
    async with BridgeServer(UNUSED, model="m") as server:
        page = (await server.ask(get(f"/v1/models?{query}"))).json
        assert ([row["id"] for row in page["data"]], page["has_more"]) == (ids, has_more)
        assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=-1", "after_id=other", "before_id=other"])
async def test_a_page_that_is_none_is_refused(query: str) -> None:
    async with BridgeServer(UNUSED) as server:
        response = await server.ask(get(f"/v1/models?{query}"))
        assert (response.status, response.json["error"]["type"]) == (400, "invalid_request_error")
        assert query.partition("=")[0] in response.json["error"]["message"]


async def test_a_base_url_that_ends_in_a_slash_works() -> None:
    async with FakeUpstream([answer("Hello")]) as upstream, BridgeServer(upstream) as server:
        assert (await server.post("//v1/messages", question())).status == 200


@pytest.mark.parametrize("path", ["openai/gpt-5", "openai%2Fgpt-5"])
async def test_one_model_is_described_under_its_name(path: str) -> None:
    async with BridgeServer(UNUSED, model="openai/gpt-5") as server:
        response = await server.ask(get(f"/v1/models/{path}"))
        assert (response.status, response.json["type"], response.json["id"]) == (200, "model", "openai/gpt-5")


async def test_an_unknown_model_is_not_found_and_the_right_one_named() -> None:
    async with BridgeServer(UNUSED) as server:
        response = await server.ask(get("/v1/models/other"))
        assert (response.status, response.json["error"]["type"]) == (404, "not_found_error")
        assert "'scripted'" in response.json["error"]["message"]


async def test_tokens_are_counted_without_asking_the_engine() -> None:
    async with BridgeServer(UNUSED) as server:
        short = await server.post("/v1/messages/count_tokens?beta=true", question())
        tools = [{"name": "Read", "input_schema": {"type": "object", "description": "long " * 100}}]
        long = await server.post("/v1/messages/count_tokens", question(tools=tools))
        assert 0 < short.json["input_tokens"] < long.json["input_tokens"] - 50


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_a_malformed_request_is_reported_where(path: str) -> None:
    async with BridgeServer(UNUSED) as server:
        response = await server.post(path, question(messages=[{"role": "user", "content": [{"type": "text"}]}]))
        assert (response.status, response.json["error"]["type"]) == (400, "invalid_request_error")
        assert "messages[0].content[0]" in response.json["error"]["message"]


async def test_telemetry_is_accepted_and_goes_nowhere() -> None:
    async with FakeUpstream() as upstream, BridgeServer(upstream) as server:
        response = await server.post("/api/event_logging/batch", {"events": []})
        assert (response.status, response.body) == (200, b"{}")
        assert upstream.connections == 0


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/nothing", "'/nothing'"),
        ("/v1/v1/messages", "must not end in /v1"),
        ("/v1/messages/batches/b/results", "A bridge has no batches: send each request to POST /v1/messages"),
        ("/v1/chat/completions", "POST /v1/messages"),
    ],
)
async def test_an_unknown_path_is_not_found_with_a_hint(path: str, hint: str) -> None:
    async with BridgeServer(UNUSED) as server:
        response = await server.post(path, {})
        assert (response.status, response.json["error"]["type"]) == (404, "not_found_error")
        assert hint in response.json["error"]["message"]
        assert response.json["request_id"] == response.headers["request-id"]


@pytest.mark.parametrize(
    ("data", "allowed"),
    [
        pytest.param(get("/v1/messages"), "POST", id="GET messages"),
        pytest.param(post("/v1/models", {}), "GET, HEAD", id="POST models"),
        pytest.param(get("/healthz", method="DELETE"), "GET, HEAD", id="DELETE healthz"),
    ],
)
async def test_a_wrong_method_is_answered_with_the_allowed_ones(data: bytes, allowed: str) -> None:
    async with BridgeServer(UNUSED) as server:
        response = await server.ask(data)
        assert (response.status, response.headers["allow"]) == (405, allowed)
        assert response.json["error"]["type"] == "invalid_request_error"
