"""Claude Code as `bridge run` starts it: where it is, with which options and settings."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from claude_bridge.clients.claude_code import FULL_PROMPT, LITE_PROMPT, LITE_TOOLS
from claude_bridge.errors import SetupError
from claude_bridge.wire.lenient_json import as_object, read_or_none

LITE_ENVIRONMENT = {"ENABLE_TOOL_SEARCH": "false"}
"""Else a tool for finding the others is added."""

_PLACES = ("~/.local/bin/claude", "~/.claude/local/claude")
"""Where its installers put it, when that is not on PATH."""

_STARTED_BY_SHIM = re.compile(r'"%dp0%\\([^"]+\.exe)"\s+%\*')

STATUS_LINE = (sys.executable, "-m", "claude_bridge", "statusline")

STATUS_LINE_S = 5
"""How often it is refreshed. By itself Claude Code refreshes it when an answer begins, which is before its figures."""

_CHOOSES_MODE = ("--permission-mode", "--dangerously-skip-permissions", "--allow-dangerously-skip-permissions")


class ClientCommand(NamedTuple):
    """How to start Claude Code, but for the program and the file that its settings go to."""

    options: list[str]
    settings: dict[str, Any]
    arguments: list[str]
    """The user's own."""
    notes: list[str]
    """What the user should know of it."""


def find_claude_code() -> str:
    """Return the path of the program; raises SetupError with how to install it."""
    places = ("claude", *(str(Path(place).expanduser()) for place in _PLACES))
    found = next(filter(None, map(shutil.which, places)), None)
    if found is None:
        raise SetupError(
            "Claude Code is not installed: there is no `claude` on PATH.",
            "Install it: `npm install -g @anthropic-ai/claude-code`. Other clients: `bridge serve` and `bridge env`",
        )
    return _behind_shim(Path(found))


def _behind_shim(program: Path) -> str:
    """Return what npm's batch file on Windows starts: through cmd.exe, % and quotes in arguments would be changed."""
    if program.suffix.lower() != ".cmd":
        return str(program)
    started = _STARTED_BY_SHIM.search(program.read_text("utf-8", "replace"))
    target = program.parent.joinpath(*started[1].split("\\")) if started else program
    return str(target if target.exists() else program)


def prints_one_answer(arguments: Sequence[str]) -> bool:
    """Return whether Claude Code is to answer one prompt and end, without a conversation."""
    return not {"-p", "--print"}.isdisjoint(arguments)


def settings_files() -> Iterator[tuple[Path, Any]]:
    """Yield each settings file of the user's with its JSON, the least important first; None: it can't be read."""
    own = Path(os.environ.get("CLAUDE_CONFIG_DIR") or Path.home() / ".claude")
    project = Path.cwd() / ".claude"
    for path in (own / "settings.json", project / "settings.json", project / "settings.local.json"):
        with suppress(OSError):
            text = path.read_bytes()
            yield path, read_or_none(msgspec.json.decode, text)


def has_own_status_line() -> bool:
    """Return whether one of the user's settings files has a status line, which is to stay."""
    return any(as_object(settings).get("statusLine") for _, settings in settings_files())


def client_command(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str],
    is_lite: bool,
    has_status_line: bool = False,
    has_auto_mode: bool = False,
) -> ClientCommand:
    """Return how to start Claude Code with the user's own arguments.

    The environment goes into the settings too: what stands under ``env`` in a settings file of the user's wins over
    the environment, but not over ``--settings``. ``has_status_line`` says that the user has one, which stays;
    ``has_auto_mode`` that Anthropic makes the check that its auto mode needs. Otherwise that mode is switched off,
    unless the user wants it: plan mode would try it, and report at each step that it is not available.

    Raises:
        SetupError: the user's own ``--settings`` can't be read.
    """
    notes: list[str] = []
    options: list[str] = []
    if not _holds(arguments, _CHOOSES_MODE):
        options += ["--permission-mode", "default"]
        notes.append("asks before it acts: auto mode needs a check that only Anthropic's own service makes")
    if is_lite and not chooses_tools(arguments):
        options += ["--tools", LITE_TOOLS]
        tools = LITE_TOOLS.replace(",", ", ")
        notes.append(f"lite: only the tools {tools}; the first request takes {LITE_PROMPT} tokens, not {FULL_PROMPT}")
    given, others = _without_settings(arguments)
    theirs = given.get("env")
    settings: dict[str, Any] = {**given, "env": {**(theirs if isinstance(theirs, dict) else {}), **environment}}
    if not has_auto_mode and not {"auto", "--permission-mode=auto"} & {*arguments}:
        permissions = as_object(settings.get("permissions"))
        settings["permissions"] = {"disableAutoMode": "disable", **permissions}
    if not has_status_line:
        command = shlex.join(STATUS_LINE)
        status_line = {"type": "command", "command": command, "refreshInterval": STATUS_LINE_S}
        settings.setdefault("statusLine", status_line)
    return ClientCommand(options, settings, others, notes)


def chooses_tools(arguments: Sequence[str]) -> bool:
    """Return whether the user's own arguments say which tools there are."""
    return _holds(arguments, ("--tools",))


def _holds(arguments: Sequence[str], names: Sequence[str]) -> bool:
    return any(argument.partition("=")[0] in names for argument in arguments)


def _without_settings(arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the user's own settings, and the other arguments: of several ``--settings`` only the last would count."""
    given: dict[str, Any] = {}
    others: list[str] = []
    words = iter(arguments)
    for word in words:
        name, equals, value = word.partition("=")
        if name == "--settings":
            given = _read_settings(value if equals else next(words, ""))
        else:
            others.append(word)
    return given, others


def _read_settings(value: str) -> dict[str, Any]:
    try:
        text = value if value.lstrip().startswith("{") else Path(value).expanduser().read_text("utf-8")
        settings = json.loads(text)
    except (OSError, ValueError) as error:
        raise SetupError(
            f"--settings {value!r} can't be read: {error}", "Give JSON, or a file that contains JSON."
        ) from error
    if not isinstance(settings, dict):
        raise SetupError(f"--settings {value!r} is not a JSON object.", "Give a JSON object.")
    return settings
