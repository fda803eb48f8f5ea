"""The public library: open_bridge and what it gives, on a scripted engine."""

from __future__ import annotations

import gc
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from inspect import signature
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import pytest

import claude_bridge
from claude_bridge import (
    Bridge,
    BridgeError,
    CountTokensRequest,
    InputMessage,
    InvalidRequestError,
    MessagesRequest,
    PromptTooLongError,
    SetupError,
    StreamEvent,
    UpstreamBrokenError,
    UpstreamRefusedError,
    UpstreamUnreachableError,
    open_bridge,
)
from claude_bridge.wire.anthropic import TextBlock, ToolUseBlock
from claude_bridge.wire.anthropic_answers import ErrorEvent, ServerToolUsage
from claude_bridge.wire.anthropic_codec import encode_stream_event
from tests.dialogues import answered, chunk, folded, sse
from tests.fake_upstream import (
    MODEL,
    WAIT_S,
    Close,
    FakeUpstream,
    Head,
    Reply,
    Send,
    Stall,
    answer,
    calls,
    free_port,
    json_document,
    model_list,
    refusal,
    stream,
    text,
)
from tests.laws import assert_legal, assert_sdk_agrees
from tests.server_tools.engines import ARCH, BEAM, searxng

pytestmark = pytest.mark.anyio

HELLO_FROM_ANTHROPIC = [encode_stream_event(event) for event in answered([sse(chunk("stop", content="Hi"))])]
HELLO = {"role": "user", "content": "Say hello."}
QUESTION = {"max_tokens": 100, "messages": [HELLO]}
TYPED = MessagesRequest(model="any", max_tokens=100, messages=[InputMessage("user", "Say hello.")])


@asynccontextmanager
async def opened(*script: Reply, **options: Any) -> AsyncIterator[tuple[Bridge, FakeUpstream]]:
    async with FakeUpstream(script) as upstream, open_bridge(upstream.base_url, MODEL, **options) as bridge:
        yield bridge, upstream


async def events_of(bridge: Bridge, request: Any = QUESTION) -> list[StreamEvent]:
    with anyio.fail_after(WAIT_S):
        return [event async for event in bridge.stream(request)]


@pytest.mark.parametrize("request_", [TYPED, QUESTION, QUESTION | {"model": "any", "stream": False}], ids=str)
async def test_the_events_of_an_answer_come_as_a_legal_stream(request_: Any) -> None:
    async with opened(answer("Hello there")) as (bridge, upstream):
        events = await events_of(bridge, request_)
        assert_legal(events)
        assert_sdk_agrees(events)
        assert folded(events).content == [TextBlock("Hello there")]
        sent = (await upstream.request()).json
    assert (sent["model"], sent["stream"]) == (MODEL, True)


@pytest.mark.parametrize("request_", [TYPED, QUESTION], ids=["typed", "as JSON"])
async def test_a_whole_message(request_: Any) -> None:
    async with opened(answer("Hello there", prompt_tokens=7, completion_tokens=3)) as (bridge, _):
        message = await bridge.message(request_)
    assert message.content == [TextBlock("Hello there")]
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 3)


async def test_events_and_messages_are_the_json_of_the_api() -> None:
    async with opened(answer("Hello"), answer("Hello")) as (bridge, _):
        events = [msgspec.to_builtins(event) for event in await events_of(bridge)]
        message = msgspec.to_builtins(await bridge.message(QUESTION))
    assert events[2]["delta"] == {"type": "text_delta", "text": "Hello"}
    assert (message["type"], message["content"]) == ("message", [{"type": "text", "text": "Hello"}])


async def test_tools_are_called() -> None:
    tool = {"name": "Read", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}}
    async with opened(calls(("Read", {"path": "/a"}))) as (bridge, _):
        message = await bridge.message(QUESTION | {"tools": [tool]})
    (block,) = message.content
    assert isinstance(block, ToolUseBlock)
    assert msgspec.json.decode(block.input) == {"path": "/a"}
    assert message.stop_reason == "tool_use"


async def test_requests_run_side_by_side() -> None:
    async with opened(answer("one"), answer("two"), answer("three")) as (bridge, _):
        found: list[str] = []

        async def ask() -> None:
            found.append(str(folded(await events_of(bridge)).content))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(ask)
    assert sorted(found) == sorted(str([TextBlock(word)]) for word in ("one", "two", "three"))


@pytest.mark.parametrize("request_", [CountTokensRequest(model="", messages=TYPED.messages), {"messages": [HELLO]}])
async def test_tokens_are_counted_exactly_where_the_engine_can(request_: Any) -> None:
    documents = {"/v1/models": model_list(MODEL, owner="llamacpp")}
    async with (
        FakeUpstream([json_document({"input_tokens": 4711})], documents=documents) as upstream,
        open_bridge(upstream.base_url) as bridge,
    ):
        assert await bridge.count_tokens(request_) == 4711


async def test_tokens_are_estimated_elsewhere() -> None:
    async with opened() as (bridge, upstream):
        assert 0 < await bridge.count_tokens(QUESTION) < 100
        assert upstream.requests == []


async def test_the_engine_is_asked_what_it_is() -> None:
    async with FakeUpstream() as upstream, open_bridge(f"http://127.0.0.1:{upstream.port}") as bridge:
        assert (bridge.upstream.base_url, bridge.upstream.model) == (upstream.base_url, MODEL)


async def test_the_engine_is_not_asked_where_that_is_not_wanted() -> None:
    async with opened(answer("Hi"), check=False, context_window=9_000, max_output_tokens=50, think="off") as (
        bridge,
        upstream,
    ):
        found = bridge.upstream
        assert (found.window_tokens, found.max_output_tokens, found.think, upstream.probes) == (9_000, 50, "off", [])
        await bridge.message(QUESTION)
        assert (await upstream.request()).json["max_tokens"] == 50


async def test_the_key_goes_to_the_engine() -> None:
    async with opened(answer("Hi"), api_key="secret-key") as (bridge, upstream):
        await bridge.message(QUESTION)
        assert (await upstream.request()).headers["authorization"] == "Bearer secret-key"


async def test_an_engine_of_anthropics_own_api_gets_a_mapping_as_it_is() -> None:
    async with (
        FakeUpstream([stream(*HELLO_FROM_ANTHROPIC)] * 2) as upstream,
        open_bridge(f"http://127.0.0.1:{upstream.port}", MODEL, api="anthropic-messages", check=False) as bridge,
    ):
        assert (await bridge.message(QUESTION | {"future_field": 1})).content == [TextBlock("Hi")]
        assert (await upstream.request()).json["future_field"] == 1
        assert folded(await events_of(bridge, TYPED)).content == [TextBlock("Hi")]


# --- errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        (QUESTION | {"max_tokens": "many"}, "$.max_tokens"),
        ({"max_tokens": 1}, "messages"),
        (QUESTION | {"metadata": object()}, "no JSON"),
        (QUESTION | {"system": "\ud800"}, "no JSON"),
    ],
    ids=["a wrong field", "a missing field", "no JSON", "half a character"],
)
async def test_a_malformed_request_is_refused_at_once(request_: Any, path: str) -> None:
    async with opened() as (bridge, upstream):
        with pytest.raises(InvalidRequestError, match=path.replace("$", r"\$")):
            bridge.stream(request_)
        with pytest.raises(InvalidRequestError, match=path.replace("$", r"\$")):
            await bridge.message(request_)
        assert upstream.requests == []


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (refusal(400, "unknown tool type"), UpstreamRefusedError),
        (refusal(400, "This model's maximum context length is 8192 tokens"), PromptTooLongError),
        ([Head(), Send(text("Hel")), Close()], UpstreamBrokenError),
    ],
    ids=["refused", "too long", "cut"],
)
async def test_what_ends_an_answer_is_raised(reply: Reply, kind: type[BridgeError]) -> None:
    async with opened(reply, reply) as (bridge, _):
        with pytest.raises(kind):
            await bridge.message(QUESTION)
        events: list[StreamEvent] = []
        with pytest.raises(kind):  # noqa: PT012 - what came before the error is looked at
            async for event in bridge.stream(QUESTION):
                events.append(event)  # noqa: PERF401
        assert not any(isinstance(event, ErrorEvent) for event in events)


async def test_an_engine_that_is_not_there() -> None:
    with pytest.raises(UpstreamUnreachableError):
        async with open_bridge(f"http://127.0.0.1:{free_port()}", "m"):
            pass


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (["localhost:11434"], {}, "neither an address nor a provider"),
        (["nobody", "m"], {}, "neither an address nor a provider"),
        (["openai", "m"], {"api": "telepathy"}, "no API 'telepathy'"),
    ],
    ids=["no scheme", "no such provider", "no such API"],
)
async def test_what_can_not_be_opened_is_reported_with_the_next_step(
    arguments: Sequence[str], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(SetupError, match=words) as caught:
        async with open_bridge(*arguments, **options):
            pass
    assert caught.value.hint


async def test_a_model_that_is_not_there() -> None:
    async with FakeUpstream() as upstream:
        with pytest.raises(SetupError, match="has no model 'other'"):
            async with open_bridge(upstream.base_url, "other"):
                pass


async def test_an_error_of_the_program_comes_out_as_it_is() -> None:
    async with FakeUpstream([[Head(), Stall()]]) as upstream:
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the error is the program's
            async with open_bridge(upstream.base_url, MODEL) as bridge:
                events = bridge.stream(QUESTION)
                await upstream.request()
                raise ZeroDivisionError
        events.close()


# --- the end of a stream ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["async with", "close", "dropped"])
async def test_a_loop_that_is_left_stops_the_engine(way: str) -> None:
    async with opened([Head(), Send(text("Hello")), Stall()]) as (bridge, upstream):
        if way == "async with":
            async with bridge.stream(QUESTION) as events:
                async for _ in events:
                    break
        elif way == "close":
            events = bridge.stream(QUESTION)
            await anext(events)
            events.close()
        else:
            async for _ in bridge.stream(QUESTION):
                break
            gc.collect()
        await (await upstream.request()).wait_until_closed_by_peer()


async def test_a_task_that_is_cancelled_stops_the_engine() -> None:
    async with opened([Head(), Send(text("Hello")), Stall()]) as (bridge, upstream):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(events_of, bridge)
            request = await upstream.request()
            tasks.cancel_scope.cancel()
        gc.collect()
        await request.wait_until_closed_by_peer()


async def test_a_stream_that_outlives_its_bridge_says_so() -> None:
    async with opened([Head(), Send(text("Hello")), Stall()]) as (bridge, upstream):
        events = bridge.stream(QUESTION)
        await upstream.request()
    with pytest.raises(BridgeError, match="closed before the answer was whole"):
        async for _ in events:
            pass


async def test_a_warning_is_handed_on(caplog: pytest.LogCaptureFixture) -> None:
    long = {"max_tokens": 1, "messages": [{"role": "user", "content": "word " * 9_000}]}
    warnings: list[str] = []
    documents = {"/v1/models": model_list(MODEL, max_model_len=2_000)}
    async with FakeUpstream(lambda _: answer("Hi"), documents=documents) as upstream:
        async with open_bridge(upstream.base_url, MODEL, warn=warnings.append) as bridge:
            await bridge.message(long)
        async with open_bridge(upstream.base_url, MODEL) as bridge:
            await bridge.message(long)
    assert "The prompt was cut" in warnings[0]
    assert "The prompt was cut" in caplog.text


# --- the page ---------------------------------------------------------------------------------------------------

PAGE = (Path(__file__).parent.parent / "docs" / "how-to" / "use-as-a-library.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=["all in one", "typed"])
async def test_the_examples_of_the_page_run(example: str, capsys: pytest.CaptureFixture[str]) -> None:
    documents = {"/v1/models": model_list("qwen3")}
    async with FakeUpstream(lambda _: answer("Hello there"), documents=documents) as upstream:
        example = example.replace("http://localhost:11434", upstream.base_url)
        await anyio.to_thread.run_sync(exec, compile(example, "example", "exec"), {})
    assert "Hello" in capsys.readouterr().out


@pytest.mark.parametrize(
    "names",
    [claude_bridge.__all__, [f"`{name}`" for name in signature(open_bridge).parameters]],
    ids=["names", "arguments"],
)
def test_the_page_has_every_public_name(names: Sequence[str]) -> None:
    said_otherwise = {"__version__", "CountTokensRequest", "EventStream", "StreamEvent", "Bridge", "BridgeError"}
    assert [name for name in names if name not in PAGE and name not in said_otherwise] == []


# --- the package ------------------------------------------------------------------------------------------------


def test_every_public_name_is_there() -> None:
    assert all(getattr(claude_bridge, name) is not None for name in claude_bridge.__all__)
    with pytest.raises(AttributeError):
        claude_bridge.nothing  # noqa: B018


def test_importing_the_package_loads_no_http_client() -> None:
    code = "import sys, claude_bridge; print({'httpx', 'httpcore', 'h11', 'anyio'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "set()\n"


async def test_it_runs_the_tools_of_the_web_where_that_is_chosen() -> None:
    script = [calls(("web_search", {"query": "bridges"})), answer("Two.")]
    requested = QUESTION | {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}
    async with FakeUpstream(lambda _: searxng(ARCH, BEAM), answers_get=True) as service:
        address = service.base_url.removesuffix("/v1")
        async with opened(*script, web_search=f"searxng:{address}") as (bridge, _):
            message = await bridge.message(requested)
    assert [type(block).__name__ for block in message.content] == [
        *("ServerToolUseBlock", "WebSearchToolResultBlock", "TextBlock")
    ]
    assert message.usage.server_tool_use == ServerToolUsage(1, 0)
    async with opened(answer("I can't.")) as (bridge, upstream):
        await bridge.message(requested)
        assert "tools" not in upstream.requests[0].json, "it is off by default"


@pytest.mark.parametrize("choice", ["google", "searxng", "x:http://localhost"])
async def test_a_search_service_that_is_none_is_refused(choice: str) -> None:
    with pytest.raises(SetupError) as caught:
        async with opened(web_search=choice):
            pass
    assert "searxng:URL" in caught.value.hint
