"""``bridge serve``: what it says, how it ends."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import anyio
import httpx
import pytest
import typer
from anyio.abc import Process
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.app.client_environment import client_environment
from claude_bridge.app.options import Options, ServerOptions
from claude_bridge.app.plan import Listening
from claude_bridge.cli.commands import app
from claude_bridge.cli.plain_serve import plain_arguments
from claude_bridge.cli.serve import EXAMPLES, listening_of
from claude_bridge.config.schema import Config
from claude_bridge.providers import PROVIDERS, upstream_of
from tests.cli.process import LIMIT_S, Finished, bare_start_s, command, environment, run_bridge, run_process, serving
from tests.fake_upstream import (
    DONE,
    MODEL,
    FakeUpstream,
    Head,
    Reply,
    Send,
    Stall,
    Wait,
    answer,
    document,
    finish,
    free_port,
    json_document,
    model_list,
    refusal,
    text,
)

pytestmark = pytest.mark.anyio

KEY = "sk-very-secret-key"
QUESTION = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}


def assert_one_panel(done: Finished, *words: str) -> None:
    """Assert that the command failed with one panel that says what, and what to do next."""
    assert done.code == 1, done
    assert done.stderr.count("Error") == 1
    assert "→" in done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert KEY not in done.stdout + done.stderr


# --- mistakes -------------------------------------------------------------------------------------------------


async def test_an_unknown_provider_is_reported_with_those_that_are_known() -> None:
    assert_one_panel(
        await run_bridge("serve", "opnai", "m"),
        "no provider 'opnai'; did you mean openai?",
        "openai, ollama, anthropic, ",
    )


async def test_an_address_or_a_model_in_the_place_of_the_provider_is_explained() -> None:
    assert_one_panel(
        await run_bridge("serve", "http://localhost:8080"), "as in openai --base-url http://localhost:8080"
    )
    assert_one_panel(await run_bridge("serve", "zephyr:7b"), "A model comes after its provider")


async def test_a_trace_in_a_folder_that_does_not_exist_is_reported_with_the_path_once(tmp_path: Path) -> None:
    trace = tmp_path / "none" / "trace.jsonl"
    place = ("--base-url", "http://127.0.0.1:9", "--port", "0")
    done = await run_bridge("serve", "openai", "m", *place, "--trace", str(trace))
    assert_one_panel(done, "No such file or directory", "in a folder that exists")
    assert "Errno" not in done.stderr


@pytest.mark.parametrize(
    ("base_url", "hint"),
    [
        ("localhost:11434", "--base-url http://localhost:11434"),
        ("htp://localhost:8080/v1", "--base-url http://localhost:8080/v1"),
        ("https:/localhost:8080/v1", "--base-url https://localhost:8080/v1"),
        ("http//localhost:8080", "--base-url http://localhost:8080"),
        ("ftp://localhost", "--base-url http://"),
        ("http://", "--base-url http://"),
        ("http://localhost:99999/v1", "--base-url http://"),
    ],
)
async def test_a_base_url_that_is_no_address_is_reported(base_url: str, hint: str) -> None:
    done = await run_bridge("serve", "openai", "m", "--base-url", base_url)
    assert_one_panel(done, f"--base-url '{base_url}' is not a valid address", hint)


async def test_the_npm_tools_name_of_a_provider_is_understood() -> None:
    done = await run_bridge("google", "m")
    assert_one_panel(done, "serve gemini", "GEMINI_API_KEY")


async def test_a_bridge_is_not_put_before_itself() -> None:
    port = str(free_port())
    done = await run_bridge("serve", "openai", "m", "--base-url", f"http://localhost:{port}/v1", "--port", port)
    assert_one_panel(done, "is the address of the bridge itself", "--base-url")


async def test_a_model_file_for_another_engine_is_reported() -> None:
    done = await run_bridge("serve", "ollama", "m", "--model-file", "m.gguf")
    assert done.code == 2
    assert "--model-file is only for the provider local." in done.stderr


async def test_quotation_marks_around_a_key_are_reported_and_the_key_is_not_shown() -> None:
    done = await run_bridge("serve", "openai", "m", env={"OPENAI_API_KEY": f"'{KEY}'"})
    assert_one_panel(done, "characters that no key can have", "without quotation marks")


async def test_a_password_in_the_base_url_is_reported_and_not_shown() -> None:
    done = await run_bridge("serve", "openai", "m", "--base-url", "http://me:hunter2@localhost:8080/v1")
    assert_one_panel(done, "contains a password", "--api-key")
    assert "hunter2" not in done.stderr


async def test_a_key_in_the_base_url_is_reported_and_not_shown() -> None:
    done = await run_bridge("serve", "openai", "m", "--base-url", "http://localhost:8080/v1?api_key=hunter2")
    assert_one_panel(done, "contains a key in its query (api_key)", "--api-key")
    assert "hunter2" not in done.stderr


async def test_a_missing_key_is_reported_before_anything_starts() -> None:
    done = await run_bridge("serve", "openai", "m", "--port", "0")
    assert_one_panel(done, "needs an API key", "OPENAI_API_KEY")
    assert done.stdout == ""


async def test_a_key_that_can_be_none_is_reported_and_not_shown() -> None:
    done = await run_bridge("serve", "openai", "m", "--port", "0", env={"OPENAI_API_KEY": "sk-żółć-secret"})
    assert_one_panel(done, "characters that no key can have", "OPENAI_API_KEY")
    assert "secret" not in done.stderr


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        pytest.param(document(b"<html>hi</html>", content_type="text/html"), ["web page", "--base-url"], id="web page"),
        pytest.param(document(b"no", status=404), ["answers 404", "Check --base-url"], id="wrong base URL"),
        pytest.param(refusal(401, f"bad key {KEY}"), ["does not accept the key", "--api-key"], id="bad key"),
        pytest.param(model_list("other:1b", "else"), ["no model 'm'", "It offers: other:1b, else"], id="missing model"),
        pytest.param(model_list("model:1b", "model:8b"), ["no model 'm'"], id="several models"),
    ],
)
async def test_a_mistake_that_the_engine_shows_ends_the_bridge(reply: Reply, words: list[str]) -> None:
    async with FakeUpstream(documents={"/v1/models": reply}) as upstream:
        arguments = ("openai", "m", "--base-url", upstream.base_url, "--api-key", KEY, "--port", "0")
        done = await run_process("serve", *arguments)
    assert_one_panel(done, *words)
    assert "Ready" not in done.stderr


async def test_a_taken_port_is_reported_with_who_has_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = await run_bridge("serve", "openai", "m", "--base-url", "http://127.0.0.1:9", "--port", str(port))
    assert_one_panel(done, f"Port {port} on 127.0.0.1 is taken by ", f"--port {port + 1}")
    assert done.stdout == ""


async def test_a_trace_file_that_cannot_be_is_reported(tmp_path: Path) -> None:
    trace = str(tmp_path / "no" / "such" / "folder" / "t.jsonl")
    (tmp_path / "no").write_text("a file")
    arguments = ("openai", "m", "--base-url", "http://127.0.0.1:9", "--port", "0", "--trace", trace)
    done = await run_process("serve", *arguments)
    assert_one_panel(done, "trace", "--trace")


@pytest.mark.parametrize(
    ("typed", "nearest"), [("opnerouter", "openrouter"), ("olama", "ollama"), ("antropic", "anthropic")]
)
async def test_a_provider_that_is_misspelt_is_answered_with_the_nearest(typed: str, nearest: str) -> None:
    assert_one_panel(await run_bridge("serve", typed, "m"), f"no provider {typed!r}; did you mean {nearest}?")


# --- all is well ----------------------------------------------------------------------------------------------


async def test_it_says_where_it_listens_what_it_found_and_what_to_paste() -> None:
    models = {"/v1/models": model_list("big model", owner="llamacpp", meta={"n_ctx": 32768})}
    async with (
        FakeUpstream(documents=models) as upstream,
        serving("openai", "--base-url", upstream.base_url.removesuffix("/v1")) as bridge,
    ):
        await bridge.says("claude --model")
        assert f"big model on llama.cpp at {upstream.base_url}\n  · context window 32,768 tokens" in bridge.reported
        assert f" env --url {bridge.url})\"; claude --model 'big model'\n" in bridge.reported
        assert "\x1b" not in bridge.reported


@pytest.mark.timing
async def test_it_answers_its_first_request_within_a_second_of_its_start() -> None:
    times = []
    for _ in range(3):
        bare_s = bare_start_s()
        started = serving("openai", "m", "--base-url", "http://127.0.0.1:9", is_forked=False)
        async with started as bridge, httpx.AsyncClient() as client:
            assert (await client.get(f"{bridge.url}/healthz")).json()["status"] == "ok"
            times.append((time.monotonic() - bridge.started_at) / max(1.0, 15 * bare_s))
    assert min(times) < 1, "of a second, or on a busy machine of 15 starts of Python alone"


async def test_other_spellings_of_options_are_understood() -> None:
    async with (
        FakeUpstream() as upstream,
        serving("openai", "--baseURL", upstream.base_url, "--apiKey", KEY) as bridge,
    ):
        await bridge.says("claude --model scripted")
        assert upstream.probes[0].headers["authorization"] == f"Bearer {KEY}"


async def test_a_key_from_the_environment_is_used_without_its_line_end() -> None:
    async with FakeUpstream() as upstream:
        env = {"OPENAI_API_KEY": f"{KEY}\n"}
        async with serving("openai", "--base-url", upstream.base_url, env=env) as bridge:
            await bridge.says("claude --model")
            assert upstream.probes[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("mode", "requested", "reported"),
    [
        ("on", None, {"enable_thinking": True}),
        ("off", {"type": "adaptive"}, {"enable_thinking": False}),
        ("auto", {"type": "adaptive"}, {"enable_thinking": True}),
    ],
)
async def test_who_says_whether_the_model_thinks(mode: str, requested: object, reported: object) -> None:
    models = {"/v1/models": model_list("m", owner="vllm")}
    question = QUESTION if requested is None else QUESTION | {"thinking": requested}
    async with (
        FakeUpstream([answer("Hello")], documents=models) as upstream,
        serving("openai", "--base-url", upstream.base_url, "--think", mode) as bridge,
        httpx.AsyncClient() as client,
    ):
        await bridge.says("claude --model")
        await client.post(f"{bridge.url}/v1/messages", json=question)
    assert upstream.requests[0].json["chat_template_kwargs"] == reported


async def test_a_provider_without_a_model_says_which_there_are() -> None:
    models = {"/v1/models": model_list("a", "b", owner="vllm")}
    async with FakeUpstream(documents=models) as upstream:
        done = await run_process("serve", "vllm", "--base-url", upstream.base_url, "--port", "0")
    assert_one_panel(done, "vLLM offers: a, b.")


async def test_an_engine_that_is_not_there_yet_is_used_when_it_appears() -> None:
    upstream = FakeUpstream([answer("Hello")])
    upstream.port = free_port()
    async with serving("openai", "--base-url", upstream.base_url) as bridge, httpx.AsyncClient() as client:
        await bridge.says("refused the connection")
        await bridge.says("The bridge keeps running")
        assert "Warning" in bridge.reported
        assert (await client.post(f"{bridge.url}/v1/messages", json=QUESTION)).status_code == 502
        async with upstream:
            await bridge.says("claude --model scripted")
            assert (await client.post(f"{bridge.url}/v1/messages", json=QUESTION)).status_code == 200


async def test_without_a_check_the_engine_is_not_asked() -> None:
    async with FakeUpstream([answer("Hello")]) as upstream, httpx.AsyncClient() as client:
        async with serving("openai", "any", "--base-url", upstream.base_url, "--no-check") as bridge:
            await bridge.says("claude --model any")
            assert (await client.post(f"{bridge.url}/v1/messages", json=QUESTION)).status_code == 200
        assert upstream.probes == []


async def test_clients_need_the_token_that_was_given() -> None:
    async with (
        FakeUpstream([answer("Hello")]) as upstream,
        serving("openai", "--base-url", upstream.base_url, "--auth-token", "s3cret") as bridge,
        httpx.AsyncClient() as client,
    ):
        await bridge.says("--auth-token s3cret)")
        requested = f"{bridge.url}/v1/messages"
        assert (await client.post(requested, json=QUESTION)).status_code == 401
        headers = {"authorization": "Bearer s3cret"}
        assert (await client.post(requested, json=QUESTION, headers=headers)).status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
def test_on_loopback_no_token_is_made(host: str) -> None:
    assert listening_of(Config(), ServerOptions(host=host, port=1)).auth_token is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "box.example"])
def test_beyond_loopback_a_new_token_is_made_each_time(host: str) -> None:
    tokens = {listening_of(Config(), ServerOptions(host=host, port=1)).auth_token for _ in range(10)}
    assert len(tokens) == 10
    assert min(len(token or "") for token in tokens) >= 32


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:1"), ("::", "http://[::1]:1"), ("::1", "http://[::1]:1"), ("box", "http://box:1")],
)
def test_the_address_to_paste_can_be_reached(host: str, url: str) -> None:
    upstream = upstream_of(PROVIDERS["openai"], base_url=None, model="m")
    pasted = client_environment(Listening(host=host, port=1, auth_token="t").served(upstream))
    assert (pasted["ANTHROPIC_BASE_URL"], pasted["ANTHROPIC_AUTH_TOKEN"]) == (url, "t")


async def test_no_key_is_ever_written_down(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    script = [answer(f"Your key is {KEY}"), json_document({"error": f"bad {KEY}"}, status=401)]
    async with FakeUpstream(script) as upstream, httpx.AsyncClient() as client:
        arguments = ("--base-url", upstream.base_url, "--api-key", KEY, "--debug", "--trace", str(trace))
        async with serving("openai", *arguments) as bridge:
            for _ in script:
                await client.post(f"{bridge.url}/v1/messages", json=QUESTION)
            await bridge.says("401")
            bridge.signal(signal.SIGTERM)
            assert await bridge.end() == 0
            assert "Hi" in trace.read_text()
            assert KEY not in trace.read_text()
            assert KEY not in bridge.reported


# --- the end --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_cleanly(number: signal.Signals) -> None:
    async with FakeUpstream() as upstream, serving("openai", "--base-url", upstream.base_url) as bridge:
        await bridge.says("claude --model")
        bridge.signal(number)
        assert await bridge.end() == 0
        assert "Traceback" not in bridge.reported


async def test_ctrl_c_in_the_first_moment_ends_it_cleanly_too() -> None:
    async with serving("openai", "m", "--base-url", "http://127.0.0.1:9") as bridge:
        bridge.signal(signal.SIGINT)
        assert await bridge.end() == 0
        assert "Traceback" not in bridge.reported


async def test_a_running_answer_finishes_after_sigterm() -> None:
    go_on = anyio.Event()
    reply: Reply = [Head(), Send(text("Hello")), Wait(go_on), Send(text(" you") + finish() + DONE)]
    async with (
        FakeUpstream([reply]) as upstream,
        serving("openai", "--base-url", upstream.base_url) as bridge,
        httpx.AsyncClient(timeout=LIMIT_S) as client,
        client.stream("POST", f"{bridge.url}/v1/messages", json={**QUESTION, "stream": True}) as response,
    ):
        pieces = response.aiter_text()
        assert "Hello" in await anext(pieces)
        bridge.signal(signal.SIGTERM)
        await bridge.says("Waiting up to 30 s for 1 answer to finish; press Ctrl-C again to stop now.")
        with pytest.raises(httpx.ConnectError):
            await client.get(f"{bridge.url}/healthz")
        go_on.set()
        assert "message_stop" in "".join([piece async for piece in pieces])
        assert await bridge.end() == 0


async def test_a_second_signal_ends_it_at_once() -> None:
    async with (
        FakeUpstream([[Head(), Send(text("Hello")), Stall()]]) as upstream,
        serving("openai", "--base-url", upstream.base_url) as bridge,
        httpx.AsyncClient(timeout=LIMIT_S) as client,
        client.stream("POST", f"{bridge.url}/v1/messages", json={**QUESTION, "stream": True}) as response,
    ):
        assert response.status_code == 200
        bridge.signal(signal.SIGINT)
        await bridge.says("press Ctrl-C again")
        bridge.signal(signal.SIGINT)
        assert await bridge.end() == 0
        assert "Stopped with 1 unfinished." in bridge.reported
        assert "Traceback" not in bridge.reported
        await upstream.requests[0].wait_until_closed_by_peer()


# --- what people type at first ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "typed", ["lmstudio/m", "LM-Studio/m", "lm-studio/m", "LM Studio/m"], ids=lambda typed: typed.replace("/", ":")
)
async def test_a_provider_and_its_model_may_be_one_word_in_any_spelling(typed: str) -> None:
    models = {"/v1/models": model_list("m", "other")}
    async with (
        FakeUpstream(documents=models) as upstream,
        serving(typed, "--base-url", upstream.base_url) as bridge,
    ):
        await bridge.says("claude --model m")


async def test_the_command_line_of_the_npm_tool_works() -> None:
    async with FakeUpstream([answer("Hello")]) as upstream, httpx.AsyncClient() as client:
        arguments = ("openai", MODEL, "--baseURL", upstream.base_url, "--apiKey", KEY, "--debug", "--port", "0")
        async with await anyio.open_process(command(*arguments), env=environment()) as process:
            assert process.stdout is not None
            url = (await process.stdout.receive()).decode().removeprefix("listening on ").strip()
            answered = await client.post(f"{url}/v1/messages", json=QUESTION, timeout=LIMIT_S)
            process.terminate()
            assert process.stderr is not None
            reported = await process.stderr.receive()
    assert answered.status_code == 200
    assert upstream.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert b"This means `" in reported
    assert b" serve openai" in reported


async def test_the_addresses_for_other_machines_are_reported_with_the_token() -> None:
    async with (
        FakeUpstream() as upstream,
        serving("openai", "--base-url", upstream.base_url, "--host", "0.0.0.0", "--auth-token", "s3cret") as bridge,
    ):
        await bridge.says("claude --model")
        line = next(line for line in bridge.reported.splitlines() if line.startswith("From other machines: "))
        port = bridge.url.rpartition(":")[2]
        assert line.endswith(f":{port} with the token s3cret")
        assert "127.0.0.1" not in line
        assert "0.0.0.0" not in line


async def test_an_engine_that_does_not_say_what_it_is_is_reported_by_its_api() -> None:
    async with FakeUpstream() as upstream, serving("openai", "--base-url", upstream.base_url) as bridge:
        await bridge.says("claude --model")
        assert f"scripted on an OpenAI-compatible engine at {upstream.base_url}\n" in bridge.reported
        assert "  · context window not reported: add --context-window N" in bridge.reported
        assert bridge.reported.count("--context-window N") == 1


async def test_a_model_without_vision_is_reported_once() -> None:
    models = {"/v1/models": model_list("m"), "/api/v0/models": json_document({"data": [{"id": "m", "type": "llm"}]})}
    async with (
        FakeUpstream(documents=models) as upstream,
        serving("lmstudio", "--base-url", upstream.base_url) as bridge,
    ):
        await bridge.says("claude --model")
        assert bridge.reported.count("sees no images") <= 1


async def test_the_lines_to_paste_work_as_they_stand() -> None:
    async with FakeUpstream() as upstream, serving("openai", "--base-url", upstream.base_url) as bridge:
        await bridge.says("claude --model")
        line = next(line.strip() for line in bridge.reported.splitlines() if "claude --model" in line)
        script = f'{line.partition(";")[0]}; echo "$ANTHROPIC_BASE_URL $ANTHROPIC_MODEL"'
        done = await anyio.run_process(["bash", "-c", script], env=environment())
    assert done.stdout.decode() == f"{bridge.url} scripted\n"


@asynccontextmanager
async def ending(process: Process) -> AsyncIterator[None]:
    """Kill the process if it still runs, such as after a failure: else all would wait for it."""
    try:
        yield
    finally:
        if process.returncode is None:
            process.kill()


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
async def test_a_bridge_serves_though_its_standard_streams_are_closed(closed: str) -> None:
    port = free_port()
    async with FakeUpstream(lambda _: answer("Hello.")) as upstream:
        words = command("serve", "openai", MODEL, "--base-url", upstream.base_url, "--port", str(port), "--debug")
        shell = ["sh", "-c", f"exec {shlex.join(words)} {closed}"]
        async with (
            await anyio.open_process(shell, env=environment(), stdout=None, stderr=None) as process,
            ending(process),
        ):
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=LIMIT_S) as client:
                with anyio.fail_after(LIMIT_S):
                    while True:
                        try:
                            await client.get("/healthz")
                            break
                        except httpx.ConnectError:
                            await anyio.sleep(0.05)
                for _ in range(3):
                    reply = await client.post("/v1/messages", json=QUESTION, timeout=LIMIT_S)
                    assert reply.json()["content"][0]["text"] == "Hello."
            process.send_signal(signal.SIGHUP)
            with anyio.fail_after(LIMIT_S):
                assert await process.wait() == 0


_PLAIN = (
    ["ollama"],
    ["qwen3:1.7b"],
    ["-h"],
    ["--host", "0.0.0.0"],
    ["--port", "0"],
    ["--port=8080"],
    ["--port", "65536"],
    ["--port", "x"],
    ["--port"],
    ["--base-url", "http://localhost:1/v1"],
    ["--base-url", "http://localhost:2/v1?a=b"],
    ["--base-url="],
    ["--api-key=k=1"],
    ["--api", "openai-chat"],
    ["--small-model", "s"],
    ["--auth-token", "t"],
    ["--config", "bridge.toml"],
    ["--trace", "-"],
    ["--trace=trace.jsonl"],
    ["--debug"],
    ["--debug=1"],
    ["--no-page"],
    ["--no-check"],
    ["--check"],
    ["--max-tokens", "9"],
    ["--"],
    [""],
)


@given(st.lists(st.sampled_from(_PLAIN), max_size=5), st.sampled_from([{}, {"BRIDGE_BASE_URL": "http://localhost:3"}]))
def test_a_plain_command_line_means_what_typer_reads(parts: list[list[str]], variables: dict[str, str]) -> None:
    words = ["serve", *(word for part in parts for word in part)]
    with mock.patch.dict(os.environ, variables):
        plain = plain_arguments(words)
        if plain is None:
            return
        command: Any = typer.main.get_command(app)
        read = command.commands["serve"].make_context("serve", words[1:]).params
    read = {name: None if value == () else value for name, value in read.items()}
    given = {**asdict(Options(**plain.options)), **asdict(ServerOptions(**plain.server))}
    assert given == {name: read[name] for name in given}
    assert all(value is None for name, value in read.items() if name not in given)


def test_usual_command_lines_are_plain() -> None:
    for example in (*EXAMPLES, "bridge serve openai m --base-url http://localhost:1/v1 --port 0 --no-page"):
        assert plain_arguments(example.split()[1:]) is not None


def test_a_plain_server_loads_no_typer() -> None:
    code = (
        "import sys; from claude_bridge.cli import serve; import claude_bridge.app.serve, claude_bridge.app.build;"
        "print(sorted({'typer', 'pydantic', 'rich', 'httpx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_hardly_anything_loads_before_the_port_is_open() -> None:
    code = (
        "import sys; known = set(sys.modules); from claude_bridge.cli import open_port; "
        "print({'anyio', 'dataclasses', 'msgspec', 'pathlib', 'shutil'} & set(sys.modules) - known)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
