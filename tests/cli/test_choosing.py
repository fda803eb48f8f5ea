"""Which model is meant where an engine has several: what the terminal asks, and what an answer means."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest

from claude_bridge.cli.notices import MOST_LISTED, ModelRow, default_of, find_choice, row_of
from claude_bridge.upstream.engines.report import OfferedModel
from tests.claude_code.terminal import Terminal, open_terminal
from tests.cli.process import command, environment, run_process, serving
from tests.fake_upstream import FakeUpstream, answer, json_document, model_list
from tests.real_parts import missing
from tests.scripted_ollama import ScriptedOllama, a_model

pytestmark = pytest.mark.anyio

QUESTION = {"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
MODELS = {
    "qwen3:1.7b": a_model("tools", "thinking"),
    "llama3.2:3b": a_model("tools"),
    "talker:latest": a_model(),
    "qwen3:8b": a_model("tools", "thinking", "vision"),
}
LOADED = [{"name": "llama3.2:3b", "context_length": 32_768}]
OFFERED = ["qwen3:1.7b", "llama3.2:3b", "qwen3:latest", "Org/Big-7B"]


# --- what an answer means ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        pytest.param("", ["llama3.2:3b"], id="the default"),
        pytest.param("1", ["qwen3:1.7b"], id="a number"),
        pytest.param("llama3.2:3b", ["llama3.2:3b"], id="a name"),
        pytest.param("qwen3", ["qwen3:latest"], id="a name without its tag"),
        pytest.param("LLAMA", ["llama3.2:3b"], id="a part of a name"),
        pytest.param("org/", ["Org/Big-7B"], id="a part in other letters"),
        pytest.param("qwen", ["qwen3:1.7b", "qwen3:latest"], id="a part of several names"),
        pytest.param("0", [], id="no number of the list"),
        pytest.param("9", [], id="a number beyond the list"),
        pytest.param("mistral", [], id="no name"),
    ],
)
def test_an_answer_is_a_number_a_name_or_a_part_of_one(line: str, meant: list[str]) -> None:
    assert find_choice(line, OFFERED, OFFERED, 1) == meant


def test_numbers_mean_what_is_shown_and_names_all_that_is_offered() -> None:
    shown = ["qwen3:latest"]
    assert find_choice("1", shown, OFFERED, 0) == ["qwen3:latest"]
    assert find_choice("llama", shown, OFFERED, 0) == ["llama3.2:3b"]


def test_a_model_that_is_not_shown_has_no_number() -> None:
    many = [f"model-{at:02}" for at in range(MOST_LISTED + 5)]
    assert find_choice(str(MOST_LISTED), many, many, 0) == [many[MOST_LISTED - 1]]
    assert find_choice(str(MOST_LISTED + 1), many, many, 0) == ["model-16"], "a part of a name, if anything"


def test_a_loaded_model_is_the_default_else_the_first() -> None:
    models = [OfferedModel(id="a", loaded=False), OfferedModel(id="b", loaded=True), OfferedModel(id="c")]
    assert default_of(models) == 1
    assert default_of(models[::2]) == 0


def test_a_model_is_shown_as_its_engine_reports() -> None:
    able = OfferedModel(
        id="m", thinking=True, images=True, context_window=40_960, size_bytes=1_400_000_000, loaded=True
    )
    size = "1.4\N{NO-BREAK SPACE}GB"
    assert row_of(able) == ModelRow("m", "40,960 tokens", size, "loaded, thinks, sees images")
    assert row_of(OfferedModel(id="m", remote_host="https://ollama.com")) == ModelRow("m", "", "", "cloud")


# --- in a terminal ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def requested(tmp_path: Path, *arguments: str, columns: int = 200) -> AsyncIterator[Terminal]:
    """Start ``bridge serve`` in a terminal, and wait until it asks."""
    if shutil.which("tmux") is None:
        missing("tmux is not installed.")
    variables = {**environment({"HOME": str(tmp_path), "TERM": "xterm"}), "LANG": "C.UTF-8"}
    del variables["COLUMNS"]
    shell = ["sh", "-c", 'trap : INT; "$@"; echo "ended with $?"; sleep 60', "sh"]
    with TemporaryDirectory() as folder:  # pytest's own path is too long for a socket
        async with open_terminal(
            [*shell, *command("serve", *arguments, "--port", "0", "--no-page")],
            environment=variables,
            project=tmp_path,
            socket=Path(folder) / "tmux",
            columns=columns,
        ) as terminal:
            await terminal.wait_for("Which one?")
            yield terminal


async def lines_of(terminal: Terminal) -> list[str]:
    return (await terminal.screen()).rstrip().splitlines()


@pytest.mark.parametrize(("columns", "expected"), [
    (40, ["  1  qwen3:1.7b", "     40,960 tokens, thinks", "  2  llama3.2:3b", "     40,960 tokens, loaded",
          "  3  qwen3:8b", "     40,960 tokens, thinks, sees images"]),
    (80, ["  1  qwen3:1.7b   40,960 tokens    thinks", "  2  llama3.2:3b  40,960 tokens    loaded",
          "  3  qwen3:8b     40,960 tokens    thinks, sees images"]),
])  # fmt: skip
async def test_models_that_call_tools_are_listed_with_what_they_can_do(
    tmp_path: Path, columns: int, expected: list[str]
) -> None:
    async with (
        ScriptedOllama(MODELS, loaded=LOADED) as ollama,
        requested(tmp_path, "ollama", "--base-url", ollama.root_url, columns=columns) as terminal,
    ):
        shown = await lines_of(terminal)
        assert " ".join(shown).count(f"Ollama 0.32.15 at {ollama.root_url} has 3 models to choose from:") == 1
        assert shown[-1] == "Which one? A number or a name [2]:"
        assert [row for row in shown if row.startswith("  ")] == expected


async def test_the_model_that_is_chosen_is_served(tmp_path: Path) -> None:
    async with (
        ScriptedOllama(MODELS, loaded=LOADED) as ollama,
        requested(tmp_path, "ollama", "--base-url", ollama.root_url) as terminal,
        httpx.AsyncClient() as client,
    ):
        url = (await lines_of(terminal))[0].removeprefix("listening on ")
        await terminal.type("3")
        await terminal.wait_for("claude --model qwen3:8b")
        await client.post(f"{url}/v1/messages", json=QUESTION)
        assert [chat.json["model"] for chat in ollama.chats] == ["qwen3:8b"]


async def test_enter_alone_takes_the_model_that_is_loaded(tmp_path: Path) -> None:
    async with (
        ScriptedOllama(MODELS, loaded=LOADED) as ollama,
        requested(tmp_path, "ollama", "--base-url", ollama.root_url) as terminal,
    ):
        await terminal.press("Enter")
        await terminal.wait_for("claude --model llama3.2:3b")


async def test_a_part_of_several_names_asks_again_and_so_does_none(tmp_path: Path) -> None:
    async with (
        ScriptedOllama(MODELS) as ollama,
        requested(tmp_path, "ollama", "--base-url", ollama.root_url) as terminal,
    ):
        await terminal.type("mistral")
        await terminal.wait_for("None of them is 'mistral'.")
        await terminal.type("qwen")
        await terminal.wait_for("2 of them match 'qwen':")
        await terminal.type("2")
        await terminal.wait_for("claude --model qwen3:8b")


async def test_any_engine_with_several_models_is_asked_about(tmp_path: Path) -> None:
    names = [f"model-{at}" for at in range(MOST_LISTED + 2)]
    async with (
        FakeUpstream(lambda _: answer("Hello"), documents={"/v1/models": model_list(*names)}) as engine,
        requested(tmp_path, "openai", "--base-url", engine.base_url) as terminal,
    ):
        await terminal.wait_for("… and 2 more: a part of the name finds them.")
        await terminal.type("model-16")
        await terminal.wait_for("claude --model model-16")


async def test_models_that_are_configured_are_asked_about_without_asking_their_engine(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    models: list[dict[str, Any]] = [
        {"id": "small", "context_window": 8192},
        {"id": "large"},
        {"id": "talker", "tools": False},
    ]
    tables = "".join(
        "[[providers.work.models]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in model.items())
        for model in models
    )
    file.write_text(f'[providers.work]\nkind = "openai-chat"\nbase_url = "http://127.0.0.1:1"\n{tables}')
    async with requested(tmp_path, "work", "--config", str(file), columns=50) as terminal:
        assert (await lines_of(terminal))[1:] == [
            "The configuration has 2 models to choose from:",
            "  1  small",
            "     8,192 tokens",
            "  2  large",
            "Which one? A number or a name [1]:",
        ]
        await terminal.type("large")
        await terminal.wait_for("Ready: large on work")


async def test_ctrl_c_ends_it_cleanly(tmp_path: Path) -> None:
    async with (
        ScriptedOllama(MODELS) as ollama,
        requested(tmp_path, "ollama", "--base-url", ollama.root_url) as terminal,
    ):
        await terminal.press("C-c")
        await terminal.wait_for("ended with 0")
        assert (await lines_of(terminal))[-2:] == ["Which one? A number or a name [1]: ^C", "ended with 0"]


async def test_the_end_of_the_input_is_reported_with_what_to_type(tmp_path: Path) -> None:
    async with (
        ScriptedOllama(MODELS) as ollama,
        requested(tmp_path, "ollama", "--base-url", ollama.root_url) as terminal,
    ):
        await terminal.press("C-d")
        await terminal.wait_for("ended with 1")
        assert "Add one after the provider." in await terminal.screen()


# --- without one ------------------------------------------------------------------------------------------------


async def test_without_a_terminal_the_models_are_listed_in_an_error() -> None:
    async with ScriptedOllama(MODELS) as ollama:
        done = await run_process("serve", "ollama", "--base-url", ollama.root_url, "--port", "0")

    assert done.code == 1
    assert "These can call tools: qwen3:1.7b, llama3.2:3b, qwen3:8b." in done.stderr
    assert "Which one?" not in done.stderr


async def test_where_all_but_one_can_not_call_tools_nobody_needs_to_be_asked() -> None:
    studio = {
        "data": [
            {"id": "nomic-embed", "state": "not-loaded", "type": "embeddings"},
            {"id": "qwen3-8b", "state": "loaded", "type": "llm", "capabilities": ["tool_use"]},
        ]
    }
    documents = {"/v1/models": model_list("nomic-embed", "qwen3-8b"), "/api/v0/models": json_document(studio)}
    async with (
        FakeUpstream(lambda _: answer("Hello"), documents=documents) as engine,
        serving("openai", "--base-url", engine.base_url) as bridge,
    ):
        await bridge.says("claude --model qwen3-8b")
