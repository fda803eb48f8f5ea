"""The command line itself: help, version, usage errors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from claude_bridge import __version__
from claude_bridge.cli.commands import app
from claude_bridge.cli.help import render_help
from claude_bridge.cli.terminal import in_words, print_finding
from claude_bridge.cli.try_ import Flow
from claude_bridge.config.schema import Server
from tests.cli.process import LIMIT_S, Finished, bare_start_s, command, environment, run_here

HEAVY = ("anyio", "asyncio", "claude_bridge.bridge", "h11", "httpx", "msgspec", "xllamacpp")

HELP = f"""
import atexit, sys
atexit.register(lambda: print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr))
from claude_bridge.cli import main
sys.argv[1:] = ["--help"]
main()
"""


def run(*arguments: str) -> Finished:
    return run_here(arguments, environment())


def run_process(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, env=environment(variables), timeout=LIMIT_S, check=True
    )


def test_help_lists_the_commands() -> None:
    done = run_process("--help")
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
        bare_s = bare_start_s()
        started_at = time.perf_counter()
        run_process("--help")
        times.append((time.perf_counter() - started_at) / max(0.5, 10 * bare_s))
    assert min(times) < 1, "of half a second, or on a busy machine of 10 starts of Python alone"


@pytest.mark.parametrize("arguments", [["serve", "--help"], ["try", "--help"], ["serve", "-h"]])
def test_each_command_has_help_with_examples(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.code == 0
    assert "Examples:" in done.stdout


@pytest.mark.parametrize(
    ("command", "reported"), [("serve", Server().host), ("serve", Server().port), ("doctor", Server().port)]
)
def test_help_names_the_default_port(command: str, reported: str | int) -> None:
    assert f"Default: {reported}" in run(command, "--help").stdout


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_is_reported(option: str) -> None:
    done = run(option)
    assert (done.code, done.stdout) == (0, f"{__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["serve"], "No PROVIDER is given", id="no provider"),
        pytest.param(
            ["serve", "m", "--port", "99999"], "'--port': '99999' is not an integer from 0 to 65535.", id="range"
        ),
        pytest.param(
            ["serve", "m", "--max-tokens", "x"], "'--max-tokens': 'x' is not an integer of at least 1.", id="number"
        ),
        pytest.param(["run", "m", "--think", "maybe"], "'--think': 'maybe' is not one of auto, off, on.", id="choice"),
        pytest.param(["exam", "ollama", "--client", "x"], "'--client': 'x' is not one of claude.", id="one choice"),
        pytest.param(["stats", "--every", "nan"], "'--every': 'nan' is not a number of at least 0.2.", id="no number"),
        pytest.param(["serve", "openai", "m", "--nonsense"], "--nonsense", id="unknown option"),
        pytest.param(["nonsense"], "nonsense", id="unknown command"),
    ],
)
def test_wrong_usage_is_reported_with_exit_code_2(arguments: list[str], words: str) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


INTERRUPTED = """
import pkgutil, sys
class Interrupt:
    def find_spec(self, name, *_):
        if name.startswith("claude_bridge.") and name not in ("claude_bridge.__main__", "claude_bridge.version"):
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
pkgutil.resolve_name(sys.argv[1])()
"""


def test_ctrl_c_while_the_program_loads_leaves_no_traceback() -> None:
    project = tomllib.loads(Path(__file__).parents[2].joinpath("pyproject.toml").read_text("utf-8"))["project"]
    program = [sys.executable, "-c", INTERRUPTED, project["scripts"]["bridge"]]
    done = subprocess.run(program, capture_output=True, text=True, env=environment(), check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_no_command_shows_the_help() -> None:
    done = run()
    assert "Set up:" in done.stdout + done.stderr


def test_the_shell_completes_names_of_providers(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[providers.olive]\nkind = "openai-chat"\nbase_url = "http://127.0.0.1:9"\n')
    # What the function that `bridge --show-completion bash` prints asks for.
    requested = {"_BRIDGE_COMPLETE": "complete_bash", "COMP_WORDS": "bridge serve ol", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", "from claude_bridge.cli.commands import app; app(prog_name='bridge')"],
        env=environment({**requested, "BRIDGE_CONFIG": str(file)}),
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
def test_where_the_model_belongs_is_reported(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert "the model comes after the provider, as in `" in done.stderr
    assert f" {arguments[0]} ollama qwen3:1.7b`" in done.stderr


def test_the_help_of_serve_has_the_common_options_on_one_screen() -> None:
    lines = run("serve", "--help").stdout.splitlines()
    common = lines[: lines.index("Several models:")]
    assert len(common) <= 40, "at 100 columns"
    assert {"  --base-url", "  --debug"} <= {line[: len("  --base-url")].rstrip() for line in common}
    assert "<bool>" not in "".join(lines)


def every_command(found: Any = None, path: tuple[str, ...] = ("bridge",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command with its words, the hidden ones too."""
    found = found or typer.main.get_command(app)
    yield path, found
    for name, inner in getattr(found, "commands", {}).items():
        yield from every_command(inner, (*path, name))


COMMANDS = dict(every_command())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_loses_nothing_however_narrow_the_terminal_is(path: tuple[str, ...]) -> None:
    found = COMMANDS[path]
    context = found.make_context(" ".join(path), [], resilient_parsing=True)
    wide = render_help(found, context, width=160)
    for columns in (40, 80):
        narrow = render_help(found, context, width=columns)
        assert narrow.split() == wide.split(), "every word, in its order"
        without_examples = re.sub(r"Examples:\n(?:  .*\n)+", "", narrow)  # these are to be pasted
        broken = [line for line in without_examples.splitlines() if len(line) > columns and len(line.split()) > 1]
        assert broken == []


def test_help_takes_the_width_of_the_terminal() -> None:
    widths = []
    for columns in ("40", "80"):
        shown = run_process("config", "--help", COLUMNS=columns)
        widths.append(max(map(len, shown.stdout.splitlines())))
    assert widths[0] <= 40 < widths[1] <= 80


def test_help_in_a_pipe_takes_the_width_of_the_terminal_behind_it() -> None:
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")  # Windows has neither
    ours, theirs = pty.openpty()
    try:
        termios.tcsetwinsize(theirs, (24, 40))
        variables = {name: value for name, value in environment().items() if name != "COLUMNS"}
        shown = subprocess.run(
            command("config", "--help"),
            stdout=subprocess.PIPE,
            stderr=theirs,
            env=variables,
            timeout=LIMIT_S,
            check=True,
            text=True,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert 30 < max(map(len, shown.stdout.splitlines())) <= 40


def test_a_message_breaks_between_words_and_keeps_commands_and_addresses_whole() -> None:
    line = "Ollama at http://localhost:11434 refused the connection. Is it running? Start it: `ollama serve --now`"
    assert in_words(line, 40) == [
        "Ollama at http://localhost:11434 refused",
        "the connection. Is it running? Start it:",
        "`ollama serve --now`",
    ]
    assert in_words("  · images are replaced by a note", 20) == ["  · images are", "    replaced by a", "    note"]
    assert in_words("\x1b[1m→\x1b[0m start it, or wait", 14) == ["\x1b[1m→\x1b[0m start it, or", "  wait"]
    assert in_words('  eval "$(bridge env)"; claude --model x', 20) == ['  eval "$(bridge env)"; claude --model x']
    assert in_words("fits", 40) == ["fits"]


def test_an_answer_that_comes_in_pieces_breaks_between_words(capsys: pytest.CaptureFixture[str]) -> None:
    flow = Flow(width=12)
    for piece in ("A bri", "dge con", "nects two", " banks.\n", "\nIt holds."):
        flow.write(piece)
    assert capsys.readouterr().out == "A bridge \nconnects two\nbanks.\n\nIt "
    flow.close()
    Flow(width=12).write("橋" * 30)  # a language without spaces is shown as it comes
    assert capsys.readouterr().out == "holds.\n" + "橋" * 25


def test_a_full_disk_is_not_an_internal_error() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("This system has no /dev/full.")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command("config", "path"), stdout=full, stderr=subprocess.PIPE, env=environment(), check=False
        )
    assert (done.returncode, done.stderr.decode().splitlines()[0]) == (1, "Error: No space is left where this writes.")


def test_a_home_in_which_nothing_can_be_written_is_not_an_internal_error() -> None:
    variables = {"HOME": "/sys", "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = run_here(["--install-completion", "bash"], environment(variables))
    assert done.code == 1
    assert done.stderr.startswith("Error: /sys/.bash")
    assert "Check the owner and the mode" in done.stderr


@pytest.mark.parametrize(("columns", "lines"), [
    (40, ["✗  key", "   the engine asks for a key", "   → export OPENAI_API_KEY=… (or", "     --api-key)"]),
    (25, ["✗  key", "   the engine asks for a", "   key", "   → export OPENAI_API_KEY=…", "     (or --api-key)"]),
    (80, ["✗  key  the engine asks for a key", "   → export OPENAI_API_KEY=… (or --api-key)"]),
])  # fmt: skip
def test_a_finding_stands_below_its_name_where_the_terminal_is_narrow(
    columns: int, lines: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    print_finding("bad", "key", "the engine asks for a key", "export OPENAI_API_KEY=…  (or --api-key)", width=3)
    assert capsys.readouterr().out.splitlines() == lines


def test_a_command_in_a_remedy_stays_in_one_line_however_narrow_the_terminal_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_finding("warn", "tools", "not reported", "Ask the model: `ollama run qwen3:1.7b --verbose --keepalive 5m`")
    assert "     `ollama run qwen3:1.7b --verbose --keepalive 5m`" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("words", [("serve",), ("trace", "show"), ("stats",)], ids=" ".join)
def test_an_error_shows_the_same_form_of_the_command_as_the_help(words: tuple[str, ...]) -> None:
    refused = run(*words, "--nonsense")

    assert refused.code == 2
    assert refused.stderr.splitlines()[0] == run(*words, "--help").stdout.splitlines()[0]


def test_a_wrong_command_line_is_reported_in_lines_that_break_between_words() -> None:
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")  # Windows has neither
    ours, theirs = pty.openpty()
    try:
        termios.tcsetwinsize(theirs, (24, 40))
        variables = {name: value for name, value in environment().items() if name != "COLUMNS"}
        done = subprocess.run(command("run", "ollama", "-p", "hi"), stderr=theirs, env=variables, check=False)
        shown = os.read(ours, 4_096).decode().splitlines()
    finally:
        os.close(ours)
        os.close(theirs)
    example = f"`{sys.executable} -m claude_bridge run … -- -p`"
    assert done.returncode == 2
    assert [line for line in shown if len(line) > 40] == [example]
    words = " ".join(shown)
    assert words.endswith(f". Options of Claude Code come after --, as in {example}")
    assert ".. " not in words
