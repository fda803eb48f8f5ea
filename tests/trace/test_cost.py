"""What a trace costs, counted in function calls, which no busy machine changes."""

from __future__ import annotations

import cProfile
from collections.abc import Callable
from pathlib import Path

from claude_bridge.conversion.deltas import UsageReport
from claude_bridge.trace.bus import Bus
from claude_bridge.trace.jsonl import JsonlSink
from claude_bridge.trace.recorder import Recorder
from claude_bridge.trace.redact import Redactor
from claude_bridge.trace.secrets import Secrets
from claude_bridge.trace.stats import Stats
from claude_bridge.wire.anthropic import TextBlock
from claude_bridge.wire.anthropic_answers import (
    BlockTextDelta,
    ContentBlockDelta,
    ContentBlockStart,
    Message,
    MessageDelta,
    MessageStart,
    Stop,
    StreamEvent,
    Usage,
)
from claude_bridge.wire.anthropic_codec import encode_stream_event
from tests.observed_calls import observed_calls
from tests.trace.samples import received

HEAD: list[StreamEvent] = [
    MessageStart(Message(id="msg_1", model="m", content=[], stop_reason=None, usage=Usage())),
    ContentBlockStart(0, TextBlock("")),
]
END: list[StreamEvent] = [MessageDelta(Stop("end_turn"), Usage(input_tokens=9, output_tokens=2))]
FRAME = b'data: {"id":"c1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word %d"}}]}\n\n'


def calls_of(work: Callable[[], None]) -> int:
    profile = cProfile.Profile()
    profile.runcall(work)
    return sum(entry.callcount for entry in profile.getstats())


def stream(bus: Bus, reads: int, events_in_read: int) -> Callable[[], None]:
    """Return an exchange whose answer comes in so many reads."""
    events: list[list[StreamEvent]] = [
        [ContentBlockDelta(0, BlockTextDelta(f"word {at + number}")) for number in range(events_in_read)]
        for at in range(0, reads * events_in_read, events_in_read)
    ]
    frames = [b"".join([FRAME % (at + number) for number in range(events_in_read)]) for at in range(reads)]
    written = [b"".join(map(encode_stream_event, some)) for some in events]

    def run() -> None:
        recorder = Recorder(bus, "req_1", stats=Stats())
        recorder.answered(HEAD)
        for sent, items, got in zip(frames, events, written, strict=True):
            recorder.upstream_sent(sent)
            recorder.answered(items)
            recorder.client_got(got)
        recorder.answered(END)
        recorder.ended(UsageReport(prompt_tokens=9, output_tokens=2))
        recorder.close()

    return run


def test_without_a_trace_a_read_costs_three_calls_whatever_is_in_it() -> None:
    many, few = (calls_of(stream(Bus(), reads, 20)) for reads in (200, 100))
    assert (many - few) / 100 < 6  # three of the recorder, and what they ask


def test_a_trace_costs_some_calls_for_each_read_and_few_for_each_event(tmp_path: Path) -> None:
    bus = Bus([JsonlSink(tmp_path / "trace.jsonl")])
    short, long, dense = (calls_of(stream(bus, *size)) for size in ((100, 1), (400, 1), (100, 40)))
    bus.close()
    assert (long - short) / 300 < 30  # for each read with one event
    assert (dense - short) / 3_900 < 10  # for each event that comes with others


def test_the_next_turn_of_a_conversation_is_not_searched_as_a_whole() -> None:
    redactor = Redactor(["tr0ub4dor-and-more"])
    tools = [{"name": f"tool{number}", "description": "what it does " * 40} for number in range(100)]
    messages = [{"role": "user", "content": f"{number} said and more " * 20} for number in range(1_000)]
    with observed_calls(Secrets.spans, "text") as whole:
        redactor.redact(received(messages, tools=tools))
    with observed_calls(Secrets.spans, "text") as searched:
        redactor.redact(received([*messages, {"role": "user", "content": "one more"}], tools=tools))
    assert sum(map(len, whole)) > 400_000
    assert sum(map(len, searched)) < 20_000  # what is new stands before the tools, and both ends are known
