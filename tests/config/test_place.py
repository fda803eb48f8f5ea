"""Where the configuration is, and when there is nothing to read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from claude_bridge.config.locate import config_file, is_nothing_configured


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


def test_nothing_is_configured_where_there_is_neither_file_nor_variable(home: Path) -> None:
    assert is_nothing_configured(None, {"PATH": "/bin"})


def test_a_file_that_is_there_or_named_is_something(home: Path) -> None:
    assert not is_nothing_configured(home / "missing.toml", {})
    assert not is_nothing_configured(None, {"BRIDGE_CONFIG": "/missing.toml"})
    file, is_named = config_file(None, {})
    assert (is_named, file.is_relative_to(home)) == (False, True)
    file.parent.mkdir(parents=True)
    file.write_text("")
    assert not is_nothing_configured(None, {})


@pytest.mark.parametrize("variable", ["BRIDGE_PORT", "BRIDGE_PROT"])
def test_a_variable_of_ours_is_something_even_if_it_is_misspelt(home: Path, variable: str) -> None:
    assert not is_nothing_configured(None, {variable: "1"})


def test_what_reads_a_file_is_not_loaded_for_nothing(home: Path) -> None:
    code = (
        "import sys; from claude_bridge.cli.loading import load_config; load_config(None);"
        "print('claude_bridge.config.load' in sys.modules)"
    )
    environment = {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
