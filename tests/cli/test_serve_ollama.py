"""``bridge serve ollama``: what it finds, says and asks for."""

from __future__ import annotations

import httpx
import pytest

from tests.cli.process import run_bridge, serving
from tests.scripted_ollama import ScriptedOllama, a_model, chat_that_counts

pytestmark = pytest.mark.anyio

QWEN = {"qwen3:1.7b": a_model("tools", "thinking")}
QUESTION = {"model": "claude-x", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]}


async def test_an_ollama_is_served_through_its_own_api() -> None:
    async with (
        ScriptedOllama(QWEN) as ollama,
        serving("ollama", "qwen3:1.7b", "--base-url", ollama.root_url) as bridge,
        httpx.AsyncClient() as client,
    ):
        await bridge.says("claude --model")
        answer = (await client.post(f"{bridge.url}/v1/messages", json=QUESTION)).json()

        assert answer["content"] == [{"type": "text", "text": "Hello"}]
        sent = ollama.chats[0].json
        assert (sent["model"], sent["think"]) == ("qwen3:1.7b", False)
        assert (sent["truncate"], sent["shift"]) == (False, False)
        assert "qwen3:1.7b on Ollama 0.32.15" in bridge.told
        assert "context window 32,768 tokens (of 40,960 that the model was trained for)" in bridge.told


async def test_a_session_never_changes_how_the_model_is_loaded() -> None:
    async with (
        ScriptedOllama(QWEN) as ollama,
        serving("ollama", "--base-url", ollama.root_url, "--context-window", "20000") as bridge,
        httpx.AsyncClient() as client,
    ):
        for max_tokens in (1, 500, 32_000):
            await client.post(f"{bridge.url}/v1/messages", json={**QUESTION, "max_tokens": max_tokens})

        assert [chat.json["options"]["num_ctx"] for chat in ollama.chats] == [20_000] * 3
        assert len({chat.json["keep_alive"] for chat in ollama.chats}) == 1


async def test_the_address_may_come_from_ollama_host() -> None:
    async with (
        ScriptedOllama(QWEN) as ollama,
        serving("ollama", env={"OLLAMA_HOST": f"127.0.0.1:{ollama.port}"}) as bridge,
    ):
        await bridge.says(f"at {ollama.root_url}")


async def test_an_openai_address_that_is_an_ollama_is_upgraded_in_one_line() -> None:
    async with (
        ScriptedOllama(QWEN) as ollama,
        serving("openai", "qwen3:1.7b", "--base-url", ollama.base_url) as bridge,
    ):
        await bridge.says("it is an Ollama, and asked through its own API")


async def test_the_api_of_the_address_can_be_kept() -> None:
    async with (
        ScriptedOllama(QWEN) as ollama,
        serving("openai", "qwen3:1.7b", "--base-url", ollama.base_url, "--api", "openai-chat") as bridge,
        httpx.AsyncClient() as client,
    ):
        await bridge.says("claude --model")
        await client.post(f"{bridge.url}/v1/messages", json=QUESTION)

        assert ollama.requests[-1].path == "/v1/chat/completions"


async def test_an_unknown_api_is_told_with_those_that_are_known() -> None:
    done = await run_bridge("serve", "ollama", "m", "--api", "soap")

    assert done.code == 1
    assert "Known ones: openai-chat, ollama-chat" in done.stderr


async def test_a_model_that_is_not_installed_is_told_with_how_to_get_it() -> None:
    async with ScriptedOllama(QWEN) as ollama:
        done = await run_bridge("serve", "ollama", "qwen3:8b", "--base-url", ollama.root_url, "--port", "0")

    assert done.code == 1
    assert "ollama pull qwen3:8b" in done.stderr


@pytest.mark.parametrize("flags", [pytest.param([], id="no trace"), pytest.param(["--debug"], id="debug log")])
async def test_a_prompt_that_an_old_ollama_cut_is_told_on_stderr(flags: list[str]) -> None:
    chat = chat_that_counts(lambda _: [{"content": "Hello"}], refuse=None)
    window = ("--context-window", "2048")
    async with (
        ScriptedOllama(QWEN, chat=chat, version="0.9.0") as ollama,
        serving("ollama", "--base-url", ollama.root_url, *window, *flags) as bridge,
        httpx.AsyncClient() as client,
    ):
        await bridge.says("claude --model")
        long = {**QUESTION, "messages": [{"role": "user", "content": "word " * 4_000}]}
        assert (await client.post(f"{bridge.url}/v1/messages", json=long)).status_code == 200
        await bridge.says("larger --context-window")
