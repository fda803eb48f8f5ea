"""Anthropic's own SDK, pointed at a bridge before the real engine."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from anthropic import AsyncAnthropic, DefaultAsyncHttpxClient

from claude_bridge.upstream.embedded.engine import EmbeddedEngine
from tests.running_bridge import open_bridge


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """One event loop is enough here: what differs between the two is tested in tests/server."""
    return "asyncio"


@pytest.fixture
async def client(engine: EmbeddedEngine) -> AsyncIterator[AsyncAnthropic]:
    async with open_bridge(engine.upstream) as url:
        http_client = DefaultAsyncHttpxClient(trust_env=False)  # a proxy of the machine is not for loopback
        async with AsyncAnthropic(base_url=url, api_key="test", max_retries=0, http_client=http_client) as client:
            yield client
