"""Several models on one command line: where requests go, and what is told of it."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.cli.process import LIMIT_S, run_bridge, serving
from tests.fake_upstream import FakeUpstream, ReceivedRequest, Reply, answer, model_list, refusal
from tests.scripted_ollama import ScriptedOllama, a_model

pytestmark = pytest.mark.anyio


def engine(*models: str) -> FakeUpstream:
    """An engine that says which of its models it is."""

    def script(request: ReceivedRequest) -> Reply:
        return answer(f"I am {request.json['model']}.")

    return FakeUpstream(script, documents={"/v1/models": model_list(*models)})


async def output_text(url: str, model: str, *, max_tokens: int = 9) -> str:
    question = {"model": model, "max_tokens": max_tokens, "messages": [{"role": "user", "content": "Who are you?"}]}
    async with httpx.AsyncClient(timeout=LIMIT_S) as client:
        response = await client.post(f"{url}/v1/messages", json=question)
    assert response.status_code == 200, response.text
    return str(response.json()["content"][0]["text"])


async def test_options_say_which_model_gets_a_request() -> None:
    async with engine("big", "small", "other") as upstream:
        arguments = ("--small-model", "small", "--route", "claude-opus-*=openai/other")
        async with serving("openai", "big", "--base-url", upstream.base_url, *arguments) as bridge:
            await bridge.says("big on")
            assert await output_text(bridge.url, "claude-sonnet-5") == "I am big."
            assert await output_text(bridge.url, "claude-haiku-5") == "I am small."
            assert await output_text(bridge.url, "claude-opus-5[1m]") == "I am other."
            assert await output_text(bridge.url, "other") == "I am other."


async def test_the_configuration_says_it_too_and_options_go_before_it(tmp_path: Path) -> None:
    async with engine("big") as first, engine("spare", "small") as second:
        file = tmp_path / "config.toml"
        file.write_text(
            '[defaults]\nmodel = "one/big"\nsmall_model = "two/small"\nfallback = ["two/spare"]\n'
            '[routes]\n"claude-opus-*" = "two/spare"\n'
            f'[providers.one]\nkind = "openai-chat"\nbase_url = "{first.base_url}"\n'
            f'[providers.two]\nkind = "openai-chat"\nbase_url = "{second.base_url}"\n'
        )
        async with serving("--config", str(file)) as bridge:
            await bridge.says("big on")
            assert await output_text(bridge.url, "claude-haiku-5") == "I am small."
            assert await output_text(bridge.url, "claude-opus-5") == "I am spare."
        async with serving("--config", str(file), "--route", "claude-opus-*=one/big") as bridge:
            await bridge.says("big on")
            assert await output_text(bridge.url, "claude-opus-5") == "I am big."


async def test_what_is_configured_for_any_model_holds_for_others_and_options_for_the_first_alone(
    tmp_path: Path,
) -> None:
    async with ScriptedOllama({"m": a_model("tools"), "n": a_model("tools")}) as ollama:
        file = tmp_path / "config.toml"
        file.write_text("[defaults]\ncontext_window = 20000\nmax_tokens = 500\n")
        arguments = ("--small-model", "n", "--context-window", "30000", "--max-tokens", "300", "--config", str(file))
        async with serving("ollama", "m", "--base-url", ollama.root_url, *arguments) as bridge:
            await bridge.says("m on")
            await output_text(bridge.url, "claude-x", max_tokens=9_000)
            await output_text(bridge.url, "claude-haiku-5", max_tokens=9_000)
        sent = {chat.json["model"]: chat.json["options"] for chat in ollama.chats}
        assert (sent["m"]["num_ctx"], sent["m"]["num_predict"]) == (30_000, 300)
        assert (sent["n"]["num_ctx"], sent["n"]["num_predict"]) == (20_000, 500)


async def test_a_fallback_answers_and_the_debug_log_says_why(tmp_path: Path) -> None:
    documents = {"/v1/models": model_list("big")}
    async with FakeUpstream(lambda _: refusal(503, "full"), documents=documents) as first, engine("spare") as second:
        file = tmp_path / "config.toml"
        file.write_text(f'[providers.two]\nkind = "openai-chat"\nbase_url = "{second.base_url}"\n')
        arguments = ("--fallback", "two/spare", "--config", str(file), "--debug")
        async with serving("openai", "big", "--base-url", first.base_url, *arguments) as bridge:
            await bridge.says("big on")
            assert await output_text(bridge.url, "claude-x") == "I am spare."
            await bridge.says("openai/big failed")
            await bridge.says("since it is a fallback")


async def test_what_is_wrong_with_another_model_is_reported_at_the_start(tmp_path: Path) -> None:
    async with engine("big") as upstream:
        file = tmp_path / "config.toml"
        file.write_text('[providers.two]\nkind = "openai-chat"\nbase_url = "http://127.0.0.1:9"\n')
        arguments = ("--fallback", "two/spare", "--config", str(file))
        async with serving("openai", "big", "--base-url", upstream.base_url, *arguments) as bridge:
            await bridge.says("big on")
            await bridge.says("refused the connection")
            assert await output_text(bridge.url, "claude-x") == "I am big."


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--fallback", "nosuch/x"), "There is no provider 'nosuch'"),
        (("--fallback", "/x"), "is not PROVIDER/MODEL"),
        (("--route", "x"), "is not PATTERN=PROVIDER/MODEL"),
        (("--route", "=openai/x"), "is not PATTERN=PROVIDER/MODEL"),
        (("--fallback", "openai/gpt-5"), "needs an API key"),
        (("--fallback", "local"), "`local`"),
    ],
)
async def test_what_can_not_be_meant_is_reported_at_once(arguments: tuple[str, str], words: str) -> None:
    done = await run_bridge("serve", "ollama", "m", "--port", "0", *arguments)
    assert done.code == 1
    assert words in done.stderr
