"""Sends recorded requests again, to any model, and returns what comes beside what came then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import NamedTuple

from claude_bridge.adapters.base import ClientRequest
from claude_bridge.app.notices import Notices
from claude_bridge.app.plan import Plan
from claude_bridge.app.running import RunningBridge
from claude_bridge.app.serve import run, serve_beside
from claude_bridge.bridge import ModelBridge, new_id
from claude_bridge.errors import BridgeError
from claude_bridge.providers import Upstream
from claude_bridge.trace.bus import Bus
from claude_bridge.trace.detail import Lines, read_lines
from claude_bridge.trace.events import TraceEvent
from claude_bridge.trace.jsonl import encode_event
from claude_bridge.trace.recorder import Recorder
from claude_bridge.trace.summary import TracedExchange, add_entry, read_entry
from claude_bridge.wire.anthropic_codec import parse_messages_request


class Recorded(NamedTuple):
    """One exchange: in short, and what its lines hold."""

    summary: TracedExchange
    lines: Lines


class Replayed(NamedTuple):
    """One request, and what became of it both times."""

    then: Recorded
    now: Recorded


def replay(plan: Plan, requests: Sequence[Recorded], notices: Notices, show: Callable[[Replayed], None]) -> None:
    """Send each request, one after the other, and hand over each result as soon as it is there.

    Raises:
        SetupError: there is no such engine or model, or it does not answer.
    """

    async def send_all(bridge: RunningBridge, _upstream: Upstream) -> None:
        assert bridge.main is not None, "the engine is found before the work begins"
        for recorded in requests:
            show(Replayed(recorded, await _send(bridge.main, recorded, bridge.plan.keys)))

    run(partial(serve_beside, plan, send_all, notices))


async def _send(model: ModelBridge, recorded: Recorded, secrets: Sequence[str]) -> Recorded:
    received = recorded.lines.received
    assert received is not None, "the caller chooses those with a request"
    body, sink = received.body_bytes, _KeptLines()
    bus = Bus([sink], secrets=secrets)
    recorder = Recorder(bus, new_id("req_"))
    try:
        request = parse_messages_request(body)
        recorder.received(request, path=received.path, body=body, session=recorded.summary.session, user_agent=None)
        async with AsyncExitStack() as stack:
            exchange = await model.begin(request, recorder, ClientRequest(body=body), stack)
            await exchange.message()
    except BridgeError as error:
        recorder.failed(error, in_stream=False)
    recorder.close()
    summary = TracedExchange(exchange=recorder.exchange, number=recorded.summary.number, at_s=0.0)
    for line in sink.lines:
        add_entry(summary, read_entry(line), len(line))
    return Recorded(summary, read_lines(sink.lines))


class _KeptLines:
    """A sink that keeps the lines of one exchange."""

    name = "record of the answer"
    takes_streams = True

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    def take(self, event: TraceEvent) -> None:
        self.lines.append(encode_event(event))

    def close(self) -> None:
        """Nothing is held."""
