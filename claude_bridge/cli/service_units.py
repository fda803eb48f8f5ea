"""The files that make a bridge a service: a systemd user unit, a launchd agent. Pure; the command writes them."""

from __future__ import annotations

import plistlib
from collections.abc import Mapping, Sequence
from pathlib import Path

SYSTEMD_NAME = "claude-bridge.service"
LAUNCHD_LABEL = "claude-bridge"

_RESTART_S = 3


def systemd_unit(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return a user unit that runs the command, and again where it fails.

    A wrong command line or a wrong engine is exit code 1 or 2 at once: after five such ends within a minute systemd
    gives up, and says so in the status.
    """
    variables = "".join(f"Environment={_quoted(f'{name}={value}')}\n" for name, value in environment.items())
    return f"""\
[Unit]
Description=claude-bridge: Anthropic's Messages API before a model of your own
StartLimitIntervalSec=60
StartLimitBurst=5

[Service]
ExecStart={" ".join(map(_quoted, command))}
ExecReload=/bin/kill -HUP $MAINPID
{variables}Restart=on-failure
RestartSec={_RESTART_S}
TimeoutStopSec=40
NoNewPrivileges=yes

[Install]
WantedBy=default.target
"""


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
