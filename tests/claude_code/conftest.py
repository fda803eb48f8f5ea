"""Claude Code for each test: the installed binary, with a clean home and an empty project."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.claude_code.client import ClaudeCode


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """One event loop is enough here: what differs between the two is tested in tests/server."""
    return "asyncio"


@pytest.fixture(scope="session")
def new_claude_code(claude_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], ClaudeCode]:
    def make() -> ClaudeCode:
        folder = tmp_path_factory.mktemp("claude-code")
        home, project = folder / "home", folder / "project"
        home.mkdir()
        project.mkdir()
        # What a user has answered once: the theme, the security notes, and that this folder is trusted.
        trusted = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
        settings = {"theme": "dark", "hasCompletedOnboarding": True, "projects": {str(project): trusted}}
        (home / ".claude.json").write_text(json.dumps(settings), encoding="utf-8")
        return ClaudeCode(binary=claude_binary, home=home, project=project)

    return make


@pytest.fixture
def claude_code(new_claude_code: Callable[[], ClaudeCode]) -> ClaudeCode:
    return new_claude_code()
