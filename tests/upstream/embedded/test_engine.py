"""The embedded engine's process: it ends with the bridge, whatever ends that, and says why a file can't be loaded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from claude_bridge.errors import SetupError
from claude_bridge.upstream.embedded.engine import EmbeddedEngine
from tests.cli.process import command, environment

pytestmark = pytest.mark.engine

LIMIT_S = 30.0
STARTS = """
import sys
from pathlib import Path
from claude_bridge.upstream.embedded.engine import EmbeddedEngine
print("loading", flush=True)
engine = EmbeddedEngine(Path(sys.argv[1]), model_name="m", window_tokens=1024, template=None)
print(engine.upstream.base_url, flush=True)
sys.stdin.read()
"""


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a program in a process group of its own, as a terminal does."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        arguments, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment(), process_group=0
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def children_of(pid: int) -> list[int]:
    """Return the process's children, waiting for the first one."""
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until:
        found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
        if found.stdout.split():
            return [int(child) for child in found.stdout.split()]
        time.sleep(0.01)
    raise AssertionError(f"{pid} has no children")


def is_running(pid: int) -> bool:
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return found.stdout.strip()[:1] not in ("", "Z")


def wait_for_end(pids: list[int], within_s: float) -> None:
    until = time.monotonic() + within_s
    while any(map(is_running, pids)):
        assert time.monotonic() < until, "it runs on"
        time.sleep(0.02)


@pytest.mark.timing
@pytest.mark.parametrize("after_s", [0.0, 0.2, 0.5, 0.8, 1.1])
def test_ctrl_c_ends_the_bridge_while_the_model_loads(model_path: Path, after_s: float) -> None:
    with started(*command("serve", "local", "--model-file", str(model_path), "--port", "0")) as bridge:
        engines = children_of(bridge.pid)
        time.sleep(after_s)
        os.killpg(bridge.pid, signal.SIGINT)
        assert bridge.wait(LIMIT_S) != 0 or after_s > 0.5  # it may have been serving by then
        wait_for_end(engines, LIMIT_S)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_engine_ends_with_a_bridge_that_is_killed(model_path: Path, number: signal.Signals) -> None:
    with started(sys.executable, "-c", STARTS, str(model_path)) as bridge:
        assert line_of(bridge) == "loading"
        url = line_of(bridge)
        engines = children_of(bridge.pid)
        assert httpx.get(f"{url}/models", trust_env=False).status_code == 200
        bridge.send_signal(number)
        bridge.wait(LIMIT_S)
        wait_for_end(engines, LIMIT_S)


def test_ctrl_c_at_the_terminal_does_not_reach_the_engine(model_path: Path) -> None:
    ignores = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    with started(sys.executable, "-c", ignores + STARTS, str(model_path)) as bridge:
        assert line_of(bridge) == "loading"
        url = line_of(bridge)
        os.killpg(bridge.pid, signal.SIGINT)
        assert httpx.get(f"{url}/models", trust_env=False).status_code == 200


def test_a_file_that_is_no_model_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "no.gguf"
    file.write_bytes(b"no model")
    with pytest.raises(SetupError, match=r"llama\.cpp can't load .*no\.gguf"):
        EmbeddedEngine(file, model_name="m", window_tokens=1024, template=None)


def test_a_file_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="There is no file"):
        EmbeddedEngine(tmp_path / "gone.gguf", model_name="m", window_tokens=1024, template=None)
