"""A project's own settings through `bridge run` and `bridge config`: the question, and what it changes."""

from __future__ import annotations

import json
import shlex
import shutil
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from claude_bridge.config.project import PROJECT_FILE
from tests.claude_code.terminal import open_terminal
from tests.cli.process import Finished, command, environment, run_bridge, run_process
from tests.fake_upstream import FakeUpstream, answer
from tests.real_parts import missing

pytestmark = pytest.mark.anyio

KEY = "sk-a-key-that-nobody-may-see"


class Machine:
    """A home with a project in it, and a program of the name ``claude`` that says which model it gets."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.project = home / "project"
        self.file = self.project / PROJECT_FILE
        program = home / "bin" / "claude"
        program.parent.mkdir()
        self.project.mkdir()
        program.write_text('#!/bin/sh\necho "model $ANTHROPIC_MODEL key ${PROJECT_KEY:+seen}"\n')
        program.chmod(0o755)
        self.users = home / "config.toml"

    def write(self, upstream: FakeUpstream) -> None:
        """Configure one model, and another one for the project, at an engine that the project names too."""
        provider = f'[providers.work]\nkind = "openai-chat"\nbase_url = "{upstream.base_url}"\n'
        self.users.write_text(f'{provider}[defaults]\nmodel = "work/users-model"\n')
        self.file.write_text(
            f'{provider}api_key = "env:PROJECT_KEY"\nheaders = {{ x-key = "{KEY}" }}\n'
            '[defaults]\nmodel = "work/projects-model"\n'
        )
        self.file.chmod(0o600)

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.home / 'bin'}:/usr/local/bin:/usr/bin:/bin"
        own = {
            "HOME": str(self.home),
            "PATH": path,
            "BRIDGE_CONFIG": str(self.users),
            "PROJECT_KEY": KEY,
            "BRIDGE_SEARCH": "off",
        }
        return environment(own) | {"XDG_DATA_HOME": str(self.home / "data")}

    async def run(self, *words: str) -> Finished:
        start = run_process if words[0] == "run" else run_bridge  # a session needs the main thread
        with chdir(self.project):
            done = await start(*words, env=self.environment)
        assert KEY not in (printed := done.stdout + done.stderr), printed
        assert "Traceback" not in printed
        return done


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


async def test_settings_are_used_once_they_are_trusted_and_again_only_if_they_are_the_same(machine: Machine) -> None:
    async with FakeUpstream(lambda _: answer("Hello.")) as upstream:
        machine.write(upstream)
        new = await machine.run("run", "--no-check")
        refused = await machine.run("config", "trust")
        trusted = await machine.run("config", "trust", "--yes")
        used = await machine.run("run", "--no-check")
        machine.file.write_text(machine.file.read_text() + "# changed\n")
        changed = await machine.run("run", "--no-check")

    assert new.stdout == "model users-model key seen\n"
    assert f"{machine.file} is not used: it is new or changed" in " ".join(new.stderr.split())
    assert "config trust` shows what it sets" in new.stderr
    assert (refused.code, trusted.code) == (1, 0)
    assert "config trust --yes" in refused.stderr
    assert f'providers.work.base_url = "{upstream.base_url}"  (where requests go)' in trusted.stderr
    assert 'providers.work.api_key = "env:PROJECT_KEY"  (reads a variable)' in trusted.stderr
    assert used.stdout == "model projects-model key \n", "and no command that Claude Code runs gets the key"
    assert f"settings of this project: {machine.file}" in used.stderr
    assert changed.stdout.startswith("model users-model")
    assert "is not used: it is new or changed" in " ".join(changed.stderr.split())


async def test_a_decision_can_be_taken_back(machine: Machine) -> None:
    async with FakeUpstream(lambda _: answer("Hello.")) as upstream:
        machine.write(upstream)
        await machine.run("config", "trust", "--yes")
        await machine.run("config", "trust", "--revoke")
        done = await machine.run("run", "--no-check")
    assert done.stdout.startswith("model users-model")
    assert "you chose not to trust it" in " ".join(done.stderr.split())


async def test_show_and_check_take_a_trusted_project_in(machine: Machine) -> None:
    async with FakeUpstream() as upstream:
        machine.write(upstream)
        before = json.loads((await machine.run("config", "show", "--json")).stdout)
        await machine.run("config", "trust", "--yes")
        shown = json.loads((await machine.run("config", "show", "--json")).stdout)
        table = (await machine.run("config", "show")).stdout
        machine.file.write_text("[defaults]\nmodle = 1\n")
        ignored = await machine.run("config", "check")
        await machine.run("config", "trust", "--yes")
        checked = await machine.run("config", "check", "--json")

    assert before["project"] is None
    assert shown["project"] == str(machine.file)
    model = {"key": "defaults.model", "value": "work/projects-model", "origin": f"{PROJECT_FILE}:7"}
    assert model in shown["settings"]
    assert {"request": "all other requests", "model": "work/projects-model"} in shown["routing"]
    assert f"with those of this project: {machine.file}" in table
    assert (ignored.code, "is not used" in ignored.stderr) == (0, True)
    assert json.loads(checked.stdout)["mistakes"] == [
        {
            "place": str(machine.file),
            "line": 2,
            "key": "defaults.modle",
            "what": "is not a setting; nearest: model",
        }
    ]
    assert checked.code == 1


async def test_what_can_not_be_trusted_is_named_and_nothing_is_asked(machine: Machine) -> None:
    async with FakeUpstream(lambda _: answer("Hello.")) as upstream:
        machine.write(upstream)
        machine.file.chmod(0o666)
        done = await machine.run("run", "--no-check")
        trusted = await machine.run("config", "trust", "--yes")
    assert done.stdout.startswith("model users-model")
    assert f"{machine.file} is not used: it can be written by every user" in " ".join(done.stderr.split())
    assert trusted.code == 1
    assert "can't be trusted: it can be written by every user" in " ".join(trusted.stderr.split())


async def test_in_a_terminal_the_question_is_asked_once(machine: Machine) -> None:
    if shutil.which("tmux") is None:
        missing("tmux is not installed.")
    async with FakeUpstream(lambda _: answer("Hello.")) as upstream:
        machine.write(upstream)
        again = shlex.join(command("run", "--no-check", "--web-search", "off"))
        script = ["sh", "-c", f"{again}; echo first; {again}; echo second; sleep 60"]
        with TemporaryDirectory() as folder:  # pytest's own path is too long for a socket
            screen = open_terminal(
                script, environment=machine.environment, project=machine.project, socket=Path(folder) / "tmux"
            )
            async with screen as terminal:
                await terminal.wait_for("Use these settings here?")
                await terminal.type("y")
                await terminal.wait_for("second")
                seen = await terminal.screen()
    assert seen.count("Use these settings") == 1
    assert seen.count("model projects-model key") == 2
    assert KEY not in seen
