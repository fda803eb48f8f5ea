"""Keys that take turns, and keys that a command gives, through a running bridge."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import httpx
import pytest

from tests.cli.process import run_bridge, serving
from tests.fake_upstream import FakeUpstream, ReceivedRequest, Reply, answer, refusal

pytestmark = pytest.mark.anyio

FIRST, SECOND = "key-number-one-abcdef", "key-number-two-abcdef"
QUESTION = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}


def configured(tmp_path: Path, base_url: str, api_key: str) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(f'[providers.work]\nkind = "openai-chat"\nbase_url = "{base_url}"\napi_key = {api_key}\n')
    file.chmod(0o600)
    return file


async def test_another_key_takes_over_for_a_key_that_is_used_up(tmp_path: Path) -> None:
    def reply(request: ReceivedRequest) -> Reply:
        is_first = request.headers["authorization"] == f"Bearer {FIRST}"
        return refusal(429, f"{FIRST} is used up", headers={"retry-after": "3600"}) if is_first else answer("Hello")

    async with FakeUpstream(reply) as upstream:
        file = configured(tmp_path, upstream.base_url, '["env:A", "env:B"]')
        env = {"A": FIRST, "B": SECOND}
        trace = tmp_path / "trace.jsonl"
        options = ["--no-check", "--debug", "--config", str(file), "--trace", str(trace)]
        async with serving("work", "m", *options, env=env) as bridge, httpx.AsyncClient(base_url=bridge.url) as client:
            for number in range(4):
                headers = {"x-claude-code-session-id": f"session {number}"}
                response = await client.post("/v1/messages", json=QUESTION, headers=headers)
                assert response.json()["content"][0]["text"] == "Hello"
            bridge.signal(signal.SIGINT)
            await bridge.end()
            log = bridge.reported

    used = [request.headers["authorization"].removeprefix("Bearer ") for request in upstream.requests]
    assert used.count(FIRST) == 1, "the others were not asked with a key that rests"
    assert used.count(SECOND) == 4
    assert "with env:B" in log
    assert "env:A was refused with status 429" in log
    for text in (log, trace.read_text()):
        assert FIRST not in text
        assert SECOND not in text


async def test_a_key_that_a_command_gives_is_asked_for_again_when_it_has_run_out(tmp_path: Path) -> None:
    script = tmp_path / "token.py"
    script.write_text(
        "import pathlib\nfile = pathlib.Path(__file__).with_name('count')\n"
        "number = int(file.read_text()) + 1 if file.exists() else 1\n"
        "file.write_text(str(number))\nprint(f'token-that-changes-{number}')\n"
    )

    def reply(request: ReceivedRequest) -> Reply:
        is_old = request.headers["authorization"].endswith("-1")
        return refusal(401, "token-that-changes-1 has expired") if is_old else answer("Hello")

    async with FakeUpstream(reply) as upstream:
        key = json.dumps(f"command:'{sys.executable}' '{script}'")
        file = configured(tmp_path, upstream.base_url, key)
        options = ["--no-check", "--debug", "--config", str(file)]
        async with serving("work", "m", *options) as bridge, httpx.AsyncClient(base_url=bridge.url) as client:
            answers = [(await client.post("/v1/messages", json=QUESTION)).json() for _ in range(2)]
            bridge.signal(signal.SIGINT)
            await bridge.end()
            log = bridge.reported

    assert [message["content"][0]["text"] for message in answers] == ["Hello", "Hello"]
    assert [request.headers["authorization"][-1] for request in upstream.requests] == ["1", "2", "2"]
    assert "token-that-changes" not in log


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("false", "that command failed with exit code 1"),
        ("true", "that command printed nothing"),
        ("no-such-program-here", "that command can't be run: No such file or directory"),
        ("'unfinished", "that is not a command: No closing quotation"),
    ],
)
async def test_a_command_that_gives_no_key_is_named(tmp_path: Path, command: str, problem: str) -> None:
    file = configured(tmp_path, "http://127.0.0.1:1", json.dumps(f"command:{command}"))
    done = await run_bridge("serve", "work", "m", "--config", str(file))
    assert done.code == 1
    assert f"providers.work.api_key is command:{command}, and {problem}" in " ".join(done.stderr.split())
