"""``bridge service``: a bridge in the background, which is started again when it fails."""

from __future__ import annotations

import os
import plistlib
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from claude_bridge.cli import terminal
from claude_bridge.cli.help import Command, Group
from claude_bridge.errors import SetupError, disk_errors_as

SYSTEMD_NAME = "claude-bridge.service"
LAUNCHD_LABEL = "claude-bridge"

_RESTART_S = 3

KEPT_VARIABLES = ("BRIDGE_CONFIG", "OLLAMA_HOST", "XDG_CONFIG_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""The environment variables that the service gets too; none of them is secret."""

TRY_S = 5.0
"""For how long the bridge is tried before its service is installed; a wrong key or model ends it sooner."""

SECRET_OPTIONS = ("--api-key", "--apiKey", "--auth-token")

EXAMPLES = (
    "bridge service install ollama qwen3:1.7b",
    "bridge service install",
    "bridge service status",
    "bridge service logs --follow",
)

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Run a bridge in the background: a systemd user unit, or a launchd agent.",
    epilog="\n".join(EXAMPLES),
)


class Manager(NamedTuple):
    """The service manager of this system, and its commands."""

    name: str
    file: Path
    start: tuple[tuple[str, ...], ...]
    stop: tuple[tuple[str, ...], ...]
    status: tuple[str, ...]
    logs: tuple[str, ...]


@app.command(
    "install",
    cls=Command,
    options_metavar="[OPTIONS] [ARGUMENTS OF SERVE]...",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
def install(
    ctx: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the file, and change nothing.")] = False,
) -> None:
    """Install and start a service that runs `bridge serve` with the arguments that follow.

    The file is shown before it is written.
    """
    arguments = list(ctx.args)
    _check_arguments(ctx, arguments)
    manager = _manager()
    command = [sys.executable, "-m", "claude_bridge", "serve", *arguments]
    text = _service_file(manager, command)
    terminal.print_line(text.rstrip())
    terminal.say(terminal.faint(f"The file is {manager.file}"))
    if dry_run:
        return
    if not yes and not terminal.can_ask():
        raise SetupError("There is no terminal in which to ask for your consent.", "If you agree, add --yes.")
    if not yes and not typer.confirm("Write the file, and start the service?", default=True, err=True):
        raise typer.Exit(1)
    if arguments[:1] != ["local"]:  # which may have to download its model first
        try_command([*command, "--port", "0"])
    _write(manager.file, text)
    try:
        for start in manager.start:
            _run(start)
    except SetupError:
        manager.file.unlink()
        raise
    terminal.say(terminal.strong("The bridge is running, and starts again when you log in."))
    if manager.name == "systemd":
        terminal.say("It stops when you log out, unless you allow it to stay: loginctl enable-linger")
    terminal.say(terminal.with_program("Next: `bridge service status` · `bridge service logs` · `bridge env`"))


@app.command("uninstall", cls=Command)
def uninstall() -> None:
    """Stop the service and remove its file."""
    manager = _installed()
    with suppress(SetupError):  # without a service manager nothing runs
        for command in manager.stop:
            _run(command, may_fail=True)
    manager.file.unlink()
    if manager.name == "systemd":
        with suppress(SetupError):
            _run(manager.start[0], may_fail=True)
    terminal.say(f"Removed {manager.file}.")


@app.command("status", cls=Command)
def status() -> None:
    """Show whether the service runs; the exit code is that of systemctl or launchctl."""
    sys.exit(_run(_installed().status, may_fail=True))


@app.command("logs", cls=Command)
def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing new lines.")] = False,
) -> None:
    """Show the log of the service."""
    sys.exit(_run((*_installed().logs, *(["-f"] if follow else [])), may_fail=True))


def _check_arguments(ctx: typer.Context, arguments: Sequence[str]) -> None:
    """Check that `bridge serve` accepts the arguments: that a service can't start is noticed late.

    Raises:
        SetupError: a secret is among them, which would be in the file.
        typer.BadParameter: `bridge serve` does not accept them.
    """
    secret = next((word for word in arguments if word.partition("=")[0] in SECRET_OPTIONS), None)
    if secret is not None:
        raise SetupError(
            f"{secret.partition('=')[0]} would be readable in the service's file.",
            'Put it into the configuration, as "file:PATH"; `bridge config path` says where that is.',
        )
    serve = ctx.find_root().command.commands["serve"]  # type: ignore[attr-defined] # the group that Typer makes
    serve.make_context("bridge serve", list(arguments), resilient_parsing=False).close()


def _installed() -> Manager:
    """Return the service manager; raises SetupError where it has no bridge."""
    manager = _manager()
    if not manager.file.exists():
        raise SetupError(
            f"There is no service: {manager.file} does not exist.", "Install one: `bridge service install`"
        )
    return manager


def _manager() -> Manager:
    if sys.platform == "darwin":
        file = Path.home() / "Library" / "LaunchAgents" / f"{LAUNCHD_LABEL}.plist"
        domain = f"gui/{os.getuid()}"
        return Manager(
            "launchd",
            file,
            start=(("launchctl", "bootstrap", domain, str(file)),),
            stop=(("launchctl", "bootout", f"{domain}/{LAUNCHD_LABEL}"),),
            status=("launchctl", "print", f"{domain}/{LAUNCHD_LABEL}"),
            logs=("tail", "-n", "100", str(_log_file())),
        )
    if sys.platform == "win32":
        run = subprocess.list2cmdline([sys.executable, "-m", "claude_bridge", "serve", "PROVIDER", "MODEL"])
        raise SetupError(
            "There is no `bridge service` on Windows.",
            f"Let the task scheduler start the bridge: schtasks /create /sc onlogon /tn claude-bridge /tr '{run}'",
        )
    if shutil.which("systemctl") is None:
        raise SetupError(
            "This system has no systemd, and is not a Mac.",
            "Run `bridge serve` with the service manager that you have, such as runit, supervisord or a container.",
        )
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Manager(
        "systemd",
        config / "systemd" / "user" / SYSTEMD_NAME,
        start=(("systemctl", "--user", "daemon-reload"), ("systemctl", "--user", "enable", "--now", SYSTEMD_NAME)),
        stop=(("systemctl", "--user", "disable", "--now", SYSTEMD_NAME),),
        status=("systemctl", "--user", "--no-pager", "status", SYSTEMD_NAME),
        logs=("journalctl", "--user", "--no-pager", "-n", "100", "-u", SYSTEMD_NAME),
    )


def try_command(command: Sequence[str], *, try_s: float = TRY_S) -> None:
    """Run the bridge for a moment as the service would; raises SetupError if it ends by itself."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME", *KEPT_VARIABLES) if name in os.environ}
    with (
        terminal.spinner("Trying it"),
        subprocess.Popen(  # noqa: S603 - the words are our own
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        try:
            _, problem = process.communicate(timeout=try_s)
        except subprocess.TimeoutExpired:
            process.terminate()
            return
    raise SetupError(
        f"The service would end at once:\n{problem.strip()}",
        "Variables such as OPENAI_API_KEY are not there for a service: put the key into the configuration.",
    )


def _service_file(manager: Manager, command: Sequence[str]) -> str:
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if os.environ.get(name)}
    if manager.name == "launchd":
        return launchd_agent(command, kept, log_file=_log_file())
    return systemd_unit(command, kept)


def systemd_unit(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return a user unit that runs the command, and again where it fails.

    A wrong command line or a wrong engine is exit code 1 or 2 at once: after five such ends within a minute systemd
    gives up, and says so in the status.
    """
    variables = "".join(f"Environment={_quoted(f'{name}={value}')}\n" for name, value in environment.items())
    from claude_bridge.data_files import read_text

    words = " ".join(map(_quoted, command))
    return read_text("cli/unit.service").format(command=words, variables=variables, restart_s=_RESTART_S)


def launchd_agent(command: Sequence[str], environment: Mapping[str, str], *, log_file: Path) -> str:
    """Return an agent that runs the command from login on, and again where it fails."""
    agent = {
        "Label": LAUNCHD_LABEL,
        "ProgramArguments": list(command),
        "EnvironmentVariables": dict(environment),
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": _RESTART_S,
        "ExitTimeOut": 40,
        "StandardOutPath": str(log_file),
        "StandardErrorPath": str(log_file),
    }
    return plistlib.dumps(agent, sort_keys=False).decode()


def _quoted(word: str) -> str:
    """Return a word as systemd reads it back: quotes and backslashes escaped, % and $ doubled."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    plain = word and all(letter.isalnum() or letter in "-_./:=+,@" for letter in word)
    return word if plain else f'"{escaped}"'


def _log_file() -> Path:
    from claude_bridge.config.locate import log_folder

    return log_folder() / "service.log"


def _write(path: Path, text: str) -> None:
    with disk_errors_as(f"{path} can't be written", "Check the owner and the mode of the folder."):
        path.parent.mkdir(parents=True, exist_ok=True)
        if sys.platform == "darwin":
            _log_file().parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _run(command: Sequence[str], *, may_fail: bool = False) -> int:
    """Run a command of the system and return its exit code; its output goes to ours.

    Raises:
        SetupError: it is not there, has no service manager to talk to, or failed though it may not.
    """
    try:
        done = subprocess.run(command, check=False, stderr=subprocess.PIPE)  # noqa: S603 - the words are our own
    except FileNotFoundError:
        raise SetupError(f"`{command[0]}` is not installed.", "Check that systemd is running for this user.") from None
    trouble = done.stderr.decode(errors="replace").strip()
    if done.returncode and trouble.startswith("Failed to connect to"):
        raise SetupError(
            f"No systemd runs for this user here: {trouble}",
            "In a container, run `bridge serve` itself. After su or sudo, log in as the user in its place.",
        )
    if trouble:
        terminal.say(trouble)
    if done.returncode and not may_fail:
        raise SetupError(f"`{shlex.join(command)}` failed with exit code {done.returncode}.", "Its output is above.")
    return done.returncode
