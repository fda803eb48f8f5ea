"""POST /v1/messages: streams and whole answers, and what becomes of an upstream's moods."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import anyio
import msgspec
import pytest

from claude_bridge.adapters.engine_profiles import ANTHROPIC
from claude_bridge.conversion.pricing import FREE, Prices
from claude_bridge.conversion.tool_calls.index import MAX_CALLS
from claude_bridge.exchange import Waiting
from claude_bridge.trace.events import ExchangeEnded, ExchangeFailed, RequestReceived
from claude_bridge.wire.anthropic_answers import (
    BlockTextDelta,
    ContentBlockDelta,
    ErrorEvent,
    MessageDelta,
    MessageStart,
    MessageStop,
    Ping,
    StreamEvent,
)
from tests.fake_upstream import (
    DONE,
    WAIT_S,
    Close,
    Drip,
    End,
    FakeUpstream,
    Head,
    Pause,
    Raw,
    Reply,
    Reset,
    Send,
    Stall,
    Wait,
    answer,
    calls,
    document,
    finish,
    frame,
    json_document,
    refusal,
    stream,
    text,
    thinking,
    tool_call,
    usage,
)
from tests.kept_events import KeptEvents
from tests.laws import assert_legal, assert_sdk_agrees
from tests.running_bridge import scripted_upstream
from tests.server.served import QUICK, BridgeServer, parse_events, streamed
from tests.server.test_passthrough import HELLO, relayed_to

pytestmark = pytest.mark.anyio


def output_text(events: list[StreamEvent]) -> str:
    """Return the text of a stream."""
    deltas = [event.delta for event in events if isinstance(event, ContentBlockDelta)]
    return "".join(delta.text for delta in deltas if isinstance(delta, BlockTextDelta))


async def test_an_answer_streams() -> None:
    async with FakeUpstream([answer("Hello dear client")]) as upstream, BridgeServer(upstream) as server:
        response = await server.messages(stream=True)
        assert response.status == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["transfer-encoding"] == "chunked"
        assert response.headers["request-id"].startswith("req_")
        assert output_text(response.events) == "Hello dear client"
        assert_legal(response.events)
        assert_sdk_agrees(response.events)


async def test_the_engine_is_asked_for_a_stream_of_its_model() -> None:
    async with FakeUpstream([answer("Hello")]) as upstream, BridgeServer(upstream, api_key="sk-key") as server:
        await server.messages(stream=False)
        requested = upstream.requests[0]
        assert (requested.path, requested.json["model"], requested.json["stream"]) == (
            "/v1/chat/completions",
            "scripted",
            True,
        )
        assert requested.headers["authorization"] == "Bearer sk-key"
        assert requested.headers["content-type"] == "application/json"
        assert requested.json["messages"] == [{"role": "user", "content": "Hi"}]


CALLS = [("Read", {"path": "a"}), ("Read", {"path": "b"})]


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(answer("Hello dear client", prompt_tokens=12, completion_tokens=3), id="text"),
        pytest.param(calls(*CALLS, words="I look."), id="calls"),
        pytest.param(stream(thinking("Hm"), thinking("m."), text("Yes"), finish(), usage(), DONE), id="thinking"),
        pytest.param(stream(text("Cut"), finish("length"), usage(5, 100), DONE), id="length"),
    ],
)
async def test_a_whole_answer_is_what_the_stream_adds_up_to(reply: Reply) -> None:
    tools = [{"name": "Read", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}}]
    async with FakeUpstream([reply, reply]) as upstream, BridgeServer(upstream) as server:
        whole = await server.messages(tools=tools)
        parts = (await server.messages(tools=tools, stream=True)).events
        assert_sdk_agrees(parts)
        assert whole.headers["content-type"] == "application/json"
        end = next(event for event in parts if isinstance(event, MessageDelta))
        assert whole.json["stop_reason"] == end.delta.stop_reason
        assert whole.json["usage"]["output_tokens"] == end.usage.output_tokens
        assert "".join(block.get("text", "") for block in whole.json["content"]) == output_text(parts)
        named = [block for block in whole.json["content"] if block["type"] == "tool_use"]
        assert len({block["id"] for block in named}) == len(named)


async def test_what_one_upstream_read_brings_goes_out_in_one_write() -> None:
    many = b"".join(text(f" {number}") for number in range(50))
    steps: Reply = [Head(), Send(text("0")), Pause(0.05), Send(many), Pause(0.05), Send(finish() + usage() + DONE)]
    async with FakeUpstream([steps]) as upstream, BridgeServer(upstream) as server, server.connect() as wire:
        await wire.send(streamed())
        response = await wire.response()
        assert len(response.chunks) == 3
        assert output_text(parse_events(response.chunks[1])).split() == [str(number) for number in range(50)]
        assert sum(b"content_block_delta" in read for read in wire.reads) == 2


async def test_the_first_token_goes_out_at_once() -> None:
    go_on = anyio.Event()
    steps: Reply = [Head(), Send(text("Hello")), Wait(go_on), Send(text(" you") + finish() + DONE)]
    async with FakeUpstream([steps]) as upstream, BridgeServer(upstream) as server, server.connect() as wire:
        await wire.send(streamed())
        await wire.head()
        assert output_text(parse_events(await wire.chunk())) == "Hello"
        go_on.set()
        assert output_text(parse_events(await wire.chunk())) == " you"


BROKEN: dict[str, Reply] = {
    "cut after a token": [Head(), Send(text("Hello")), Pause(0.02), Close()],
    "cut in a frame": [Head(), Send(text("Hello")), Pause(0.02), Send(text("more")[:20]), Close()],
    "reset": [Head(), Send(text("Hello")), Pause(0.02), Reset()],
    "ended without a finish": stream(text("Hello")),
    "garbage": [Head(), Send(text("Hello")), Pause(0.02), Send(b"data: {nonsense\n\n"), Send(DONE)],
    "broken chunks": [Head(), Send(text("Hello")), Pause(0.02), Raw(b"no chunk\r\n")],
    "error object": [
        Head(), Send(text("Hello")), Pause(0.02), Send(frame({"error": {"message": "out of memory", "code": 500}}))
    ],
    "error event": [Head(), Send(text("Hello")), Pause(0.02), Send(b'event: error\ndata: {"message":"no"}\n\n')],
    "too many calls, the last one in a frame without its end": [
        Head(), Send(text("Hello")), Pause(0.02),
        Send(b"".join(tool_call("Bash", {}, index=index) for index in range(MAX_CALLS + 1)).rstrip()),
    ],
}  # fmt: skip


@pytest.mark.parametrize("reply", BROKEN.values(), ids=BROKEN)
async def test_an_answer_that_breaks_ends_in_one_error_event(reply: Reply) -> None:
    async with FakeUpstream([reply]) as upstream, BridgeServer(upstream) as server:
        response = await server.messages(stream=True)
        assert response.status == 200
        assert output_text(response.events) == "Hello"
        assert_legal(response.events)
        assert isinstance(response.events[-1], ErrorEvent)
        assert response.events[-1].request_id == response.headers["request-id"]


@pytest.mark.parametrize("reply", BROKEN.values(), ids=BROKEN)
async def test_a_whole_answer_that_breaks_is_an_error_status(reply: Reply) -> None:
    async with FakeUpstream([reply]) as upstream, BridgeServer(upstream) as server:
        response = await server.messages()
        assert response.status >= 500
        assert response.json["type"] == "error"


HTML = b"<!doctype html><html><body>Welcome</body></html>"

EARLY: dict[str, tuple[Reply, int, str]] = {
    "error object": (stream(frame({"error": {"message": "out of memory", "code": 500}})), 502, "out of memory"),
    "error object with a status": (stream(frame({"error": {"message": "slow down", "code": 429}})), 429, "slow down"),
    "error object, length cut": ([Head(), Send(b'{"error":{"message":"hm"}}'), Close()], 502, ""),
    "empty stream": (stream(), 502, "before it began"),
    "only DONE": (stream(DONE), 502, "before it began"),
    "empty document": (document(b""), 502, "before it began"),
    "web page": (document(HTML, content_type="text/html"), 502, "web page"),
    "web page as a stream": (stream(HTML), 502, "web page"),
    "garbage": (document(b"\x00\x01\x02", content_type="application/octet-stream"), 502, "no JSON"),
    "JSON of another kind": (json_document({"status": "ok"}), 502, ""),
    "redirect": (document(b"", status=307, headers={"location": "https://other.example/v1"}), 502, "other.example"),
    "closed": ([Close()], 502, "without an answer"),
    "reset": ([Reset()], 502, ""),
    "no HTTP": ([Raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")], 502, ""),
    "cut headers": ([Raw(b"HTTP/1.1 200 OK\r\ncontent-"), Close()], 502, ""),
}


@pytest.mark.parametrize(("reply", "status", "words"), EARLY.values(), ids=EARLY)
@pytest.mark.parametrize("is_streamed", [True, False], ids=["stream", "whole"])
async def test_what_fails_before_the_answer_began_keeps_its_status(
    reply: Reply, status: int, words: str, is_streamed: bool
) -> None:
    async with FakeUpstream([reply, reply]) as upstream, BridgeServer(upstream) as server:
        response = await server.messages(stream=is_streamed)
        assert response.status == status
        assert words in response.json["error"]["message"]
        assert response.json["request_id"] == response.headers["request-id"]


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(
            json_document({"choices": [{"message": {"content": "Hello you"}, "finish_reason": "stop"}]}), id="JSON"
        ),
        pytest.param([Head(200, {"content-type": "text/plain"}), *answer("Hello you")[1:]], id="wrong content type"),
        pytest.param([Head(200, {"connection": "close"}), *answer("Hello you")[1:]], id="ends with its connection"),
        pytest.param([Head(), Drip(b"".join([text("Hello"), text(" you"), finish(), DONE]))], id="byte by byte"),
        pytest.param([Head(), *answer("Hello you")[1:], Stall()], id="no end after DONE"),
        pytest.param([Raw(b"HTTP/1.1 103 Early Hints\r\n\r\n"), *answer("Hello you")], id="interim response"),
    ],
)
async def test_unusual_answers_are_understood(reply: Reply) -> None:
    async with FakeUpstream([reply]) as upstream, BridgeServer(upstream) as server:
        response = await server.messages(stream=True)
        assert output_text(response.events) == "Hello you"
        assert isinstance(response.events[-1], MessageStop)
        assert_legal(response.events)


@pytest.mark.parametrize("position", range(0, 400, 7))
async def test_a_stream_cut_anywhere_is_legal(position: int) -> None:
    whole = b"".join(
        [thinking("Hé"), text("Hello"), *[step.data for step in calls(("R", {}))[1:] if type(step) is Send]]
    )
    assert len(whole) > 400
    reply: Reply = [Head(), Send(whole[:position]), Close()] if position else [Head(), Close()]
    async with FakeUpstream([reply, reply]) as upstream, BridgeServer(upstream) as server:
        response = await server.messages(stream=True)
        if response.status == 200:
            assert_legal(response.events)
            assert_sdk_agrees(response.events)
            assert isinstance(response.events[-1], ErrorEvent)
        else:
            assert response.status == 502


async def test_a_silent_engine_gets_time_and_the_client_signs_of_life() -> None:
    go_on = anyio.Event()
    steps: Reply = [Head(), Wait(go_on), *answer("Hello")[1:]]
    async with (
        FakeUpstream([steps]) as upstream,
        BridgeServer(upstream, waiting=QUICK) as server,
        server.connect() as wire,
    ):
        await wire.send(streamed())
        await wire.head()
        body = b""
        while body.count(b"event: ping") < 3:
            body += await wire.chunk()
        go_on.set()
        while chunk := await wire.chunk():
            body += chunk
        events = parse_events(body)
        assert_legal(events)
        assert isinstance(events[0], MessageStart)
        assert output_text(events) == "Hello"
        empty = [
            event for event in events if isinstance(event, ContentBlockDelta) and event.delta == BlockTextDelta("")
        ]
        assert len(empty) >= 3


async def test_signs_of_life_come_at_each_time_of_silence() -> None:
    waiting = Waiting(first_byte_grace_s=0.01, keep_alive_s=0.1)
    async with FakeUpstream([[Stall()]]) as upstream, BridgeServer(upstream, waiting=waiting) as server:
        async with server.connect() as wire:
            await wire.send(streamed())
            await wire.head()
            await wire.chunk()
            times = []
            for _ in range(4):
                assert b"ping" in await wire.chunk()
                times.append(anyio.current_time())
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert min(gaps) < 0.15


async def test_signs_of_life_come_while_arguments_gather() -> None:
    quiet: Reply = [Send(b'data: {"choices":[]}\n\n'), Pause(0.03)] * 12
    pieces = stream(*[step.data for step in calls(("Read", {}))[1:] if isinstance(step, Send)])
    steps: Reply = [pieces[0], Send(text("I look.")), *quiet, *pieces[1:]]
    async with FakeUpstream([steps]) as upstream, BridgeServer(upstream, waiting=QUICK) as server:
        events = (await server.messages(stream=True)).events
        assert sum(isinstance(event, Ping) for event in events) >= 2
        assert_legal(events)


async def test_an_engine_that_finished_and_then_keeps_silent_is_not_waited_for() -> None:
    steps: Reply = [Head(), Send(text("Hello")), Send(finish()), Stall()]
    async with FakeUpstream([steps]) as upstream, BridgeServer(upstream, waiting=QUICK) as server:
        with anyio.fail_after(WAIT_S):
            events = (await server.messages(stream=True)).events
        assert_legal(events)
        assert output_text(events) == "Hello"
        assert isinstance(events[-1], MessageStop)


async def test_an_engine_that_begins_within_the_grace_time_costs_no_signs_of_life() -> None:
    waiting = Waiting(first_byte_grace_s=5, keep_alive_s=5)
    steps: Reply = [Pause(0.1), *answer("Hello")]
    async with FakeUpstream([steps]) as upstream, BridgeServer(upstream, waiting=waiting) as server:
        assert not any(isinstance(event, Ping) for event in (await server.messages(stream=True)).events)


async def test_a_refusal_after_the_grace_time_is_one_error_event() -> None:
    steps: Reply = [Pause(0.2), *refusal(429, "slow down")]
    async with FakeUpstream([steps]) as upstream, BridgeServer(upstream, waiting=QUICK) as server:
        response = await server.messages(stream=True)
        assert response.status == 200
        assert_legal(response.events)
        last = response.events[-1]
        assert isinstance(last, ErrorEvent)
        assert (last.error.type, "slow down" in last.error.message) == ("rate_limit_error", True)


async def test_a_whole_answer_may_take_longer_than_the_grace_time() -> None:
    steps: Reply = [Pause(0.2), *answer("Hello")]
    async with FakeUpstream([steps]) as upstream, BridgeServer(upstream, waiting=QUICK) as server:
        assert (await server.messages()).json["content"] == [{"type": "text", "text": "Hello"}]


async def test_a_stop_sequence_ends_the_answer_and_stops_the_engine() -> None:
    steps: Reply = [Head(), Send(text("one STOP")), Send(text(" two")), Stall()]
    async with FakeUpstream([steps]) as upstream, BridgeServer(upstream) as server:
        response = await server.messages(stream=True, stop_sequences=["STOP"])
        assert output_text(response.events) == "one "
        end = next(event for event in response.events if isinstance(event, MessageDelta))
        assert (end.delta.stop_reason, end.delta.stop_sequence) == ("stop_sequence", "STOP")
        await (await upstream.request()).wait_until_closed_by_peer()


async def test_the_connection_to_the_engine_is_used_again() -> None:
    async with FakeUpstream([answer("One"), answer("Two")]) as upstream, BridgeServer(upstream) as server:
        for _ in range(2):
            assert (await server.messages(stream=True)).status == 200
        assert upstream.connections == 1


async def test_a_second_request_is_answered_while_the_first_one_streams_elsewhere() -> None:
    go_on = anyio.Event()
    script: list[Reply] = [[Head(), Send(text("One")), Wait(go_on), Send(finish() + DONE)], answer("Two")]
    async with FakeUpstream(script) as upstream, BridgeServer(upstream) as server, server.connect() as wire:
        await wire.send(streamed())
        await wire.head()
        assert output_text((await server.messages(stream=True)).events) == "Two"
        go_on.set()


async def test_pipelined_messages_are_answered_in_order() -> None:
    script = [answer("One"), answer("Two")]
    async with FakeUpstream(script) as upstream, BridgeServer(upstream) as server, server.connect() as wire:
        await wire.send(streamed() + streamed())
        assert output_text((await wire.response()).events) == "One"
        assert output_text((await wire.response()).events) == "Two"


OVER = ("ExchangeEnded", "ExchangeFailed", "ClientLeft")


@pytest.mark.parametrize(
    ("reply", "kinds"),
    [
        pytest.param(answer("Hello"), ["ExchangeEnded"], id="whole"),
        pytest.param(refusal(401, "no"), ["ExchangeFailed"], id="refused"),
        pytest.param(stream(text("Hello")), ["ExchangeFailed"], id="broken"),
    ],
)
@pytest.mark.parametrize("is_streamed", [True, False], ids=["stream", "answer"])
async def test_the_trace_is_reported_of_one_end(reply: Reply, kinds: list[str], is_streamed: bool) -> None:
    notes = KeptEvents()
    async with FakeUpstream([reply]) as upstream, BridgeServer(upstream, sinks=[notes]) as server:
        await server.messages(stream=is_streamed)
    assert [kind for kind in notes.kinds() if kind in OVER] == kinds


async def test_a_connection_that_the_engine_closed_while_it_was_idle_is_not_used() -> None:
    notes = KeptEvents()
    script = [[*answer("Hi"), End(), Close()], answer("Hello")]
    async with FakeUpstream(script) as upstream, BridgeServer(upstream, sinks=[notes]) as server:
        await server.messages(stream=True)
        assert output_text((await server.messages(stream=True)).events) == "Hello"
        assert len(upstream.requests) == 2
    assert "UpstreamRetried" not in notes.kinds()


async def test_a_refusal_is_not_asked_for_twice() -> None:
    replies = [refusal(503, "busy"), refusal(502, "bad gateway"), refusal(429, "slow", headers={"retry-after": "0"})]
    notes = KeptEvents()
    async with FakeUpstream(replies) as upstream, BridgeServer(upstream, sinks=[notes]) as server:
        assert [(await server.messages()).status for _ in replies] == [529, 502, 429]
        assert len(upstream.requests) == len(replies)
    assert "UpstreamRetried" not in notes.kinds()


@pytest.mark.parametrize(
    ("reported", "prices", "cost_usd"),
    [
        pytest.param({}, Prices(input=2, output=10), 0.00007, id="by the prices"),
        pytest.param({"cost": 0.5}, Prices(input=2, output=10), 0.5, id="as the engine says"),
        pytest.param({}, FREE, 0.0, id="an engine of the user's own"),
        pytest.param({}, None, None, id="not known"),
    ],
)
async def test_the_trace_is_reported_what_an_answer_cost(
    reported: dict[str, Any], prices: Prices | None, cost_usd: float | None
) -> None:
    counts = {"prompt_tokens": 10, "completion_tokens": 5, **reported}
    reply = stream(text("Hello"), finish(), frame({"choices": [], "usage": counts}), DONE)
    async with FakeUpstream([reply]) as engine:
        notes, upstream = KeptEvents(), scripted_upstream(engine.base_url, prices=prices)
        async with BridgeServer(upstream, sinks=[notes]) as server:
            await server.messages(stream=True)
    (end,) = (event for event in notes.events if isinstance(event, ExchangeEnded))
    assert end.cost_usd == cost_usd


async def test_an_answer_in_json_escapes_nothing_it_need_not() -> None:
    async with FakeUpstream([answer("Zażółć 🐍")]) as upstream, BridgeServer(upstream) as server:
        assert msgspec.json.decode((await server.messages()).body)["content"][0]["text"] == "Zażółć 🐍"


async def test_a_malformed_request_is_in_the_trace_with_who_sent_it() -> None:
    notes = KeptEvents()
    async with FakeUpstream([]) as upstream, BridgeServer(upstream, sinks=[notes]) as server:
        response = await server.post("/v1/messages", {"model": 1}, user_agent="curl/8")
    assert response.status == 400
    received, failed = notes.events
    assert isinstance(received, RequestReceived)
    assert isinstance(failed, ExchangeFailed)
    assert (received.user_agent, received.body) == ("curl/8", b'{"model":1}')


@pytest.mark.parametrize("kind", ["openai-chat", "anthropic-messages"])
async def test_a_part_of_a_conversation_is_refused_so_that_the_client_sends_all_of_it(kind: str) -> None:
    """Claude Code reads the code in the details (raine/claude-code-proxy#148, bifrost#7274)."""
    async with FakeUpstream([stream(*HELLO) if kind == "anthropic-messages" else answer("Hello")]) as upstream:
        known = relayed_to(upstream) if kind == "anthropic-messages" else scripted_upstream(upstream.base_url)
        async with BridgeServer(known) as server:
            part = await server.messages(thread={"type": "continue", "previous_message_id": "msg_1"})
            assert (part.status, part.json["error"]["type"]) == (400, "invalid_request_error")
            assert part.json["error"]["details"] == {"error_code": "thread_unsupported_request"}
            assert not upstream.requests
            assert (await server.messages(thread={"type": "create"}, stream=True)).status == 200


async def test_anthropic_keeps_conversations_itself() -> None:
    thread = {"type": "continue", "previous_message_id": "msg_1"}
    async with (
        FakeUpstream([stream(*HELLO)]) as upstream,
        BridgeServer(relayed_to(upstream, profile=ANTHROPIC)) as server,
    ):
        assert (await server.messages(thread=thread, stream=True)).status == 200
        assert upstream.requests[0].json["thread"] == thread
