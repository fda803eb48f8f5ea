"""``bridge models``: the table, the list for programs, and what is told when nothing can be listed."""

from __future__ import annotations

import json
import os
import pty
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from anyio import to_thread

from tests.cli.process import LIMIT_S, command, environment, run_bridge, serving
from tests.fake_upstream import FakeUpstream, Pause, ReceivedRequest, Reply, json_document, model_list, refusal
from tests.scripted_ollama import ScriptedOllama, a_model
from tests.tls_engine import tls_engine

pytestmark = pytest.mark.anyio

KEY = "sk-very-secret-key"
NOBODY = "http://127.0.0.1:1"
LONG_NAME = "hf.co/unsloth/Qwen3-Coder-30B-A3B-Instruct-GGUF:UD-Q4_K_XL"
MODELS: dict[str, Any] = {
    "qwen3:1.7b": a_model("tools", "thinking"),
    LONG_NAME: a_model("tools", info={"general.architecture": "x", "x.context_length": 1_048_576}),
    "gemma3:4b": a_model("vision"),
    "gpt-oss:120b-cloud": a_model("tools", remote_host="https://ollama.com:443"),
}


class SlowOllama(ScriptedOllama):
    """An Ollama that takes 100 ms to describe a model."""

    def _answer(self, request: ReceivedRequest) -> Reply:
        return [Pause(0.1), *super()._answer(request)]


def ids(stdout: str) -> list[str]:
    return [model["id"] for model in json.loads(stdout)]


def row_of(stdout: str, model: str) -> list[str]:
    """Return the words of the table's row for a model."""
    return next(line.split() for line in stdout.splitlines() if line.startswith(model))


async def on_a_terminal(*arguments: str, columns: int, env: Mapping[str, str] | None = None) -> str:
    """Return what a command writes to a terminal of this width."""
    ours, theirs = pty.openpty()
    variables = {**environment(env), "COLUMNS": str(columns), "TERM": "xterm-256color"}
    variables.pop("NO_COLOR", None)
    variables.update(env or {})

    def read_all() -> bytes:
        written = b""
        try:
            while more := os.read(ours, 65_536):
                written += more
        except OSError:  # Linux's way to say that the other side is closed
            pass
        return written

    try:
        with anyio.fail_after(LIMIT_S):
            process = await anyio.open_process(
                command(*arguments), stdin=theirs, stdout=theirs, stderr=theirs, env=variables
            )
            os.close(theirs)
            async with process:
                written = await to_thread.run_sync(read_all)
    finally:
        os.close(ours)
    return written.decode()


# --- one provider ---------------------------------------------------------------------------------------------


async def test_models_with_tools_are_listed_with_all_that_is_reported() -> None:
    async with ScriptedOllama(MODELS, loaded=[{"name": "qwen3:1.7b"}]) as ollama:
        done = await run_bridge("models", "ollama", "--base-url", ollama.root_url)

    assert done.code == 0
    assert f"Ollama 0.32.15 at {ollama.root_url}" in done.stdout
    header = next(line for line in done.stdout.splitlines() if line.startswith("model"))
    assert " ".join(header.split()) == "model tools thinking images context window max output size cost"
    assert row_of(done.stdout, "qwen3:1.7b") == ["qwen3:1.7b", "*", "yes", "yes", "no", "40,960", "40,960", "?", "0"]
    assert row_of(done.stdout, LONG_NAME) == [LONG_NAME, "yes", "no", "no", "1,048,576", "1,048,576", "?", "0"]
    assert "gemma3" not in done.stdout
    assert "1 more can't call tools, which Claude Code needs: --all lists them" in done.stderr
    assert "* is loaded now" in done.stderr


async def test_cloud_models_are_marked_and_reported_where_they_run() -> None:
    async with ScriptedOllama(MODELS) as ollama:
        done = await run_bridge("models", "ollama", "--base-url", ollama.root_url)

    assert row_of(done.stdout, "gpt-oss:120b-cloud")[-2:] == ["cloud", "0"]
    assert "cloud: runs at https://ollama.com:443, not on this machine" in done.stderr


async def test_all_lists_models_without_tools_too() -> None:
    async with ScriptedOllama(MODELS) as ollama:
        done = await run_bridge("models", "ollama", "--base-url", ollama.root_url, "--all")

    assert row_of(done.stdout, "gemma3:4b")[1:4] == ["no", "no", "yes"]
    assert "--all" not in done.stderr


async def test_json_is_a_list_of_objects_and_nothing_else() -> None:
    async with ScriptedOllama(MODELS) as ollama:
        done = await run_bridge("models", "ollama", "--baseURL", ollama.root_url, "--json")

    assert (done.code, done.stderr) == (0, "")
    models = json.loads(done.stdout)
    assert ids(done.stdout) == ["qwen3:1.7b", LONG_NAME, "gpt-oss:120b-cloud"]
    assert models[0] == {
        "provider": "ollama",
        "engine": "Ollama 0.32.15",
        "base_url": ollama.root_url,
        "id": "qwen3:1.7b",
        "tools": True,
        "thinking": True,
        "images": False,
        "context_window": 40_960,
        "max_output_tokens": 409_600,
        "size_bytes": None,
        "cost": {"input": 0, "output": 0},
        "remote_host": None,
        "loaded": False,
    }
    assert models[2]["remote_host"] == "https://ollama.com:443"


async def test_json_lists_all_models_with_the_option_all() -> None:
    async with ScriptedOllama(MODELS) as ollama:
        done = await run_bridge("models", "ollama", "--base-url", ollama.root_url, "--json", "--all")
    assert ids(done.stdout) == list(MODELS)


async def test_what_an_engine_does_not_report_is_a_question_mark_and_null() -> None:
    async with FakeUpstream(documents={"/v1/models": model_list("gpt-x")}) as upstream:
        table = await run_bridge("models", "openai", "--base-url", upstream.base_url)
        listed = await run_bridge("models", "openai", "--base-url", upstream.base_url, "--json")

    assert row_of(table.stdout, "gpt-x") == ["gpt-x", *["?"] * 7]
    assert "?: the engine does not report it" in table.stderr
    reported = {name: value for name, value in json.loads(listed.stdout)[0].items() if value is not None}
    assert reported == {"provider": "openai", "engine": "The engine", "base_url": upstream.base_url, "id": "gpt-x"}


async def test_prices_are_reported_for_a_million_tokens() -> None:
    models = model_list("m", pricing={"prompt": "0.00000125", "completion": "0.00001"})
    async with FakeUpstream(documents={"/v1/models": models}) as upstream:
        done = await run_bridge("models", "openai", "--base-url", upstream.base_url)

    assert row_of(done.stdout, "m ")[-3:] == ["1.25", "/", "10"]
    assert "cost: US dollars for a million tokens, read / written" in done.stderr


@pytest.mark.timing
async def test_fifty_models_that_take_100_ms_each_are_printed_in_less_than_5_s() -> None:
    names = [f"m{number}" for number in range(50)]
    async with SlowOllama({name: a_model("tools") for name in names}) as ollama:
        started_at = time.perf_counter()
        done = await run_bridge("models", "ollama", "--base-url", ollama.root_url, "--json")
        took_s = time.perf_counter() - started_at
    assert ids(done.stdout) == names
    assert took_s < 4, "one after the other they take 5 s"


async def test_an_ollama_without_models_is_no_failure() -> None:
    async with ScriptedOllama({}) as ollama:
        done = await run_bridge("models", "ollama", "--base-url", ollama.root_url)
        listed = await run_bridge("models", "ollama", "--base-url", ollama.root_url, "--json")

    assert (done.code, done.stdout) == (0, "")
    assert "no model." in done.stderr
    assert "ollama pull" in done.stderr
    assert json.loads(listed.stdout) == []


async def test_an_ollama_whose_models_have_no_tools_says_so() -> None:
    async with ScriptedOllama({"gemma3:4b": a_model()}) as ollama:
        done = await run_bridge("models", "ollama", "--base-url", ollama.root_url)

    assert done.code == 0
    assert "no model that can call tools" in done.stderr
    assert "--all" in done.stderr


# --- how it looks ---------------------------------------------------------------------------------------------


async def test_a_narrow_table_keeps_what_matters_most_and_breaks_no_word() -> None:
    async with ScriptedOllama({"qwen3:1.7b": a_model("tools", "thinking")}) as ollama:
        done = await run_bridge("models", "ollama", "--base-url", ollama.root_url, env={"COLUMNS": "40"})
    assert {"qwen3:1.7b", "tools", "yes", "40,960"} <= set(done.stdout.split())
    assert max(map(len, done.stdout.splitlines()[1:])) <= 40


@pytest.mark.parametrize("columns", [80, 200])
async def test_a_table_fits_the_terminal_and_loses_nothing(columns: int) -> None:
    async with ScriptedOllama(MODELS) as ollama:
        done = await run_bridge("models", "ollama", "--base-url", ollama.root_url, env={"COLUMNS": str(columns)})

    lines = done.stdout.splitlines()
    assert max(len(line.rstrip()) for line in lines) <= columns
    assert any(line.count("1,048,576") == 2 for line in lines), "no answer is longer than its window"
    assert LONG_NAME in "".join(line.split()[0] for line in lines)


async def test_colours_are_for_terminals_that_want_them() -> None:
    async with ScriptedOllama(MODELS) as ollama:
        arguments = ("models", "ollama", "--base-url", ollama.root_url)
        coloured = await on_a_terminal(*arguments, columns=120)
        plain = await on_a_terminal(*arguments, columns=120, env={"NO_COLOR": "1"})
        piped = await run_bridge(*arguments)

    assert "\x1b[32myes" in coloured
    assert "\x1b[3" not in plain
    assert "\x1b" not in piped.stdout + piped.stderr


async def test_a_model_name_cannot_steer_the_terminal() -> None:
    async with ScriptedOllama({"evil\x1b[2J\nname": a_model("tools")}) as ollama:
        done = await run_bridge("models", "ollama", "--base-url", ollama.root_url)

    assert "\x1b" not in done.stdout
    assert r"evil\x1b[2J name" in done.stdout


# --- everywhere -----------------------------------------------------------------------------------------------


async def test_without_a_provider_ollama_is_asked_where_its_variables_say_and_with_its_key() -> None:
    async with ScriptedOllama(MODELS) as ollama:
        variables = {"OLLAMA_HOST": f"127.0.0.1:{ollama.port}", "OLLAMA_API_KEY": KEY}
        done = await run_bridge("models", "--json", env=variables)

    assert done.code == 0
    assert "qwen3:1.7b" in ids(done.stdout)
    assert {probe.headers["authorization"] for probe in ollama.probes} == {f"Bearer {KEY}"}


@pytest.mark.usefixtures("without_usual_engines")
async def test_the_engine_of_a_running_bridge_is_listed_too() -> None:
    async with (
        FakeUpstream(documents={"/v1/models": model_list("m", owner="vllm")}) as engine,
        serving("openai", "m", "--base-url", engine.base_url) as bridge,
    ):
        await bridge.says("claude --model")
        variables = {"OLLAMA_HOST": NOBODY, "BRIDGE_PORT": bridge.url.rpartition(":")[2]}
        done = await run_bridge("models", "--json", env=variables)

    (model,) = json.loads(done.stdout)
    assert (model["engine"], model["base_url"], model["id"]) == ("vLLM", engine.base_url, "m")


@pytest.mark.usefixtures("without_usual_engines")
async def test_without_a_provider_all_places_are_reported_when_none_answers() -> None:
    done = await run_bridge("models", env={"OLLAMA_HOST": NOBODY})

    reported = " ".join(done.stderr.split())
    assert done.code == 1
    for requested in (f"Ollama at {NOBODY}", "llama.cpp at", "LM Studio at", "vLLM at"):
        assert requested in reported
    assert "OPENROUTER_API_KEY" in reported
    assert "OpenAI at" not in reported, "nobody gave a key for it"


async def test_anthropic_is_not_asked_because_there_is_a_key_for_it() -> None:
    done = await run_bridge("models", env={"OLLAMA_HOST": NOBODY, "ANTHROPIC_API_KEY": KEY})

    assert "anthropic" not in done.stderr.lower()


@pytest.mark.usefixtures("without_usual_engines")
async def test_engines_of_which_no_model_is_shown_leave_no_empty_line_on_stdout(tmp_path: Path) -> None:
    async with ScriptedOllama({"gemma3:4b": a_model("vision")}) as ollama, ScriptedOllama(MODELS) as second:
        config = tmp_path / "config.toml"
        config.write_text(f'[providers.mine]\nkind = "ollama-chat"\nbase_url = "{second.root_url}"\n')
        variables = {"OLLAMA_HOST": ollama.root_url, "BRIDGE_CONFIG": str(config)}
        done = await run_bridge("models", env=variables)

    assert "no model that can call tools" in done.stderr
    assert done.stdout.startswith("Ollama")
    assert "\n\n" not in done.stdout


# --- what goes wrong ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["nope"], "There is no provider 'nope'", id="unknown provider"),
        pytest.param(["local"], "bridge serve local", id="the embedded engine"),
        pytest.param(["ollama", "--base-url", NOBODY], "refused the connection", id="not running"),
        pytest.param(["ollama", "--base-url", "localhost"], "is not a valid address", id="no address"),
        pytest.param(["openai"], "needs an API key", id="no key"),
        pytest.param(["http://me:8080"], "as in openai --base-url http://me:8080", id="an address as provider"),
    ],
)
async def test_what_went_wrong_is_one_panel_and_exit_code_1(arguments: list[str], words: str) -> None:
    done = await run_bridge("models", *arguments)

    assert (done.code, done.stdout) == (1, "")
    assert words in done.stderr
    assert done.stderr.count("Error:") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["--base-url", NOBODY], ["--api-key", KEY], ["ollama", "--nonsense"]])
async def test_wrong_usage_has_exit_code_2(arguments: list[str]) -> None:
    done = await run_bridge("models", *arguments)

    assert (done.code, done.stdout) == (2, "")
    assert KEY not in done.stderr


async def test_help_has_examples() -> None:
    done = await run_bridge("models", "--help")

    assert done.code == 0
    assert "Examples:" in done.stdout


async def test_another_engine_than_the_one_asked_for_is_reported() -> None:
    async with FakeUpstream() as upstream:
        done = await run_bridge("models", "ollama", "--base-url", f"http://127.0.0.1:{upstream.port}")

    assert done.code == 1
    assert "There is no Ollama" in done.stderr


async def test_no_secret_is_printed() -> None:
    documents = {"/v1/models": refusal(401, f"Incorrect API key provided: {KEY}")}
    async with FakeUpstream(documents=documents) as upstream, ScriptedOllama(MODELS) as ollama:
        runs = [
            await run_bridge("models", "openai", "--base-url", upstream.base_url, "--api-key", KEY),
            await run_bridge("models", "ollama", "--base-url", ollama.root_url, "--api-key", KEY, "--json"),
            await run_bridge("models", env={"OLLAMA_HOST": f"http://user:{KEY}@127.0.0.1:{ollama.port}"}),
            await run_bridge("models", "ollama", env={"OLLAMA_HOST": NOBODY, "OLLAMA_API_KEY": KEY}),
        ]

    assert [done.code for done in runs] == [1, 0, 1, 1]
    assert "does not accept the key" in runs[0].stderr
    assert "OLLAMA_HOST contains a password" in runs[2].stderr
    assert KEY not in "".join(done.stdout + done.stderr for done in runs)


async def test_a_key_in_an_answer_is_not_printed() -> None:
    leaking = json_document({"data": [{"id": f"model-of-{KEY}"}]})
    async with FakeUpstream(documents={"/v1/models": leaking}) as upstream:
        done = await run_bridge("models", "openai", "--base-url", upstream.base_url, "--api-key", KEY)
    assert "model-of-[key removed]" in done.stdout


async def test_an_authority_of_ones_own_is_trusted_by_option_and_by_configuration(tmp_path: Path) -> None:
    file, config, authority = tmp_path / "company.pem", tmp_path / "config.toml", trustme.CA()
    authority.cert_pem.write_to_path(str(file))
    config.write_text('[defaults]\nca_file = "company.pem"\n')
    async with tls_engine("localhost", body=b'{"data": [{"id": "m"}]}', authority=authority) as port:
        requested = ["models", "openai", "--base-url", f"https://localhost:{port}/v1"]
        runs = [
            await run_bridge(*requested),
            await run_bridge(*requested, "--ca-file", str(file)),
            await run_bridge(*requested, "--config", str(config)),
            await run_bridge(*requested, "--ca-file", str(config)),
        ]

    assert [done.code for done in runs] == [1, 0, 0, 1]
    assert "can't be verified" in runs[0].stderr
    assert f"The certificates in {config} can't be used" in " ".join(runs[3].stderr.split())
