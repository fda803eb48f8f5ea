"""``bridge env``: it points a client at the bridge that runs."""

from __future__ import annotations

import json

import anyio
import pytest

from tests.cli.process import LIMIT_S, command, environment, run_bridge, serving
from tests.fake_upstream import MODEL, FakeUpstream, Reply, answer, json_document, model_list, refusal

pytestmark = pytest.mark.anyio

NOWHERE = "http://127.0.0.1:9"


async def test_a_shell_that_evaluates_it_reaches_the_running_bridge() -> None:
    models = {"/v1/models": model_list("qwen3:1.7b", owner="vllm", max_model_len=32_768)}
    async with (
        FakeUpstream(documents=models) as upstream,
        serving("openai", "--base-url", upstream.base_url) as bridge,
    ):
        await bridge.says("qwen3:1.7b")
        evaluated = f'eval "$({" ".join(command("env", "--url", bridge.url))})"; env'
        with anyio.fail_after(LIMIT_S):
            done = await anyio.run_process(
                ["bash", "-c", evaluated], env=environment({"SHELL": "/bin/bash", "ANTHROPIC_API_KEY": "a real one"})
            )
    reported = dict(line.split("=", 1) for line in done.stdout.decode().splitlines() if "=" in line)
    assert reported["ANTHROPIC_BASE_URL"] == bridge.url
    assert reported["ANTHROPIC_MODEL"] == "qwen3:1.7b"
    assert reported["ANTHROPIC_API_KEY"] == ""
    assert reported["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "41672"


async def test_without_a_bridge_it_gives_what_it_can_and_says_so() -> None:
    done = await run_bridge("env", "--shell", "json", "--url", NOWHERE)
    assert done.code == 0
    assert "No bridge is running" in done.stderr
    reported = json.loads(done.stdout)
    assert reported["ANTHROPIC_BASE_URL"] == NOWHERE
    assert "ANTHROPIC_MODEL" not in reported


async def test_a_token_is_handed_on_and_a_missing_one_reported() -> None:
    async with (
        FakeUpstream() as upstream,
        serving("openai", "--base-url", upstream.base_url, "--auth-token", "secret-token") as bridge,
    ):
        await bridge.says(f"{MODEL} on")
        without = await run_bridge("env", "--url", bridge.url)
        given = await run_bridge("env", "--shell", "json", "--url", bridge.url, "--auth-token", "secret-token")
    assert (without.code, without.stdout) == (1, "")
    assert "--auth-token" in without.stderr
    assert json.loads(given.stdout)["ANTHROPIC_AUTH_TOKEN"] == "secret-token"


@pytest.mark.parametrize(
    "reply", [answer("Hi"), json_document({"ready": "perhaps"}), refusal(404, "no")], ids=["stream", "JSON", "404"]
)
async def test_another_server_is_not_taken_for_a_bridge(reply: Reply) -> None:
    async with FakeUpstream(documents={"/readyz": reply}) as upstream:
        done = await run_bridge("env", "--url", upstream.base_url.removesuffix("/v1"))
    assert (done.code, done.stdout) == (1, "")
    assert "is not a bridge" in done.stderr


async def test_an_unknown_form_is_reported_with_the_known_ones() -> None:
    done = await run_bridge("env", "--shell", "tcsh")
    assert done.code == 1
    assert "powershell" in done.stderr


async def test_each_variable_can_be_explained() -> None:
    done = await run_bridge("env", "--shell", "fish", "--explain", "--url", NOWHERE)
    lines = done.stdout.splitlines()
    assert lines[0] == "# where the bridge listens"
    assert lines[1] == f"set -gx ANTHROPIC_BASE_URL '{NOWHERE}'"


async def test_docker_gets_the_options_that_a_container_needs() -> None:
    done = await run_bridge("env", "--shell", "docker", "--url", "http://127.0.0.1:9")
    assert done.stdout.startswith("--add-host host.docker.internal:host-gateway --add-host api.anthropic.com:0.0.0.0 ")
    assert "--host 0.0.0.0" in done.stderr
