"""Thousands of exchanges while engines and clients fail at random: each is accounted for, and nothing is left over."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import anyio
import pytest

from claude_bridge.wire.anthropic_answers import (
    BlockTextDelta,
    ContentBlockDelta,
    ErrorEvent,
    MessageStop,
)
from tests.fake_upstream import (
    DONE,
    Close,
    FakeUpstream,
    Head,
    Pause,
    Raw,
    ReceivedRequest,
    Reply,
    Reset,
    Send,
    finish,
    frame,
    json_document,
    refusal,
    text,
    usage,
)
from tests.laws import assert_legal
from tests.server.served import BridgeServer, Response, Wire, parse_events, post, question

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

EXCHANGES = 10_000 if os.environ.get("BRIDGE_TEST_EXAMPLES") == "thorough" else 500
WARM_UP = EXCHANGES // 5
CLIENTS = 16
PARTS = 6


def parts_of(word: str) -> list[str]:
    return [f"{word}:{number} " for number in range(PARTS)]


def whole(word: str) -> str:
    return "".join(parts_of(word))


def beginning(word: str, random: Random) -> list[Head | Send]:
    return [Head(), *(Send(text(part)) for part in parts_of(word)[: random.randrange(PARTS)])]


def good(word: str, _: Random) -> Reply:
    return [Head(), *(Send(text(part)) for part in parts_of(word)), Send(finish() + usage() + DONE)]


def slow(word: str, _: Random) -> Reply:
    steps = [step for part in parts_of(word) for step in (Send(text(part)), Pause(0.001))]
    return [Head(), *steps, Send(finish() + usage() + DONE)]


def in_one_write(word: str, _: Random) -> Reply:
    return [Head(), Send(b"".join(map(text, parts_of(word))) + finish() + usage() + DONE)]


def stray_answer_behind(word: str, _: Random) -> Reply:
    body = b"".join(map(text, parts_of(word))) + finish() + DONE
    head = Head(headers={"content-type": "text/event-stream", "content-length": str(len(body))})
    stray = text("stray ") + finish() + DONE
    return [
        head,
        Send(body),
        Raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(stray) + stray),
    ]


def without_a_finish(word: str, _: Random) -> Reply:
    return [Head(), *(Send(text(part)) for part in parts_of(word)), Send(DONE)]


REPLIES: dict[Callable[[str, Random], Reply], int] = {
    good: 8,
    slow: 3,
    in_one_write: 4,
    stray_answer_behind: 2,
    without_a_finish: 1,
    lambda word, random: [*beginning(word, random), Close()]: 2,
    lambda word, random: [*beginning(word, random), Reset()]: 2,
    lambda word, random: [*beginning(word, random), Send(frame({"error": {"message": "out of memory"}}))]: 1,
    lambda word, random: [*beginning(word, random), Send(b"data: {nonsense\n\n"), Close()]: 1,
    lambda word, random: [*beginning(word, random), Raw(b"zzz\r\nno chunk\r\n"), Close()]: 1,
    lambda *_: [Close()]: 1,
    lambda *_: [Reset()]: 1,
    lambda *_: [Pause(0.02), Reset()]: 1,
    lambda *_: [Pause(0.02), Close()]: 1,
    lambda *_: [Raw(b"\x00\x01\x02 no HTTP at all\r\n\r\n"), Close()]: 1,
    lambda *_: [Raw(b"HTTP/1.1 200 OK\r\ncontent-le"), Close()]: 1,
    lambda _, random: refusal(random.choice([400, 401, 403, 404, 413, 418, 429, 500, 502, 503]), "no, not now"): 3,
    lambda *_: json_document({"unexpected": True}): 1,
    lambda *_: [Head(200), Send(b""), Close()]: 1,
}
"""What an engine does, and how often; each one is a row of docs/explanation/reliability.md."""


def outcome_of(word: str, response: Response, *, is_streamed: bool) -> str:
    """Return how an exchange ended: whole, or in one clear error; fails where it is neither, or mixed with another."""
    if response.status != 200:
        assert response.json["type"] == "error"
        assert response.json["error"]["message"]
        return "refused"
    if not is_streamed:
        assert [block["text"] for block in response.json["content"]] == [whole(word)]
        return "whole"
    events = parse_events(response.body)
    assert_legal(events)
    deltas = [event.delta for event in events if isinstance(event, ContentBlockDelta)]
    output_text = "".join(delta.text for delta in deltas if isinstance(delta, BlockTextDelta))
    errors = [event for event in events if isinstance(event, ErrorEvent)]
    if isinstance(events[-1], MessageStop):
        assert (output_text, errors) == (whole(word), [])
        return "whole"
    assert whole(word).startswith(output_text)
    assert events[-1:] == errors
    return "broke off"


class Chaos:
    """Clients and an engine that do as the dice say."""

    def __init__(self) -> None:
        self.random = Random(2026)
        self.outcomes: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.words = iter(f"w{number}" for number in range(10**9))

    def reply(self, request: ReceivedRequest) -> Reply:
        word = request.json["messages"][-1]["content"]
        self.seen[word] += 1
        make = self.random.choices(list(REPLIES), list(REPLIES.values()))[0]
        return make(word, self.random)

    async def exchanges(self, server: BridgeServer, number: int) -> None:
        """Ask so often, by several clients at once."""
        before = self.outcomes.total()

        async def client() -> None:
            while self.outcomes.total() < before + number:
                async with server.connect() as wire:
                    for _ in range(self.random.randint(1, 8)):
                        if not await self._ask(wire):
                            break

        async with anyio.create_task_group() as tasks:
            for _ in range(CLIENTS):
                tasks.start_soon(client)

    async def _ask(self, wire: Wire) -> bool:
        """Ask once; return whether the connection can be used again."""
        word, is_streamed = next(self.words), self.random.random() < 0.8
        requested = question(messages=[{"role": "user", "content": word}], stream=is_streamed)
        await wire.send(post("/v1/messages", requested))
        if self.random.random() < 0.05:
            await anyio.sleep(self.random.uniform(0, 0.01))
            self.outcomes["left"] += 1
            return False
        response = await wire.response()
        self.outcomes[outcome_of(word, response, is_streamed=is_streamed)] += 1
        return "connection" not in response.headers


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - not a path, a count


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_every_exchange_is_accounted_for_and_nothing_is_left_over() -> None:
    chaos = Chaos()
    async with FakeUpstream(chaos.reply) as upstream, BridgeServer(upstream) as server:

        async def at_rest() -> tuple[int, int, int]:
            """Return descriptors, tasks and memory once all that ended has gone."""
            upstream.requests.clear()
            for _ in range(100):
                await anyio.sleep(0.02)
                if not server.service.running:
                    break
            gc.collect()
            return open_descriptors(), len(anyio.get_running_tasks()), resident_bytes()

        await chaos.exchanges(server, WARM_UP)
        descriptors, tasks, memory = await at_rest()
        for _ in range(10):
            await chaos.exchanges(server, (EXCHANGES - WARM_UP) // 10)
            upstream.requests.clear()
        descriptors_after, tasks_after, memory_after = await at_rest()

    assert chaos.outcomes.total() >= EXCHANGES
    assert set(chaos.outcomes) == {"whole", "broke off", "refused", "left"}
    assert chaos.outcomes["whole"] > EXCHANGES / 3
    assert max(chaos.seen.values()) == 1, "what an engine may have worked on is never sent again"
    assert descriptors_after <= descriptors + 2 * 64, "connections that are kept for reuse"
    assert tasks_after <= tasks + 2 * 64
    assert memory_after < memory + 25 * 1024**2
