"""What is measured: each function asks one side for one kind of work and returns its figures."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from tempfile import TemporaryDirectory
from typing import TypeVar

import anyio
import msgspec
from answers import CHAT, MESSAGES, BrokenAnswerError, Dialect, check_messages, check_streams, measure_delays_ms
from anyio import to_thread
from bodies import LARGE, MIDDLE, MODEL, SMALL, chat_body, messages_body
from load import ANSWER_LIMIT_S, Answer, Caller, encode_request, open_caller
from processes import (
    UPSTREAM_COMMAND,
    Listening,
    Pinning,
    bridge_command,
    open_process,
    pin_children,
    read_cpu_s,
    read_memory_mb,
)
from scripted_upstream import Scenario, fragment_text

FIRST_FRAGMENT = fragment_text(0).encode()
GROWING_SIZES = (MIDDLE, LARGE)
SHORT_FRAGMENTS = 5
NEW_STREAMS_PER_SECOND = 50
SETTLE_S = 0.5
MEMORY_EVERY_S = 0.25

Figures = dict[str, float]
Item = TypeVar("Item")
Result = TypeVar("Result")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is asked for in one round."""

    first_token_asks: dict[str, int]
    growing_turns: int
    """How many turns a session goes on for."""
    event_streams: dict[int, tuple[int, int]]
    """Streams at once: (fragments in each, how often)."""
    connections: int = 32
    asks_per_connection: dict[str, int]
    paced_streams: int
    paced_s: float
    fragments_per_s: float = 20.0
    of_trace: bool = False
    """Whether a bridge with --trace is compared with one without, in place of a bridge with its upstream."""


FULL = Plan(
    first_token_asks={SMALL: 20, MIDDLE: 12, LARGE: 8},
    growing_turns=8,
    event_streams={1: (2000, 10), 32: (250, 4)},
    asks_per_connection={SMALL: 40, MIDDLE: 10},
    paced_streams=200,
    paced_s=10.0,
)
QUICK = Plan(
    first_token_asks={SMALL: 6, MIDDLE: 4, LARGE: 3},
    growing_turns=3,
    event_streams={1: (2000, 2), 32: (100, 1)},
    asks_per_connection={SMALL: 5, MIDDLE: 2},
    paced_streams=50,
    paced_s=3.0,
)


class Side(msgspec.Struct, frozen=True):
    """Who is asked: the upstream itself, or the bridge before it."""

    dialect: Dialect
    make_body: Callable[..., bytes]
    health_path: str
    command: tuple[str, ...]
    cpu: int | None
    process: Listening

    def request(self, size: str, *, stream: bool = True, turns: int = 0) -> bytes:
        """Return the bytes of a request of the size that is named, and so many turns later."""
        body = self.make_body(size, stream=stream, later_turns=turns)
        return encode_request("POST", self.dialect.path, body, self.dialect.headers)


class Bench:
    """The upstream and a bridge before it, or two bridges, all running."""

    def __init__(self, plan: Plan, upstream: Listening, direct: Side, bridged: Side) -> None:
        self.plan = plan
        self.upstream = upstream
        self.direct = direct
        self.bridged = bridged

    async def set_scenario(self, fragments: int, per_second: float = 0.0) -> None:
        """Say what the upstream answers from now on."""
        body = msgspec.json.encode(Scenario(fragments=fragments, per_second=per_second))
        async with open_caller(self.upstream.port) as caller:
            answer = await caller.ask(encode_request("PUT", "/scenario", body))
        if answer.failure:
            raise RuntimeError(f"The scripted upstream: {answer.failure}")


@asynccontextmanager
async def open_bench(plan: Plan, pinning: Pinning) -> AsyncIterator[Bench]:
    """Start the upstream and the bridge, and end both with the context."""
    async with open_process(UPSTREAM_COMMAND, pinning.upstream) as upstream:
        command = bridge_command(upstream.port, MODEL)
        async with open_process(command, pinning.bridge) as bridge:
            bridged = Side(MESSAGES, messages_body, "/healthz", command, pinning.bridge, bridge)
            if not plan.of_trace:
                direct = Side(CHAT, chat_body, "/v1/models", UPSTREAM_COMMAND, pinning.upstream, upstream)
                yield Bench(plan, upstream, direct, bridged)
                return
            with TemporaryDirectory() as folder:
                command = (*command, "--trace", f"{folder}/trace.jsonl")
                async with open_process(command, pinning.bridge) as tracing:
                    pin_children(tracing.pid, pinning.client)  # its place is where the bridge does not compute
                    traced = Side(MESSAGES, messages_body, "/healthz", command, pinning.bridge, tracing)
                    yield Bench(plan, upstream, bridged, traced)


@asynccontextmanager
async def open_forgetful(bench: Bench, pinning: Pinning) -> AsyncIterator[Side]:
    """Start a second bridge, which keeps nothing of earlier requests."""
    command = (*bridge_command(bench.upstream.port, MODEL), "--no-memo")
    async with open_process(command, pinning.bridge) as bridge:
        yield Side(MESSAGES, messages_body, "/healthz", command, pinning.bridge, bridge)


async def warm_up(bench: Bench, side: Side) -> None:
    """Ask once before anything counts: by then the files that a start needs are compiled and in the system's cache."""
    await bench.set_scenario(SHORT_FRAGMENTS)
    async with open_caller(side.process.port) as caller:
        check_streams(side.dialect, [await caller.ask(side.request(MIDDLE))], SHORT_FRAGMENTS)


async def first_token(bench: Bench, side: Side) -> Figures:
    """Measure the time from sending a request to reading the first text, in ms."""
    await bench.set_scenario(SHORT_FRAGMENTS)
    figures: Figures = {}
    for size, asks in bench.plan.first_token_asks.items():
        request = side.request(size)
        async with open_caller(side.process.port) as caller:
            with _quiet_memory():
                answers = [await caller.ask(request, FIRST_FRAGMENT) for _ in range(asks + 1)]
        check_streams(side.dialect, answers, SHORT_FRAGMENTS)
        # The first one opens the connection behind the bridge.
        figures[f"first_token_ms {size}"] = statistics.median((a.first_s - a.sent_s) * 1000 for a in answers[1:])
    return figures


async def growing_session(bench: Bench, side: Side) -> Figures:
    """Measure the time to the first text in a session that grows, in the second and later turns."""
    figures: Figures = {}
    for size in GROWING_SIZES:
        times_ms = await first_tokens_by_turn(bench, side, size)
        figures[f"growing_ms {size}"] = statistics.median(times_ms[1:])
    return figures


async def first_tokens_by_turn(bench: Bench, side: Side, size: str) -> list[float]:
    """Return the time to the first text of each turn of a session, in ms."""
    await bench.set_scenario(SHORT_FRAGMENTS)
    requests = [side.request(size, turns=turn) for turn in range(bench.plan.growing_turns + 1)]
    async with open_caller(side.process.port) as caller:
        await caller.ask(side.request(SMALL), FIRST_FRAGMENT)  # opens the connection behind the bridge
        with _quiet_memory():
            answers = [await caller.ask(request, FIRST_FRAGMENT) for request in requests]
    check_streams(side.dialect, answers, SHORT_FRAGMENTS)
    return [(answer.first_s - answer.sent_s) * 1000 for answer in answers]


async def streamed_events(bench: Bench, side: Side) -> Figures:
    """Measure the CPU seconds for 100,000 fragments at full speed."""
    figures: Figures = {}
    for streams, (fragments, times) in bench.plan.event_streams.items():
        await bench.set_scenario(fragments)
        async with _open_callers(side, streams) as callers:
            ask = partial(Caller.ask, request=side.request(SMALL))
            with _quiet_memory():
                async with _cpu_of(bench, side, f"event_cpu_s {streams}", streams * times * fragments, figures):
                    answers = [answer for _ in range(times) for answer in await _all_at_once(callers, ask)]
        check_streams(side.dialect, answers, fragments)
    return figures


async def requests_per_second(bench: Bench, side: Side) -> Figures:
    """Measure how many short answers, not streamed, come back in a second, and in a run of traces what they cost."""
    await bench.set_scenario(SHORT_FRAGMENTS)
    figures: Figures = {}
    for size, asks in bench.plan.asks_per_connection.items():
        request = side.request(size, stream=False)

        async def ask_often(caller: Caller, request: bytes = request, asks: int = asks) -> list[Answer]:
            return [await caller.ask(request) for _ in range(asks)]

        connections = bench.plan.connections
        async with _open_callers(side, connections) as callers:
            with _quiet_memory():
                async with _cpu_of(bench, side, f"request_cpu_s {size}", connections * asks, figures):
                    started_s = time.monotonic()
                    answers = [answer for some in await _all_at_once(callers, ask_often) for answer in some]
                    spent_s = time.monotonic() - started_s
        check_messages(side.dialect, answers, SHORT_FRAGMENTS)
        figures[f"requests_per_s {size}"] = len(answers) / spent_s
    return figures


async def paced_streams(bench: Bench, side: Side) -> Figures:
    """Measure many streams at a reader's pace: what they cost, and how late each fragment is."""
    plan, pid = bench.plan, side.process.pid
    fragments = max(1, round(plan.paced_s * plan.fragments_per_s))
    await bench.set_scenario(fragments, plan.fragments_per_s)
    request = side.request(MIDDLE)

    async def ask_later(number: int) -> Answer:
        await anyio.sleep(number / NEW_STREAMS_PER_SECOND)
        async with open_caller(side.process.port) as caller:
            return await caller.ask(request, limit_s=plan.paced_s + ANSWER_LIMIT_S)

    figures: Figures = {}
    with _quiet_memory():
        async with (
            _open_memory_peak(pid) as peaks,
            _cpu_of(bench, side, "paced_cpu_s", plan.paced_streams * fragments, figures),
        ):
            answers = await _all_at_once(range(plan.paced_streams), ask_later)
    delays_ms: list[float] = []
    intact = 0
    for answer in answers:
        try:
            delays_ms += measure_delays_ms(side.dialect, answer, fragments)
            intact += 1
        except BrokenAnswerError as error:
            print(f"a paced stream is broken: {error}")
    centiles = statistics.quantiles(delays_ms, n=100) if len(delays_ms) > 1 else [float("nan")] * 99
    return figures | {
        "paced_intact": float(intact),
        "paced_memory_mb": max(peaks),
        "paced_p50_ms": centiles[49],
        "paced_p99_ms": centiles[98],
    }


async def start(bench: Bench, side: Side) -> Figures:
    """Measure a fresh process: seconds to its first answers, and its memory when it has nothing to do."""
    await bench.set_scenario(SHORT_FRAGMENTS)
    async with open_process(side.command, side.cpu) as fresh, open_caller(fresh.port) as caller:
        health = await caller.ask(encode_request("GET", side.health_path))
        answer = await caller.ask(side.request(SMALL))
        await anyio.sleep(SETTLE_S)
        idle_mb = read_memory_mb(fresh.pid)
    if health.failure or not health.reads[0][1].startswith(b"HTTP/1.1 200"):
        raise BrokenAnswerError(f"{side.health_path}: {health.failure or health.reads[0][1][:100]!r}")
    check_streams(side.dialect, [answer], SHORT_FRAGMENTS)
    return {
        "start_health_s": health.ended_s - fresh.started_s,
        "start_message_s": answer.ended_s - fresh.started_s,
        "idle_mb": idle_mb,
    }


Measurement = Callable[[Bench, Side], Awaitable[Figures]]
MEASUREMENTS: tuple[Measurement, ...] = (
    start,
    first_token,
    growing_session,
    streamed_events,
    requests_per_second,
    paced_streams,
)


@asynccontextmanager
async def _cpu_of(bench: Bench, side: Side, key: str, count: int, figures: Figures) -> AsyncIterator[None]:
    """Add the CPU seconds of the work in the context to the figures, for 100,000 of what it does ``count`` times.

    What a bridge with a trace spends and what the process spends that writes the trace are two figures.
    """
    before_s = read_cpu_s(side.process.pid)
    yield
    if bench.plan.of_trace:
        await anyio.sleep(SETTLE_S)  # a trace is written a moment later
    own_s, children_s = (
        (after - before) / count * 100_000 for after, before in zip(read_cpu_s(side.process.pid), before_s, strict=True)
    )
    if bench.plan.of_trace:
        figures |= {key: own_s, f"writer_{key}": children_s}
    else:
        figures[key] = own_s + children_s


@contextmanager
def _quiet_memory() -> Iterator[None]:
    """Keep the client's own garbage collection out of the times."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@asynccontextmanager
async def _open_callers(side: Side, count: int) -> AsyncIterator[list[Caller]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_caller(side.process.port)) for _ in range(count)]


@asynccontextmanager
async def _open_memory_peak(pid: int) -> AsyncIterator[list[float]]:
    """Read a process's memory again and again while the context lasts; the list is never empty."""
    peaks = [read_memory_mb(pid)]

    async def watch() -> None:
        while True:
            await anyio.sleep(MEMORY_EVERY_S)
            peaks.append(await to_thread.run_sync(read_memory_mb, pid))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        yield peaks
        tasks.cancel_scope.cancel()


async def _all_at_once(items: Iterable[Item], work: Callable[[Item], Awaitable[Result]]) -> list[Result]:
    """Run the work for all items at the same time; the results come in the order in which they ended."""
    results: list[Result] = []

    async def run(item: Item) -> None:
        results.append(await work(item))

    async with anyio.create_task_group() as tasks:
        for item in items:
            tasks.start_soon(run, item)
    return results
