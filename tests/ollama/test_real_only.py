"""What only a real Ollama can show: that it is free again when a client leaves, and that ``bridge serve`` finds it."""

from __future__ import annotations

import anyio
import pytest

from tests.cli.process import serving
from tests.ollama.conftest import Connect

pytestmark = [pytest.mark.anyio, pytest.mark.ollama]

FREE_WITHIN_S = 3.0


@pytest.mark.parametrize("ollama", ["real"], indirect=True)
async def test_a_client_that_leaves_frees_the_engine(connect: Connect) -> None:
    async with connect("able") as client:
        async with client.messages.stream(
            model="any name",
            max_tokens=1_500,
            messages=[{"role": "user", "content": "Write down all numbers from 1 to 2000."}],
        ) as stream:
            async for _ in stream.text_stream:
                break
        asked_at = anyio.current_time()
        await client.messages.create(model="any name", max_tokens=1, messages=[{"role": "user", "content": "Hi"}])
    assert anyio.current_time() - asked_at < FREE_WITHIN_S


async def test_it_is_served_by_its_address_alone(real_ollama: str) -> None:
    async with serving("ollama", "able", env={"OLLAMA_HOST": real_ollama}) as bridge:
        await bridge.says("able on Ollama 0.")
        await bridge.says("claude --model able")
