"""The settings of the client that ``bridge run`` starts."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from claude_bridge.app.session import private_file


@pytest.mark.skipif(sys.platform == "win32", reason="Windows can't be asked whether a process lives")
def test_what_a_killed_bridge_left_is_removed_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    left = tmp_path / f"claude-bridge-{ended.pid}-abc.json"
    kept = [tmp_path / name for name in (f"claude-bridge-{os.getpid()}-abc.json", "claude-bridge-a-b.json", "a.json")]
    for path in (left, *kept):
        path.touch()
    with private_file("{}") as ours:
        assert sorted(tmp_path.iterdir()) == sorted([ours, *kept])
    assert sorted(tmp_path.iterdir()) == sorted(kept)
