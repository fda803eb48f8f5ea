"""How Claude Code is started before a bridge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from claude_bridge.app.claude_program import (
    _behind_shim,
    client_command,
    find_claude_code,
    has_own_status_line,
)
from claude_bridge.clients.claude_code import LITE_TOOLS
from claude_bridge.errors import SetupError

ENVIRONMENT = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:1"}


def started(*arguments: str, is_lite: bool = False, has_status_line: bool = True) -> tuple[list[str], dict[str, Any]]:
    """Return the arguments without the settings, and these."""
    client = client_command(
        arguments, environment=ENVIRONMENT, is_lite=is_lite, has_status_line=has_status_line, has_auto_mode=True
    )
    assert "--settings" not in client.arguments, "of several only the last would count"
    return [*client.options, *client.arguments], client.settings


def test_what_the_user_gave_comes_last() -> None:
    arguments, settings = started("-p", "hello", "--model", "x")
    assert arguments == ["--permission-mode", "default", "-p", "hello", "--model", "x"]
    assert settings == {"env": ENVIRONMENT}


@pytest.mark.parametrize(
    "chosen", [("--permission-mode", "plan"), ("--permission-mode=plan",), ("--dangerously-skip-permissions",)]
)
def test_a_permission_mode_of_the_users_own_stays(chosen: tuple[str, ...]) -> None:
    assert started(*chosen)[0] == list(chosen)


@pytest.mark.parametrize(
    ("arguments", "permissions"),
    [
        ([], {"disableAutoMode": "disable"}),
        (["--settings", '{"permissions":{"deny":["Bash"]}}'], {"disableAutoMode": "disable", "deny": ["Bash"]}),
        (["--settings", '{"permissions":{"disableAutoMode":"enable"}}'], {"disableAutoMode": "enable"}),
        (["--permission-mode", "auto"], None),
        (["--permission-mode=auto"], None),
    ],
)
def test_auto_mode_is_off_where_nobody_makes_its_check_unless_the_user_wants_it(
    arguments: list[str], permissions: dict[str, Any] | None
) -> None:
    client = client_command(arguments, environment=ENVIRONMENT, is_lite=False, has_status_line=True)
    assert client.settings.get("permissions") == permissions


def test_lite_means_fewer_tools_unless_they_are_chosen() -> None:
    assert started(is_lite=True)[0] == ["--permission-mode", "default", "--tools", LITE_TOOLS]
    assert started("--tools", "Bash", is_lite=True)[0] == ["--permission-mode", "default", "--tools", "Bash"]


@pytest.mark.parametrize("form", ["two words", "one word", "file"])
def test_settings_of_the_users_own_are_kept_beside_ours(form: str, tmp_path: Path) -> None:
    given = json.dumps({"model": "x", "env": {"MINE": "1", "ANTHROPIC_BASE_URL": "http://elsewhere"}})
    (tmp_path / "s.json").write_text(given)
    words = {
        "two words": ["--settings", given],
        "one word": [f"--settings={given}"],
        "file": ["--settings", str(tmp_path / "s.json")],
    }
    arguments, settings = started("-p", *words[form], "hello")
    assert arguments[2:] == ["-p", "hello"]
    assert settings == {"model": "x", "env": {"MINE": "1", **ENVIRONMENT}}
    assert started("--settings", '{"env": ["no table"]}')[1] == {"env": ENVIRONMENT}


def test_the_status_line_is_the_bridges_unless_there_is_one() -> None:
    line = started(has_status_line=False)[1]["statusLine"]
    assert line["type"] == "command"
    assert line["command"].endswith(" -m claude_bridge statusline")
    given = json.dumps({"statusLine": {"type": "command", "command": "mine"}})
    assert started("--settings", given, has_status_line=False)[1]["statusLine"]["command"] == "mine"


def test_a_status_line_in_a_settings_file_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert not has_own_status_line()
    (tmp_path / "settings.json").write_text("{broken")
    assert not has_own_status_line()
    (tmp_path / ".claude").mkdir()
    (tmp_path / ".claude" / "settings.local.json").write_text('{"statusLine": {"type": "command", "command": "x"}}')
    assert has_own_status_line()


@pytest.mark.parametrize("value", ["", "nowhere.json", "{broken", "[]"])
def test_settings_that_can_not_be_read_are_reported(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SetupError, match="--settings"):
        started("--settings", value)


def test_the_program_is_found_where_its_installer_puts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(SetupError, match="not installed"):
        find_claude_code()
    program = tmp_path / ".local/bin/claude"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_claude_code() == str(program)


@pytest.mark.parametrize("is_installed", [True, False])
def test_npms_batch_file_on_windows_is_replaced_by_what_it_starts(tmp_path: Path, is_installed: bool) -> None:
    shim = tmp_path / "claude.CMD"
    shim.write_text('@ECHO off\nSETLOCAL\n"%dp0%\\node_modules\\@anthropic-ai\\claude-code\\bin\\claude.exe"   %*\n')
    target = tmp_path / "node_modules/@anthropic-ai/claude-code/bin/claude.exe"
    target.parent.mkdir(parents=True)
    if is_installed:
        target.touch()
    assert _behind_shim(shim) == str(target if is_installed else shim)
    assert _behind_shim(target) == str(target)
