"""Counting by the Responses API of a real engine: what llama.cpp counts is what it then reads."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from anthropic import AsyncAnthropic, DefaultAsyncHttpxClient
from anthropic.types import MessageParam
from msgspec.structs import replace

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.engine_profiles import LLAMA_CPP_RESPONSES
from claude_bridge.upstream.embedded.engine import EmbeddedEngine
from tests.engine.test_answers import BASH, LIST_FILES, MODEL
from tests.running_bridge import open_bridge

pytestmark = [pytest.mark.anyio, pytest.mark.engine]


@pytest.fixture
async def client(engine: EmbeddedEngine) -> AsyncIterator[AsyncAnthropic]:
    upstream = replace(engine.upstream, adapter=ADAPTERS["openai-responses"], profile=LLAMA_CPP_RESPONSES)
    async with open_bridge(upstream) as url:
        http_client = DefaultAsyncHttpxClient(trust_env=False)  # a proxy of the machine is not for loopback
        async with AsyncAnthropic(base_url=url, api_key="test", max_retries=0, http_client=http_client) as client:
            yield client


CONVERSATIONS: dict[str, list[MessageParam]] = {
    "words": [LIST_FILES],
    "a call and its result": [
        LIST_FILES,
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {"command": "ls"}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "harbour.txt"}]},
    ],
}


@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS)
async def test_a_count_by_the_responses_api_equals_the_prompt_tokens_of_the_answer(
    client: AsyncAnthropic, messages: list[MessageParam]
) -> None:
    counted = await client.messages.count_tokens(model=MODEL, messages=messages, tools=[BASH], system="Be brief.")
    message = await client.messages.create(
        model=MODEL, max_tokens=16, messages=messages, tools=[BASH], system="Be brief."
    )
    read = message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0)
    assert counted.input_tokens == read
