"""An exchange leaves nothing in cycles, in which its body would stay until the garbage collector comes by."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import anyio
import pytest

from claude_bridge.adapters.base import ClientRequest, OutgoingRequest
from claude_bridge.server import http1
from claude_bridge.server.memory import COLLECTED_EACH_BYTES, MemoryAccount, MemoryBudget
from claude_bridge.upstream.request_queue import RequestQueues
from tests.fake_upstream import Close, FakeUpstream, Head, Reply, Reset, Send, answer, text
from tests.server.served import BridgeServer, post, question
from tests.server.test_passthrough import relayed_to

pytestmark = pytest.mark.anyio

HOLD_BODIES = (http1.HttpRequest, ClientRequest, OutgoingRequest)


@pytest.fixture(autouse=True)
def _without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    ("reply", "fields", "status"),
    [
        pytest.param(answer("Hello"), {}, 200, id="answered"),
        pytest.param([Head(status=400), Send(b"no"), Close()], {}, 424, id="refused by the engine"),
        pytest.param([Head(), Send(text("Hello")), Reset()], {}, 502, id="broken off"),
        pytest.param([], {"max_tokens": 0}, 400, id="refused here"),
        pytest.param([], {"tool_choice": {"type": "tool", "name": "none"}}, 400, id="refused in a thread"),
    ],
)
async def test_the_body_of_an_exchange_is_gone_with_it(reply: Reply, fields: dict[str, object], status: int) -> None:
    body = post("/v1/messages", question(messages=[{"role": "user", "content": "a" * 300_000}], **fields))
    async with (
        FakeUpstream([reply]) as upstream,
        BridgeServer(upstream, queues=RequestQueues(1)) as server,
    ):
        async with server.connect() as wire:
            await wire.send(body)
            assert (await wire.response()).status == status
        assert await _bodies_left() == []


async def test_the_body_of_a_request_that_goes_on_as_it_came_is_gone_with_it() -> None:
    async with FakeUpstream([answer("Hello")]) as upstream, BridgeServer(relayed_to(upstream)) as server:
        assert (await server.messages()).status == 502  # it is no answer of the Messages API
        assert await _bodies_left() == []


async def _bodies_left() -> list[object]:
    await anyio.wait_all_tasks_blocked()
    return [one for one in gc.get_objects() if isinstance(one, HOLD_BODIES)]


def test_what_stays_in_cycles_is_collected_once_many_bodies_were_given_back() -> None:
    class Held:
        def __init__(self) -> None:
            self.cycle = self

    held = weakref.ref(Held())
    assert held() is not None
    with MemoryAccount(MemoryBudget(2 * COLLECTED_EACH_BYTES)) as account:
        account.take(COLLECTED_EACH_BYTES + 1)
    assert held() is None
