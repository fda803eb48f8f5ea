"""What is found out about an Ollama, and what the user is told of it."""

from __future__ import annotations

from typing import Any

import pytest

from claude_bridge.conversion.pricing import FREE, Prices
from claude_bridge.errors import SetupError, UpstreamUnreachableError
from claude_bridge.providers import PROVIDERS, Upstream, base_url_from, upstream_of
from claude_bridge.upstream.engines.discover import discover
from claude_bridge.upstream.engines.engine import Engine
from claude_bridge.upstream.engines.ollama import root_url
from tests.fake_upstream import FakeUpstream, document
from tests.scripted_ollama import ScriptedOllama, a_model

pytestmark = pytest.mark.anyio

QWEN = {"qwen3:1.7b": a_model("tools", "thinking")}


async def found(
    base_url: str, model: str = "qwen3:1.7b", *, provider: str = "ollama", window: int | None = None, **options: Any
) -> Upstream:
    upstream = upstream_of(PROVIDERS[provider], base_url=base_url, model=model)
    return await discover(Engine(upstream=upstream, window_tokens=window, **options))


async def mistake(base_url: str, model: str) -> SetupError:
    with pytest.raises(SetupError) as caught:
        await found(base_url, model)
    return caught.value


@pytest.mark.parametrize("path", ["", "/", "/v1", "/api", "/api/chat"])
async def test_an_ollama_is_found_behind_any_of_its_addresses(path: str) -> None:
    async with ScriptedOllama(QWEN) as ollama:
        upstream = await found(ollama.root_url + path)
        assert (upstream.base_url, upstream.name) == (ollama.root_url, "Ollama 0.32.15")


async def test_what_the_model_can_do_decides_what_it_is_sent() -> None:
    async with ScriptedOllama({"plain": a_model("tools"), "able": a_model("tools", "thinking", "vision")}) as ollama:
        plain, able = await found(ollama.root_url, "plain"), await found(ollama.root_url, "able")
        assert (plain.profile.ollama.thinks, plain.profile.sees_images) == (False, False)
        assert (able.profile.ollama.thinks, able.profile.sees_images) == (True, True)


async def test_a_thinking_model_gets_its_thoughts_back() -> None:
    async with ScriptedOllama(QWEN) as ollama:
        assert (await found(ollama.root_url)).profile.reasoning_field == "thinking"


async def test_gpt_oss_thinks_in_levels() -> None:
    gpt_oss = a_model("tools", "thinking", info={"general.architecture": "gptoss"})
    async with ScriptedOllama({"gpt-oss:20b": gpt_oss}) as ollama:
        assert (await found(ollama.root_url, "gpt-oss:20b")).profile.ollama.think_levels == ("low", "medium", "high")


def test_an_ollama_is_known_as_one_at_any_address() -> None:
    upstream = upstream_of(PROVIDERS["ollama"], base_url="http://elsewhere:1", model="m")
    assert (upstream.name, upstream.profile) == ("Ollama", PROVIDERS["ollama"].profile)


@pytest.mark.parametrize(
    ("window", "loaded", "tokens"),
    [(12_000, 20_000, 12_000), (None, 20_000, 20_000), (None, 4_096, 32_768)],
    ids=["wished for", "loaded", "loaded with too little"],
)
async def test_the_window_is_chosen_and_reported_with_its_memory(window: int | None, loaded: int, tokens: int) -> None:
    running = [{"name": "qwen3:1.7b", "context_length": loaded}]
    async with ScriptedOllama(QWEN, loaded=running) as ollama:
        upstream = await found(ollama.root_url, window=window)
        assert upstream.window_tokens == tokens
        assert f"{tokens:,} tokens" in upstream.notes[0]
        assert "GiB of KV cache" in upstream.notes[0]


async def test_the_only_model_with_tools_needs_no_name() -> None:
    async with ScriptedOllama({"talker": a_model(), "qwen3:1.7b": a_model("tools")}) as ollama:
        assert (await found(ollama.root_url, "")).model == "qwen3:1.7b"


async def test_a_model_that_cannot_be_described_is_passed_over() -> None:
    async with ScriptedOllama({"broken": "no object", "qwen3:1.7b": a_model("tools")}) as ollama:
        assert (await found(ollama.root_url, "")).model == "qwen3:1.7b"


async def test_several_models_with_tools_are_listed() -> None:
    async with ScriptedOllama({"a": a_model("tools"), "b": a_model("tools"), "c": a_model()}) as ollama:
        assert "These can call tools: a, b." in (await mistake(ollama.root_url, "")).hint


async def test_an_unknown_model_is_reported_with_how_to_get_it_and_what_is_near() -> None:
    async with ScriptedOllama(QWEN) as ollama:
        error = await mistake(ollama.root_url, "qwen3:1.8b")
        assert "no model 'qwen3:1.8b'" in error.what
        assert "ollama pull qwen3:1.8b" in error.hint
        assert "similar name: qwen3:1.7b" in error.hint


async def test_an_embedding_model_is_refused() -> None:
    embedding = {**a_model(), "capabilities": ["embedding"]}
    async with ScriptedOllama({"embed": embedding}) as ollama:
        assert "can't chat" in (await mistake(ollama.root_url, "embed")).what


async def test_another_engine_is_no_ollama() -> None:
    async with FakeUpstream() as upstream:
        assert "no Ollama" in (await mistake(f"http://127.0.0.1:{upstream.port}", "m")).what


async def test_a_web_page_at_the_version_is_no_ollama() -> None:
    page = {"/api/version": document(b"<html>Welcome</html>", content_type="text/html")}
    async with FakeUpstream(documents=page) as upstream:
        assert "no Ollama" in (await mistake(f"http://127.0.0.1:{upstream.port}", "m")).what


async def test_an_ollama_that_is_not_running_may_come() -> None:
    with pytest.raises(
        UpstreamUnreachableError, match=r"refused the connection\. Is it running\? Start it: `ollama serve`$"
    ):
        await found("http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("model", "options", "note"),
    [
        pytest.param(a_model(), {}, "can't call tools", id="no tools"),
        pytest.param(a_model("tools", remote_host="https://ollama.com"), {}, "runs at https://ollama.com", id="cloud"),
        pytest.param(a_model("tools"), {"version": "0.9.0"}, "cuts long prompts in silence", id="old"),
        pytest.param(
            a_model("tools"),
            {"loaded": [{"name": "m:latest", "context_length": 40_960, "size": 100, "size_vram": 60}]},
            "40% of the model is on the CPU",
            id="CPU offload",
        ),
    ],
)
async def test_what_may_spoil_a_session_is_noted(model: Any, options: dict[str, Any], note: str) -> None:
    async with ScriptedOllama({"m:latest": model}, **options) as ollama:
        notes = (await found(ollama.root_url, "m")).notes
        assert any(note in line for line in notes), notes


@pytest.mark.parametrize(
    ("remote_host", "prices"), [(None, FREE), ("https://ollama.com", None)], ids=["on this machine", "in the cloud"]
)
async def test_only_a_model_on_the_users_machines_is_free(remote_host: str | None, prices: Prices | None) -> None:
    async with ScriptedOllama({"m:latest": a_model("tools", remote_host=remote_host)}) as ollama:
        assert (await found(ollama.root_url, "m")).prices == prices


async def test_a_good_ollama_gets_no_more_than_its_window_and_abilities_noted() -> None:
    async with ScriptedOllama(QWEN) as ollama:
        _, *others = (await found(ollama.root_url)).notes
        assert others == ["calls tools, thinks, sees no images"]


async def test_an_openai_address_that_is_an_ollama_is_upgraded_with_a_notice() -> None:
    async with ScriptedOllama(QWEN) as ollama:
        upstream = await found(ollama.base_url, provider="openai")
        assert upstream.adapter.kind == "ollama-chat"
        assert "--api openai-chat" in upstream.notes[0]


@pytest.mark.parametrize(
    ("given", "base_url"),
    [
        ("localhost", "http://localhost:11434"),
        ("10.0.0.2:8080", "http://10.0.0.2:8080"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:9000", "http://127.0.0.1:9000"),
        (":9000", "http://127.0.0.1:9000"),
        ("https://ollama.example", "https://ollama.example:443"),
        (" 'https://ollama.example' ", "https://ollama.example:443"),
        ("http://host:1/path/", "http://host:1/path"),
        ("[::1]", "http://[::1]:11434"),
        (" '127.0.0.1:11500' ", "http://127.0.0.1:11500"),
        ('" 127.0.0.1:11500 "', "http://127.0.0.1:11500"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(given: str, base_url: str) -> None:
    assert base_url_from(given) == base_url


def test_the_root_is_what_is_left_without_the_paths_of_an_api() -> None:
    assert root_url("http://h:1/v1/") == root_url("http://h:1/api/chat") == root_url("http://h:1") == "http://h:1"
