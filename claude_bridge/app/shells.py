"""Environment variables in the form of each shell, and of other programs that take them."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

from claude_bridge.wire.addresses import is_loopback

HOST_FROM_CONTAINER = "host.docker.internal"

Environment = Mapping[str, str]


Render = Callable[[Environment, Environment], str]


def _lines(comment: str, line: Callable[[str, str], str]) -> Render:
    """Return what renders one line for each variable, with its reason above it where there is one."""

    def render(environment: Environment, reasons: Environment) -> str:
        lines: list[str] = []
        for name, value in environment.items():
            if name in reasons:
                lines.append(f"{comment} {reasons[name]}")
            lines.append(line(name, value))
        return "\n".join(lines)

    return render


def _fish(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"set -gx {name} '{escaped}'"


def _docker(environment: Environment, _reasons: Environment) -> str:
    """Return flags of ``docker run``: Claude Code in a container, the bridge outside, and no way to Anthropic.

    They are for ``$(…)``, where quotes would be passed on: names and descriptions of several words are left out.
    """
    inside = {**environment, "ANTHROPIC_BASE_URL": _as_seen_from_container(environment["ANTHROPIC_BASE_URL"])}
    if "NO_PROXY" in inside:
        inside |= dict.fromkeys(("NO_PROXY", "no_proxy"), f"{inside['NO_PROXY']},{HOST_FROM_CONTAINER}")
    flags = [
        f"--add-host {HOST_FROM_CONTAINER}:host-gateway",
        "--add-host api.anthropic.com:0.0.0.0",
        *(
            f"-e {name}={value}"
            for name, value in inside.items()
            if not any(letter.isspace() or letter in "*?[" for letter in value)
        ),
    ]
    return " ".join(flags)


def _as_seen_from_container(url: str) -> str:
    parts = urlsplit(url)
    if not is_loopback(parts.hostname or ""):
        return url
    host = f"{HOST_FROM_CONTAINER}:{parts.port}" if parts.port else HOST_FROM_CONTAINER
    return urlunsplit(parts._replace(netloc=host))


_POSIX = _lines("#", lambda name, value: f"export {name}={shlex.quote(value)}")

SHELLS: dict[str, Render] = {
    "bash": _POSIX,
    "zsh": _POSIX,
    "fish": _lines("#", _fish),
    "powershell": _lines("#", lambda name, value: f"$env:{name} = '{value.replace(chr(39), chr(39) * 2)}'"),
    "cmd": _lines("rem", lambda name, value: f'set "{name}={value.replace("%", "%%")}"'),
    "docker": _docker,
    "json": lambda environment, _: json.dumps(dict(environment), indent=2),
    "settings": lambda environment, _: json.dumps({"env": dict(environment)}, indent=2),
}
"""Every form by its name on the command line; takes the variables, and the reasons to print with them."""


class Shell(NamedTuple):
    """How a shell that people type in takes words, and the output of a command as its environment."""

    quote: Callable[[str], str]
    evaluate: Callable[[str], str]
    call: str = ""
    """What to write before a quoted path to run it."""

    def program(self, path: str) -> str:
        """Return what to type to run a program."""
        quoted = self.quote(path)
        return path if quoted == path else self.call + quoted


def _quote_for_powershell(word: str) -> str:
    is_plain = bool(word) and all(letter.isalnum() or letter in "-_./:=+\\" for letter in word)
    return word if is_plain else "'" + word.replace("'", "''") + "'"


_TYPED = {
    "fish": Shell(shlex.quote, "{} | source".format),
    "powershell": Shell(_quote_for_powershell, "{} | Out-String | Invoke-Expression".format, call="& "),
}


def this_shell() -> Shell:
    """Return the shell in which we were started, as far as it can be known."""
    return _TYPED.get(this_shell_name(), Shell(shlex.quote, 'eval "$({})"'.format))


def this_shell_name() -> str:
    """Return the form for the shell that started us: by SHELL, else PowerShell on Windows and bash elsewhere."""
    return shell_named(os.environ.get("SHELL", "powershell" if os.name == "nt" else ""))


def shell_named(path: str) -> str:
    """Return the form for a shell by the path of its program, such as the value of SHELL; bash for unknown ones."""
    name = path.replace("\\", "/").rpartition("/")[2].removesuffix(".exe").lower()
    return {"pwsh": "powershell"}.get(name, name if name in SHELLS else "bash")
