"""An engine that answers so many requests at a time: others wait, their clients get signs of life, and all are told."""

from __future__ import annotations

from functools import partial

import anyio
import pytest

from claude_bridge.trace.events import RequestQueued
from claude_bridge.upstream.request_queue import RequestQueues
from claude_bridge.wire.anthropic_answers import (
    MessageStart,
    MessageStop,
    Ping,
)
from tests.fake_upstream import (
    DONE,
    FakeUpstream,
    Head,
    ReceivedRequest,
    Reply,
    Send,
    Stall,
    Wait,
    answer,
    finish,
    text,
)
from tests.kept_events import KeptEvents
from tests.laws import assert_legal
from tests.server.served import QUICK, BridgeServer, get, parse_events, post, question, streamed, until

pytestmark = pytest.mark.anyio


def slow(until: anyio.Event) -> Reply:
    return [Head(), Send(text("Hello")), Wait(until), Send(finish() + DONE)]


async def test_a_request_that_waits_gets_signs_of_life_and_then_its_answer() -> None:
    go_on, notes = anyio.Event(), KeptEvents()
    async with (
        FakeUpstream([slow(go_on), answer("Second")]) as upstream,
        BridgeServer(upstream, waiting=QUICK, queues=RequestQueues(1), sinks=[notes]) as server,
        server.connect() as first,
        server.connect() as second,
    ):
        await first.send(streamed())
        await first.head()
        await second.send(streamed())
        assert (await second.head()).status == 200
        events = parse_events(await second.chunk() + await second.chunk())
        assert isinstance(events[0], MessageStart)
        assert any(isinstance(event, Ping) for event in events)
        stats = (await server.ask(get("/stats"))).json
        assert (stats["running"], stats["waiting"]) == (1, 1)
        assert len(upstream.requests) == 1
        go_on.set()
        rest = b""
        while chunk := await second.chunk():
            rest += chunk
        events += parse_events(rest)
        assert_legal(events)
        assert isinstance(events[-1], MessageStop)
        assert b"Second" in rest
        await until(lambda: server.service.running == 0)
        assert server.service.queues.waiting == 0
    queued = [event for event in notes.events if isinstance(event, RequestQueued)]
    assert [event.position for event in queued] == [1, 0]


async def test_a_full_queue_is_reported_at_once() -> None:
    async with (
        FakeUpstream([[Stall()]]) as upstream,
        BridgeServer(upstream, queues=RequestQueues(1, max_waiting=1)) as server,
        server.connect() as first,
        server.connect() as second,
    ):
        await first.send(streamed())
        await upstream.request()
        await second.send(streamed())
        await anyio.wait_all_tasks_blocked()
        for requested in (streamed(), post("/v1/messages", question())):
            response = await server.ask(requested)
            assert (response.status, response.json["error"]["type"]) == (529, "overloaded_error")
            assert response.headers["retry-after"] == "10"


async def test_sub_agents_of_one_session_do_not_hold_up_a_person_in_another() -> None:
    order: list[str] = []
    go_on = anyio.Event()

    def reply(request: ReceivedRequest) -> Reply:
        order.append(request.json["messages"][-1]["content"])
        return slow(go_on) if len(order) == 1 else answer("Hello")

    async def ask(word: str, **headers: str) -> None:
        requested = question(messages=[{"role": "user", "content": word}])
        assert (await server.post("/v1/messages", requested, **headers)).status == 200

    async with (
        FakeUpstream(reply) as upstream,
        BridgeServer(upstream, queues=RequestQueues(1)) as server,
        anyio.create_task_group() as tasks,
    ):
        for number in range(20):
            agent = {"x_claude_code_session_id": "busy", "x_claude_code_agent_id": f"agent {number}"}
            tasks.start_soon(partial(ask, "agent", **agent))
        await until(lambda: server.service.queues.waiting == 19)
        tasks.start_soon(partial(ask, "person", x_claude_code_session_id="other"))
        await until(lambda: server.service.queues.waiting == 20)
        go_on.set()
    assert len(order) == 21
    assert order[:2] == ["agent", "person"]


async def test_a_client_that_leaves_the_queue_is_never_asked_for() -> None:
    go_on = anyio.Event()
    async with (
        FakeUpstream([slow(go_on), answer("Third")]) as upstream,
        BridgeServer(upstream, queues=RequestQueues(1)) as server,
        server.connect() as first,
    ):
        await first.send(streamed())
        await first.head()
        async with server.connect() as second:
            await second.send(streamed())
            await until(lambda: server.service.queues.waiting == 1)
        await until(lambda: server.service.queues.waiting == 0)
        go_on.set()
        assert (await server.messages()).json["content"][0]["text"] == "Third"
        assert len(upstream.requests) == 2
