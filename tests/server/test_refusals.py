"""What an engine refuses, and what the client is told: each row of the table in the reference."""

from __future__ import annotations

import anyio
import pytest

from tests.fake_upstream import FakeUpstream, Reply, Wait, frame, json_document, refusal, stream, text
from tests.server.served import BridgeServer

pytestmark = pytest.mark.anyio

TOO_LONG = "request (9031 tokens) exceeds the available context size (8192 tokens), try increasing it"

ROWS: dict[str, tuple[Reply, int, str, dict[str, str | None], str]] = {
    # the engine's answer; our status and type; headers that we must send (None: must not); words
    "400": (refusal(400, "bad field"), 424, "invalid_request_error", {"x-should-retry": "false"}, "bad field"),
    "401": (refusal(401, "bad key"), 401, "authentication_error", {"x-should-retry": "false"}, "bad key"),
    "402": (refusal(402, "no credit"), 402, "billing_error", {"x-should-retry": "false"}, "no credit"),
    "403": (refusal(403, "not you"), 403, "permission_error", {"x-should-retry": "false"}, "not you"),
    "404": (refusal(404, "no model"), 404, "not_found_error", {"x-should-retry": "false"}, "no model"),
    "413": (refusal(413, "too big"), 413, "request_too_large", {"x-should-retry": "false"}, "too big"),
    "422": (refusal(422, "bad role"), 424, "invalid_request_error", {"x-should-retry": "false"}, "bad role"),
    "429": (
        refusal(429, "slow down", headers={"retry-after": "7"}),
        429, "rate_limit_error", {"retry-after": "7", "x-should-retry": None}, "slow down",
    ),
    "429 with a time in words": (
        refusal(429, "Please try again in 14.2s."), 429, "rate_limit_error", {"retry-after": "15"}, "try again",
    ),
    "429 without a time": (refusal(429, "slow down"), 429, "rate_limit_error", {"retry-after": None}, "slow down"),
    "500": (refusal(500, "oops"), 502, "api_error", {"x-should-retry": None}, "oops"),
    "500 without words": ([*json_document({}, status=500)], 502, "api_error", {}, "answered 500"),
    "503": (
        refusal(503, "queue full"), 529, "overloaded_error", {"x-should-retry": None, "retry-after": "2"}, "queue full",
    ),
    "503 loading": (refusal(503, "Loading model"), 503, "overloaded_error", {"retry-after": "2"}, "still loading"),
    "529": (refusal(529, "busy"), 529, "overloaded_error", {}, "busy"),
    "prompt too long": (
        refusal(400, TOO_LONG),
        400, "invalid_request_error", {}, "prompt is too long: 9031 tokens > 8192 maximum",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("reply", "status", "error_type", "headers", "words"), ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("is_streamed", [True, False], ids=["stream", "whole"])
async def test_a_refusal_keeps_its_meaning(
    reply: Reply, status: int, error_type: str, headers: dict[str, str | None], words: str, is_streamed: bool
) -> None:
    async with FakeUpstream([reply]) as upstream, BridgeServer(upstream) as server:
        response = await server.messages(stream=is_streamed)
        assert (response.status, response.json["error"]["type"]) == (status, error_type)
        assert words in response.json["error"]["message"]
        assert {name: response.headers.get(name) for name in headers} == headers
        assert response.json["request_id"] == response.headers["request-id"]
        assert len(upstream.requests) == 1


async def test_an_engine_that_is_not_there_is_reported_and_not_retried() -> None:
    async with FakeUpstream() as upstream:
        base_url = upstream.base_url
    async with BridgeServer(base_url) as server:
        response = await server.messages(stream=True)
        assert (response.status, response.json["error"]["type"]) == (502, "api_error")
        assert f"The engine at {base_url} refused the connection" in response.json["error"]["message"]
        assert response.headers["x-should-retry"] == "false"


async def test_a_connection_is_fit_for_more_after_a_refusal() -> None:
    async with FakeUpstream([refusal(429, "no"), refusal(404, "no")]) as upstream, BridgeServer(upstream) as server:
        assert (await server.messages()).status == 429
        assert (await server.messages()).status == 404
        assert upstream.connections == 1


async def test_the_key_is_removed_from_the_engines_words() -> None:
    reply = refusal(401, "Incorrect API key provided: an-odd~key")
    async with FakeUpstream([reply]) as upstream, BridgeServer(upstream, api_key="an-odd~key") as server:
        message = (await server.messages()).json["error"]["message"]
        assert "an-odd~key" not in message
        assert "[key removed]" in message


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("begun", [(), (text("Hello"),)], ids=["in place of an answer", "in the midst of one"])
async def test_the_key_is_removed_from_an_error_within_a_stream(begun: tuple[bytes, ...], streamed: bool) -> None:
    reply = stream(*begun, frame({"error": {"message": "no such account: an-odd~key"}}))
    async with FakeUpstream([reply]) as upstream, BridgeServer(upstream, api_key="an-odd~key") as server:
        response = await server.messages(stream=streamed)
        assert b"an-odd~key" not in response.body
        assert b"[key removed]" in response.body


async def test_a_refusal_that_never_ends_is_reported_all_the_same() -> None:
    reply: Reply = [*refusal(429, "slow down", headers={"content-length": "1000"}), Wait(anyio.Event())]
    async with FakeUpstream([reply]) as upstream, BridgeServer(upstream) as server:
        assert (await server.messages()).status == 429
