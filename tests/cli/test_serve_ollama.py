"""``bridge serve ollama``: what it finds, says and asks for."""

from __future__ import annotations

import base64

import httpx
import pytest

from tests.cli.process import run_bridge, run_process, serving
from tests.fake_upstream import FakeUpstream, ReceivedRequest, Reply, json_document, model_list, refusal
from tests.scripted_ollama import ScriptedOllama, a_model, chat_answer, chat_that_counts

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
        assert "qwen3:1.7b on Ollama 0.32.15" in bridge.reported
        assert "context window 32,768 tokens (of 40,960 that the model was trained for)" in bridge.reported


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
        await bridge.says("it is an Ollama, and is used through its own API")


async def test_the_api_of_the_address_can_be_kept() -> None:
    async with (
        ScriptedOllama(QWEN) as ollama,
        serving("openai", "qwen3:1.7b", "--base-url", ollama.base_url, "--api", "openai-chat") as bridge,
        httpx.AsyncClient() as client,
    ):
        await bridge.says("claude --model")
        await client.post(f"{bridge.url}/v1/messages", json=QUESTION)

        assert ollama.requests[-1].path == "/v1/chat/completions"


async def test_an_unknown_api_is_reported_with_those_that_are_known() -> None:
    done = await run_bridge("serve", "ollama", "m", "--api", "soap")

    assert done.code == 1
    assert "Known APIs: openai-chat, ollama-chat" in done.stderr


async def test_a_model_that_is_not_installed_is_reported_with_how_to_get_it() -> None:
    async with ScriptedOllama(QWEN) as ollama:
        done = await run_process("serve", "ollama", "qwen3:8b", "--base-url", ollama.root_url, "--port", "0")

    assert done.code == 1
    assert "ollama pull qwen3:8b" in done.stderr


@pytest.mark.parametrize("flags", [pytest.param([], id="no trace"), pytest.param(["--debug"], id="debug log")])
async def test_a_prompt_that_an_old_ollama_cut_is_reported_on_stderr(flags: list[str]) -> None:
    chat = chat_that_counts(lambda _: [{"content": "Hello"}], refuse=None)
    models = {"qwen3:1.7b": a_model("tools", "thinking", parameters="num_ctx 2048")}
    async with (
        ScriptedOllama(models, chat=chat, version="0.9.0") as ollama,
        serving("ollama", "--base-url", ollama.root_url, *flags) as bridge,
        httpx.AsyncClient() as client,
    ):
        await bridge.says("claude --model")
        long = {**QUESTION, "messages": [{"role": "user", "content": "word " * 4_000}]}
        assert (await client.post(f"{bridge.url}/v1/messages", json=long)).status_code == 200
        await bridge.says("larger --context-window")


# --- images for a model that sees none ------------------------------------------------------------------------

BLIND_AND_SEER = {"blind": a_model("tools"), "seer": a_model("vision")}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
LOOK = {**QUESTION, "messages": [{"role": "user", "content": [IMAGE, {"type": "text", "text": "What is it?"}]}]}


def _describes(request: ReceivedRequest) -> Reply:
    return chat_answer("A cat on a keyboard." if request.json["model"] == "seer" else "Hello")


async def test_a_model_that_sees_none_gets_images_in_the_words_of_one_that_does() -> None:
    async with (
        ScriptedOllama(BLIND_AND_SEER, chat=_describes) as ollama,
        serving("ollama", "blind", "--vision-model", "seer", "--base-url", ollama.root_url, "--debug") as bridge,
        httpx.AsyncClient() as client,
    ):
        await bridge.says("images are described to the model by seer")
        for _ in range(2):
            assert (await client.post(f"{bridge.url}/v1/messages", json=LOOK)).status_code == 200

        described, *answered = [chat.json for chat in ollama.chats]
        assert [chat["model"] for chat in answered] == ["blind", "blind"], "the image is described once"
        assert described["options"]["temperature"] == 0
        assert described["messages"][0]["images"] == [PNG]
        prompt_text = "[image described by seer: A cat on a keyboard.]\n\nWhat is it?"
        assert [chat["messages"] for chat in answered] == [[{"role": "user", "content": prompt_text}]] * 2
        await bridge.says("seer described an image, after")


async def test_a_model_without_vision_gets_a_note_where_no_model_describes_images() -> None:
    async with (
        ScriptedOllama(BLIND_AND_SEER, chat=_describes) as ollama,
        serving("ollama", "blind", "--base-url", ollama.root_url) as bridge,
        httpx.AsyncClient() as client,
    ):
        await bridge.says("images are replaced by a note to the model; --vision-model MODEL would describe them")
        await client.post(f"{bridge.url}/v1/messages", json=LOOK)
        (chat,) = ollama.chats
        assert chat.json["messages"][0]["content"].startswith("[image omitted: the model cannot see images]")


async def test_a_description_that_fails_costs_only_the_description() -> None:
    def fails(request: ReceivedRequest) -> Reply:
        return refusal(400, "too large") if request.json["model"] == "seer" else chat_answer("Hello")

    async with (
        ScriptedOllama(BLIND_AND_SEER, chat=fails) as ollama,
        serving("ollama", "blind", "--vision-model", "seer", "--base-url", ollama.root_url, "--debug") as bridge,
        httpx.AsyncClient() as client,
    ):
        await bridge.says("claude --model")
        assert (await client.post(f"{bridge.url}/v1/messages", json=LOOK)).status_code == 200
        assert "[image omitted" in ollama.chats[-1].json["messages"][0]["content"]
        await bridge.says("seer did not describe an image")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["blind", "--vision-model", "nobody"], "no model 'nobody'"),
        (["blind", "--vision-model", "blind"], "'blind' on Ollama 0.32.15 can't see images either"),
    ],
    ids=["unknown", "blind too"],
)
async def test_a_model_that_can_not_describe_ends_the_command(arguments: list[str], words: str) -> None:
    async with ScriptedOllama(BLIND_AND_SEER) as ollama:
        done = await run_process("serve", "ollama", *arguments, "--base-url", ollama.root_url, "--port", "0")
    assert done.code == 1
    assert words in done.stderr


async def test_an_engine_with_one_model_has_nobody_to_describe() -> None:
    models = model_list("any.gguf", owner="llamacpp")
    documents = {"/v1/models": models, "/props": json_document({"modalities": {"vision": False}})}
    async with FakeUpstream(documents=documents) as engine:
        done = await run_process(
            "serve", "openai", "--vision-model", "seer", "--base-url", engine.base_url, "--port", "0"
        )
    assert done.code == 1
    assert "serves only one model, which can't see images" in done.stderr


async def test_what_is_passed_through_is_not_described() -> None:
    arguments = ("anthropic", "--vision-model", "seer", "--base-url", "http://127.0.0.1:1", "--no-check")
    done = await run_process("serve", *arguments, "--port", "0")
    assert done.code == 1
    assert "passed through, images included" in done.stderr


async def test_a_model_that_sees_needs_nobody_to_describe() -> None:
    async with (
        ScriptedOllama({"seer": a_model("tools", "vision")}) as ollama,
        serving("ollama", "--vision-model", "nobody", "--base-url", ollama.root_url) as bridge,
    ):
        await bridge.says("claude --model")
        assert "describes" not in bridge.reported
