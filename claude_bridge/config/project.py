"""A project's own settings: a file in its folder, which is found, checked, and used once the user trusts it."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from claude_bridge.config.line_numbers import KeyPath, TomlError, key_text, parse_toml, values_in
from claude_bridge.config.locate import trusted_projects_file
from claude_bridge.config.types import Secret, shown

PROJECT_FILE = ".claude-bridge.toml"
MAX_BYTES = 16 * 1024
"""Nobody has decided yet whether to trust it, and the time that tomllib takes grows faster than the text."""

_SECRETS = ("api_key", "auth_token", "search_key", "headers")
_NOTES_OF_SECRETS = {"command": "runs a command", "file": "reads a file", "env": "reads a variable"}
_NOTES = {
    "base_url": "where requests go",
    "search": "where searches go",
    "fetch_any_url": "what is fetched",
    "fetch_private_hosts": "what is fetched",
    "ca_file": "who may stand for a host",
    "append_system_prompt": "what models read",
    "routes": "which model gets requests",
    "fallback": "which model gets requests",
}


class Project(Struct, frozen=True, kw_only=True):
    """A file of settings that was found."""

    file: Path
    text: str = ""
    document: Mapping[str, Any] = {}
    problem: str | None = None
    """Why it can't be used, as the end of a sentence that begins with the file; None: it can, once it is trusted."""

    @property
    def digest(self) -> str:
        """What stands for the content."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class Change(NamedTuple):
    """One setting of a project's file, as it may be shown; ``note`` says what is dangerous about it, if anything."""

    key: str
    value: str
    note: str


def find_project(folder: Path) -> Project | None:
    """Return the settings of the project that a folder belongs to; None: there are none.

    They are looked for in the folder and above it, up to the user's home or the root of the file system.
    """
    try:
        home, device = Path("~").expanduser(), folder.stat().st_dev
        for one in (folder, *folder.parents):
            if one.stat().st_dev != device:
                return None
            if os.path.lexists(one / PROJECT_FILE):
                return _read(one / PROJECT_FILE)
            if one == home:
                return None
    except (OSError, RuntimeError):  # a folder that is gone or closed, or a user without a home
        return None
    return None


def decision_on(project: Project) -> bool | None:
    """Return what the user decided about this file with this content; None: nothing yet."""
    digest, trusted = _decisions().get(str(project.file), ("", False))
    return trusted if digest == project.digest else None


def remember(project: Project, *, trusted: bool) -> None:
    """Keep what the user decides about this file with this content; raises OSError."""
    decisions = _decisions() | {str(project.file): (project.digest, trusted)}
    file = trusted_projects_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(f".{os.getpid()}")
    new.write_bytes(msgspec.json.encode(decisions))
    new.replace(file)


def changes_of(project: Project) -> list[Change]:
    """Return what a project's file sets, what is dangerous first."""
    changes = [
        Change(key_text(path), *_shown_and_note(path, value))
        for path, value in values_in(project.document)
        if not (value and isinstance(value, dict | list))
    ]
    return sorted(changes, key=lambda change: not change.note)


def _decisions() -> dict[str, tuple[str, bool]]:
    try:
        return msgspec.json.decode(trusted_projects_file().read_bytes(), type=dict[str, tuple[str, bool]])
    except (OSError, msgspec.DecodeError):
        return {}


def _read(file: Path) -> Project:
    """Return the file as it is; neither a link nor a device is followed or waited for."""
    flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        with open(file, "rb", opener=lambda path, mode: os.open(path, mode | flags)) as opened:
            problem = _danger(os.fstat(opened.fileno()), file.parent.stat())
            data = b"" if problem else opened.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            problem = f"is larger than {MAX_BYTES // 1024} KiB"
        if problem:
            return Project(file=file, problem=problem)
        text = data.decode("utf-8-sig")
        return Project(file=file, text=text, document=_anchored(parse_toml(text), file.parent))
    except TomlError as error:
        return Project(file=file, problem=f"is not valid TOML: line {error.line}: {error}")
    except UnicodeDecodeError:
        return Project(file=file, problem="is not UTF-8 text")
    except OSError as error:
        what = "is a symbolic link" if file.is_symlink() else f"can't be read: {error.strerror}"
        return Project(file=file, problem=what)


def _danger(file: os.stat_result, folder: os.stat_result) -> str | None:
    """Return why somebody else may have written a file; None: only this user can."""
    if not stat.S_ISREG(file.st_mode):
        return "is not a regular file"
    if sys.platform == "win32":
        return None
    if file.st_uid != os.geteuid():
        return "belongs to another user"
    if file.st_mode & stat.S_IWOTH:
        return "can be written by every user: chmod o-w"
    return "is in a folder that every user can write to" if folder.st_mode & stat.S_IWOTH else None


def _anchored(value: Any, folder: Path, key: str = "") -> Any:  # noqa: ANN401 - whatever TOML holds
    """Return settings in which paths are meant from anywhere: those in the user's file are meant from its folder."""
    if isinstance(value, dict):
        inside = {name: key if key == "headers" else name for name in value}
        return {name: _anchored(one, folder, inside[name]) for name, one in value.items()}
    if isinstance(value, list):
        return [_anchored(one, folder, key) for one in value]
    if isinstance(value, str) and key in _SECRETS and value.startswith("file:"):
        return f"file:{folder / Path(value[5:]).expanduser()}"
    return str(folder / Path(value).expanduser()) if isinstance(value, str) and key == "ca_file" else value


def _shown_and_note(path: KeyPath, value: Any) -> tuple[str, str]:  # noqa: ANN401 - whatever TOML holds
    """Return a setting as it may be shown, and what a user should know before trusting it."""
    names = [key for key in path if isinstance(key, str)]
    if isinstance(value, str) and not {*names}.isdisjoint(_SECRETS):
        note = _NOTES_OF_SECRETS.get(value.partition(":")[0], "")
        return shown(Secret(value).shown_unless_secret(names[-1])), note
    if names[0] == "defaults" and names[-1].endswith("model"):
        return shown(value), _NOTES["routes"]
    return shown(value), next((note for name, note in _NOTES.items() if name in (names[0], names[-1])), "")
