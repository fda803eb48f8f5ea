"""``bridge service``: the files that it writes, and what it asks of the platform."""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from claude_bridge.cli.commands import app
from claude_bridge.cli.service import SYSTEMD_NAME, launchd_agent, systemd_unit, try_command
from claude_bridge.errors import SetupError
from tests.cli.process import Finished, run_bridge
from tests.real_parts import missing

AWKWARD = [sys.executable, "-m", "claude_bridge", "serve", "ollama", 'a "b" $HOME %h \\x', "--port", "1"]


# --- the files ------------------------------------------------------------------------------------------------


def test_systemd_finds_no_fault_with_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        missing("systemd-analyze is not installed.")
    unit = tmp_path / SYSTEMD_NAME
    unit.write_text(systemd_unit(AWKWARD, {"A": "x y %h"}))
    environment = {"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(unit)],
        check=False,
        env=environment,
        capture_output=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_words_are_what_systemd_reads_back() -> None:
    lines = systemd_unit(AWKWARD, {"A": "x y", "B": "plain"}).splitlines()
    command = next(line for line in lines if line.startswith("ExecStart="))
    assert command.endswith(r' serve ollama "a \"b\" $$HOME %%h \\x" --port 1')
    assert 'Environment="A=x y"' in lines
    assert "Environment=B=plain" in lines


def test_a_failed_bridge_is_started_again_but_not_for_ever() -> None:
    unit = systemd_unit(AWKWARD, {})
    assert "Restart=on-failure" in unit
    assert "StartLimitBurst=5" in unit


LAUNCHD_KEYS = {
    "Label": str,
    "ProgramArguments": list,
    "EnvironmentVariables": dict,
    "RunAtLoad": bool,
    "KeepAlive": dict,
    "ThrottleInterval": int,
    "ExitTimeOut": int,
    "StandardOutPath": str,
    "StandardErrorPath": str,
}
"""Of launchd.plist(5): a misspelt key is passed over in silence there."""


def test_launchd_gets_a_property_list(tmp_path: Path) -> None:
    agent = plistlib.loads(launchd_agent(AWKWARD, {"A": "<&>"}, log_file=tmp_path / "log").encode())
    assert agent["ProgramArguments"] == AWKWARD
    assert agent["EnvironmentVariables"] == {"A": "<&>"}
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert (agent["RunAtLoad"], agent["StandardErrorPath"]) == (True, str(tmp_path / "log"))
    assert {key: type(value) for key, value in agent.items()} == {
        key: kind for key, kind in LAUNCHD_KEYS.items() if key in agent
    }


def test_every_key_of_the_property_list_is_one_that_launchd_reads(tmp_path: Path) -> None:
    agent = plistlib.loads(launchd_agent(["/usr/bin/bridge"], {}, log_file=tmp_path / "log").encode())
    assert agent.keys() <= LAUNCHD_KEYS.keys()
    assert agent["KeepAlive"].keys() <= {"SuccessfulExit", "Crashed", "OtherJobEnabled", "PathState"}
    assert Path(agent["ProgramArguments"][0]).is_absolute(), "launchd has no PATH of the user's"


# --- the command ----------------------------------------------------------------------------------------------

SYSTEMCTL = '#!/bin/sh\necho "$(basename $0) $*" >> "$HOME/asked"\nexit ${SYSTEMCTL_CODE:-0}\n'


class Machine:
    """A home and a systemd that writes down what it is asked."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.unit = home / ".config/systemd/user" / SYSTEMD_NAME
        for name in ("systemctl", "journalctl"):
            program = home / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(SYSTEMCTL)
            program.chmod(0o755)

    @property
    def requested(self) -> list[str]:
        requested = self.home / "asked"
        return requested.read_text().splitlines() if requested.exists() else []

    def is_installed(self) -> None:
        """Put the unit where `bridge service install` puts it, which first tries for seconds whether it serves."""
        self.unit.parent.mkdir(parents=True)
        self.unit.write_text(systemd_unit(AWKWARD, {}))

    async def service(self, *arguments: str, **environment: str) -> Finished:
        env = {"HOME": str(self.home), "PATH": f"{self.home / 'bin'}:/usr/bin:/bin", **environment}
        return await run_bridge("service", *arguments, env=env)


pytestmark = pytest.mark.anyio
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="The fake is of systemd.")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@linux_only
async def test_installing_shows_the_file_writes_it_and_starts_the_service(machine: Machine) -> None:
    done = await machine.service("install", "--yes", "local", "--port", "8800")
    assert done.code == 0, done.stderr
    assert done.stdout == machine.unit.read_text()
    assert " -m claude_bridge serve local --port 8800\n" in done.stdout
    assert "enable-linger" in done.stderr
    assert machine.requested == ["systemctl --user daemon-reload", f"systemctl --user enable --now {SYSTEMD_NAME}"]


@linux_only
async def test_a_dry_run_shows_and_does_nothing(machine: Machine) -> None:
    done = await machine.service("install", "--dry-run", "ollama")
    assert "ExecStart=" in done.stdout
    assert not machine.unit.exists()
    assert machine.requested == []


@linux_only
async def test_without_a_yes_nothing_is_written(machine: Machine) -> None:
    done = await machine.service("install", "ollama")
    assert done.code == 1
    assert "If you agree, add --yes." in done.stderr
    assert not machine.unit.exists()


@linux_only
@pytest.mark.parametrize("option", ["--api-key", "--auth-token=secret-1", "--apiKey"])
async def test_a_secret_does_not_go_into_the_file(machine: Machine, option: str) -> None:
    done = await machine.service("install", "--yes", "openai", "m", option, "sk-secret-1")
    assert done.code == 1
    assert "configuration" in done.stderr
    assert "secret-1" not in done.stdout + done.stderr
    assert not machine.unit.exists()


@linux_only
async def test_what_serve_does_not_take_is_reported_before_anything_is_written(machine: Machine) -> None:
    done = await machine.service("install", "--yes", "ollama", "--prot", "1")
    assert done.code == 2
    assert "--prot" in done.stderr
    assert not machine.unit.exists()


@linux_only
async def test_a_service_that_would_end_at_once_is_not_installed(machine: Machine) -> None:
    done = await machine.service("install", "--yes", "openai", "gpt-5", OPENAI_API_KEY="sk-only-in-this-shell")
    assert done.code == 1
    assert "needs an API key" in done.stderr
    assert "put the key into the configuration" in done.stderr
    assert not machine.unit.exists()
    assert machine.requested == []


def test_a_bridge_that_goes_on_has_passed_the_trial_and_is_ended(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    program = f"import os, pathlib, time; pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid())); time.sleep(600)"
    while not pid_file.exists():  # a busy machine may take longer to start it than it is tried
        try_command([sys.executable, "-c", program], try_s=0.5)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


@linux_only
async def test_a_systemd_that_refuses_is_reported(machine: Machine) -> None:
    done = await machine.service("install", "--yes", "local", SYSTEMCTL_CODE="1")
    assert done.code == 1
    assert "systemctl --user daemon-reload" in done.stderr
    assert not machine.unit.exists()


@linux_only
async def test_a_missing_systemd_is_reported_in_plain_words(machine: Machine) -> None:
    machine.is_installed()
    (machine.home / "bin/systemctl").write_text(
        "#!/bin/sh\necho 'Failed to connect to bus: No medium found' >&2\nexit 1\n"
    )
    done = await machine.service("status")
    assert (done.code, done.stdout) == (1, "")
    assert "Error: No systemd runs for this user here" in done.stderr
    assert (await machine.service("uninstall")).code == 0
    assert not machine.unit.exists()


@linux_only
async def test_uninstalling_stops_the_service_and_removes_its_file(machine: Machine) -> None:
    machine.is_installed()
    done = await machine.service("uninstall")
    assert done.code == 0
    assert not machine.unit.exists()
    assert machine.requested == [f"systemctl --user disable --now {SYSTEMD_NAME}", "systemctl --user daemon-reload"]
    assert (await machine.service("uninstall")).code == 1


@linux_only
async def test_status_and_logs_are_those_of_the_platform(machine: Machine) -> None:
    done = await machine.service("status")
    assert (done.code, "bridge service install" in done.stderr) == (1, True)
    machine.is_installed()
    assert (await machine.service("status", SYSTEMCTL_CODE="3")).code == 3
    assert (await machine.service("logs", "--follow")).code == 0
    assert machine.requested == [
        f"systemctl --user --no-pager status {SYSTEMD_NAME}",
        f"journalctl --user --no-pager -n 100 -u {SYSTEMD_NAME} -f",
    ]


def test_windows_is_shown_its_task_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    done = CliRunner().invoke(app, ["service", "status"])
    assert isinstance(done.exception, SetupError)
    assert "schtasks /create /sc onlogon /tn claude-bridge" in done.exception.hint


async def test_a_platform_without_services_is_reported(tmp_path: Path) -> None:
    if sys.platform == "darwin":
        pytest.skip("A Mac has launchd.")
    done = await run_bridge("service", "install", "--yes", "ollama", env={"HOME": str(tmp_path), "PATH": str(tmp_path)})
    assert done.code == 1
    assert "has no systemd" in done.stderr
