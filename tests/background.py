"""What takes minutes of waiting: begun when the tests are known, runs beside them, and is asked about at the end.

``BRIDGE_TEST_PREFILL_S`` is how long the engine is silent: 330 s, since older clients gave up after 300 s and Claude
Code still does where nothing at all comes; 600 s is where its own limit for a request lies.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.real_parts import find_claude_code

PREFILL_S = float(os.environ.get("BRIDGE_TEST_PREFILL_S", "330"))

_PROCESS = pytest.StashKey[subprocess.Popen[str]]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests that wait for it come last."""
    items.sort(key=lambda item: item.get_closest_marker("in_background") is not None)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin, if any test is going to ask."""
    is_wanted = any(item.get_closest_marker("in_background") for item in session.items)
    if not is_wanted or session.config.option.collectonly:
        return
    binary = find_claude_code()
    if isinstance(binary, Path):
        factory: pytest.TempPathFactory = session.config._tmp_path_factory  # type: ignore[attr-defined]  # no fixture yet
        command = [sys.executable, "-m", "tests.claude_code.prefill", str(binary), str(factory.mktemp("prefill"))]
        session.config.stash[_PROCESS] = subprocess.Popen(
            [*command, str(PREFILL_S)],
            cwd=session.config.rootpath,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture(scope="session")
def prefill(request: pytest.FixtureRequest) -> subprocess.Popen[str]:
    """The process that waits; it ends by itself."""
    return request.config.stash[_PROCESS]


def pytest_unconfigure(config: pytest.Config) -> None:
    """End what nobody asked about, such as after a failure with -x."""
    process = config.stash.get(_PROCESS, None)
    if process is not None and process.poll() is None:
        process.terminate()
        process.wait(10)
