"""``bridge run``: what the program beside the bridge gets, and what becomes of its signals and its end."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest

from tests.claude_code.terminal import Terminal, holds, open_terminal
from tests.cli.process import LIMIT_S, Finished, command, environment, run_process
from tests.fake_upstream import MODEL, FakeUpstream, answer, model_list
from tests.real_parts import missing

pytestmark = pytest.mark.anyio

WINDOW_TOKENS = 32_768

IMPATIENT = """
from claude_bridge.app import child_posix
from claude_bridge.cli import main

child_posix.END_WITHIN_S = 0.5
main()
"""
"""The program, which ends soon what does not end by itself."""

CURL = 'curl -s "$ANTHROPIC_BASE_URL/v1/messages" -H "content-type: application/json"'


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
        return await run_process("run", *arguments, env=self.environment(**more))


def at(upstream: FakeUpstream) -> tuple[str, str, str]:
    return "openai", "--base-url", upstream.base_url


async def test_the_program_is_pointed_at_the_bridge_and_its_output_is_its_own(
    upstream: FakeUpstream, tmp_path: Path
) -> None:
    script = (
        'env -0 > "$HOME/env"; printf "%s\\n" "$@" > "$HOME/words"; cp "$4" "$HOME/settings"; echo said; echo told >&2'
    )
    machine = Machine(tmp_path, script)
    async with upstream:
        done = await machine.run(*at(upstream), "--", "-p", "--", "x", ANTHROPIC_API_KEY="a real one", KEPT="yes")
    assert (done.code, done.stdout) == (0, "said\n")
    assert "told" in done.stderr
    reported = dict(entry.partition("=")[::2] for entry in (tmp_path / "env").read_text().split("\0"))
    assert reported["ANTHROPIC_BASE_URL"].startswith("http://127.0.0.1:")
    assert reported["ANTHROPIC_BASE_URL"] != upstream.base_url
    assert (reported["ANTHROPIC_MODEL"], reported["ANTHROPIC_API_KEY"], reported["KEPT"]) == (MODEL, "", "yes")
    assert reported["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "41672"
    *options, file, first, second, third = (tmp_path / "words").read_text().splitlines()
    assert (options, first, second, third) == (["--permission-mode", "default", "--settings"], "-p", "--", "x")
    settings = json.loads((tmp_path / "settings").read_text())
    assert settings["env"]["ANTHROPIC_BASE_URL"] == reported["ANTHROPIC_BASE_URL"]
    assert not Path(file).exists(), "it goes with the session"  # noqa: ASYNC240 - one file


async def test_the_bridge_answers_the_program(upstream: FakeUpstream, tmp_path: Path) -> None:
    question = json.dumps({"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]})
    machine = Machine(tmp_path, f"{CURL} -d {shlex.quote(question)}")
    if shutil.which("curl") is None:
        missing("curl is not installed.")
    async with upstream:
        done = await machine.run(*at(upstream))
    assert json.loads(done.stdout)["content"][0]["text"] == "Hello."


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill $$", 143)])
async def test_the_exit_code_is_handed_through(upstream: FakeUpstream, tmp_path: Path, script: str, code: int) -> None:
    async with upstream:
        assert (await Machine(tmp_path, script).run(*at(upstream))).code == code


async def test_a_missing_program_is_reported_with_how_to_get_it(upstream: FakeUpstream, tmp_path: Path) -> None:
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
    bridge = [sys.executable, "-c", IMPATIENT, "run"]
    async with (
        upstream,
        await anyio.open_process([*bridge, *at(upstream)], env=machine.environment(), stdin=None) as process,
    ):

        async def is_started() -> bool:
            return (tmp_path / "started").exists()

        assert await holds(is_started)
        process.terminate()
        with anyio.fail_after(LIMIT_S):
            assert await process.wait() == 137


async def test_the_debug_log_goes_to_a_file_that_nobody_else_reads(upstream: FakeUpstream, tmp_path: Path) -> None:
    question = json.dumps({"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "What is up"}]})
    machine = Machine(tmp_path, f"{CURL} -d {shlex.quote(question)}")
    async with upstream:
        done = await machine.run(*at(upstream), "--debug")
    (log,) = list(tmp_path.rglob("run-*.log"))  # noqa: ASYNC240 - a small folder
    assert "What is up" in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert str(log) in done.stderr
    assert "What is up" not in done.stderr


@pytest.mark.parametrize(
    ("window_tokens", "option", "is_lite"),
    [(32_768, "", False), (8_192, "", True), (8_192, "--no-lite", False), (32_768, "--lite", True)],
)
async def test_few_tools_are_taken_where_the_window_has_no_room_for_all(
    tmp_path: Path, window_tokens: int, option: str, is_lite: bool
) -> None:
    documents = {"/v1/models": model_list(MODEL, max_model_len=window_tokens)}
    machine = Machine(tmp_path, 'echo "$@"')
    async with FakeUpstream(documents=documents) as upstream:
        done = await machine.run(*at(upstream), *filter(None, [option]))
    assert ("--tools Bash,Read,Edit,Write" in done.stdout) is is_lite
    assert ("the first request takes 3,700 to 4,100 tokens, not 9,400 to 12,600" in done.stderr) is is_lite
    assert f"  · context window {window_tokens:,} tokens\n" in done.stderr
    assert ("leave out --no-lite" in done.stderr) is (option == "--no-lite")


async def test_a_window_that_is_too_small_for_any_session_is_refused(tmp_path: Path) -> None:
    documents = {"/v1/models": model_list(MODEL, max_model_len=4_096)}
    machine = Machine(tmp_path, "touch $HOME/started")
    async with FakeUpstream(documents=documents) as upstream:
        done = await machine.run(*at(upstream))
        chosen = await machine.run(*at(upstream), "--", "--tools", "Bash")
    assert (done.code, chosen.code) == (1, 0), done
    assert "The context window of 4,096 tokens is too small for Claude Code" in done.stderr
    assert "Traceback" not in done.stderr


SESSION = "5f7c1a0e-0000-4000-8000-0123456789ab"
QUESTION = json.dumps({"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]})


async def test_the_last_line_is_the_command_that_continues_the_session(upstream: FakeUpstream, tmp_path: Path) -> None:
    older, requested = (
        f"-H 'x-claude-code-session-id: {name}' -d {shlex.quote(QUESTION)}" for name in ("older", SESSION)
    )
    machine = Machine(tmp_path, f"{CURL} {older}; {CURL} {requested}")
    async with upstream:
        done = await machine.run(*at(upstream), "--api-key", "sk-very-secret", "--", "--model", "x")
        printed = await machine.run(*at(upstream), "--", "-p", "x")
    base = shlex.join(command("run", *at(upstream)))
    assert done.stderr.splitlines()[-1] == (f"  {base} --api-key KEY -- --resume {SESSION}")
    assert "--resume" not in printed.stderr


async def test_a_session_that_asked_nothing_can_not_be_continued(upstream: FakeUpstream, tmp_path: Path) -> None:
    async with upstream:
        done = await Machine(tmp_path, "exit 0").run(*at(upstream))
    assert "--resume" not in done.stderr


async def test_the_engines_keys_are_not_in_the_programs_environment(upstream: FakeUpstream, tmp_path: Path) -> None:
    machine = Machine(tmp_path, "env")
    keys = {"OPENAI_API_KEY": "sk-1", "BRIDGE_API_KEY": "sk-2", "WORK_SECRET": "sk-3", "OTHER_KEY": "kept"}
    file = tmp_path / "c.toml"
    async with upstream:
        work = f'kind = "openai-chat"\nbase_url = "{upstream.base_url}"\napi_key = "env:WORK_SECRET"\n'
        file.write_text(f"[providers.work]\n{work}")
        own = await machine.run(*at(upstream), "--fallback", "work/m", "--config", str(file), **keys)
    assert not [line for line in own.stdout.splitlines() if "sk-" in line]
    assert "OTHER_KEY=kept" in own.stdout


async def test_the_settings_are_in_a_private_file_and_not_in_the_arguments(
    upstream: FakeUpstream, tmp_path: Path
) -> None:
    script = 'shift 3; stat -c %a "$1"; cat "$1"; tr "\\0" " " </proc/$$/cmdline >&2'
    given = json.dumps({"env": {"MY_TOKEN": "hidden-value"}})
    (tmp_path / "settings.json").write_text(given)
    async with upstream:
        done = await Machine(tmp_path, script).run(*at(upstream), "--", "--settings", str(tmp_path / "settings.json"))
    mode, _, text = done.stdout.partition("\n")
    assert mode == "600"
    assert json.loads(text)["env"]["MY_TOKEN"] == "hidden-value"
    assert "hidden-value" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="Only Linux tells a program that its parent has ended.")
async def test_when_the_bridge_is_killed_the_program_ends_too(upstream: FakeUpstream, tmp_path: Path) -> None:
    machine = Machine(tmp_path, "echo $$ > $HOME/pid; exec sleep 100")
    async with (
        upstream,
        await anyio.open_process(command("run", *at(upstream)), env=machine.environment(), stdin=None) as process,
    ):

        async def is_started() -> bool:
            return (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text().strip())

        async def has_ended() -> bool:
            status = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
            return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"  # noqa: ASYNC240

        assert await holds(is_started)
        process.kill()
        assert await holds(has_ended)


@asynccontextmanager
async def open_shell(machine: Machine, *, search: str = "off") -> AsyncIterator[Terminal]:
    """Open a shell with job control on a screen of its own. ``search`` "" leaves open who searches the web."""
    if shutil.which("tmux") is None:
        missing("tmux is not installed.")
    variables = machine.environment(PS1="> ", TERM="xterm-256color", PYTHONPATH=str(Path.cwd()), BRIDGE_SEARCH=search)
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
    machine = Machine(tmp_path, r"stty raw -echo; printf '\033[?1049h'; kill -9 $$")
    async with upstream, open_shell(machine) as terminal:
        await terminal.type("shopt -u lastpipe; stty -g > before")
        await terminal.type(f"{shlex.join(command('run', *at(upstream)))} 2>/dev/null; stty -g > after; echo en''ded")
        await terminal.wait_for("ended")
        assert (tmp_path / "after").read_text() == (tmp_path / "before").read_text()
        assert "stty -g > before" in await terminal.screen()  # the main one


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
