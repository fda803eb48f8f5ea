"""The commands that bring their own engine, as a user starts them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from anthropic import Anthropic, DefaultHttpxClient

from tests.real_parts import cache_folder

pytestmark = pytest.mark.engine

LIMIT_S = 100.0


def environment(home: Path) -> dict[str, str]:
    """Return an environment with the suite's model in the user's cache, in which nothing can be downloaded."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
    return {**kept, "HOME": str(home), "XDG_CACHE_HOME": str(cache_folder()), "PIP_NO_INDEX": "1"}


@pytest.mark.usefixtures("model_path")
def test_bridge_try_ends_in_a_streamed_answer_of_a_real_model(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "claude_bridge", "try", "What is a bridge?"],
        check=False,
        env=environment(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    assert "bridge" in done.stdout.lower()
    assert "It works." in done.stderr
    assert re.search(r"\d+ tokens in, \d+ out", done.stderr)
    assert "Traceback" not in done.stderr


@contextmanager
def serving(home: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run ``bridge serve`` while the context lasts; yields its process and its address."""
    with subprocess.Popen(
        [sys.executable, "-m", "claude_bridge", "serve", *arguments, "--port", "0"],
        env=environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()  # comes, or the process ends: pytest's own time limit bounds it
            assert line.startswith("listening on "), process.communicate()[1]
            yield process, line.removeprefix("listening on ").strip()
        finally:
            process.kill()


@pytest.mark.usefixtures("model_path")
def test_bridge_serve_local_answers_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    with serving(tmp_path, "local") as (process, url):
        with Anthropic(base_url=url, api_key="test", http_client=DefaultHttpxClient(trust_env=False)) as client:
            message = client.messages.create(
                model="claude-sonnet-5-5", max_tokens=20, messages=[{"role": "user", "content": "Say hello."}]
            )
        assert message.usage.output_tokens > 0
        process.send_signal(signal.SIGINT)
        _, output_text = process.communicate(timeout=15)
        assert process.returncode == 0, output_text
    assert f" env --url {url})" in output_text
    assert "claude --model smollm2-135m" in output_text
    assert "Traceback" not in output_text
