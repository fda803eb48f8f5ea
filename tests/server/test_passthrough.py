"""Engines that speak Anthropic's own API: what reaches them, and what of their answers reaches the client."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.engine_profiles import ANTHROPIC, LLAMA_CPP, UNKNOWN
from claude_bridge.conversion.profile import Profile
from claude_bridge.providers import Upstream
from claude_bridge.trace.events import AnswerMended, ExchangeEnded, ExchangeFailed, PromptReread, RequestSent
from claude_bridge.wire.anthropic import TextBlock
from claude_bridge.wire.anthropic_answers import (
    BlockInputJsonDelta,
    BlockTextDelta,
    ContentBlockDelta,
    Diagnostics,
    ErrorEvent,
    MessageStart,
    Ping,
)
from tests.dialogues import folded
from tests.fake_upstream import (
    Close,
    FakeUpstream,
    Head,
    Pause,
    Reply,
    Send,
    Stall,
    Step,
    Wait,
    document,
    json_document,
    stream,
)
from tests.kept_events import KeptEvents
from tests.laws import assert_legal
from tests.server.served import QUICK, BridgeServer, parse_events, post, question, streamed

pytestmark = pytest.mark.anyio


def relayed_to(
    fake: FakeUpstream, *, profile: Profile = UNKNOWN, model: str = "", takes_login: bool = False
) -> Upstream:
    return Upstream(
        name="The engine",
        base_url=f"http://127.0.0.1:{fake.port}",
        model=model,
        adapter=ADAPTERS["anthropic-messages"],
        profile=profile,
        forwards_client_auth=takes_login,
    )


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def message(**fields: Any) -> dict[str, Any]:
    usage = {"input_tokens": 7, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 0, "output_tokens": 1}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "theirs",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
        **fields,
    }


HELLO = [
    event("message_start", message=message()),
    event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    event("ping"),
    event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hel"}),
    event("content_block_delta", index=0, delta={"type": "text_delta", "text": "lo"}),
    event("content_block_stop", index=0),
    event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 5}),
    event("message_stop"),
]
WHOLE = message(content=[{"type": "text", "text": "Hello"}], stop_reason="end_turn", future_field={"a": 1})


async def test_an_answer_that_needs_no_mending_is_passed_on_byte_for_byte() -> None:
    async with FakeUpstream([stream(*HELLO)]) as fake, BridgeServer(relayed_to(fake)) as server:
        answer = await server.ask(streamed())
    assert answer.status == 200
    assert answer.body == b"".join(HELLO)


async def test_a_whole_answer_is_passed_on_byte_for_byte() -> None:
    body = json.dumps(WHOLE, indent=1).encode()
    async with FakeUpstream([document(body)]) as fake, BridgeServer(relayed_to(fake)) as server:
        answer = await server.messages()
    assert answer.body == body


OF_ONE_CONNECTION = [
    "cookie",
    "forwarded",
    "keep_alive",
    "proxy_authorization",
    "referer",
    "sec_ch_ua",
    "te",
    "trailer",
    "via",
]
OF_ONE_CONNECTION += ["x_forwarded_for", "x_real_ip"]


async def test_the_request_is_passed_on_byte_for_byte_with_its_query_and_headers() -> None:
    requested = post(
        "/v1/messages?beta=true",
        question(safeguards=[{"future": None}], messages=[{"role": "user", "content": [{"type": "new", "x": [1]}]}]),
        anthropic_version="2023-06-01",
        anthropic_beta="one,two",
        connection="keep-alive, x-hop",
        x_hop="1",
        **dict.fromkeys(OF_ONE_CONNECTION, "x"),
    )
    async with FakeUpstream([json_document(WHOLE)]) as fake, BridgeServer(relayed_to(fake)) as server:
        assert (await server.ask(requested)).status == 200
        got = await fake.request(0)
    assert got.path == "/v1/messages?beta=true"
    assert got.body == requested.partition(b"\r\n\r\n")[2]
    assert got.headers["anthropic-version"] == "2023-06-01"
    assert got.headers["anthropic-beta"] == "one,two"
    assert {"x-hop", *(name.replace("_", "-") for name in OF_ONE_CONNECTION)}.isdisjoint(got.headers)
    assert got.headers["host"] == f"127.0.0.1:{fake.port}"


async def test_what_this_version_does_not_understand_is_for_the_engine_to_judge() -> None:
    image = {"type": "image", "source": {"type": "of the future", "x": 1}}
    body = question(messages=[{"role": "user", "content": [image]}], tool_choice={"type": "newest"}, max_tokens=None)
    notes = KeptEvents()
    async with (
        FakeUpstream([json_document(WHOLE)]) as fake,
        BridgeServer(relayed_to(fake), sinks=[notes]) as server,
    ):
        assert (await server.post("/v1/messages", body)).status == 200
        assert (await fake.request(0)).json == body
        assert (await server.post("/v1/messages", {"model": 1})).status == 400
    assert "ExchangeEnded" in notes.kinds()


async def test_a_body_of_a_megabyte_is_passed_on_byte_for_byte() -> None:
    turns = [
        {"role": role, "content": f"{number} é\n" * 400} for number in range(200) for role in ("user", "assistant")
    ]
    system = [{"type": "text", "text": "x-anthropic-billing-header: cc_version=2; cch=abc12;"}]
    requested = post("/v1/messages", question(messages=[*turns, turns[0]], system=system))
    body = requested.partition(b"\r\n\r\n")[2]
    assert len(body) > 1_000_000
    async with FakeUpstream([json_document(WHOLE)]) as fake, BridgeServer(relayed_to(fake)) as server:
        assert (await server.ask(requested)).status == 200
        assert (await fake.request(0)).body == body.replace(b"cch=abc12;", b"cch=00000;")


async def test_the_bridges_own_token_stays_here_and_the_configured_key_goes_on() -> None:
    upstream_replies = [json_document(WHOLE), json_document(WHOLE)]
    async with FakeUpstream(upstream_replies) as fake:
        async with BridgeServer(relayed_to(fake, takes_login=True), auth_token="ours-only") as server:
            requested = post("/v1/messages", question(), authorization="Bearer ours-only", x_api_key="sk-mine")
            assert (await server.ask(requested)).status == 200
        async with BridgeServer(relayed_to(fake, takes_login=True), api_key="sk-configured") as server:
            requested = post("/v1/messages", question(), authorization="Bearer mine", x_api_key="sk-mine")
            assert (await server.ask(requested)).status == 200
        without_key, with_key = fake.requests
    assert "ours-only" not in str(without_key.headers)
    assert without_key.headers["x-api-key"] == "sk-mine"
    assert with_key.headers["authorization"] == "Bearer sk-configured"
    assert with_key.headers["x-api-key"] == "sk-configured"


@pytest.mark.parametrize("profile", [UNKNOWN, ANTHROPIC, LLAMA_CPP], ids=lambda row: row.name)
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_the_clients_login_goes_to_no_other_engine(profile: Profile, path: str) -> None:
    logins = {"authorization": "Bearer sk-ant-oat01-mine", "x_api_key": "sk-ant-api03-mine", "anthropic_beta": "oauth"}
    replies = [json_document(WHOLE | {"input_tokens": 9})]
    async with FakeUpstream(replies) as fake, BridgeServer(relayed_to(fake, profile=profile)) as server:
        assert (await server.ask(post(path, question(), **logins))).status == 200
        got = await fake.request(0)
    assert "sk-ant" not in str(got.headers)
    assert path.endswith("count_tokens") or got.headers["anthropic-beta"] == "oauth"


async def test_anthropic_gets_one_key_only_and_an_untouched_header() -> None:
    system = [{"type": "text", "text": "x-anthropic-billing-header: cc_version=2; cch=abc12;"}]
    async with (
        FakeUpstream([json_document(WHOLE)]) as fake,
        BridgeServer(relayed_to(fake, profile=ANTHROPIC), api_key="sk-ant-api03-x") as server,
    ):
        await server.messages(system=system)
        got = await fake.request(0)
    assert "authorization" not in got.headers
    assert got.headers["x-api-key"] == "sk-ant-api03-x"
    assert got.json["system"] == system


async def test_the_model_is_replaced_where_one_was_named() -> None:
    async with (
        FakeUpstream([json_document(WHOLE)]) as fake,
        BridgeServer(relayed_to(fake, model='qwen "3"')) as server,
    ):
        await server.messages(model="claude-sonnet-5-5")
        assert (await fake.request(0)).json["model"] == 'qwen "3"'


async def test_what_the_engine_says_in_headers_comes_back() -> None:
    headers = {"request-id": "req_theirs", "anthropic-ratelimit-requests-remaining": "7", "server": "secret/1.0"}
    async with FakeUpstream([json_document(WHOLE, headers=headers)]) as fake, BridgeServer(relayed_to(fake)) as server:
        answer = await server.messages()
    assert answer.headers["request-id"] == "req_theirs"
    assert answer.headers["bridge-request-id"].startswith("req_")
    assert answer.headers["anthropic-ratelimit-requests-remaining"] == "7"
    assert "server" not in answer.headers


async def test_anthropics_refusals_are_passed_on_byte_for_byte() -> None:
    body = b'{"type": "error", "error": {"type": "rate_limit_error", "message": "Slow down"}, "request_id": "req_9"}'
    headers = {"retry-after": "17", "request-id": "req_9"}
    async with (
        FakeUpstream([document(body, status=429, headers=headers)]) as fake,
        BridgeServer(relayed_to(fake, profile=ANTHROPIC)) as server,
    ):
        answer = await server.ask(streamed())
    assert (answer.status, answer.body) == (429, body)
    assert (answer.headers["retry-after"], answer.headers["request-id"]) == ("17", "req_9")


async def test_other_engines_refusals_are_reported_in_anthropics_shape() -> None:
    error = {"error": {"code": 400, "message": "x", "type": "exceed_context_size_error"}}
    error["error"] |= {"n_prompt_tokens": 9031, "n_ctx": 8192}
    async with FakeUpstream([json_document(error, status=400)]) as fake, BridgeServer(relayed_to(fake)) as server:
        answer = await server.ask(streamed())
    assert answer.status == 400
    assert answer.json["type"] == "error"
    assert answer.json["error"]["message"] == "prompt is too long: 9031 tokens > 8192 maximum"


@pytest.mark.parametrize("profile", [ANTHROPIC, UNKNOWN], ids=lambda profile: str(profile.name))
async def test_a_stream_that_breaks_off_ends_in_an_error(profile: Profile) -> None:
    reply: Reply = [Head(), *map(Send, HELLO[:4]), Close()]
    async with FakeUpstream([reply]) as fake, BridgeServer(relayed_to(fake, profile=profile)) as server:
        answer = await server.ask(streamed())
    assert answer.body.startswith(b"".join(HELLO[:4]))
    assert isinstance(answer.events[-1], ErrorEvent)


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_the_trace_records_a_relayed_exchange(is_streamed: bool) -> None:
    notes = KeptEvents()
    reply = stream(*HELLO) if is_streamed else json_document(WHOLE)
    async with FakeUpstream([reply]) as fake, BridgeServer(relayed_to(fake), sinks=[notes]) as server:
        await server.messages(stream=is_streamed)
    (sent,) = [reported for reported in notes.events if isinstance(reported, RequestSent)]
    (ended,) = [reported for reported in notes.events if isinstance(reported, ExchangeEnded)]
    assert sent.model == "m"
    assert ended.message.content == [TextBlock("Hello")]
    assert (ended.prompt_tokens, ended.cached_tokens) == (10, 3)
    assert {"FirstToken", "UpstreamAnswered"} <= set(notes.kinds())


async def test_unknown_blocks_are_passed_on_and_named_in_the_trace() -> None:
    block = {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "search", "server_name": "s", "input": {}}
    frames = [
        HELLO[0],
        event("content_block_start", index=0, content_block=block),
        event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": '{"query": "x"}'}),
        *HELLO[5:],
    ]
    notes = KeptEvents()
    async with (
        FakeUpstream([stream(*frames)]) as fake,
        BridgeServer(relayed_to(fake, profile=ANTHROPIC), sinks=[notes]) as server,
    ):
        answer = await server.ask(streamed())
    assert answer.body == b"".join(frames)
    (ended,) = [reported for reported in notes.events if isinstance(reported, ExchangeEnded)]
    assert ended.message.content == [TextBlock('[mcp_tool_use block]{"query": "x"}')]


async def test_the_trace_records_what_was_repaired_in_an_answer() -> None:
    call = {"type": "tool_use", "id": "c1", "name": "Bash"}
    frames = [HELLO[0], event("content_block_start", index=0, content_block=call), *HELLO[5:]]
    notes = KeptEvents()
    async with FakeUpstream([stream(*frames)]) as fake, BridgeServer(relayed_to(fake), sinks=[notes]) as server:
        await server.ask(streamed())
    mends = [reported.what for reported in notes.events if isinstance(reported, AnswerMended)]
    assert mends == ["the start of a tool_use block: input", "the stop reason was end_turn"]


async def test_a_silent_engine_is_covered_by_a_message_of_the_bridges_own() -> None:
    go_on = anyio.Event()
    reply: Reply = [Head(), Wait(go_on), *map(Send, HELLO)]
    async with (
        FakeUpstream([reply]) as fake,
        BridgeServer(relayed_to(fake), waiting=QUICK) as server,
        server.connect() as wire,
    ):
        await wire.send(streamed())
        await wire.head()
        early = [await wire.chunk() for _ in range(2)]
        go_on.set()
        late = []
        while chunk := await wire.chunk():
            late.append(chunk)
    events = parse_events(b"".join([*early, *late]))
    assert_legal(events)
    message = folded(events)
    assert message.content == [TextBlock("Hello")]
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens, message.usage.output_tokens) == (7, 3, 5)
    assert any(isinstance(reported, Ping) for reported in parse_events(early[0]))


async def test_pings_of_the_engine_do_not_stand_in_for_progress() -> None:
    pings: list[Step] = [step for _ in range(8) for step in (Pause(0.02), Send(event("ping")))]
    reply: Reply = [Head(), *map(Send, HELLO[:2]), *pings, *map(Send, HELLO[3:])]
    async with FakeUpstream([reply]) as fake, BridgeServer(relayed_to(fake), waiting=QUICK) as server:
        answer = await server.ask(streamed())
    empty = [reported for reported in answer.events if reported == ContentBlockDelta(0, BlockTextDelta(""))]
    assert empty, "older clients count deltas only"
    assert folded(answer.events).content == [TextBlock("Hello")]


async def test_an_engine_that_fails_after_a_long_silence_is_reported_within_the_stream() -> None:
    go_on = anyio.Event()
    error = b'{"error":{"code":500,"message":"The decoder ran out of memory","type":"server_error"}}'
    reply: Reply = [Wait(go_on), *document(error, status=500)]
    async with (
        FakeUpstream([reply]) as fake,
        BridgeServer(relayed_to(fake), waiting=QUICK) as server,
        server.connect() as wire,
    ):
        await wire.send(streamed())
        assert (await wire.head()).status == 200
        early = await wire.chunk()
        go_on.set()
        late = []
        while chunk := await wire.chunk():
            late.append(chunk)
    events = parse_events(b"".join([early, *late]))
    assert_legal(events)
    assert isinstance(events[-1], ErrorEvent)
    assert "ran out of memory" in events[-1].error.message


async def test_anthropic_is_waited_for_however_long_it_takes_so_that_its_status_is_kept() -> None:
    go_on = anyio.Event()
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    reply: Reply = [Wait(go_on), *document(body, status=529)]
    async with (
        FakeUpstream([reply]) as fake,
        BridgeServer(relayed_to(fake, profile=ANTHROPIC), waiting=QUICK) as server,
        server.connect() as wire,
    ):
        await wire.send(streamed())
        await fake.request(0)
        await anyio.sleep(4 * QUICK.first_byte_grace_s)
        go_on.set()
        answer = await wire.response()
    assert (answer.status, answer.body) == (529, body)


async def test_an_engine_is_freed_when_its_client_leaves() -> None:
    reply: Reply = [Head(), *map(Send, HELLO[:4]), Stall()]
    async with FakeUpstream([reply]) as fake, BridgeServer(relayed_to(fake)) as server:
        async with server.connect() as wire:
            await wire.send(streamed())
            await wire.head()
        await (await fake.request(0)).wait_until_closed_by_peer()


async def test_a_whole_answer_is_mended() -> None:
    body = message(content=[{"type": "tool_use", "id": "c1", "name": "Bash"}], stop_reason="end_turn")
    async with FakeUpstream([json_document(body)]) as fake, BridgeServer(relayed_to(fake)) as server:
        answer = await server.messages()
    assert answer.json["content"][0]["input"] == {}
    assert answer.json["stop_reason"] == "tool_use"


def _with_call(arguments: str) -> bytes:
    opened = {"type": "tool_use", "id": "c1", "name": "Bash", "input": {}}
    return b"".join(
        [
            event("message_start", message=message(content=[], stop_reason=None)),
            event("content_block_start", index=0, content_block=opened),
            event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": arguments}),
            event("content_block_stop", index=0),
            event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 7}),
            event("message_stop"),
        ]
    )


@pytest.mark.parametrize(
    ("arguments", "given", "stop_reason"),
    [
        ("{'command': 'ls'}", {"command": "ls"}, "tool_use"),
        ("no JSON at all", {"__unparsedToolInput": {"raw": "no JSON at all", "len": 14}}, "tool_use"),
        ('{"command": "rm -rf /home/me/pro', None, "max_tokens"),
    ],
    ids=["malformed", "no JSON", "cut off"],
)
async def test_the_input_of_a_call_is_an_object_or_left_open(arguments: str, given: Any, stop_reason: str) -> None:
    reply: Reply = [Head(), Send(_with_call(arguments)), Close()]
    async with FakeUpstream([reply]) as fake, BridgeServer(relayed_to(fake)) as server:
        events = (await server.ask(streamed(tools=[{"name": "Bash", "input_schema": {"type": "object"}}]))).events
    assert_legal(events)
    answer = folded(events)
    deltas = [event.delta for event in events if isinstance(event, ContentBlockDelta)]
    text = "".join(delta.partial_json for delta in deltas if isinstance(delta, BlockInputJsonDelta))
    assert (json.loads(text) if given else text) == (given or arguments)
    assert answer.stop_reason == stop_reason


async def test_an_error_with_status_200_gets_one() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}
    async with FakeUpstream([json_document(error)]) as fake, BridgeServer(relayed_to(fake)) as server:
        answer = await server.messages()
    assert (answer.status, answer.json["error"]["type"]) == (529, "overloaded_error")


HOW_MANY = {"model": "m", "messages": [{"role": "user", "content": "How many tokens? " * 20}]}


async def test_the_engine_counts_with_its_own_tokenizer() -> None:
    async with FakeUpstream([json_document({"input_tokens": 4711})]) as fake, BridgeServer(relayed_to(fake)) as server:
        answer = await server.post("/v1/messages/count_tokens", HOW_MANY)
        assert (await fake.request(0)).path == "/v1/messages/count_tokens"
    assert answer.json == {"input_tokens": 4711}


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(
            document(b"404 page not found", status=404, content_type="text/plain"), id="Ollama has no such route"
        ),
        pytest.param(json_document({"total": 1}), id="LM Studio gives no count"),
        pytest.param(json_document({"error": "x"}, status=500), id="it fails"),
    ],
)
async def test_a_count_that_the_engine_does_not_give_is_the_bridges_own(reply: Reply) -> None:
    async with FakeUpstream([reply]) as fake, BridgeServer(relayed_to(fake)) as server:
        answer = await server.post("/v1/messages/count_tokens", HOW_MANY)
    assert answer.status == 200
    assert 60 < answer.json["input_tokens"] < 200


async def test_anthropic_counts_for_the_client_with_the_clients_own_login() -> None:
    refused = b'{"type":"error","error":{"type":"rate_limit_error","message":"Slow down"}}'
    replies = [json_document({"input_tokens": 9}), document(refused, status=429)]
    anthropic_at = partial(relayed_to, profile=ANTHROPIC, takes_login=True)
    async with FakeUpstream(replies) as fake, BridgeServer(anthropic_at(fake)) as server:
        requested = post(
            "/v1/messages/count_tokens?beta=true", HOW_MANY, authorization="Bearer mine", anthropic_beta="b"
        )
        assert (await server.ask(requested)).json == {"input_tokens": 9}
        assert (await server.ask(requested)).body == refused
        got = await fake.request(0)
    assert got.path == "/v1/messages/count_tokens?beta=true"
    assert (got.headers["authorization"], got.headers["anthropic-beta"]) == ("Bearer mine", "b")


async def test_a_client_that_requests_diagnostics_gets_the_reason_of_a_cache_miss() -> None:
    replies = [json_document(WHOLE | {"id": "msg_a"}), stream(*HELLO), stream(*HELLO)]
    async with FakeUpstream(replies) as fake, BridgeServer(relayed_to(fake)) as server:
        first = (await server.messages(diagnostics={"previous_message_id": None}, system="You help.")).json
        same = await server.messages(diagnostics={"previous_message_id": "msg_a"}, system="You help.", stream=True)
        other = await server.messages(diagnostics={"previous_message_id": first["id"]}, system="No.", stream=True)
    assert first["diagnostics"] is None
    assert b'"diagnostics":null' in same.body
    (opened, *_) = other.events
    assert isinstance(opened, MessageStart)
    assert isinstance(opened.message.diagnostics, Diagnostics)
    assert opened.message.diagnostics.cache_miss_reason.type == "system_changed"


async def test_a_prompt_that_was_read_again_is_reported_with_the_cause() -> None:
    usage = {"input_tokens": 9_000, "cache_read_input_tokens": 0, "output_tokens": 1}
    notes = KeptEvents()
    replies = [json_document(message(usage=usage, stop_reason="end_turn")) for _ in range(2)]
    async with FakeUpstream(replies) as fake, BridgeServer(relayed_to(fake), sinks=[notes]) as server:
        for description in ("Run a command.", "Run a command, quickly."):
            tool: dict[str, Any] = {"name": "Bash", "description": description, "input_schema": {}}
            requested = post("/v1/messages", question(tools=[tool]), x_claude_code_session_id="s")
            assert (await server.ask(requested)).status == 200
    (reported,) = [event for event in notes.events if isinstance(event, PromptReread)]
    assert (reported.turn, reported.tokens, reported.reason) == (2, 9_000, "tool Bash's description changed")
    assert notes.kinds().index("PromptReread") < notes.kinds().index("ExchangeEnded", 8)


async def test_anthropic_answers_diagnostics_itself() -> None:
    async with (
        FakeUpstream([stream(*HELLO)]) as fake,
        BridgeServer(relayed_to(fake, profile=ANTHROPIC)) as server,
    ):
        answer = await server.messages(diagnostics={"previous_message_id": "msg_a"}, stream=True)
        assert (await fake.request(0)).json["diagnostics"] == {"previous_message_id": "msg_a"}
    assert answer.body == b"".join(HELLO)


async def test_an_error_event_of_anthropics_is_passed_on_and_reported() -> None:
    frames = [HELLO[0], event("error", error={"type": "overloaded_error", "message": "Overloaded"})]
    notes = KeptEvents()
    async with (
        FakeUpstream([stream(*frames)]) as fake,
        BridgeServer(relayed_to(fake, profile=ANTHROPIC), sinks=[notes]) as server,
    ):
        answer = await server.ask(streamed())
    assert answer.body == b"".join(frames)
    assert any(isinstance(reported, ExchangeFailed) for reported in notes.events)


async def test_the_library_asks_a_relayed_engine_too() -> None:
    from claude_bridge.bridge import ModelBridge
    from claude_bridge.upstream.client import client_for
    from tests.dialogues import a_request

    async with FakeUpstream([stream(*HELLO)]) as fake:
        upstream = replace(relayed_to(fake), model="theirs")
        async with client_for(upstream, None) as client:
            answer = await ModelBridge(upstream, client).complete(a_request(tools=[{"name": "A", "input_schema": {}}]))
        body = (await fake.request(0)).json
    assert answer.content == [TextBlock("Hello")]
    assert body["stream"] is True
    assert body["tools"] == [{"name": "A", "input_schema": {}}]
