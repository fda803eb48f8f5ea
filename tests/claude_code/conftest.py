"""Claude Code for each test: the installed binary, with a clean home and an empty project."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.claude_code.client import ClaudeCode


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """One event loop is enough here: what differs between the two is tested in tests/server."""
    return "asyncio"


@pytest.fixture
def claude_code(claude_binary: Path, tmp_path: Path) -> ClaudeCode:
    home, project = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    project.mkdir()
    # What a user has answered once: the theme, the security notes, and that this folder is trusted.
    trusted = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
    settings = {"theme": "dark", "hasCompletedOnboarding": True, "projects": {str(project): trusted}}
    (home / ".claude.json").write_text(json.dumps(settings), encoding="utf-8")
    return ClaudeCode(binary=claude_binary, home=home, project=project)
