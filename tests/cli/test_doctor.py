"""``bridge doctor`` as a process: what it prints, its exit code, and that it keeps secrets."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from claude_bridge.doctor.probing import has_busy_slot
from claude_bridge.upstream.client import UpstreamClient
from tests.cli.process import LIMIT_S, Finished, command, environment, run_bridge, serving
from tests.fake_upstream import (
    FakeUpstream,
    Head,
    ReceivedRequest,
    Reply,
    Send,
    answer,
    document,
    free_port,
    json_document,
    model_list,
    refusal,
)
from tests.scripted_ollama import NDJSON, ScriptedOllama, a_model, chat_answer, chat_line

pytestmark = pytest.mark.anyio

QWEN = {"qwen3:1.7b": a_model("tools", "thinking")}
SECRET = "sk-very-secret-key"
TELLS_OWNERS = Path("/proc/net/tcp").exists()
"""Whether the system tells who listens on a port."""


class Machine:
    """A machine with a home of its own and a Claude Code on its PATH."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.port = free_port()
        client = home / "bin" / "claude"
        client.parent.mkdir()
        client.write_text("#!/bin/sh\necho '2.1.330 (Claude Code)'\n")
        client.chmod(0o755)

    def settings(self, **env: str) -> None:
        folder = self.home / ".claude"
        folder.mkdir()
        (folder / "settings.json").write_text(json.dumps({"env": env}))

    async def doctor(self, *arguments: str, port: int | None = None, **env: str) -> Finished:
        path = f"{self.home / 'bin'}{os.pathsep}{os.environ['PATH']}"
        own = {"HOME": str(self.home), "PATH": path}
        return await run_bridge("doctor", *arguments, "--port", str(port or self.port), env={**own, **env})

    async def checks(self, *arguments: str, port: int | None = None, **env: str) -> dict[str, dict[str, Any]]:
        done = await self.doctor(*arguments, "--json", port=port, **env)
        report = json.loads(done.stdout)
        broken = [check for check in report["checks"] if check["mark"] == "bad"]
        assert report["ok"] is (not broken)
        assert done.code == (1 if broken else 0)
        assert SECRET not in done.stdout + done.stderr
        return {check["name"]: check for check in report["checks"]}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


async def test_a_healthy_machine_is_all_well(machine: Machine) -> None:
    async with ScriptedOllama(QWEN) as ollama:
        done = await machine.doctor("ollama", "qwen3:1.7b", "--base-url", ollama.root_url)

    assert done.code == 0, done.stdout
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[-1] == "All is well."
    assert {line[0] for line in lines[:-2]} == {"✓"}
    assert "2.1.330 (Claude Code)" in done.stdout


async def test_json_has_the_same_in_a_form_for_programs(machine: Machine) -> None:
    async with ScriptedOllama(QWEN) as ollama:
        checks = await machine.checks(OLLAMA_HOST=f"127.0.0.1:{ollama.port}")

    assert {check["mark"] for check in checks.values()} == {"ok"}
    assert checks["engine"] == {"name": "engine", "mark": "ok", "seen": "Ollama 0.32.15", "remedy": None}


@pytest.mark.usefixtures("without_usual_engines")
async def test_an_engine_that_is_not_running_is_reported_with_how_to_start_it(machine: Machine) -> None:
    done = await machine.doctor("ollama", "--base-url", f"http://127.0.0.1:{free_port()}")

    assert done.code == 1
    assert "✗  reachable" in done.stdout
    assert "→ ollama serve" in done.stdout
    assert done.stdout.splitlines()[-1] == "1 broken."


@pytest.mark.skipif(sys.platform == "win32", reason="it has no pseudo-terminals")
async def test_findings_go_where_stdout_goes_though_the_terminal_shows_what_goes_on(machine: Machine) -> None:
    arguments = ("doctor", "openai", "m", "--base-url", f"http://127.0.0.1:{free_port()}", "--port", str(machine.port))
    ours, theirs = os.openpty()

    def shown() -> bytes:
        read = b""
        with suppress(OSError):  # Linux's way to say that the other side is closed
            while more := os.read(ours, 65_536):
                read += more
        return read

    with ThreadPoolExecutor() as threads:
        terminal = threads.submit(shown)
        environ = environment({"HOME": str(machine.home), "TERM": "xterm"})
        try:
            done = await anyio.run_process(command(*arguments), check=False, stderr=theirs, env=environ)
        finally:
            os.close(theirs)
        assert b"Asking the engine" in terminal.result(LIMIT_S)
    os.close(ours)
    assert b"reachable" in done.stdout
    assert b"client settings" in done.stdout


async def test_a_stranger_is_named(machine: Machine) -> None:
    page = document(b"<html>Hi</html>", content_type="text/html")
    async with FakeUpstream(documents={"/v1/models": page}) as stranger:
        checks = await machine.checks("openai", "--base-url", stranger.base_url)

    assert "web page" in checks["engine"]["seen"]
    assert ("(process " in checks["engine"]["seen"]) is TELLS_OWNERS


async def test_a_proxy_in_the_way_is_reported_and_does_not_keep_the_doctor_from_its_work(machine: Machine) -> None:
    proxy = f"http://u:{SECRET}@127.0.0.1:{free_port()}"
    async with ScriptedOllama(QWEN) as ollama:
        checks = await machine.checks("ollama", "--base-url", ollama.root_url, HTTP_PROXY=proxy)

    assert (checks["engine"]["mark"], checks["proxy"]["mark"]) == ("ok", "bad")
    assert "export NO_PROXY=" in checks["proxy"]["remedy"]


async def test_a_key_is_never_printed(machine: Machine) -> None:
    refused = refusal(401, f"Incorrect API key: {SECRET}")
    machine.settings(ANTHROPIC_API_KEY=SECRET)
    async with FakeUpstream(documents={"/v1/models": refused, "/models": refused}) as engine:
        checks = await machine.checks("openai", "m", "--base-url", engine.base_url, OPENAI_API_KEY=SECRET)

    assert checks["key"]["mark"] == "bad"
    assert checks["client settings"]["mark"] == "warn"


async def test_a_settings_file_that_leads_elsewhere_is_reported_with_its_name(machine: Machine) -> None:
    machine.settings(ANTHROPIC_BASE_URL="https://gateway.example")
    async with ScriptedOllama(QWEN) as ollama:
        checks = await machine.checks("ollama", "--base-url", ollama.root_url)

    assert checks["client settings"]["mark"] == "bad"
    assert checks["client settings"]["remedy"] == ("Remove ANTHROPIC_BASE_URL from `env` in ~/.claude/settings.json.")


async def test_the_bridges_port_is_reported_with_who_has_it(machine: Machine) -> None:
    async with ScriptedOllama(QWEN) as ollama:
        checks = await machine.checks("ollama", "--base-url", ollama.root_url, port=ollama.port)

    assert checks["bridge port"]["mark"] == "bad"
    assert checks["bridge port"]["seen"].startswith(f"{ollama.port} is taken")
    assert ("(process " in checks["bridge port"]["seen"]) is TELLS_OWNERS
    assert checks["bridge port"]["remedy"] == f"bridge serve … --port {ollama.port + 1}"


async def test_a_bridge_that_runs_is_known(machine: Machine) -> None:
    async with (
        ScriptedOllama(QWEN) as ollama,
        serving("ollama", "--base-url", ollama.root_url) as bridge,
    ):
        port = int(bridge.url.rpartition(":")[2])
        checks = await machine.checks("ollama", "--base-url", ollama.root_url, port=port)

    assert checks["bridge port"] == {
        "name": "bridge port",
        "mark": "ok",
        "seen": f"a bridge listens on {port} already",
        "remedy": None,
    }


async def test_without_a_provider_the_engine_of_the_running_bridge_is_checked(machine: Machine) -> None:
    documents = {
        "/v1/models": model_list("m", owner="llamacpp"),
        "/props": json_document({"default_generation_settings": {"n_ctx": 32_768}, "build_info": "b1"}),
    }
    async with FakeUpstream(documents=documents) as engine, serving("openai", "--base-url", engine.base_url) as bridge:
        await bridge.says("claude --model")
        port = int(bridge.url.rpartition(":")[2])
        checks = await machine.checks(port=port)

    assert checks["bridge"]["mark"] == "ok"
    assert f"serves m on llama.cpp at {engine.base_url}" in checks["bridge"]["seen"]
    assert checks["engine"]["seen"] == "llama.cpp b1"
    assert checks["tools"]["remedy"].startswith(
        f"Ask the model itself: `bridge doctor openai m --base-url {engine.base_url} --port {port}"
    )


async def test_a_running_bridge_whose_engine_is_gone_is_checked_at_the_engines_address(machine: Machine) -> None:
    address = f"http://127.0.0.1:{free_port()}/v1"
    async with serving("openai", "m", "--base-url", address) as bridge:
        await bridge.says("refused")
        checks = await machine.checks(port=int(bridge.url.rpartition(":")[2]))

    assert checks["bridge"]["mark"] == "warn"
    assert "not ready to serve m" in checks["bridge"]["seen"]
    assert checks["reachable"]["mark"] == "bad"
    assert address.removesuffix("/v1") in checks["reachable"]["seen"]


async def test_a_bridge_that_asks_for_a_token_is_not_looked_into(machine: Machine) -> None:
    async with (
        ScriptedOllama(QWEN) as ollama,
        serving("ollama", "--base-url", ollama.root_url, "--auth-token", SECRET) as bridge,
    ):
        checks = await machine.checks(port=int(bridge.url.rpartition(":")[2]), OLLAMA_HOST=f"127.0.0.1:{ollama.port}")

    assert "bridge" not in checks
    assert checks["engine"]["seen"] == "Ollama 0.32.15"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["local"], "runs one model inside the bridge"),
        (["nowhere"], "no provider 'nowhere'"),
        (["ollama", "--base-url", "localhost:11434"], "is not a valid address"),
        (["ollama", "--base-url", f"http://u:{SECRET}@h"], "contains a password"),
    ],
    ids=["local", "provider", "address", "password"],
)
async def test_what_can_not_be_looked_at_is_reported_in_a_panel(
    machine: Machine, arguments: Sequence[str], words: str
) -> None:
    done = await machine.doctor(*arguments)

    assert done.code == 1
    assert words in done.stderr
    assert SECRET not in done.stderr


async def test_what_an_engine_calls_its_models_can_not_steer_the_terminal(machine: Machine) -> None:
    async with FakeUpstream(documents={"/v1/models": model_list("\x1b[2Jm")}) as engine:
        done = await machine.doctor("openai", "other", "--base-url", engine.base_url)

    assert "\\x1b[2Jm" in done.stdout
    assert "\x1b" not in done.stdout


# --- --probe --------------------------------------------------------------------------------------------------


def able(request: ReceivedRequest) -> Reply:
    """Answer as a model that can do all that is asked."""
    body = request.json
    if "tools" in body:
        call = {"id": "call_1", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}}
        last = chat_line(done=True, done_reason="stop", prompt_eval_count=50, eval_count=5)
        return [Head(200, {"content-type": NDJSON}), Send(chat_line({"tool_calls": [call]})), Send(last)]
    if "images" in body["messages"][-1]:
        return chat_answer("Green.")
    requested = body["messages"][-1]["content"]
    words = requested.split("The code word is ")[1].split(".")[0] if "code word" in requested else "one two three"
    return chat_answer(words, prompt_tokens=6_000)


def forgetful(request: ReceivedRequest) -> Reply:
    """Answer as one that talks only, behind an engine that cuts prompts."""
    return chat_answer("I don't know.", prompt_tokens=2_050)


async def test_probes_of_an_able_model_are_all_well(machine: Machine) -> None:
    async with ScriptedOllama(QWEN, chat=able) as ollama:
        checks = await machine.checks("ollama", "qwen3:1.7b", "--base-url", ollama.root_url, "--probe")

        assert {check["mark"] for check in checks.values()} == {"ok"}
        assert {"speed", "tool call", "long prompt", "prompt cache", "stop"} <= set(checks)
        assert {chat.json["options"]["num_ctx"] for chat in ollama.chats} == {32_768}  # nothing is loaded again


async def test_a_picture_is_sent_to_a_model_that_reports_vision(machine: Machine) -> None:
    models = {"llava:7b": a_model("tools", "vision"), **QWEN}
    async with ScriptedOllama(models, chat=able) as ollama:
        seen = await machine.checks("ollama", "llava:7b", "--base-url", ollama.root_url, "--probe")
        shown = [message["images"] for chat in ollama.chats for message in chat.json["messages"] if "images" in message]
        blind = await machine.checks("ollama", "qwen3:1.7b", "--base-url", ollama.root_url, "--probe")

    assert seen["picture"]["seen"] == "a green picture was seen as green"
    ((picture,),) = shown
    assert base64.b64decode(picture).startswith(b"\x89PNG")
    assert "picture" not in blind


async def test_a_llama_cpp_is_looked_at_instead(machine: Machine) -> None:
    documents = {
        "/v1/models": model_list("m", owner="llamacpp"),
        "/props": json_document({"default_generation_settings": {"n_ctx": 32_768}}),
        "/slots": json_document([{"id": 0, "is_processing": False}]),
    }
    async with FakeUpstream(lambda _: answer("one two three"), documents=documents) as engine:
        checks = await machine.checks("openai", "--base-url", engine.base_url, "--probe")

        assert "/slots" in [probe.path for probe in engine.probes]
        assert [b"Say yes." in request.body for request in engine.requests].count(True) == 1, "only for comparison"
    assert checks["stop"]["mark"] == "ok"


@pytest.mark.parametrize(
    ("reply", "busy"),
    [
        pytest.param(json_document([{"id": 0, "is_processing": False}, {"id": 1}]), False, id="idle"),
        pytest.param(json_document([{"id": 0}, {"id": 1, "is_processing": True}]), True, id="busy"),
        pytest.param(json_document({"error": {"code": 501}}, status=501), None, id="switched off"),
        pytest.param(document(b"<html>", content_type="text/html"), None, id="no JSON"),
        pytest.param(json_document({"slots": []}), None, id="no list"),
    ],
)
async def test_whether_a_slot_is_busy(reply: Reply, busy: bool | None) -> None:
    async with (
        FakeUpstream(documents={"/slots": reply}) as engine,
        UpstreamClient(f"http://127.0.0.1:{engine.port}", api_key=None, name="llama.cpp") as client,
    ):
        assert await has_busy_slot(client) is busy


async def test_probes_find_what_the_engine_does_not_report(machine: Machine) -> None:
    async with ScriptedOllama(QWEN, chat=forgetful) as ollama:
        checks = await machine.checks("ollama", "qwen3:1.7b", "--base-url", ollama.root_url, "--probe")

    assert (checks["tool call"]["mark"], checks["long prompt"]["mark"]) == ("bad", "bad")
    assert "the engine read 2,050: it cuts prompts in silence" in checks["long prompt"]["seen"]


async def test_a_long_prompt_is_no_longer_than_half_of_the_window(machine: Machine) -> None:
    documents = {"/v1/models": model_list("m", owner="vllm", max_model_len=4_096)}
    async with FakeUpstream(lambda _: answer("ok"), documents=documents) as engine:
        await machine.checks("openai", "--base-url", engine.base_url, "--probe")

        longest = max(len(request.body) for request in engine.requests)
        assert 1_500 < longest / 3.8 < 2_200


async def test_a_model_that_is_not_there_is_not_probed(machine: Machine) -> None:
    async with ScriptedOllama(QWEN) as ollama:
        checks = await machine.checks("ollama", "nothing", "--base-url", ollama.root_url, "--probe")

        assert checks["probe"]["mark"] == "warn"
        assert ollama.chats == []
