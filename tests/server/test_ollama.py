"""Messages before a scripted Ollama: what its streams, refusals and silences become."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.engine_profiles import OLLAMA
from claude_bridge.exchange import Waiting
from claude_bridge.providers import PROVIDERS, Upstream, upstream_of
from claude_bridge.trace.events import PromptCut
from claude_bridge.upstream.engines.discover import discover
from claude_bridge.upstream.engines.engine import Engine
from claude_bridge.wire.anthropic_answers import (
    BlockInputJsonDelta,
    BlockTextDelta,
    BlockThinkingDelta,
    ContentBlockDelta,
    ErrorEvent,
    MessageDelta,
    Ping,
    StreamEvent,
)
from tests.fake_upstream import Head, Pause, ReceivedRequest, Reply, Send, Stall, Wait, json_document
from tests.kept_events import KeptEvents
from tests.laws import assert_legal, assert_sdk_agrees
from tests.scripted_ollama import (
    NDJSON,
    RenderedBy,
    ScriptedOllama,
    a_model,
    call_line,
    chat_answer,
    chat_line,
    chat_that_counts,
    prompt_length,
    refusal_of,
    runner_died,
    swallowed_call,
    too_long_by_llama_server,
    too_long_by_own_runner,
)
from tests.server.served import QUICK, BridgeServer, get, parse_events, streamed

pytestmark = pytest.mark.anyio

MODEL = "qwen3:1.7b"
MODELS = {MODEL: a_model("tools", "thinking")}
WINDOW_TOKENS = 4_096
WHOLE_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": MODEL,
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
HEAD = Head(200, {"content-type": NDJSON})
LAST = Send(chat_line(done=True, done_reason="stop", prompt_eval_count=20, eval_count=7))
READ = {"name": "Read", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}}


def chatting(*reply: Reply, version: str = "0.32.15") -> ScriptedOllama:
    """Return an Ollama that answers the chats with these replies, one after the other."""
    replies = iter(reply)
    return ScriptedOllama(MODELS, chat=lambda _: next(replies), version=version)


def serving(ollama: ScriptedOllama, *, model: str = MODEL, waiting: Waiting | None = None, **how: Any) -> BridgeServer:
    upstream = Upstream(
        name="Ollama",
        base_url=ollama.root_url,
        model=model,
        adapter=ADAPTERS["ollama-chat"],
        profile=OLLAMA,
        window_tokens=WINDOW_TOKENS,
    )
    return BridgeServer(upstream, waiting=waiting, **how)


def deltas(events: list[StreamEvent]) -> list[str]:
    """Return the texts of a stream's deltas, of text and thinking and tool inputs alike, without empty ones."""
    found = [event.delta for event in events if isinstance(event, ContentBlockDelta)]
    texts = [
        delta.text if isinstance(delta, BlockTextDelta) else
        delta.thinking if isinstance(delta, BlockThinkingDelta) else
        delta.partial_json if isinstance(delta, BlockInputJsonDelta) else ""
        for delta in found
    ]  # fmt: skip
    return [text for text in texts if text]


def a_conversation(words: str) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": words},
        *[{"role": "assistant", "content": "I see."}, {"role": "user", "content": "And now?"}] * 4,
    ]


async def test_an_answer_streams_line_by_line() -> None:
    go_on = anyio.Event()
    reply: Reply = [
        HEAD,
        Send(chat_line({"content": "Hello"})),
        Wait(go_on),
        Send(chat_line({"content": " you"})),
        LAST,
    ]
    async with chatting(reply) as ollama, serving(ollama) as server, server.connect() as wire:
        await wire.send(streamed())
        await wire.head()
        events = parse_events(await wire.chunk())
        assert deltas(events) == ["Hello"]
        go_on.set()
        while chunk := await wire.chunk():
            events += parse_events(chunk)
        assert deltas(events) == ["Hello", " you"]
        assert_legal(events)
        assert_sdk_agrees(events)
        (end,) = (event for event in events if isinstance(event, MessageDelta))
        assert (end.delta.stop_reason, end.usage.input_tokens, end.usage.output_tokens) == ("end_turn", 20, 7)


async def test_thinking_comes_before_the_text_in_a_block_of_its_own() -> None:
    lines = [{"thinking": "Let me"}, {"thinking": " see."}, {"content": "Yes."}]
    reply: Reply = [HEAD, *(Send(chat_line(line)) for line in lines), LAST]
    async with chatting(reply) as ollama, serving(ollama) as server:
        answer = (await server.messages()).json
        thought, text = answer["content"]
        assert (thought["type"], thought["thinking"]) == ("thinking", "Let me see.")
        assert text == {"type": "text", "text": "Yes."}


async def test_a_tool_call_reaches_the_client_whole() -> None:
    reply: Reply = [HEAD, Send(chat_line(call_line("Read", {"path": "été.txt"}))), LAST]
    async with chatting(reply) as ollama, serving(ollama) as server:
        events = (await server.messages(stream=True, tools=[READ])).events
        assert_sdk_agrees(events)
        assert [json.loads(arguments) for arguments in deltas(events)] == [{"path": "été.txt"}]
        (end,) = (event for event in events if isinstance(event, MessageDelta))
        assert end.delta.stop_reason == "tool_use"


async def test_an_error_in_mid_stream_ends_it_in_one_error_event() -> None:
    broken = Send(b'{"error":"llama runner process has terminated: signal: killed"}\n')
    reply: Reply = [HEAD, Send(chat_line({"content": "Hello"})), Pause(0.02), broken]
    async with chatting(reply) as ollama, serving(ollama) as server:
        response = await server.messages(stream=True)
        *others, last = response.events
        assert response.status == 200
        assert deltas(response.events) == ["Hello"]
        assert isinstance(last, ErrorEvent)
        assert "llama runner process has terminated" in last.error.message
        assert not any(isinstance(event, ErrorEvent) for event in others)


async def test_a_model_that_has_gone_is_reported_with_how_to_get_it() -> None:
    async with chatting() as ollama, serving(ollama, model="qwen3:8b") as server:
        response = await server.messages(stream=True)
        assert response.status == 404
        assert response.json["error"]["type"] == "not_found_error"
        assert "ollama pull qwen3:8b" in response.json["error"]["message"]


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param([Stall()], id="while the model loads"),
        pytest.param([HEAD, Send(chat_line({"content": "Hello"})), Stall()], id="in mid-stream"),
    ],
)
async def test_ollama_is_stopped_within_a_second_when_the_client_leaves(reply: Reply) -> None:
    async with chatting(reply) as ollama, serving(ollama) as server:
        async with server.connect() as wire:
            await wire.send(streamed())
            request = await ollama.request()
        await request.wait_until_closed_by_peer()


async def test_a_client_is_kept_while_the_model_loads() -> None:
    loaded = anyio.Event()
    reply: Reply = [Wait(loaded), *chat_answer("Hello")]
    async with chatting(reply) as ollama, serving(ollama, waiting=QUICK) as server, server.connect() as wire:
        await wire.send(streamed())
        assert (await wire.head()).status == 200
        events: list[StreamEvent] = []
        while sum(isinstance(event, Ping) for event in events) < 3:
            events += parse_events(await wire.chunk())
        assert deltas(events) == []
        loaded.set()
        while chunk := await wire.chunk():
            events += parse_events(chunk)
        assert deltas(events) == ["Hello"]
        assert_legal(events)


# --- what a real one showed -----------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["unexpected EOF", "task id = 252, error: " + too_long_by_llama_server(9_010, 8_192)])
async def test_a_runner_that_died_is_a_failure_whatever_its_old_log_says(words: str) -> None:
    async with (
        ScriptedOllama(MODELS, chat=lambda _: refusal_of(runner_died(words), 500)) as ollama,
        serving(ollama) as server,
    ):
        response = await server.messages()
    assert response.status == 502
    assert "prompt is too long" not in response.json["error"]["message"]
    assert "The engine's log says why" in response.json["error"]["message"]


async def test_a_runner_that_dies_in_mid_stream_ends_the_answer_with_an_error() -> None:
    line = json.dumps({"error": runner_died("error: " + too_long_by_llama_server(9_010, 8_192))}).encode() + b"\n"
    reply: Reply = [HEAD, Send(chat_line({"content": "Hel"})), Pause(0.1), Send(line)]
    async with chatting(reply) as ollama, serving(ollama) as server:
        events = (await server.messages(stream=True)).events
    (error,) = (event.error for event in events if isinstance(event, ErrorEvent))
    assert error.type == "api_error"
    assert "prompt is too long" not in error.message.partition("reported an error")[0]


async def test_a_refusal_whose_numbers_are_of_another_request_is_a_failure() -> None:
    refused = refusal_of(too_long_by_llama_server(9_010, 8_192))
    async with ScriptedOllama(MODELS, chat=lambda _: refused) as ollama, serving(ollama) as server:
        response = await server.messages()
    assert response.status == 502
    assert "as one of 9,010" in response.json["error"]["message"]


async def test_such_numbers_are_no_overflow_in_mid_stream_either() -> None:
    line = json.dumps({"error": too_long_by_llama_server(9_010, 8_192)}).encode() + b"\n"
    reply: Reply = [HEAD, Send(chat_line({"content": "Hel"})), Pause(0.1), Send(line)]
    async with chatting(reply) as ollama, serving(ollama) as server:
        events = (await server.messages(stream=True)).events
    (error,) = (event.error for event in events if isinstance(event, ErrorEvent))
    assert error.type == "api_error"
    assert "as one of 9,010" in error.message


async def test_a_window_that_a_refusal_names_is_what_counts_from_then_on() -> None:
    async with (
        ScriptedOllama(MODELS, chat=lambda _: refusal_of(too_long_by_llama_server(2_400, 2_048))) as ollama,
        serving(ollama) as server,
    ):
        response = await server.messages(messages=[{"role": "user", "content": "word " * 1_800}])
        assert response.json["error"]["message"] == "prompt is too long: 2400 tokens > 2048 maximum"
        ready = (await server.ask(get("/readyz"))).json
    assert ready["window_tokens"] == 2_048


async def test_an_answer_of_which_the_parser_kept_nothing_is_no_empty_success() -> None:
    async with ScriptedOllama(MODELS, chat=lambda _: swallowed_call()) as ollama, serving(ollama) as server:
        response = await server.messages(tools=[READ])
    assert response.status == 502
    assert "39 tokens" in response.json["error"]["message"]


@pytest.mark.parametrize("rendered_by", ["Ollama", "llama-server"])
async def test_a_tool_call_may_come_in_the_last_line(rendered_by: RenderedBy) -> None:
    chat = chat_that_counts(lambda _: [call_line("Read", {"path": "a"})], rendered_by=rendered_by)
    async with ScriptedOllama(MODELS, chat=chat) as ollama, serving(ollama) as server:
        answer = (await server.messages(tools=[READ])).json
    (call,) = answer["content"]
    assert (call["name"], call["input"], answer["stop_reason"]) == ("Read", {"path": "a"}, "tool_use")


class PassedThrough(ScriptedOllama):
    """An Ollama that is asked through its Messages route, where no window can be set."""

    def _answer(self, request: ReceivedRequest) -> Reply:
        if request.path != "/v1/messages":
            return super()._answer(request)
        self.load(MODEL, 2_048)
        return json_document(WHOLE_MESSAGE)


async def test_the_window_of_a_passed_through_ollama_is_read_once_it_has_loaded_the_model_for_us() -> None:
    other_clients = [{"name": MODEL, "context_length": 8_192}]
    async with PassedThrough(MODELS, loaded=other_clients) as ollama:
        requested = upstream_of(PROVIDERS["anthropic"], base_url=ollama.root_url, model=MODEL)
        upstream = await discover(Engine(upstream=requested))
        assert upstream.window_tokens is None
        async with BridgeServer(upstream) as server:
            for window_tokens in (None, 2_048, 2_048):
                assert (await server.messages()).status == 200
                assert (await server.ask(get("/readyz"))).json.get("window_tokens") == window_tokens
            refused = await server.messages(messages=[{"role": "user", "content": "word " * 9_000}])
            assert refused.status == 400, "Ollama would cut it in silence"
            assert refused.json["error"]["message"].endswith(" tokens > 2048 maximum")
        assert [probe.path for probe in ollama.probes].count("/api/ps") == 2
        assert [request.path for request in ollama.requests].count("/v1/messages") == 3


# --- the window ---------------------------------------------------------------------------------------------


async def test_a_prompt_that_ollama_refuses_is_reported_with_its_numbers() -> None:
    chat = chat_that_counts(lambda _: [{"content": "Hello"}])
    async with ScriptedOllama(MODELS, chat=chat) as ollama, serving(ollama) as server:
        response = await server.messages(messages=[{"role": "user", "content": "word " * 4_000}])
        tokens = prompt_length(ollama.chats[0].json)
        assert response.status == 400
        assert response.json["error"] == {
            "type": "invalid_request_error",
            "message": f"prompt is too long: {tokens} tokens > {WINDOW_TOKENS} maximum",
        }


async def test_a_prompt_that_ollama_refuses_is_reported_with_the_numbers_that_it_leaves_out() -> None:
    chat = chat_that_counts(lambda _: [{"content": "Hello"}], refuse=too_long_by_own_runner, bytes_per_token=5)
    async with ScriptedOllama(MODELS, chat=chat, version="0.24.0") as ollama, serving(ollama) as server:
        response = await server.messages(messages=[{"role": "user", "content": "word " * 5_000}])
        assert response.status == 400
        estimate = int(response.json["error"]["message"].split()[4])
        assert response.json["error"] == {
            "type": "invalid_request_error",
            "message": f"prompt is too long: {estimate} tokens > {WINDOW_TOKENS} maximum",
        }
        assert estimate == pytest.approx(prompt_length(ollama.chats[0].json, 5), rel=0.1)


async def test_the_number_is_above_the_window_even_where_the_estimate_is_below() -> None:
    chat = chat_that_counts(lambda _: [{"content": "Hello"}], bytes_per_token=3, refuse=too_long_by_own_runner)
    async with ScriptedOllama(MODELS, chat=chat) as ollama, serving(ollama) as server:
        response = await server.messages(messages=[{"role": "user", "content": "word " * 2_800}])
        assert response.json["error"]["message"] == "prompt is too long: 4097 tokens > 4096 maximum"


async def test_a_conversation_is_refused_before_there_is_no_room_left_for_its_summary() -> None:
    async with chatting() as ollama, serving(ollama) as server:
        response = await server.messages(messages=a_conversation("word " * 3_800))
        assert response.status == 400
        assert response.json["error"]["message"].endswith("tokens > 3414 maximum")
        assert ollama.chats == []


async def test_what_ollama_counted_decides_when_the_next_turn_is_refused() -> None:
    # The estimate alone, 2,300 tokens, would let the second question pass.
    chat = chat_that_counts(lambda _: [{"content": "Hello"}], bytes_per_token=3)
    async with ScriptedOllama(MODELS, chat=chat) as ollama, serving(ollama) as server:
        assert (await server.messages(messages=[{"role": "user", "content": "word " * 2_000}])).status == 200
        assert (await server.messages(messages=a_conversation("word " * 2_400))).status == 400
        assert len(ollama.chats) == 1


@pytest.mark.parametrize("is_traced", [pytest.param(True, id="with a trace"), pytest.param(False, id="without")])
async def test_the_user_is_reported_once_that_an_old_ollama_cut_the_prompt(is_traced: bool) -> None:
    chat = chat_that_counts(lambda _: [{"content": "Hello"}], refuse=None)
    notes = KeptEvents()
    warnings: list[str] = []
    async with (
        ScriptedOllama(MODELS, chat=chat, version="0.9.0") as ollama,
        serving(ollama, sinks=[notes] if is_traced else [], warn=warnings.append) as server,
    ):
        for _ in range(2):
            response = await server.messages(messages=[{"role": "user", "content": "word " * 6_500}])
            assert response.status == 200
    (warning,) = warnings
    assert "The prompt was cut" in warning
    assert "its window of 4,096 tokens" in warning
    assert "Update the engine" in warning
    cuts = [event for event in notes.events if isinstance(event, PromptCut)]
    assert len(cuts) == (2 if is_traced else 0)
    for event in cuts:
        assert (event.reported_tokens, event.window_tokens) == (2_048, 4_096)
        assert event.estimated_tokens > 5_000
    if is_traced:
        assert notes.kinds()[-2:] == ["PromptCut", "ExchangeEnded"]


async def test_a_small_count_alone_proves_no_cut() -> None:
    # Before Ollama 0.30 the count leaves out what was in the cache.
    warnings: list[str] = []
    async with (
        chatting(chat_answer("Hello", prompt_tokens=12)) as ollama,
        serving(ollama, warn=warnings.append) as server,
    ):
        await server.messages(messages=[{"role": "user", "content": "word " * 2_000}])
    assert warnings == []
