"""A key in every place where one can be given, and an engine that repeats them all: nobody sees any of them."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.cli.process import LIMIT_S, run_bridge, serving
from tests.fake_upstream import FakeUpstream, ReceivedRequest, Reply, answer, model_list, refusal

pytestmark = pytest.mark.anyio

QUESTION = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
PLACES = ("literal", "listed", "env", "file", "command", "header", "env-header", "model-header", "search", "token")


def keys_of(version: str) -> dict[str, str]:
    """Return a key for each place."""
    return {place: f"planted-{place}-{version}-0123456789" for place in PLACES}


def planted(folder: Path, upstream: FakeUpstream, version: str) -> str:
    """Return a configuration that holds or names all keys."""
    keys = keys_of(version)
    (folder / f"key-{version}").write_text(keys["file"])
    (folder / f"key-{version}.py").write_text(f"print({keys['command']!r})")
    program = f"command:'{sys.executable}' '{folder}/key-{version}.py'"
    listed = json.dumps([keys["listed"], f"env:KEY_{version}", f"file:key-{version}", program])
    return f"""
[server]
auth_token = "{keys_of("old")["token"]}"
[web]
search = "brave"
search_key = "{keys["search"]}"
[defaults]
model = "work/m"
[routes]
"elsewhere" = "other/m"
[providers.work]
kind = "openai-chat"
base_url = "{upstream.base_url}"
api_key = {listed}
headers = {{ x-gateway-key = "{keys["header"]}", x-team-key = "env:HEADER_{version}" }}
[[providers.work.models]]
id = "m"
headers = {{ x-model-secret = "{keys["model-header"]}" }}
[providers.other]
kind = "openai-chat"
base_url = "{upstream.base_url}"
api_key = "{keys["literal"]}"
"""


async def test_a_key_planted_in_every_place_is_shown_nowhere_and_after_a_reload_neither(tmp_path: Path) -> None:
    planted_keys = [key for version in ("old", "new") for key in keys_of(version).values()]

    def reply(request: ReceivedRequest) -> Reply:
        carried = [key for key in planted_keys if any(key in value for value in request.headers.values())]
        if request.json.get("messages", [{}])[-1].get("content") == "answer":
            return answer(f"You sent {' '.join(carried)}")
        return refusal(401, f"wrong keys: {' '.join(carried)}", param=carried)

    file, trace = tmp_path / "config.toml", tmp_path / "trace.jsonl"
    variables = {
        f"{kind}_{version}": keys_of(version)[place]
        for version in ("old", "new")
        for kind, place in (("KEY", "env"), ("HEADER", "env-header"))
    }
    seen: dict[str, str] = {}
    async with FakeUpstream(reply, documents={"/v1/models": model_list("m")}) as upstream:
        file.write_text(planted(tmp_path, upstream, "old"))
        file.chmod(0o600)
        env = {**variables, "BRIDGE_CONFIG": str(file)}
        async with (
            serving("--no-check", "--debug", "--trace", str(trace), env=env) as bridge,
            httpx.AsyncClient(base_url=bridge.url, timeout=LIMIT_S) as client,
        ):
            client.headers["authorization"] = f"Bearer {keys_of('old')['token']}"
            for version in ("old", "new"):
                if version == "new":
                    file.write_text(planted(tmp_path, upstream, "new"))
                    await bridge.says("Configuration changed: ")
                for number, words in enumerate(("refuse", "answer") * 3):
                    model = "elsewhere" if number > 3 else "m"
                    question = QUESTION | {"model": model, "messages": [{"role": "user", "content": words}]}
                    headers = {"x-claude-code-session-id": f"{version} {number}"}
                    got = await client.post("/v1/messages", json=question, headers=headers)
                    if got.status_code != 200:
                        seen[f"error {version} {number}"] = got.text
            for path in ("/stats", "/metrics", "/readyz", "/healthz", "/v1/models", "/"):
                seen[path] = (await client.get(path)).text
            seen["ps"] = _command_lines()
            for line in ("config show", "config show --json", "config check", "stats", "models work"):
                done = await run_bridge(*line.split(), env=env)
                seen[line] = done.stdout + done.stderr
            bridge.signal(signal.SIGTERM)
            assert await bridge.end() == 0
        seen["log"], seen["trace"] = bridge.reported, trace.read_text()

    carried = str([request.headers for request in upstream.requests])
    used = {place for place in PLACES for key in (keys_of("new")[place],) if key in carried}
    assert used >= {"listed", "env", "file", "command", "header", "env-header", "model-header", "literal"}, used
    assert "wrong keys" in seen["log"]
    assert "wrong keys" in seen["trace"]
    assert "providers.work.api_key" in seen["config show"]
    for place, text in seen.items():
        assert [key for key in planted_keys if key in text] == [], place


def _command_lines() -> str:
    """Return the command lines of all processes."""
    lines = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            lines.append(process.read_bytes().decode("utf-8", "replace"))
    return "\n".join(lines)
