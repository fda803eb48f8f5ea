"""Many clients, slow clients, and a long day."""

from __future__ import annotations

import gc
import tracemalloc
from itertools import pairwise

import anyio
import pytest

from claude_bridge.wire.anthropic_answers import (
    BlockTextDelta,
    ContentBlockDelta,
    MessageStop,
)
from tests.examples import IS_THOROUGH
from tests.fake_upstream import DONE, FakeUpstream, Head, Pause, ReceivedRequest, Reply, Send, answer, finish, text
from tests.laws import assert_legal
from tests.server.served import BridgeServer, streamed

pytestmark = pytest.mark.anyio


def parrot(request: ReceivedRequest) -> Reply:
    """Say what the user said, many times."""
    word = request.json["messages"][-1]["content"]
    words = [step for number in range(40) for step in (Send(text(f"{word}:{number} ")), Pause(0.001))]
    return [Head(), *words, Send(finish() + DONE)]


async def test_64_streams_at_once_come_back_intact_and_unmixed() -> None:
    got: dict[str, str] = {}

    async def ask(word: str) -> None:
        response = await server.messages(stream=True, messages=[{"role": "user", "content": word}])
        assert_legal(response.events)
        assert isinstance(response.events[-1], MessageStop)
        deltas = [event.delta for event in response.events if isinstance(event, ContentBlockDelta)]
        got[word] = "".join(delta.text for delta in deltas if isinstance(delta, BlockTextDelta))

    async with (
        FakeUpstream(parrot) as upstream,
        BridgeServer(upstream) as server,
        anyio.create_task_group() as tasks,
    ):
        for number in range(64):
            tasks.start_soon(ask, f"w{number}")
    assert got == {f"w{number}": "".join(f"w{number}:{position} " for position in range(40)) for number in range(64)}


async def test_a_client_that_does_not_read_stops_the_engine_from_being_read() -> None:
    piece = text("x" * 60_000)
    pieces = 270  # just below the longest answer that is passed on
    script: list[Reply] = [[Head(), *[Send(piece)] * pieces, Send(finish() + DONE)]]
    async with FakeUpstream(script) as upstream, BridgeServer(upstream) as server, server.connect() as wire:
        await wire.send(streamed())
        await wire.head()
        request = await upstream.request()
        sent_before, sent = -1, 0
        while sent != sent_before:  # until nothing moves any more
            await anyio.sleep(0.1)
            sent_before, sent = sent, request.sent_bytes
        assert sent < len(piece) * pieces * 0.8
        assert not request.replied.is_set()
        received = 0
        while chunk := await wire.chunk():
            received += chunk.count(b"x" * 60_000)
        assert received == pieces


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"] if IS_THOROUGH else ["asyncio"])
async def test_memory_does_not_grow_with_the_number_of_exchanges() -> None:
    async def ask(times: int) -> int:
        """Ask and return the bytes that are in use afterwards."""
        for _ in range(times):
            await wire.send(streamed())
            assert (await wire.response()).status == 200
        upstream.requests.clear()
        wire.reads.clear()
        gc.collect()
        found = tracemalloc.take_snapshot().filter_traces(others)
        return sum(trace.size for trace in found.traces)

    # The event loops keep timers that are over until there are a thousand, and tracemalloc keeps its last snapshot.
    others = [
        tracemalloc.Filter(inclusive=False, filename_pattern=pattern)
        for pattern in ("*/trio/*", "*/anyio/*", "*/asyncio/*", tracemalloc.__file__)
    ]

    def reply(_: ReceivedRequest) -> Reply:
        return answer("Hello dear client")

    async with FakeUpstream(reply) as upstream, BridgeServer(upstream) as server, server.connect() as wire:
        tracemalloc.start()
        try:
            await ask(120)  # caches and free lists fill up
            sizes = [await ask(50) for _ in range(4)]
        finally:
            tracemalloc.stop()
    # What grows with each exchange grows every time; a table that was enlarged, or a timer, once.
    assert min(after - before for before, after in pairwise(sizes)) < 6_500  # 130 bytes each
