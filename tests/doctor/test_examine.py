"""All checks run, one after another, with what is waited for between them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from claude_bridge.app.plan import WebPlan
from claude_bridge.bridge import ModelBridge
from claude_bridge.doctor.examine import examine, examine_engine
from claude_bridge.doctor.finding import CheckStep, Finding, Severity, Subject
from claude_bridge.doctor.probing import probe_bridge
from claude_bridge.providers import PROVIDERS, upstream_of
from claude_bridge.upstream.client import UpstreamClient
from claude_bridge.upstream.engines.discover import discover
from claude_bridge.upstream.engines.engine import Engine
from tests.fake_upstream import (
    FakeUpstream,
    Head,
    Pause,
    ReceivedRequest,
    Reply,
    Send,
    Stall,
    free_port,
    json_document,
    refusal,
)
from tests.scripted_ollama import NDJSON, ScriptedOllama, a_model, chat_answer, chat_line

pytestmark = pytest.mark.anyio

MODELS = {"m:latest": a_model("tools")}


def subject(provider: str, base_url: str, model: str = "m", *options: str) -> Subject:
    engine = Engine(upstream=upstream_of(PROVIDERS[provider], base_url=base_url, model=model))
    return Subject(provider=provider, engine=engine, options=options)


async def test_findings_come_before_the_model_has_answered() -> None:
    async with ScriptedOllama(MODELS, chat=lambda _: [Head(200, {"content-type": NDJSON}), Stall()]) as ollama:
        examined = examine(subject("ollama", ollama.root_url), WebPlan(), port=free_port(), probe=True)
        seen: list[CheckStep | Finding] = []
        async with aclosing(examined):
            async for item in examined:
                seen.append(item)
                if isinstance(item, CheckStep) and "a short answer" in item.what:
                    break

    assert {"reachable", "tools", "context window", "bridge port"} <= {
        item.name for item in seen if isinstance(item, Finding)
    }
    assert all(step.limit_s > 0 for step in seen if isinstance(step, CheckStep))


async def test_no_question_begins_after_the_limit_and_what_was_not_asked_is_named() -> None:
    def slow(_: ReceivedRequest) -> Reply:
        return [Pause(0.2), *chat_answer("one two three")]

    async with ScriptedOllama(MODELS, chat=slow) as ollama:
        requested = subject("ollama", ollama.root_url).engine
        upstream = await discover(requested)
        async with UpstreamClient(upstream.base_url, api_key=None, name="Ollama") as client:
            items = [item async for item in probe_bridge(ModelBridge(upstream, client), limit_s=0.1)]

    *_, last = items
    assert isinstance(last, Finding)
    assert last.severity is Severity.WARN
    assert last.seen == "0 s are over; not checked: long prompt, prompt cache, stop"


async def test_a_stop_is_not_judged_by_questions_that_failed() -> None:
    def reply(request: ReceivedRequest) -> Reply:
        return refusal(500, "no") if b"Say yes." in request.body else chat_answer("one two three")

    async with ScriptedOllama(MODELS, chat=reply) as ollama:
        upstream = await discover(subject("ollama", ollama.root_url).engine)
        async with UpstreamClient(upstream.base_url, api_key=None, name="Ollama") as client:
            items = [item async for item in probe_bridge(ModelBridge(upstream, client))]

    names = [item.name for item in items if isinstance(item, Finding)]
    assert names == ["speed", "tool call", "long prompt", "prompt cache"]


async def test_an_engine_that_goes_on_after_a_stop_is_reported() -> None:
    begun: list[bool] = []

    def stubborn(request: ReceivedRequest) -> Reply:
        if "numbers from 1" in request.json["messages"][-1]["content"]:
            begun.append(True)
            return [Head(200, {"content-type": NDJSON}), Send(chat_line({"content": "one"})), Stall()]
        return [*([Pause(0.6)] if begun else []), *chat_answer("one two three")]

    async with ScriptedOllama(MODELS, chat=stubborn) as ollama:
        upstream = await discover(subject("ollama", ollama.root_url).engine)
        async with UpstreamClient(upstream.base_url, api_key=None, name="Ollama") as client:
            *_, last = [item async for item in probe_bridge(ModelBridge(upstream, client), free_within_s=0.2)]

    assert isinstance(last, Finding)
    assert (last.name, last.severity) == ("stop", Severity.WARN)
    assert "an answer was stopped, and the engine was busy for another" in last.seen


@asynccontextmanager
async def plain_server_that_waits_for_a_line() -> AsyncIterator[int]:
    """Serve plain HTTP as llama.cpp does: a TLS handshake, which is no line, is answered with silence."""

    async def serve(stream: SocketStream) -> None:
        async with stream:
            while (received := await stream.receive()).startswith(b"\x16\x03"):
                pass
            if received.startswith(b"GET "):
                await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield int(listener.extra(SocketAttribute.local_port))
        tasks.cancel_scope.cancel()


async def test_tls_at_a_server_that_is_silent_without_it_is_reported_at_once() -> None:
    async with plain_server_that_waits_for_a_line() as port:
        with anyio.fail_after(9):
            _, (found,) = await examine_engine(subject("openai", f"https://127.0.0.1:{port}/v1"))

    assert (found.name, found.severity) == ("reachable", Severity.FAIL)
    assert f"https://127.0.0.1:{port} does not use TLS" in found.seen
    assert found.remedy == f"bridge doctor openai --base-url http://127.0.0.1:{port}/v1"


async def test_a_remedy_repeats_the_options_of_the_command() -> None:
    async with ScriptedOllama(MODELS) as ollama:
        known = subject("ollama", ollama.root_url, "n", "--port 9000", "--probe")
        _, findings = await examine_engine(known)

    assert findings[-1].remedy is not None
    assert f"bridge doctor ollama m:latest --base-url {ollama.root_url} --port 9000 --probe" in findings[-1].remedy


async def test_plain_http_at_a_port_that_wants_tls_is_reported_with_the_other_scheme() -> None:
    refused = json_document("Client sent an HTTP request to an HTTPS server.", status=400)
    async with FakeUpstream(documents={"/v1/models": refused, "/models": refused}) as engine:
        _, findings = await examine_engine(subject("openai", engine.base_url), usual=())

    assert findings[-1].remedy == f"bridge doctor openai --base-url https://127.0.0.1:{engine.port}/v1"
