"""The command line itself: help, version, usage errors."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from claude_bridge import __version__
from claude_bridge.config.schema import Server
from tests.cli.process import command, environment

HEAVY = ("anyio", "asyncio", "claude_bridge.bridge", "h11", "httpx", "msgspec", "xllamacpp")

HELP = f"""
import atexit, sys
atexit.register(lambda: print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr))
from claude_bridge.cli import main
sys.argv[1:] = ["--help"]
main()
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, env=environment(), timeout=15, check=False
    )


def test_help_lists_the_commands() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "serve" in done.stdout
    assert "try" in done.stdout
    assert done.stderr == ""


def test_help_loads_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, env=environment(), check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.timing
def test_help_answers_quickly() -> None:
    times = []
    for _ in range(5):
        started_at = time.perf_counter()
        run("--help")
        times.append(time.perf_counter() - started_at)
    assert min(times) < 0.5


@pytest.mark.parametrize("arguments", [["serve", "--help"], ["try", "--help"], ["serve", "-h"]])
def test_each_command_has_help_with_examples(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 0
    assert "Examples:" in done.stdout


@pytest.mark.parametrize(
    ("command", "told"), [("serve", Server().host), ("serve", Server().port), ("doctor", Server().port)]
)
def test_help_tells_where_the_bridge_listens_by_default(command: str, told: str | int) -> None:
    assert f"Default: {told}" in run(command, "--help").stdout


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_is_told(option: str) -> None:
    done = run(option)
    assert (done.returncode, done.stdout) == (0, f"{__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["serve"], "No PROVIDER is given", id="no provider"),
        pytest.param(["serve", "openai", "m", "--port", "99999"], "'--port'", id="port out of range"),
        pytest.param(["serve", "openai", "m", "--port", "x"], "'--port'", id="port no number"),
        pytest.param(["serve", "openai", "m", "--nonsense"], "--nonsense", id="unknown option"),
        pytest.param(["nonsense"], "nonsense", id="unknown command"),
    ],
)
def test_wrong_usage_is_told_with_exit_code_2(arguments: list[str], words: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_no_command_shows_the_help() -> None:
    done = run()
    assert "Set up:" in done.stdout + done.stderr


def test_the_shell_completes_names_of_providers(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[providers.olive]\nkind = "openai-chat"\nbase_url = "http://127.0.0.1:9"\n')
    # What the function that `bridge --show-completion bash` prints asks for.
    asked = {"_BRIDGE_COMPLETE": "complete_bash", "COMP_WORDS": "bridge serve ol", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", "from claude_bridge.cli.commands import app; app(prog_name='bridge')"],
        env=environment({**asked, "BRIDGE_CONFIG": str(file)}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert set(done.stdout.split()) == {"ollama", "olive"}


# --- what people type at first ----------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["help", "serve"], ["help", "config", "check"], ["help"]])
def test_help_is_a_command_too(arguments: list[str]) -> None:
    assert run(*arguments).stdout == run(*arguments[1:], "--help").stdout


@pytest.mark.parametrize(
    "arguments", [["serve", "ollama", "--model", "x"], ["run", "--model=x"], ["doctor", "--model"]]
)
def test_where_the_model_belongs_is_told(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "the model comes after the provider, as in `" in done.stderr
    assert f" {arguments[0]} ollama qwen3:1.7b`" in done.stderr


def test_the_help_of_serve_has_the_common_options_on_one_screen() -> None:
    lines = run("serve", "--help").stdout.splitlines()
    common = lines[: lines.index("Several models:")]
    assert len(common) <= 40, "at 100 columns"
    assert {"  --base-url", "  --debug"} <= {line[: len("  --base-url")].rstrip() for line in common}
    assert "<bool>" not in "".join(lines)


@pytest.mark.parametrize("columns", [40, 80, 160])
def test_the_help_fits_the_terminal(columns: int) -> None:
    for command_name in ("run", "serve", "doctor", "models", "stats", "env", "config", "service"):
        done = subprocess.run(
            command(command_name, "--help"),
            capture_output=True,
            text=True,
            env=environment({"COLUMNS": str(columns)}),
            check=True,
        )
        without_examples = re.sub(r"Examples:\n(?:  .*\n)+", "", done.stdout)  # these are to be pasted
        breakable = [line for line in without_examples.splitlines() if " " in line.strip()]
        assert max(map(len, breakable)) <= columns
