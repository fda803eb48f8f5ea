"""The command that adds a missing package is the one that works for this installation."""

from __future__ import annotations

import sys
import tomllib
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType

import pytest

from claude_bridge import extras

PIP = module_from_spec(ModuleSpec("pip", None))


@pytest.mark.parametrize(
    ("prefix", "pip", "advice"),
    [
        ("/home/me/.local/pipx/venvs/claude-bridge-cli", PIP, "`pipx inject claude-bridge-cli ddgs html-to-markdown`"),
        ("/home/me/bridge/.venv", PIP, "`/home/me/bridge/.venv/bin/python -m pip install ddgs html-to-markdown`"),
        ("/home/me/bridge/.venv", None, "`uv pip install -p /home/me/bridge/.venv/bin/python ddgs html-to-markdown`"),
        ("/home/me/my bridge", PIP, '`"/home/me/my bridge/bin/python" -m pip install ddgs html-to-markdown`'),
    ],
    ids=["pipx", "pip", "uv", "a space"],
)
def test_a_package_is_added_where_this_program_finds_it(
    prefix: str, pip: ModuleType | None, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", prefix)
    monkeypatch.setattr(sys, "executable", f"{prefix}/bin/python")
    monkeypatch.setitem(sys.modules, "pip", pip)

    assert extras.how_to_install("web") == advice


def test_an_extra_has_the_packages_of_the_project_file() -> None:
    project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text("utf-8"))["project"]

    for extra, named in extras.PACKAGES.items():
        declared = [requirement.partition(">=")[0] for requirement in project["optional-dependencies"][extra]]
        assert sorted(named.split()) == sorted(declared)
