"""How long a prompt is: what count_tokens tells, and what is refused before its conversation can't be compacted."""

from __future__ import annotations

import base64
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from claude_bridge.adapters.engine_profiles import LLAMA_CPP, UNKNOWN, VLLM
from claude_bridge.conversion.profile import Profile
from tests.fake_upstream import Close, FakeUpstream, ReceivedRequest, Reply, answer, json_document, refusal
from tests.running_bridge import scripted_upstream
from tests.server.served import BridgeServer

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
WINDOW_TOKENS = 12_000
MOST_TOKENS = 10_000
"""With a reserve of a sixth for the summary."""

CODE = "    if window_tokens is None or request.holds_images:\n        return None\n"
JAPANESE = "このブリッジはクライアントとエンジンの間に立ち、要求を翻訳して送り、答えを返します。"
BASE64 = base64.b64encode(Random(7).randbytes(3_000)).decode()


def engine(prompt_tokens: int) -> Callable[[ReceivedRequest], Reply]:
    """Return a script that answers, and counts each prompt with its own tokenizer."""

    def reply(request: ReceivedRequest) -> Reply:
        if request.path == CHAT:
            return answer("Hello", prompt_tokens=prompt_tokens)
        return json_document({"input_tokens": prompt_tokens, "count": prompt_tokens})

    return reply


def a_conversation(text: str) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": text},
        *[{"role": "assistant", "content": "I see."}, {"role": "user", "content": "And now?"}] * 4,
    ]


def serving(upstream: FakeUpstream, profile: Profile = LLAMA_CPP) -> BridgeServer:
    return BridgeServer(scripted_upstream(upstream.base_url, profile=profile, window_tokens=WINDOW_TOKENS))


async def counted(server: BridgeServer, **request: Any) -> int:
    response = await server.post("/v1/messages/count_tokens?beta=true", {"model": "m", **request})
    assert response.status == 200
    tokens = response.json["input_tokens"]
    assert isinstance(tokens, int)
    return tokens


HI = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize("profile", [LLAMA_CPP, VLLM], ids=["llama.cpp", "vLLM"])
async def test_tokens_are_counted_by_the_engine(profile: Profile) -> None:
    tools = [{"name": "Read", "input_schema": {"type": "object"}}]
    async with FakeUpstream(engine(4711)) as upstream, serving(upstream, profile) as server:
        assert await counted(server, messages=HI, tools=tools, system="Be kind") == 4711
        (requested,) = upstream.requests
        assert [message["role"] for message in requested.json["messages"]] == ["system", "user"]
        assert requested.json["tools"][0]["function"]["name"] == "Read"


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(refusal(404, "Not Found"), id="no such route"),
        pytest.param(refusal(500, "no image support"), id="broken"),
        pytest.param([Close()], id="cut off"),
    ],
)
async def test_a_tokenizer_that_fails_is_no_error_of_the_clients(reply: Reply) -> None:
    async with FakeUpstream(lambda _: reply) as upstream, serving(upstream) as server:
        assert 5 < await counted(server, messages=HI) < 100


async def test_a_client_that_asks_for_many_counts_gets_them_all() -> None:
    async with (
        FakeUpstream(lambda request: engine(len(request.body))(request)) as upstream,
        serving(upstream) as server,
    ):
        counts = [await counted(server, messages=[{"role": "user", "content": "x" * size}]) for size in (1, 2, 3) * 8]
        assert len(set(counts)) == 3
        assert len(upstream.requests) == 3, "the same question is asked once"


@pytest.mark.parametrize(
    ("text", "repeated"),
    [
        pytest.param(CODE, 400, id="code"),
        pytest.param(JAPANESE, 300, id="Japanese"),
        pytest.param(BASE64, 3, id="base64"),
    ],
)
@pytest.mark.parametrize(
    ("prompt_tokens", "status"),
    [pytest.param(MOST_TOKENS, 200, id="fits"), pytest.param(MOST_TOKENS + 1, 400, id="does not fit")],
)
async def test_near_the_limit_the_engines_own_count_decides(
    text: str, repeated: int, prompt_tokens: int, status: int
) -> None:
    async with FakeUpstream(engine(prompt_tokens)) as upstream, serving(upstream) as server:
        response = await server.messages(messages=a_conversation(text * repeated))
        assert response.status == status
        if status == 400:
            reported = f"prompt is too long: {MOST_TOKENS + 1} tokens > {MOST_TOKENS} maximum"
            assert response.json["error"] == {"type": "invalid_request_error", "message": reported}
        assert [request.path for request in upstream.requests].count(CHAT) == (status == 200)


async def test_far_from_the_limit_nothing_is_counted() -> None:
    async with FakeUpstream(engine(10**6)) as upstream, serving(upstream) as server:
        assert (await server.messages(messages=a_conversation(CODE * 20))).status == 200
        assert [request.path for request in upstream.requests] == [CHAT]


@pytest.mark.parametrize(
    ("text", "factor"),
    [
        pytest.param(CODE, 0.7, id="code, a large vocabulary"),
        pytest.param(JAPANESE, 3.0, id="Japanese, a small vocabulary"),
        pytest.param(BASE64, 1.2, id="base64"),
    ],
)
async def test_without_a_tokenizer_one_answer_is_enough_to_know_what_fits(text: str, factor: float) -> None:
    """The engine counts ``factor`` times our estimate, and nothing tells but its usage."""
    async with FakeUpstream() as silent, serving(silent, UNKNOWN) as server:
        estimate = await counted(server, messages=[{"role": "user", "content": text * 1_000}])
    per_text = estimate * factor / 1_000

    def reply(request: ReceivedRequest) -> Reply:
        return answer("Hello", prompt_tokens=round(str(request.json["messages"]).count(text[:20]) * per_text))

    async with FakeUpstream(reply) as upstream, serving(upstream, UNKNOWN) as server:
        known = int(MOST_TOKENS / per_text)
        first = {"role": "user", "content": text * (known // 2)}
        assert (await server.messages(messages=[first])).status == 200
        assert (await server.messages(messages=a_conversation(text * round(known * 0.9)))).status == 200
        assert (await server.messages(messages=a_conversation(text * round(known * 1.1) + text))).status == 400
        assert len(upstream.requests) == 2
