"""An Ollama for each test: a scripted one, and the real one where there is one. What holds for both holds.

Both have the same models: ``able`` calls tools, ``thinker`` thinks as well, ``talker`` only talks.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from anthropic import AsyncAnthropic, DefaultAsyncHttpxClient

from claude_bridge.providers import PROVIDERS, Upstream, upstream_of
from claude_bridge.trace.delivery import Sink
from claude_bridge.upstream.engines.discover import discover
from claude_bridge.upstream.engines.engine import Engine
from tests.real_ollama import WINDOW_TOKENS, has_ollama
from tests.running_bridge import open_bridge
from tests.scripted_ollama import RenderedBy, ScriptedOllama, a_model, call_line, chat_that_counts

REAL = pytest.param("real", marks=pytest.mark.ollama)
SCRIPTED: dict[str, RenderedBy] = {"scripted": "Ollama", "scripted, rendered by llama-server": "llama-server"}
ENGINES = [*SCRIPTED, REAL] if has_ollama() else [*SCRIPTED]

collect_ignore = [] if has_ollama() else ["test_real_only.py"]

SMOLLM2_INFO: dict[str, Any] = {
    "general.architecture": "llama",
    "llama.context_length": 8_192,
    "llama.block_count": 30,
    "llama.embedding_length": 576,
    "llama.attention.head_count": 9,
    "llama.attention.head_count_kv": 3,
}
MODELS = {
    f"{name}:latest": a_model(*capabilities, parameters=f"num_ctx    {WINDOW_TOKENS}", info=SMOLLM2_INFO)
    for name, capabilities in {"able": ["tools"], "thinker": ["tools", "thinking"], "talker": []}.items()
}

Connect = Callable[..., AbstractAsyncContextManager[AsyncAnthropic]]
"""From a model, and sinks that get the trace, to a client of a bridge before the Ollama."""


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """One event loop is enough here: what differs between the two is tested in tests/server."""
    return "asyncio"


@pytest.fixture(params=ENGINES)
async def ollama(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """The address of an Ollama."""
    if request.param == "real":
        yield request.getfixturevalue("real_ollama")
        return
    chat = chat_that_counts(speak, rendered_by=SCRIPTED[request.param])
    async with ScriptedOllama(MODELS, chat=chat) as scripted:
        yield scripted.root_url


@pytest.fixture
def connect(ollama: str) -> Connect:
    @asynccontextmanager
    async def connected(model: str, *sinks: Sink, window_tokens: int | None = None) -> AsyncIterator[AsyncAnthropic]:
        requested = upstream_of(PROVIDERS["ollama"], base_url=ollama, model=model)
        upstream = await discover(Engine(upstream=requested, window_tokens=window_tokens))
        async with open_client(upstream, *sinks) as client:
            yield client

    return connected


@asynccontextmanager
async def open_client(upstream: Upstream, *sinks: Sink) -> AsyncIterator[AsyncAnthropic]:
    """Open a bridge before the upstream, and a client before the bridge."""
    async with (
        open_bridge(upstream, *sinks) as url,
        DefaultAsyncHttpxClient(trust_env=False) as http_client,  # a proxy of the machine is not for loopback
        AsyncAnthropic(base_url=url, api_key="test", max_retries=0, http_client=http_client) as client,
    ):
        yield client


def speak(body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Answer as the small model does."""
    if "format" in body:
        return [{"content": '"yes"'}]
    if "tools" in body:
        return [call_line("Bash", {"command": "ls"})]
    if body.get("think"):
        return [{"thinking": "Let me see. " * 9}, {"content": "A bridge leads over a river."}]
    return [{"content": "A bridge leads over a river. "}] * 40
