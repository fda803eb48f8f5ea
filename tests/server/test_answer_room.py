"""How long an answer may be: what the client wants, as far as model and window allow it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from claude_bridge.adapters.engine_profiles import LLAMA_CPP, UNKNOWN, VLLM
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.prompt.context_budget import LEAST_ANSWER_TOKENS
from tests.fake_upstream import FakeUpstream, ReceivedRequest, Reply, answer, json_document
from tests.running_bridge import scripted_upstream
from tests.server.served import BridgeServer

pytestmark = pytest.mark.anyio

WINDOW_TOKENS = 12_000
CHAT = "/v1/chat/completions"


def engine(prompt_tokens: int) -> Callable[[ReceivedRequest], Reply]:
    """Return a script that answers, and counts each prompt with its own tokenizer."""

    def reply(request: ReceivedRequest) -> Reply:
        if request.path == CHAT:
            return answer("Hello", prompt_tokens=prompt_tokens)
        return json_document({"count": prompt_tokens})

    return reply


async def reported(max_tokens: int, *, profile: Profile, prompt_tokens: int = 5_000, text: str = "x" * 19_000) -> int:
    """Return the limit that the engine gets with a prompt of that many tokens, some 5,000 by its length."""
    async with FakeUpstream(engine(prompt_tokens)) as upstream:
        served = scripted_upstream(upstream.base_url, profile=profile, window_tokens=WINDOW_TOKENS)
        async with BridgeServer(served) as server:
            question = {"model": "m", "max_tokens": max_tokens, "messages": [{"role": "user", "content": text}]}
            assert (await server.post("/v1/messages", question)).status == 200
    (requested,) = (request for request in upstream.requests if request.path == CHAT)
    limit = requested.json["max_tokens"]
    assert isinstance(limit, int)
    return limit


async def test_an_answer_fits_the_window_beside_a_prompt_that_the_engine_has_counted() -> None:
    limit = await reported(32_000, profile=VLLM)
    assert WINDOW_TOKENS - 5_000 - 100 < limit < WINDOW_TOKENS - 5_000


async def test_an_answer_fits_the_window_beside_a_prompt_that_is_longer_than_it_seems() -> None:
    assert await reported(32_000, profile=VLLM, prompt_tokens=7_000) < WINDOW_TOKENS - 7_000


async def test_an_estimate_is_taken_at_its_most() -> None:
    assert WINDOW_TOKENS // 4 < await reported(32_000, profile=UNKNOWN) < WINDOW_TOKENS - 5_000


async def test_what_fits_is_left_alone() -> None:
    assert await reported(2_000, profile=VLLM) == 2_000
    assert await reported(2_000, profile=UNKNOWN) == 2_000


async def test_an_engine_that_refuses_no_limit_gets_the_clients() -> None:
    assert await reported(32_000, profile=LLAMA_CPP) == 32_000


async def test_a_limit_is_never_of_no_use() -> None:
    assert await reported(32_000, profile=VLLM, prompt_tokens=11_900) == LEAST_ANSWER_TOKENS


async def test_a_prompt_that_surely_fits_is_not_counted() -> None:
    async with FakeUpstream(engine(10)) as upstream:
        served = scripted_upstream(upstream.base_url, profile=VLLM, window_tokens=WINDOW_TOKENS)
        async with BridgeServer(served) as server:
            await server.post(
                "/v1/messages", {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
            )
    assert [request.path for request in upstream.requests] == [CHAT]


# --- a window that the user gave --------------------------------------------------------------------------------


async def _ask_beyond(
    window_tokens: int, *, words: int, profile: Profile = UNKNOWN, **known: bool
) -> tuple[int, str, int]:
    """Return the status, the error and the number of chats for a question of so many words; each is a token."""
    async with FakeUpstream(engine(words)) as upstream:
        served = scripted_upstream(upstream.base_url, profile=profile, window_tokens=window_tokens, **known)
        async with BridgeServer(served) as server:
            question = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "word " * words}]}
            response = await server.post("/v1/messages", question)
    chats = sum(request.path == CHAT for request in upstream.requests)
    return response.status, response.json.get("error", {}).get("message", ""), chats


async def test_a_prompt_that_is_surely_longer_than_a_window_that_the_user_gave_is_not_sent() -> None:
    status, error, chats = await _ask_beyond(4_000, words=9_000, window_is_given=True)
    assert (status, chats) == (400, 0)
    assert error.startswith("prompt is too long: ")
    assert error.endswith(" tokens > 4000 maximum")


async def test_a_prompt_that_may_fit_is_sent() -> None:
    assert (await _ask_beyond(4_000, words=4_200, window_is_given=True))[::2] == (200, 1)


async def test_the_engines_own_count_decides_where_it_can_count() -> None:
    assert (await _ask_beyond(4_000, words=4_200, profile=VLLM, window_is_given=True))[::2] == (400, 0)
    assert (await _ask_beyond(4_000, words=3_900, profile=VLLM, window_is_given=True))[::2] == (200, 1)


async def test_whether_a_prompt_fits_the_engines_own_window_is_for_the_engine_to_say() -> None:
    assert (await _ask_beyond(4_000, words=9_000))[::2] == (200, 1)
