"""The recorder tells of one exchange what the events are made for, and nothing where nobody listens."""

from __future__ import annotations

import pytest

from claude_bridge.conversion.deltas import UsageReport
from claude_bridge.conversion.loss import Repair
from claude_bridge.errors import UpstreamBrokenError
from claude_bridge.trace.bus import Bus
from claude_bridge.trace.events import (
    AnswerGrew,
    AnswerMended,
    ClientLeft,
    ExchangeEnded,
    FirstToken,
    ImageDescribed,
    RequestReceived,
    RequestSent,
    ToolInputRepaired,
    WaitingForUpstream,
)
from claude_bridge.trace.recorder import Recorder
from claude_bridge.trace.stats import Stats
from claude_bridge.wire.anthropic import TextBlock
from claude_bridge.wire.anthropic_answers import (
    BlockTextDelta,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    Message,
    MessageDelta,
    MessageStart,
    MessageStop,
    Ping,
    Stop,
    StreamEvent,
    Usage,
)
from claude_bridge.wire.anthropic_codec import parse_messages_request
from tests.kept_events import KeptEvents

ANSWER: list[StreamEvent] = [
    MessageStart(Message(id="msg_1", model="m", content=[], stop_reason=None, usage=Usage())),
    ContentBlockStart(0, TextBlock("")),
    ContentBlockDelta(0, BlockTextDelta("Hel")),
    ContentBlockDelta(0, BlockTextDelta("lo")),
    ContentBlockStop(0),
    MessageDelta(Stop("end_turn"), Usage(input_tokens=9, output_tokens=2)),
    MessageStop(),
]


@pytest.fixture
def sink() -> KeptEvents:
    return KeptEvents()


@pytest.fixture
def recorder(sink: KeptEvents) -> Recorder:
    return Recorder(Bus([sink]), "req_1")


def test_the_first_content_is_reported_once_and_its_growth_in_sums(recorder: Recorder, sink: KeptEvents) -> None:
    for events in ([Ping()], ANSWER[:2], ANSWER[2:4], [], ANSWER[3:4]):
        recorder.answered(events)
    recorder.client_left()

    assert [type(event) for event in sink.events if not isinstance(event, AnswerGrew)] == [FirstToken, ClientLeft]
    grown = [event for event in sink.events if isinstance(event, AnswerGrew)]
    assert (sum(event.deltas for event in grown), sum(event.chars for event in grown)) == (3, 7)


def test_every_event_has_its_exchange_and_its_time(recorder: Recorder, sink: KeptEvents) -> None:
    recorder.record(WaitingForUpstream())
    recorder.answered(ANSWER)
    recorder.ended(UsageReport())
    assert {event.exchange for event in sink.events} == {"req_1"}
    times = [(event.at_s, event.after_s) for event in sink.events]
    assert times == sorted(times)
    assert times[0][1] > 0


def test_the_end_holds_the_whole_message(recorder: Recorder, sink: KeptEvents) -> None:
    recorder.answered(ANSWER)
    recorder.ended(UsageReport(prompt_tokens=9))

    end = sink.events[-1]
    assert isinstance(end, ExchangeEnded)
    assert end.message.content == [TextBlock("Hello")]
    assert end.usage_is_estimated  # the engine did not count the answer
    assert end.first_token_s is not None
    assert end.first_token_s <= end.after_s


def test_each_repair_is_reported_once(recorder: Recorder, sink: KeptEvents) -> None:
    recorder.repaired([Repair("Bash", "mended")])
    recorder.repaired([Repair("Edit", "mended too")])
    assert [getattr(event, "tool_name", None) for event in sink.events] == ["Bash", "Edit"]


def test_a_description_of_an_image_is_reported(recorder: Recorder, sink: KeptEvents) -> None:
    recorder.record(ImageDescribed(path="$.a", model="seer", text="A cat.", trouble="", took_s=1.5))
    (event,) = sink.events
    assert isinstance(event, ImageDescribed)
    assert (event.exchange, event.path, event.model, event.text) == ("req_1", "$.a", "seer", "A cat.")


def test_a_repair_of_the_response_as_a_whole_is_reported_as_that(recorder: Recorder, sink: KeptEvents) -> None:
    recorder.repaired([Repair("", "a")])
    recorder.repaired([Repair("Bash", "b"), Repair("", "c")])
    assert [type(event) for event in sink.events] == [AnswerMended, ToolInputRepaired, AnswerMended]
    assert [getattr(event, "what", None) for event in sink.events] == ["a", "b", "c"]


def test_an_exchange_has_one_end(recorder: Recorder, sink: KeptEvents) -> None:
    recorder.failed(UpstreamBrokenError("the stream broke off"), in_stream=True)
    recorder.failed(UpstreamBrokenError("and so did we"), in_stream=False)
    recorder.client_left()
    recorder.ended(UsageReport())
    assert [getattr(event, "message", None) for event in sink.events] == ["the stream broke off"]


def test_without_a_listener_nothing_is_kept() -> None:
    recorder = Recorder(Bus(), "req_1")
    recorder.answered(ANSWER)
    recorder.record(WaitingForUpstream())
    recorder.ended(UsageReport())
    recorder.client_left()
    assert not recorder.active


def test_fields_of_a_request_that_nobody_knows_are_reported(recorder: Recorder, sink: KeptEvents) -> None:
    body = b'{"model":"m","max_tokens":9,"novelty":1,"messages":[{"role":"user","content":"Hi"}]}'

    recorder.received(parse_messages_request(body), path="/v1/messages", body=body, session=None, user_agent=None)

    assert isinstance(sink.events[0], RequestReceived)
    assert sink.events[0].not_read == ["novelty"]


def test_a_request_that_cannot_be_read_is_reported_with_its_body(recorder: Recorder, sink: KeptEvents) -> None:
    recorder.received(None, path="/v1/messages", body=b"{nonsense", session=None, user_agent="curl")

    assert isinstance(sink.events[0], RequestReceived)
    assert (sink.events[0].model, sink.events[0].body) == ("(unreadable)", b"{nonsense")


def test_what_an_engine_had_read_is_forgotten_when_another_one_is_asked() -> None:
    stats = Stats()
    recorder = Recorder(Bus(), "req_1", stats=stats)

    def send(model: str) -> None:
        recorder.sent(
            RequestSent(method="POST", url="u", model=model, upstream="e", estimated_tokens=900, losses=[], body=b"")
        )

    send("large")
    recorder.reading(UsageReport(prompt_tokens=1000, cached_tokens=0, read_tokens=250, prompt_ms=1000.0))
    (prompt,) = stats.report(running=1).reading
    assert (prompt.model, prompt.prompt_tokens, prompt.read_tokens, prompt.tokens_per_s) == ("large", 1000, 250, 250.0)
    send("small")
    (prompt,) = stats.report(running=1).reading
    assert (prompt.model, prompt.prompt_tokens, prompt.read_tokens, prompt.tokens_per_s) == ("small", 900, None, None)
    recorder.client_left()
    report = stats.report(running=0)
    assert (report.reading, report.models["small"].prompt_tokens) == ([], 900)
