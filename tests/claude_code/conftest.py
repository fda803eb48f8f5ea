"""Claude Code for each test: the installed binary, with a clean home and an empty project."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.claude_code.client import ClaudeCode, new_installation


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """One event loop is enough here: what differs between the two is tested in tests/server."""
    return "asyncio"


@pytest.fixture(scope="session")
def new_claude_code(claude_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], ClaudeCode]:
    def make() -> ClaudeCode:
        return new_installation(claude_binary, tmp_path_factory.mktemp("claude-code"))

    return make


@pytest.fixture
def claude_code(new_claude_code: Callable[[], ClaudeCode]) -> ClaudeCode:
    return new_claude_code()
