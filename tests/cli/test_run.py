"""``bridge run``: what the program beside the bridge gets, and what becomes of its signals and its end."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest

from tests.claude_code.terminal import Terminal, holds, open_terminal
from tests.cli.process import LIMIT_S, Finished, command, environment
from tests.fake_upstream import MODEL, FakeUpstream, answer, model_list
from tests.real_parts import missing

pytestmark = pytest.mark.anyio

WINDOW_TOKENS = 32_768


@pytest.fixture
def upstream() -> FakeUpstream:
    return FakeUpstream(
        lambda _: answer("Hello."), documents={"/v1/models": model_list(MODEL, max_model_len=WINDOW_TOKENS)}
    )


class Machine:
    """A home with a program of the name ``claude``, which is a shell script of the test's."""

    def __init__(self, home: Path, script: str | None) -> None:
        self.home = home
        if script is not None:
            program = home / "bin" / "claude"
            program.parent.mkdir()
            program.write_text(f"#!/bin/bash\n{script}\n")
            program.chmod(0o755)

    def environment(self, **more: str) -> dict[str, str]:
        path = f"{self.home / 'bin'}:/usr/local/bin:/usr/bin:/bin"
        return environment({"HOME": str(self.home), "PATH": path, "CLAUDE_SCRIPT_HOME": str(self.home), **more})

    async def run(self, *arguments: str, **more: str) -> Finished:
        with anyio.fail_after(LIMIT_S):
            done = await anyio.run_process(command("run", *arguments), check=False, env=self.environment(**more))
        return Finished(done.returncode, done.stdout.decode(), done.stderr.decode())


def at(upstream: FakeUpstream) -> tuple[str, str, str]:
    return "openai", "--base-url", upstream.base_url


async def test_the_program_is_pointed_at_the_bridge_and_its_output_is_its_own(
    upstream: FakeUpstream, tmp_path: Path
) -> None:
    machine = Machine(tmp_path, 'env -0 > "$HOME/env"; printf "%s\\n" "$@" > "$HOME/words"; echo said; echo told >&2')
    async with upstream:
        done = await machine.run(*at(upstream), "--", "-p", "--", "x", ANTHROPIC_API_KEY="a real one", KEPT="yes")
    assert (done.code, done.stdout) == (0, "said\n")
    assert "told" in done.stderr
    told = dict(entry.partition("=")[::2] for entry in (tmp_path / "env").read_text().split("\0"))
    assert told["ANTHROPIC_BASE_URL"].startswith("http://127.0.0.1:")
    assert told["ANTHROPIC_BASE_URL"] != upstream.base_url
    assert (told["ANTHROPIC_MODEL"], told["ANTHROPIC_API_KEY"], told["KEPT"]) == (MODEL, "", "yes")
    assert told["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "41672"
    *options, settings, first, second, third = (tmp_path / "words").read_text().splitlines()
    assert (options, first, second, third) == (["--permission-mode", "default", "--settings"], "-p", "--", "x")
    assert json.loads(settings)["env"]["ANTHROPIC_BASE_URL"] == told["ANTHROPIC_BASE_URL"]


async def test_the_bridge_answers_the_program(upstream: FakeUpstream, tmp_path: Path) -> None:
    question = json.dumps({"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]})
    machine = Machine(tmp_path, f'curl -s "$ANTHROPIC_BASE_URL/v1/messages" -d {shlex.quote(question)}')
    if shutil.which("curl") is None:
        missing("curl is not installed.")
    async with upstream:
        done = await machine.run(*at(upstream))
    assert json.loads(done.stdout)["content"][0]["text"] == "Hello."


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill $$", 143)])
async def test_the_exit_code_is_handed_through(upstream: FakeUpstream, tmp_path: Path, script: str, code: int) -> None:
    async with upstream:
        assert (await Machine(tmp_path, script).run(*at(upstream))).code == code


async def test_a_missing_program_is_told_with_how_to_get_it(upstream: FakeUpstream, tmp_path: Path) -> None:
    async with upstream:
        done = await Machine(tmp_path, None).run(*at(upstream))
    assert (done.code, done.stdout) == (1, "")
    assert "npm install -g @anthropic-ai/claude-code" in done.stderr


async def test_without_an_engine_the_program_is_not_started(tmp_path: Path) -> None:
    done = await Machine(tmp_path, "touch $HOME/started").run("openai", "m", "--base-url", "http://127.0.0.1:9/v1")
    assert done.code == 1
    assert "refused the connection" in done.stderr
    assert "bridge doctor" in done.stderr
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
async def test_a_signal_is_passed_on_and_both_end(
    upstream: FakeUpstream, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    machine = Machine(tmp_path, "echo $$ > $HOME/pid; exec sleep 100")
    async with (
        upstream,
        await anyio.open_process(command("run", *at(upstream)), env=machine.environment(), stdin=None) as process,
    ):

        async def is_started() -> bool:
            return (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text().strip())

        assert await holds(is_started)
        process.send_signal(number)
        with anyio.fail_after(LIMIT_S):
            assert await process.wait() == code
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_a_program_that_does_not_end_is_ended(upstream: FakeUpstream, tmp_path: Path) -> None:
    machine = Machine(tmp_path, "trap '' TERM; touch $HOME/started; while true; do sleep 0.1; done")
    async with (
        upstream,
        await anyio.open_process(command("run", *at(upstream)), env=machine.environment(), stdin=None) as process,
    ):

        async def is_started() -> bool:
            return (tmp_path / "started").exists()

        assert await holds(is_started)
        process.terminate()
        with anyio.fail_after(LIMIT_S):
            assert await process.wait() == 137


async def test_the_debug_log_goes_to_a_file_that_nobody_else_reads(upstream: FakeUpstream, tmp_path: Path) -> None:
    question = json.dumps({"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "What is up"}]})
    machine = Machine(tmp_path, f'curl -s "$ANTHROPIC_BASE_URL/v1/messages" -d {shlex.quote(question)}')
    async with upstream:
        done = await machine.run(*at(upstream), "--debug")
    (log,) = list(tmp_path.rglob("run-*.log"))  # noqa: ASYNC240 - a small folder
    assert "What is up" in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert str(log) in done.stderr
    assert "What is up" not in done.stderr


async def test_a_window_that_is_too_small_is_told_with_the_way_out(tmp_path: Path) -> None:
    documents = {"/v1/models": model_list(MODEL, max_model_len=8192)}
    machine = Machine(tmp_path, "exit 0")
    async with FakeUpstream(documents=documents) as upstream:
        full, lite = await machine.run(*at(upstream)), await machine.run(*at(upstream), "--lite")
    assert "--lite" in full.stderr
    assert "12,600 → 4,100 tokens" in lite.stderr
    assert "too small" not in lite.stderr


@asynccontextmanager
async def open_shell(machine: Machine) -> AsyncIterator[Terminal]:
    """Open a shell with job control on a screen of its own."""
    if shutil.which("tmux") is None:
        missing("tmux is not installed.")
    variables = machine.environment(PS1="> ", TERM="xterm-256color", PYTHONPATH=str(Path.cwd()))
    with TemporaryDirectory() as folder:  # pytest's own path is too long for a socket
        shell = ["bash", "--norc", "--noprofile", "-i"]
        screen = open_terminal(shell, environment=variables, project=machine.home, socket=Path(folder) / "tmux")
        async with screen as terminal:
            yield terminal


@pytest.mark.parametrize("target", ["$$", "0"], ids=["itself alone", "its whole group, as Claude Code does"])
async def test_a_program_that_stops_gives_the_shell_back_and_fg_continues_it(
    upstream: FakeUpstream, tmp_path: Path, target: str
) -> None:
    machine = Machine(tmp_path, f"echo begun; kill -STOP {target}; echo went on; exit 5")
    async with upstream, open_shell(machine) as terminal:
        await terminal.type(f"{shlex.join(command('run', *at(upstream)))} 2>/dev/null")
        await terminal.wait_for("Stopped")
        await terminal.type("fg; echo code $?")
        await terminal.wait_for("went on")
        await terminal.wait_for("code 5")


async def test_the_terminal_is_as_before_when_the_program_was_killed(upstream: FakeUpstream, tmp_path: Path) -> None:
    machine = Machine(tmp_path, "stty raw -echo; kill -9 $$")
    async with upstream, open_shell(machine) as terminal:
        await terminal.type("shopt -u lastpipe; stty -g > before")
        await terminal.type(f"{shlex.join(command('run', *at(upstream)))} 2>/dev/null; stty -g > after; echo en''ded")
        await terminal.wait_for("ended")
        assert (tmp_path / "after").read_text() == (tmp_path / "before").read_text()


async def test_it_asks_which_model_is_meant_before_the_program_starts(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "echo started with $ANTHROPIC_MODEL")
    upstream = FakeUpstream(documents={"/v1/models": model_list("first", "second")})
    async with upstream, open_shell(machine) as terminal:
        await terminal.type(shlex.join(command("run", *at(upstream))))
        await terminal.wait_for("Which one?")
        await terminal.type("2")
        await terminal.wait_for("started with second")


async def test_ctrl_c_at_that_question_ends_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "echo started")
    upstream = FakeUpstream(documents={"/v1/models": model_list("first", "second")})
    async with upstream, open_shell(machine) as terminal:
        await terminal.type(f"{shlex.join(command('run', *at(upstream)))}; echo code $?")
        await terminal.wait_for("Which one?")
        await terminal.press("C-c")
        await terminal.wait_for("code 130")
        assert "Traceback" not in await terminal.screen()
