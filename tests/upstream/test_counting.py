"""PromptCounter: exact where the engine can count, an estimate where it can't, and never a reason to wait long."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
import pytest

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.base import EncodedRequest, EngineModel
from claude_bridge.adapters.engine_profiles import UNKNOWN
from claude_bridge.conversion.profile import CountRoute
from claude_bridge.conversion.prompt.token_estimate import IMAGE_TOKENS
from claude_bridge.upstream import token_counter as counting
from claude_bridge.upstream.client import UpstreamClient
from claude_bridge.upstream.token_counter import PromptCounter
from tests.dialogues import MODEL, OPENAI_CHAT, UPSTREAM, a_request
from tests.fake_upstream import (
    Close,
    FakeUpstream,
    Pause,
    ReceivedRequest,
    Reply,
    Script,
    Stall,
    json_document,
    refusal,
)

pytestmark = pytest.mark.anyio

ALL_ROUTES: tuple[CountRoute, ...] = ("input-tokens", "template", "tokenize")
INPUT_TOKENS, TEMPLATE, TOKENIZE = "/v1/chat/completions/input_tokens", "/apply-template", "/tokenize"
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aaaa"}}


def prompt(text: str = "Hi", *, image: bool = False) -> EncodedRequest:
    content = [{"type": "text", "text": text}, *([IMAGE] if image else [])]
    request = a_request(messages=[{"role": "user", "content": content}])
    return ADAPTERS[OPENAI_CHAT].prepare(request, None, EngineModel(where=UPSTREAM, model=MODEL, profile=UNKNOWN))


def counts(tokens: int) -> Reply:
    return json_document({"input_tokens": tokens})


def by_path(**replies: Reply) -> Callable[[ReceivedRequest], Reply]:
    """Return a script that knows some routes; names stand for paths."""
    known = {globals()[name]: reply for name, reply in replies.items()}
    return lambda request: known.get(request.path) or refusal(404, f"nothing at {request.path}")


@asynccontextmanager
async def counter_of(
    script: Script, *, routes: Sequence[CountRoute] = ALL_ROUTES, within_s: float = 20.0, cache_size: int = 500
) -> AsyncIterator[tuple[PromptCounter, FakeUpstream]]:
    async with (
        FakeUpstream(script) as upstream,
        UpstreamClient(upstream.base_url, api_key=None, name="The engine") as client,
    ):
        yield PromptCounter(client, routes, within_s=within_s, cache_size=cache_size), upstream


def paths(upstream: FakeUpstream) -> list[str]:
    return [request.path for request in upstream.requests]


async def test_the_engine_counts() -> None:
    async with counter_of([counts(4711)]) as (counter, upstream):
        assert await counter.count(prompt()) == 4711
        assert paths(upstream) == [INPUT_TOKENS]


async def test_the_same_prompt_is_counted_once() -> None:
    async with counter_of([counts(4711), counts(8)]) as (counter, upstream):
        assert [await counter.count(prompt()) for _ in range(3)] == [4711] * 3
        assert await counter.count(prompt("other")) == 8
        assert len(upstream.requests) == 2


async def test_only_so_many_counts_are_kept() -> None:
    async with counter_of(lambda _: counts(7), cache_size=2) as (counter, upstream):
        for text in ("a", "b", "a", "c", "a", "b"):
            await counter.count(prompt(text))
        requested = [request.json["messages"][0]["content"] for request in upstream.requests]
        assert requested == ["a", "b", "c", "b"], "b was not asked for the longest time when c came"


async def test_a_version_without_a_route_is_asked_at_the_next_one_from_then_on() -> None:
    script = by_path(TEMPLATE=json_document({"prompt": "x"}), TOKENIZE=json_document({"tokens": [1, 2, 3]}))
    async with counter_of(script, routes=("input-tokens", "template")) as (counter, upstream):
        assert [await counter.count(prompt(text)) for text in ("a", "b")] == [3, 3]
        assert paths(upstream) == [INPUT_TOKENS, TEMPLATE, TOKENIZE, TEMPLATE, TOKENIZE]


async def test_an_engine_without_any_of_them_is_not_asked_again() -> None:
    async with counter_of(by_path()) as (counter, upstream):
        for text in ("a", "b"):
            assert await counter.count(prompt(text)) == prompt(text).estimated_tokens
        assert paths(upstream) == [INPUT_TOKENS, TEMPLATE, TOKENIZE]


async def test_an_engine_without_a_tokenizer_is_not_asked() -> None:
    async with counter_of([], routes=()) as (counter, upstream):
        assert await counter.count(prompt()) == prompt().estimated_tokens
        assert upstream.requests == []


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(refusal(500, "image input is not supported"), id="refused"),
        pytest.param(refusal(422, "prompt: field required"), id="an SGLang that takes no messages there"),
        pytest.param(json_document({"tokens": "many"}), id="no count"),
        pytest.param(json_document({"input_tokens": -1}), id="a count that can be none"),
        pytest.param(json_document({"input_tokens": 0}), id="zero"),
        pytest.param([Close()], id="cut off"),
    ],
)
async def test_a_count_that_fails_is_estimated_and_the_engine_left_alone_for_a_while(reply: Reply) -> None:
    async with counter_of(lambda _: reply, within_s=5.0) as (counter, upstream):
        assert await counter.count(prompt("a")) == prompt("a").estimated_tokens
        assert await counter.count(prompt("b")) == prompt("b").estimated_tokens
        assert len(upstream.requests) == 1
        counter._asks_again_at = 0.0
        await counter.count(prompt("c"))
        assert len(upstream.requests) == 2


async def test_a_slow_tokenizer_is_waited_for_no_longer_than_a_moment() -> None:
    async with counter_of(lambda _: [Stall()], within_s=1.0) as (counter, upstream):
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for text in "abcdefghij":  # more than are asked side by side: those that wait give up as soon
                    tasks.start_soon(counter.count, prompt(text))
        assert len(upstream.requests) == counting.MAX_CONCURRENT
        assert await counter.count(prompt("k")) == prompt("k").estimated_tokens
        assert len(upstream.requests) == counting.MAX_CONCURRENT


async def test_many_counts_at_once_are_asked_some_at_a_time() -> None:
    def script(request: ReceivedRequest) -> Reply:
        return [Pause(0.01), *counts(len(request.json["messages"][0]["content"]))]

    found: dict[int, int] = {}
    async with counter_of(script) as (counter, upstream):

        async def count(length: int) -> None:
            found[length] = await counter.count(prompt("x" * length))

        async with anyio.create_task_group() as tasks:
            for length in range(1, 25):
                tasks.start_soon(count, length)
        assert found == {length: length for length in range(1, 25)}
        assert upstream.connections <= counting.MAX_CONCURRENT


async def test_images_are_added_where_the_tokenizer_does_not_see_them() -> None:
    script = by_path(TOKENIZE=json_document({"count": 10}))
    async with counter_of(script, routes=("tokenize",)) as (counter, _):
        assert await counter.count(prompt(image=True)) == 10 + IMAGE_TOKENS
    async with counter_of([counts(900)]) as (counter, _):
        assert await counter.count(prompt(image=True)) == 900


async def test_a_prompt_that_is_surely_short_is_not_counted() -> None:
    async with counter_of([counts(4711)]) as (counter, upstream):
        short = prompt("word " * 2_000)
        assert await counter.count(short, unless_below=10_000) == short.estimated_tokens
        assert upstream.requests == []
        assert await counter.count(short, unless_below=short.estimated_tokens) == 4711


async def test_a_count_makes_the_estimates_better() -> None:
    text = prompt("слово " * 2_000)
    async with counter_of([counts(text.estimated_tokens * 3)]) as (counter, _):
        await counter.count(text)
        assert counter.guess(prompt("слово " * 4_000)) == pytest.approx(text.estimated_tokens * 6, rel=0.02)


async def test_images_teach_nothing_about_text() -> None:
    async with counter_of([]) as (counter, _):
        picture = prompt("word " * 2_000, image=True)
        counter.calibrate(picture, picture.estimated_tokens * 2)
        assert counter.guess(prompt("a" * 9_000)) == prompt("a" * 9_000).estimated_tokens


async def test_gemini_counts_by_its_own_api_and_with_the_key_in_its_own_header() -> None:
    async with FakeUpstream([json_document({"totalTokens": 321})]) as upstream:
        base_url = f"http://127.0.0.1:{upstream.port}/v1beta/openai"
        async with UpstreamClient(base_url, api_key="a-long-secret", name="Gemini") as client:
            assert await PromptCounter(client, ("gemini",)).count(prompt()) == 321
    (requested,) = upstream.requests
    assert requested.path == f"/v1beta/models/{MODEL}:countTokens"
    assert requested.headers["x-goog-api-key"] == "a-long-secret"
    assert "authorization" not in requested.headers
    assert "Hi" in requested.json["contents"][0]["parts"][0]["text"]
