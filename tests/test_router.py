"""A bridge before several upstreams: who is asked, and what happens while one fails."""

from __future__ import annotations

import socket
import sys
import traceback
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

import claude_bridge
from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.engine_profiles import ANTHROPIC, UNKNOWN
from claude_bridge.bridge import ModelBridge
from claude_bridge.clients.claude_code import SEARCH_PROMPT
from claude_bridge.conversion.profile import Profile
from claude_bridge.errors import BridgeError, SetupError, UpstreamOverloadedError, UpstreamUnreachableError
from claude_bridge.providers import Upstream
from claude_bridge.router import RoutedBridge, cool_down_s
from claude_bridge.routing import Routing, Target
from claude_bridge.server_tools.tools import WebTools
from claude_bridge.trace.events import FellBack, RequestSent
from claude_bridge.upstream.call import WATCHED_AFTER_S
from claude_bridge.upstream.client import client_for
from claude_bridge.upstream.engines.report import OfferedModel
from claude_bridge.wire.anthropic_answers import (
    BlockTextDelta,
    ContentBlockDelta,
    ErrorEvent,
)
from tests.fake_upstream import (
    DONE,
    WAIT_S,
    End,
    FakeUpstream,
    Head,
    Pause,
    Reply,
    Reset,
    Send,
    Step,
    Wait,
    answer,
    calls,
    finish,
    json_document,
    refusal,
    text,
    usage,
)
from tests.kept_events import KeptEvents
from tests.running_bridge import scripted_upstream
from tests.server.served import BridgeServer, get, question, streamed
from tests.server_tools.engines import Internet

pytestmark = pytest.mark.anyio

DEAD = "http://127.0.0.1:9/v1"
FIRST, SECOND, THIRD = Target("one", "first"), Target("two", "second"), Target("three", "third")


class Chain(BridgeServer):
    """A server before several engines, which are named by their targets."""

    def __init__(
        self,
        routing: Routing,
        engines: dict[Target, FakeUpstream | Upstream | str],
        *,
        offered: Sequence[str] | BridgeError = (),
        web_tools: WebTools | None = None,
    ) -> None:
        self.notes = KeptEvents()
        super().__init__(DEAD, sinks=[self.notes], web_tools=web_tools)
        self.routing = routing
        self.listed = 0
        self._engines = engines
        self._offered_names = offered
        self._clients = AsyncExitStack()

    async def __aenter__(self) -> Chain:
        await super().__aenter__()
        main = await self.open(self.routing.main)
        routed = RoutedBridge(main, self.routing, open_target=self.open, list_offered=self.offered)
        self.service.provide(routed)
        return self

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        await self._clients.aclose()

    async def open(self, target: Target) -> ModelBridge:
        engine = self._engines.get(target)
        if engine is None:
            raise SetupError(f"There is no model {target.model!r}.", "Take another.")
        if not isinstance(engine, Upstream):
            base_url = engine if isinstance(engine, str) else engine.base_url
            engine = replace(scripted_upstream(base_url), model=target.model, name=target.provider)
        upstream = engine
        client = await self._clients.enter_async_context(client_for(upstream, None))
        return ModelBridge(upstream, client, bus=self.service.bus, web_tools=self._web_tools)

    async def offered(self) -> list[OfferedModel]:
        self.listed += 1
        if isinstance(self._offered_names, BridgeError):
            raise self._offered_names
        return [OfferedModel(id=name, context_window=4096) for name in self._offered_names]

    async def output_text(self, model: str = "claude-x", **headers: str) -> str:
        """Ask, and return the words of the answer or of the error."""
        response = await self.post("/v1/messages", question(model=model), **headers)
        body = response.json
        return str(
            body["content"][0]["text"] if response.status == 200 else f"{response.status} {body['error']['message']}"
        )


def passed_to(engine: FakeUpstream, *, profile: Profile = UNKNOWN) -> Upstream:
    """Return an engine of Anthropic's API, which gets the requests as they came."""
    base_url = engine.base_url.removesuffix("/v1")
    return Upstream(name="It", base_url=base_url, model="", adapter=ADAPTERS["anthropic-messages"], profile=profile)


WHOLE_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "Hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


def says(words: str) -> FakeUpstream:
    return FakeUpstream(lambda _: answer(words))


def fails(reply: Reply) -> FakeUpstream:
    return FakeUpstream(lambda _: reply)


async def test_a_chain_with_faults_gives_one_good_answer() -> None:
    routing = Routing(main=FIRST, fallback=(SECOND, THIRD))
    async with (
        fails(refusal(503, "overloaded")) as second,
        says("Here I am.") as third,
        Chain(routing, {FIRST: DEAD, SECOND: second, THIRD: third}) as server,
    ):
        assert await server.output_text() == "Here I am."
        assert len(second.requests) >= 1
        fallen = [event for event in server.notes.events if isinstance(event, FellBack)]
        assert [(event.target, event.status) for event in fallen] == [("one/first", 502), ("two/second", 529)]
        sent = [event for event in server.notes.events if isinstance(event, RequestSent)]
        assert (sent[-1].model, sent[-1].upstream, sent[-1].reason) == ("third", "three", "it is a fallback")
        figures = (await server.ask(get("/stats"))).json["models"]
        assert {name: reported["fallbacks"] for name, reported in figures.items()} == {"third": 2}


@pytest.mark.parametrize("status", [429, 500, 502, 503, 529])
async def test_what_passes_at_another_engine_is_asked_there(status: int) -> None:
    routing = Routing(main=FIRST, fallback=(SECOND,))
    async with (
        fails(refusal(status, "no")) as first,
        says("Second.") as second,
        Chain(routing, {FIRST: first, SECOND: second}) as server,
    ):
        assert await server.output_text() == "Second."


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 529])
async def test_what_anthropic_itself_fails_with_passes_at_another_engine_too(status: int) -> None:
    """Its refusals are handed on as they came, with statuses of its own."""
    routing = Routing(main=FIRST, fallback=(SECOND,))
    body = {"type": "error", "error": {"type": "api_error", "message": "no"}}
    async with (
        fails(json_document(body, status=status)) as first,
        says("Second.") as second,
        Chain(routing, {FIRST: passed_to(first, profile=ANTHROPIC), SECOND: second}) as server,
    ):
        assert await server.output_text() == "Second."
        assert len(first.requests) == 1


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (402, "Payment Required"),
        (402, "Insufficient credits. Add more at …"),
        (403, "This request requires more credits, or fewer max_tokens."),
        (404, "No endpoints found for foo/bar."),
        (404, "No endpoints found that support tool use."),
        (404, "No allowed providers are available for the selected model."),
        (403, "Country, region, or territory not supported"),
        (429, "you've reached your weekly usage limit, please upgrade to continue"),
    ],
)
async def test_what_only_this_account_or_model_is_refused_is_the_fallbacks_turn(status: int, words: str) -> None:
    routing = Routing(main=FIRST, fallback=(SECOND,))
    async with (
        fails(refusal(status, words)) as first,
        says("Second.") as second,
        Chain(routing, {FIRST: first, SECOND: second}) as server,
    ):
        assert await server.output_text() == "Second."


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413])
async def test_what_nobody_could_serve_is_reported_at_once(status: int) -> None:
    routing = Routing(main=FIRST, fallback=(SECOND,))
    async with (
        fails(refusal(status, "no such thing")) as first,
        says("Second.") as second,
        Chain(routing, {FIRST: first, SECOND: second}) as server,
    ):
        assert "no such thing" in await server.output_text()
        assert second.requests == []


@pytest.mark.parametrize(("status", "words"), [(400, "424 "), (401, "Third."), (403, "Third."), (404, "Third.")])
async def test_a_fallback_that_is_configured_wrongly_is_passed_over(status: int, words: str) -> None:
    routing = Routing(main=FIRST, fallback=(SECOND, THIRD))
    async with (
        fails(refusal(status, "no such thing")) as second,
        says("Third.") as third,
        Chain(routing, {FIRST: DEAD, SECOND: second, THIRD: third}) as server,
    ):
        assert (await server.output_text()).startswith(words)


async def test_a_fault_in_mid_stream_is_never_hidden() -> None:
    routing = Routing(main=FIRST, fallback=(SECOND,))
    async with (
        fails([Head(), Send(text("Half an ans")), Reset()]) as first,
        says("Second.") as second,
        Chain(routing, {FIRST: first, SECOND: second}) as server,
    ):
        response = await server.post("/v1/messages", question(model="claude-x", stream=True))
        texts = [event.delta for event in response.events if isinstance(event, ContentBlockDelta)]
        assert [delta.text for delta in texts if isinstance(delta, BlockTextDelta)] == ["Half an ans"]
        assert isinstance(response.events[-1], ErrorEvent)
        assert second.requests == []


async def test_the_last_ones_trouble_is_reported_if_all_fail() -> None:
    routing = Routing(main=FIRST, fallback=(SECOND,))
    async with fails(refusal(503, "full")) as second, Chain(routing, {FIRST: DEAD, SECOND: second}) as server:
        assert (await server.output_text()).startswith("529 ")


async def test_one_that_failed_is_asked_last_for_a_while() -> None:
    replies = iter([refusal(429, "wait", headers={"retry-after": "60"}), answer("First.")])
    routing = Routing(main=FIRST, fallback=(SECOND,))
    async with (
        FakeUpstream(lambda _: next(replies)) as first,
        says("Second.") as second,
        Chain(routing, {FIRST: first, SECOND: second}) as server,
    ):
        assert [await server.output_text(), await server.output_text()] == ["Second.", "Second."]
        assert len(first.requests) == 1, "it rests as long as it said"


async def test_one_that_has_rested_is_asked_first_again() -> None:
    replies = iter([refusal(429, "wait", headers={"retry-after": "1"}), answer("First.")])
    routing = Routing(main=FIRST, fallback=(SECOND,))
    async with (
        FakeUpstream(lambda _: next(replies)) as first,
        says("Second.") as second,
        Chain(routing, {FIRST: first, SECOND: second}) as server,
    ):
        assert await server.output_text() == "Second."
        with anyio.fail_after(WAIT_S):
            while await server.output_text() != "First.":  # noqa: ASYNC110 - the bridge tells it to nobody
                await anyio.sleep(0.1)


async def test_one_that_rests_is_asked_all_the_same_if_no_other_answers() -> None:
    replies = iter([refusal(503, "full"), answer("First.")])
    routing = Routing(main=FIRST, fallback=(SECOND,))
    async with FakeUpstream(lambda _: next(replies)) as first, Chain(routing, {FIRST: first, SECOND: DEAD}) as server:
        assert (await server.output_text()).startswith("502 ")
        assert await server.output_text() == "First."


async def test_a_fallback_that_is_not_there_is_passed_over() -> None:
    routing = Routing(main=FIRST, fallback=(SECOND, THIRD))
    async with says("Third.") as third, Chain(routing, {FIRST: DEAD, THIRD: third}) as server:
        assert await server.output_text() == "Third."


async def test_a_model_that_is_named_and_not_there_is_reported() -> None:
    routing = Routing(main=FIRST, routes=(("x", SECOND),), fallback=(THIRD,))
    async with says("First.") as first, says("Third.") as third, Chain(routing, {FIRST: first, THIRD: third}) as server:
        assert (await server.output_text("x")).startswith("404 two/second: There is no model 'second'.")


async def test_requests_go_where_their_names_say() -> None:
    routing = Routing(main=FIRST, small=SECOND, subagents=THIRD, routes=(("claude-opus-*", SECOND),))
    async with (
        says("First.") as first,
        says("Second.") as second,
        says("Third.") as third,
        Chain(routing, {FIRST: first, SECOND: second, THIRD: third}) as server,
    ):
        assert await server.output_text("claude-sonnet-5") == "First."
        assert await server.output_text("claude-opus-5[1m]") == "Second."
        assert await server.output_text("claude-haiku-5") == "Second."
        assert await server.output_text("claude-sonnet-5", x_claude_code_agent_id="a1") == "Third."
        assert [request.json["model"] for request in third.requests] == ["third"]
        assert server.listed == 0, "nobody asks an engine for names of Anthropic's"


async def test_a_conversation_with_images_goes_to_the_model_that_sees() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    routing = Routing(main=FIRST, images=SECOND)
    async with (
        says("First.") as first,
        says("Second.") as second,
        Chain(routing, {FIRST: first, SECOND: second}) as server,
    ):
        assert await server.output_text() == "First."
        requested = question(model="claude-x", messages=[{"role": "user", "content": [image]}])
        response = await server.post("/v1/messages", requested)
        assert response.json["content"][0]["text"] == "Second."


async def test_plan_mode_and_long_prompts_go_to_their_models() -> None:
    routing = Routing(main=FIRST, planning=SECOND, long_context=THIRD, long_context_tokens=5_000)
    reminder = "<system-reminder>\nPlan mode is active. The user indicated that they do not want you to execute yet"
    async with (
        says("First.") as first,
        says("Second.") as second,
        says("Third.") as third,
        Chain(routing, {FIRST: first, SECOND: second, THIRD: third}) as server,
    ):
        for text, answer in (("Hi", "First."), (reminder, "Second."), ("a word or two " * 3_000, "Third.")):
            request = question(model="claude-x", messages=[{"role": "user", "content": text}])
            assert (await server.post("/v1/messages", request)).json["content"][0]["text"] == answer


async def test_a_model_that_is_installed_is_used_by_its_name() -> None:
    other = Target("one", "other")
    async with (
        says("First.") as first,
        says("Other.") as second,
        Chain(Routing(main=FIRST), {FIRST: first, other: second}, offered=["first", "other"]) as server,
    ):
        assert await server.output_text("other") == "Other."
        assert await server.output_text("claude-bridge/other") == "Other."
        assert await server.output_text("unknown") == "First."
        assert server.listed == 1, "the list is remembered"
        page = (await server.ask(get("/v1/models?limit=1000"))).json
        assert [row["id"] for row in page["data"]] == ["first", "other", "claude-bridge/first", "claude-bridge/other"]
        assert page["data"][1]["max_input_tokens"] == 4096
        one = await server.ask(get("/v1/models/claude-bridge/other"))
        assert (one.status, one.json["id"]) == (200, "claude-bridge/other")


async def test_an_engine_that_lists_nothing_serves_its_one_model() -> None:
    trouble = UpstreamUnreachableError("gone")
    async with says("First.") as first, Chain(Routing(main=FIRST), {FIRST: first}, offered=trouble) as server:
        assert await server.output_text("other") == "First."


async def test_tokens_are_counted_for_the_model_that_would_be_asked() -> None:
    routing = Routing(main=FIRST, routes=(("x", SECOND),))
    async with says("a") as first, says("b") as second, Chain(routing, {FIRST: first, SECOND: second}) as server:
        response = await server.post("/v1/messages/count_tokens", question(model="x"))
        assert response.json["input_tokens"] > 0


async def test_what_is_wrong_with_the_others_is_found_beforehand() -> None:
    routing = Routing(main=FIRST, fallback=(SECOND,))
    async with says("First.") as first, Chain(routing, {FIRST: first}) as server:
        bridge = server.service.bridge_if_known
        assert isinstance(bridge, RoutedBridge)
        assert await bridge.problems() == ["two/second: There is no model 'second'. Take another."]


WEB_SEARCH = {"type": "web_search_20250305", "name": "web_search"}


@pytest.mark.parametrize("prompt", [f"{SEARCH_PROMPT}bridges", "Look for bridges."], ids=["one search", "a turn"])
async def test_a_fallback_goes_on_where_an_engine_fails_after_a_search(prompt: str) -> None:
    """In the middle of an answer, of which the client has the search already."""
    routing = Routing(main=FIRST, fallback=(SECOND, THIRD))
    overloaded = refusal(503, "overloaded")
    first_search = [] if prompt.startswith(SEARCH_PROMPT) else [calls(("web_search", {"query": "bridges"}))]
    async with (
        Internet() as internet,
        FakeUpstream([*first_search, overloaded]) as first,
        fails(overloaded) as second,
        says("Two bridges.") as third,
        Chain(routing, {FIRST: first, SECOND: second, THIRD: third}, web_tools=internet.tools) as server,
    ):
        messages = [{"role": "user", "content": prompt}]
        response = await server.messages(messages=messages, tools=[WEB_SEARCH])
        *_, found, words = response.json["content"]
        assert (len(found["content"]), words["text"]) == (2, "Two bridges.")
        assert "About Arch bridges." in str(third.requests[0].json["messages"])
        assert len([note for note in server.notes.events if isinstance(note, FellBack)]) == 2


async def test_an_engine_that_failed_after_a_search_is_not_asked_first_after_the_next_one() -> None:
    search = calls(("web_search", {"query": "bridges"}))
    async with (
        Internet() as internet,
        FakeUpstream([search, refusal(503, "overloaded")]) as first,
        FakeUpstream([search, answer("Two bridges.")]) as second,
        Chain(
            Routing(main=FIRST, fallback=(SECOND,)), {FIRST: first, SECOND: second}, web_tools=internet.tools
        ) as server,
    ):
        messages = [{"role": "user", "content": "Look for bridges."}]
        response = await server.messages(messages=messages, tools=[WEB_SEARCH])
        assert response.json["content"][-1]["text"] == "Two bridges."
        assert (len(first.requests), len(second.requests)) == (2, 2)


async def test_the_clients_login_stays_away_from_a_fallback_and_a_route() -> None:
    anthropic, other = Target("anthropic", ""), Target("lan", "m")
    routing = Routing(main=anthropic, fallback=(other,), routes=(("claude-haiku*", other),))
    failed = json_document({"type": "error", "error": {"type": "overloaded_error", "message": "no"}}, status=529)
    login = {"authorization": "Bearer sk-ant-oat01-mine", "x_api_key": "sk-ant-api03-mine"}
    async with (
        fails(failed) as first,
        fails(json_document(WHOLE_MESSAGE)) as second,
        Chain(
            routing,
            {
                anthropic: replace(passed_to(first, profile=ANTHROPIC), forwards_client_auth=True),
                other: passed_to(second),
            },
        ) as server,
    ):
        assert await server.output_text("claude-opus", **login) == "Hello"
        assert await server.output_text("claude-haiku-4-5", **login) == "Hello"
        assert first.requests[0].headers["authorization"] == "Bearer sk-ant-oat01-mine"
        assert len(second.requests) == 2
        assert not any("sk-ant" in str(request.headers) for request in second.requests)


@pytest.mark.parametrize(("retry_after_s", "rests_s"), [(None, 30), (7, 7), (1e8, 600), (1e300, 600)])
def test_a_candidate_is_never_put_aside_for_long(retry_after_s: float | None, rests_s: float) -> None:
    assert cool_down_s(UpstreamOverloadedError("no", retry_after_s=retry_after_s)) == rests_s


PACKAGE = str(Path(claude_bridge.__file__).parent)


def own_frames() -> list[str]:
    """Return the functions of the bridge that are being called, the innermost first."""
    frames = (frame for frame, _ in traceback.walk_stack(sys._getframe(1)))
    return [frame.f_code.co_qualname for frame in frames if frame.f_code.co_filename.startswith(PACKAGE)]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_between_a_client_and_the_engine_there_are_ten_calls_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    sends: list[list[str]] = []
    reads: list[list[str]] = []
    send, recv = socket.socket.send, socket.socket.recv

    def noting_send(self: socket.socket, *args: Any) -> int:
        sends.append(own_frames())
        return send(self, *args)

    def noting_recv(self: socket.socket, *args: Any) -> bytes:
        reads.append(own_frames())
        return recv(self, *args)

    monkeypatch.setattr(socket.socket, "send", noting_send)
    monkeypatch.setattr(socket.socket, "recv", noting_recv)
    words = {word: anyio.Event() for word in ("one", "two", "three", "four", "five")}
    reply: list[Step] = [Head(), Send(text("zero")), Pause(WATCHED_AFTER_S)]  # from then on all reads share a scope
    for word, has_come in words.items():
        reply += [Send(text(word)), Wait(has_come)]
    engine = FakeUpstream(lambda _: [*reply, Send(finish() + usage() + DONE), End()])
    async with engine, Chain(Routing(main=FIRST), {FIRST: engine}) as server, server.connect() as wire:
        await wire.send(streamed())
        await wire.head()
        while chunk := await wire.chunk():
            for word, has_come in words.items():
                if word.encode() in chunk:
                    has_come.set()
    assert max(map(len, sends)) <= 10, "a request that is hard to follow is hard to repair"
    assert any("ModelBridge.begin_round" in stack for stack in sends), "the request to the engine"
    streamed_sends, streamed_reads = (
        [len(stack) for stack in stacks if "Exchange._send_until_silent" in stack] for stacks in (sends, reads)
    )
    assert 3 < max(streamed_sends) <= 8
    assert 3 < max(streamed_reads) <= 10
    assert max(map(len, reads)) <= 12, "the wait for the engine's first sign"
