"""Headers, body fields, sampling, prompts and tools that the configuration gives a provider or a model."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.process import run_bridge, serving
from tests.fake_upstream import FakeUpstream, ReceivedRequest, Reply, answer, model_list

pytestmark = pytest.mark.anyio

SECRET = "gateway-secret-abcdef"
QUESTION = {
    "model": "m",
    "max_tokens": 9,
    "temperature": 1.0,
    "system": "Be brief.",
    "messages": [{"role": "user", "content": "Hi"}],
    "tools": [{"name": name, "input_schema": {"type": "object"}} for name in ("Read", "WebSearch")],
}

SETTINGS = """
[providers.work]
kind = "{kind}"
base_url = "{base_url}"
headers = {{ "X-Team" = "search", "x-gateway-key" = "env:GATEWAY" }}
body = {{ min_p = 0.05, user = "me" }}
[[providers.work.models]]
id = "m"
temperature = 0.6
top_p = 0.95
body = {{ user = "model" }}
headers = {{ "x-team" = "models" }}
{model}
"""
OF_TRANSLATED = 'append_system_prompt = "Call a tool in every turn."\ndisallowed_tools = ["WebSearch"]\n'


async def sent(tmp_path: Path, kind: str, model: str) -> tuple[ReceivedRequest, dict[str, Any], str]:
    """Return what the engine gets for QUESTION, its body, and the debug log with the trace."""

    def reply(_: ReceivedRequest) -> Reply:
        return answer("Hello")

    file, trace = tmp_path / "config.toml", tmp_path / "trace.jsonl"
    async with FakeUpstream(reply) as upstream:
        file.write_text(SETTINGS.format(kind=kind, base_url=upstream.base_url, model=model))
        options = ["--no-check", "--debug", "--config", str(file), "--trace", str(trace)]
        env = {"GATEWAY": SECRET}
        async with serving("work", "m", *options, env=env) as bridge, httpx.AsyncClient(base_url=bridge.url) as client:
            await client.post("/v1/messages", json=QUESTION)
            bridge.signal(signal.SIGINT)
            await bridge.end()
        (request,) = upstream.requests
        return request, request.json, bridge.reported + trace.read_text()


async def test_what_is_configured_goes_with_every_request(tmp_path: Path) -> None:
    request, body, log = await sent(tmp_path, "openai-chat", OF_TRANSLATED)
    assert request.headers["x-team"] == "models", "a model's own goes before the provider's"
    assert request.headers["x-gateway-key"] == SECRET
    assert (body["min_p"], body["user"], body["temperature"], body["top_p"]) == (0.05, "model", 0.6, 0.95)
    assert json.dumps(body["messages"][0]).count("Call a tool in every turn.") == 1
    assert body["messages"][-1] == {"role": "user", "content": "Hi"}
    assert [tool["function"]["name"] for tool in body["tools"]] == ["Read"]
    assert "WebSearch is not offered to this model, as configured" in log
    assert SECRET not in log


async def test_the_doctor_sends_the_headers_that_an_engine_wants(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    async with FakeUpstream(documents={"/v1/models": model_list("m")}) as engine:
        text = SETTINGS.format(kind="openai-chat", base_url=engine.base_url, model="")
        file.write_text(text)
        arguments = ("doctor", "work", "--json", "--config", str(file))
        done = await run_bridge(*arguments, env={"GATEWAY": SECRET, "HOME": str(tmp_path)})

    assert {probe.headers.get("x-gateway-key") for probe in engine.probes} == {SECRET}
    assert SECRET not in done.stdout


async def test_requests_that_are_passed_through_get_headers_fields_and_sampling(tmp_path: Path) -> None:
    request, body, log = await sent(tmp_path, "anthropic-messages", "")
    assert (request.headers["x-team"], request.headers["x-gateway-key"]) == ("models", SECRET)
    assert (body["min_p"], body["user"], body["temperature"], body["top_p"]) == (0.05, "model", 0.6, 0.95)
    assert body["messages"] == QUESTION["messages"]
    assert SECRET not in log


@pytest.mark.parametrize(
    ("settings", "mistake"),
    [
        ("body = { messages = [] }", "providers.work.body contains 'messages', which carries the conversation"),
        ('headers = { Host = "x" }', "providers.work.headers contains 'Host', which decides how requests are sent"),
        ('headers = { "a b" = "x" }', "providers.work.headers contains 'a b', which is not a valid name for a header"),
        ("headers = { key = 5 }", "providers.work.headers must be a table of texts"),
        ('[[providers.work.models]]\nid = "m"\ntemperature = 3', "models[0].temperature must be a number from 0 to 2"),
        (
            '[[providers.work.models]]\nid = "m"\ndisallowed_tools = ["Read"]',
            "models[0].disallowed_tools is not for the kind anthropic-messages",
        ),
    ],
    ids=["conversation", "transport", "no header", "no text", "temperature", "pass-through"],
)
async def test_mistakes_are_named_with_their_place(tmp_path: Path, settings: str, mistake: str) -> None:
    file = tmp_path / "config.toml"
    kind = 'kind = "anthropic-messages"\nbase_url = "http://127.0.0.1:1"\n'
    file.write_text(f"[providers.work]\n{kind}{settings}\n")
    done = await run_bridge("config", "check", "--config", str(file))
    assert done.code == 1
    assert mistake in " ".join(done.stdout.split())


async def test_show_hides_what_looks_like_a_key(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'[providers.openai]\nheaders = {{ "x-team" = "search", "x-api-token" = "{SECRET}" }}\n')
    done = await run_bridge("config", "show", "--json", "--config", str(file))
    (headers,) = [one for one in json.loads(done.stdout)["settings"] if one["key"] == "providers.openai.headers"]
    assert headers["value"] == {"x-team": "search", "x-api-token": "(hidden)"}
