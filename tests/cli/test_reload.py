"""SIGHUP and a watched file, on a bridge in a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import httpx
import pytest

from tests.claude_code.terminal import open_terminal
from tests.cli.process import command, environment, serving
from tests.fake_upstream import FakeUpstream, answer
from tests.real_parts import missing

pytestmark = pytest.mark.anyio

QUESTION = {"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}


def settings(upstream: FakeUpstream, model: str) -> str:
    return (
        f'[defaults]\nmodel = "work/{model}"\n'
        f'[providers.work]\nkind = "openai-chat"\nbase_url = "{upstream.base_url}"\napi_key = "file:key"\n'
    )


async def test_a_watched_file_and_a_hangup_are_taken_up_without_a_terminal(tmp_path: Path) -> None:
    file, key = tmp_path / "config.toml", tmp_path / "key"
    async with FakeUpstream(lambda _: answer("Hello")) as upstream:
        file.write_text(settings(upstream, "first"))
        key.write_text("key-number-one-abcdef")
        async with (
            serving("--no-check", "--config", str(file)) as bridge,
            httpx.AsyncClient(base_url=bridge.url) as client,
        ):
            await bridge.says("claude --model first")
            file.write_text(settings(upstream, "second"))
            await bridge.says("Configuration changed: defaults.model.")
            assert (await client.post("/v1/messages", json=QUESTION | {"model": "x"})).status_code == 200
            key.write_text("key-number-two-abcdef")
            bridge.signal(signal.SIGHUP)
            await bridge.says("read again, unchanged")
            assert (await client.post("/v1/messages", json=QUESTION | {"model": "x"})).status_code == 200
            bridge.signal(signal.SIGTERM)
            assert await bridge.end() == 0
        assert "key-number" not in bridge.reported
    assert [request.json["model"] for request in upstream.requests] == ["second", "second"]
    keys = [request.headers["authorization"] for request in upstream.requests]
    assert keys == ["Bearer key-number-one-abcdef", "Bearer key-number-two-abcdef"]


async def test_the_hangup_of_its_own_terminal_ends_it(tmp_path: Path) -> None:
    if shutil.which("tmux") is None:
        missing("tmux is not installed.")
    file = tmp_path / "config.toml"
    async with FakeUpstream() as upstream:
        file.write_text(settings(upstream, "m"))
        (tmp_path / "key").write_text("key-number-one-abcdef")
        words = command("serve", "--no-check", "--port", "0", "--config", str(file))
        script = ["sh", "-c", f"{' '.join(words)} & echo $! > {tmp_path}/pid; wait; echo ended $?; sleep 60"]
        with TemporaryDirectory() as folder:  # pytest's own path is too long for a socket
            async with open_terminal(
                script, environment=environment(), project=tmp_path, socket=Path(folder) / "tmux"
            ) as terminal:
                await terminal.wait_for("claude --model")
                pid = int(await anyio.Path(tmp_path / "pid").read_text())
                os.kill(pid, signal.SIGHUP)
                await terminal.wait_for("ended 0")
