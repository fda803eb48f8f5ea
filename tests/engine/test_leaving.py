"""A client that leaves frees the engine, whatever it is at."""

from __future__ import annotations

import anyio
import pytest
from anthropic import AsyncAnthropic

pytestmark = [pytest.mark.anyio, pytest.mark.engine]

MODEL = "any name"
FREE_WITHIN_S = 3.0
"""The bridge closes its connection at once; llama.cpp looks for that each second, and between two steps."""


async def wait_for_a_small_answer(client: AsyncAnthropic) -> float:
    """Return how many seconds a question takes that the engine has to be free for: it has one slot."""
    asked_at = anyio.current_time()
    await client.messages.create(model=MODEL, max_tokens=1, messages=[{"role": "user", "content": "Hi"}])
    return anyio.current_time() - asked_at


async def test_a_client_that_leaves_within_the_answer_frees_the_engine(client: AsyncAnthropic) -> None:
    async with client.messages.stream(
        model=MODEL,
        max_tokens=4000,
        messages=[{"role": "user", "content": "Write down all numbers from 1 to 2000."}],
    ) as stream:
        async for _ in stream.text_stream:
            break
    assert await wait_for_a_small_answer(client) < FREE_WITHIN_S


async def test_a_client_that_leaves_while_its_prompt_is_read_frees_the_engine(client: AsyncAnthropic) -> None:
    with anyio.move_on_after(1.0) as left:  # reading the prompt takes half a minute
        await client.messages.create(
            model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "The sea is wide. " * 1200}]
        )
    assert left.cancelled_caught
    assert await wait_for_a_small_answer(client) < FREE_WITHIN_S
