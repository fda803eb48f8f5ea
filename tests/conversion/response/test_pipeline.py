"""The way out: tool calls come one by one and whole, and nothing that an engine does brings the stream down."""

from __future__ import annotations

from itertools import count

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.adapters.engine_profiles import UNKNOWN
from claude_bridge.conversion.deltas import (
    Delta,
    Failure,
    Finish,
    FinishReason,
    TextDelta,
    ThinkingDelta,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
    UsageReport,
)
from claude_bridge.conversion.loss import Repair
from claude_bridge.conversion.response.context import ResponseContext
from claude_bridge.conversion.response.pipeline import ResponsePipeline
from claude_bridge.conversion.tool_names import engine_name
from claude_bridge.errors import UpstreamBrokenError
from claude_bridge.wire.anthropic import (
    MessagesRequest,
    TextBlock,
    ToolUseBlock,
)
from claude_bridge.wire.anthropic_answers import ContentBlockStop, ErrorEvent, StreamEvent
from tests.dialogues import a_request, folded
from tests.examples import examples
from tests.laws import assert_legal, assert_sdk_agrees

STOP = Finish(FinishReason.STOP)
LENGTH = Finish(FinishReason.LENGTH)


class _Deltas:
    """A decoder that needs no bytes: it gives the deltas that it was given."""

    done = False
    finished = False

    def __init__(self) -> None:
        self.next: list[Delta] = []

    def feed(self, _data: bytes) -> list[Delta]:
        return self.next

    def close(self) -> list[Delta]:
        return []


class _Pipeline(ResponsePipeline):
    def __init__(self, request: MessagesRequest, context: ResponseContext) -> None:
        self._deltas = _Deltas()
        super().__init__(request, self._deltas, UNKNOWN, context)

    def take(self, deltas: list[Delta]) -> list[StreamEvent]:
        self._deltas.next = deltas
        return self.feed(b"")


def _answer(request: MessagesRequest | None = None, window_tokens: int | None = None) -> _Pipeline:
    numbers = count(1)
    context = ResponseContext(
        message_id="msg_1",
        request_id="req_1",
        prompt_tokens=10,
        window_tokens=window_tokens,
        new_tool_id=lambda: f"toolu_{next(numbers)}",
    )
    return _Pipeline(request or a_request(), context)


def _events(*deltas: Delta) -> list[StreamEvent]:
    answer = _answer()
    return answer.start() + answer.take(list(deltas)) + answer.close()


def _reported(*deltas: Delta) -> list[object]:
    """Return what the client gets: texts, and names and inputs of calls."""
    reported: list[object] = []
    for block in folded(_events(*deltas)).content:
        if isinstance(block, ToolUseBlock):
            reported.append((block.name, msgspec.json.decode(block.input)))
        elif isinstance(block, TextBlock):
            reported.append(block.text)
    return reported


def _call(key: int, name: str, *arguments: str) -> list[Delta]:
    return [ToolCallStart(key, name), *_arguments(key, *arguments)]


def _arguments(key: int, *fragments: str) -> list[Delta]:
    return [ToolCallArguments(key, fragment) for fragment in fragments]


def test_a_call_goes_on_when_the_next_begins() -> None:
    answer = _answer()
    answer.start()
    assert answer.take(_call(0, "Read", '{"a":', "1}")) == []
    assert len(answer.take(_call(1, "Bash"))) == 3
    assert len(answer.take([STOP])) == 3


def test_text_is_whole_when_a_call_begins_since_clients_show_its_last_line_only_then() -> None:
    answer = _answer()
    answer.start()
    answer.take([TextDelta("I write the file.")])
    assert isinstance(answer.take(_call(0, "Write", '{"content":"'))[-1], ContentBlockStop)


def test_a_call_goes_on_when_its_end_is_reported() -> None:
    answer = _answer()
    answer.start()
    assert len(answer.take([*_call(0, "Read"), ToolCallEnd(0)])) == 3


def test_calls_that_interleave_come_in_the_order_of_their_beginnings() -> None:
    reported = _reported(
        ToolCallStart(0, "Read"),
        ToolCallStart(1, "Bash"),
        ToolCallArguments(1, '{"b":'),
        ToolCallArguments(0, '{"a":1}'),
        ToolCallArguments(1, "2}"),
        STOP,
    )
    assert reported == [("Read", {"a": 1}), ("Bash", {"b": 2})]


def test_a_number_is_no_whole_call() -> None:
    reported = _reported(
        ToolCallStart(0, "Read"), ToolCallArguments(0, "1"), ToolCallStart(1, "Bash"), ToolCallArguments(0, "2"), STOP
    )
    assert reported == [("Read", {"input": 12}), ("Bash", {})]


def test_text_keeps_its_place_among_calls() -> None:
    assert _reported(TextDelta("a"), *_call(0, "Read", "{}"), TextDelta("b"), *_call(1, "Bash", "{}"), STOP) == [
        "a",
        ("Read", {}),
        "b",
        ("Bash", {}),
    ]


@pytest.mark.parametrize(
    "late",
    [[ToolCallArguments(0, '{"a":1}')], [ToolCallEnd(0)], [ToolCallArguments(7, "{}")], [ToolCallEnd(7)]],
    ids=["arguments once more", "end once more", "arguments of nobody", "end of nobody"],
)
def test_late_deltas_of_a_call_change_nothing(late: list[Delta]) -> None:
    call = [*_call(0, "Read", '{"a":1}'), ToolCallEnd(0)]
    assert _reported(*call, *late, STOP) == [("Read", {"a": 1})]


def test_white_space_ends_no_call() -> None:
    call = [*_call(0, "Read", '{"a":1}'), TextDelta("\n"), *_arguments(0, '{"a":1,"b":2}')]
    assert _reported(*call, STOP) == [("Read", {"a": 1, "b": 2})]


def test_a_call_whose_end_is_reported_waits_where_it_is_malformed() -> None:
    answer = _answer()
    answer.start()
    assert answer.take([*_call(0, "Read", "{'a': 1}"), ToolCallEnd(0)]) == []
    assert len(answer.take([STOP])) == 3


def test_a_client_that_takes_one_call_gets_one_of_several_in_one() -> None:
    request = a_request(tools=[{"name": "Read"}], tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    answer = _answer(request)
    events = answer.start() + answer.take([*_call(0, "Read", '{"a":1}{"a":2}'), STOP]) + answer.close()
    assert [bytes(block.input) for block in folded(events).content if isinstance(block, ToolUseBlock)] == [b'{"a":1}']
    assert Repair("Read", "left out: the client takes one call at a time") in answer.repairs


def test_each_call_gets_an_id_of_ours() -> None:
    message = folded(_events(ToolCallStart(0, "Read", "call_0"), ToolCallStart(1, "Read", "call_0"), STOP))
    assert [block.id for block in message.content if isinstance(block, ToolUseBlock)] == ["toolu_1", "toolu_2"]


def test_a_call_gets_the_name_that_the_client_declared() -> None:
    name = "mcp__" + "x" * 80
    request = a_request(tools=[{"name": name}, {"name": "a.b"}])
    answer = _answer(request)
    events = (
        answer.start()
        + answer.take([*_call(0, engine_name(name)), *_call(1, engine_name("a.b")), STOP])
        + answer.close()
    )
    assert [block.name for block in folded(events).content if isinstance(block, ToolUseBlock)] == [name, "a.b"]


def test_a_name_that_comes_in_pieces_is_one_name() -> None:
    answer = _answer(a_request(tools=[{"name": "Bash"}, {"name": "CronList"}, {"name": "Ba"}]))
    pieces: list[Delta] = [ToolCallStart(0, "Cron"), ToolCallStart(1, "List"), *_call(2, "Ba"), *_call(3, "sh", "{}")]
    events = answer.start() + answer.take([*pieces, STOP]) + answer.close()
    names = [block.name for block in folded(events).content if isinstance(block, ToolUseBlock)]
    assert names == ["CronList", "Ba", "sh"], "two names of which the first is a tool's are two calls"


def test_a_repaired_call_is_recorded() -> None:
    answer = _answer()
    answer.start()
    answer.take([*_call(0, "Read", "{'a': 1,}"), STOP])
    assert answer.repairs == [Repair("Read", "malformed JSON was repaired")]


@pytest.mark.parametrize(
    "output",
    [
        [*_call(0, "Read", '{"a":1}'), *_call(1, "Bash", '{"b":2}'), STOP],
        [
            ToolCallStart(0, "Read"),
            ToolCallStart(1, "Bash"),
            *_arguments(1, '{"b":2}'),
            *_arguments(0, '{"a":1}'),
            STOP,
        ],
        [*_call(0, "Read", '{"a":1}'), ToolCallEnd(0), TextDelta("x"), *_call(1, "Bash"), ToolCallEnd(1), STOP],
    ],
    ids=["one after the other", "interleaved", "text between"],
)
def test_a_client_that_takes_one_call_gets_one(output: list[Delta]) -> None:
    answer = _answer(
        a_request(tools=[{"name": "Read"}], tool_choice={"type": "any", "disable_parallel_tool_use": True})
    )
    message = folded(answer.start() + answer.take(output) + answer.close())
    assert [block.name for block in message.content if isinstance(block, ToolUseBlock)] == ["Read"]
    assert message.stop_reason == "tool_use"
    assert answer.repairs == [Repair("Bash", "left out: the client takes one call at a time")]


def test_a_call_that_was_cut_off_is_not_repaired() -> None:
    answer = _answer()
    events = answer.start() + answer.take([*_call(0, "Bash", '{"command":"rm -rf /tmp/a'), LENGTH]) + answer.close()
    (block,) = folded(events).content
    assert isinstance(block, ToolUseBlock)
    text = '{"command":"rm -rf /tmp/a'
    assert msgspec.json.decode(block.input) == {"__unparsedToolInput": {"raw": text, "len": len(text)}}
    assert answer.repairs == []


@pytest.mark.parametrize("reason", [FinishReason.LENGTH, FinishReason.STOP_SEQUENCE, FinishReason.REFUSAL])
def test_a_call_that_was_cut_off_before_its_arguments_is_left_out(reason: FinishReason) -> None:
    answer = _answer()
    events = answer.start() + answer.take([*_call(0, "Read", "{}"), *_call(1, "Bash"), Finish(reason)]) + answer.close()
    assert [block.name for block in folded(events).content if isinstance(block, ToolUseBlock)] == ["Read"]
    assert [repair.tool_name for repair in answer.repairs] == ["Bash"]


def test_half_a_call_is_dropped_when_the_engine_dies() -> None:
    events = _events(*_call(0, "Bash", '{"command":"rm'))
    assert isinstance(events[-1], ErrorEvent)
    assert len(events) == 2


def test_a_failure_says_what_was_held_back_first() -> None:
    answer = _answer(a_request(stop_sequences=["END"]))
    answer.start()
    answer.take([TextDelta("wait E")])
    output = answer.fail(UpstreamBrokenError("gone"))
    assert "E" in str(output[0])
    assert isinstance(output[-1], ErrorEvent)
    assert answer.error is not None
    assert answer.done


def test_an_answer_is_done_once_a_stop_sequence_is_met() -> None:
    answer = _answer(a_request(stop_sequences=["END"]))
    answer.start()
    answer.take([TextDelta("one EN")])
    assert not answer.done
    answer.take([TextDelta("D two")])
    assert answer.done


@pytest.mark.parametrize(
    ("window_tokens", "prompt_tokens", "stop_reason"),
    [
        (100, 90, "model_context_window_exceeded"),
        (101, 90, "max_tokens"),
        (None, 90, "max_tokens"),
        (100, None, "max_tokens"),
    ],
    ids=["full", "not full", "window not known", "prompt not told"],
)
def test_length_means_the_window_where_it_is_full(
    window_tokens: int | None, prompt_tokens: int | None, stop_reason: str
) -> None:
    answer = _answer(window_tokens=window_tokens)
    usage = UsageReport(prompt_tokens=prompt_tokens, output_tokens=10)
    assert (
        folded(answer.start() + answer.take([TextDelta("a"), usage, LENGTH]) + answer.close()).stop_reason
        == stop_reason
    )


pieces = st.sampled_from(["", "a", " ", "<think>", "</think>", "EN", "D", "{", "}", '{"a":', "1"])
keys = st.integers(0, 3)
deltas = st.one_of(
    st.builds(TextDelta, pieces),
    st.builds(ThinkingDelta, pieces),
    st.builds(ToolCallStart, keys, st.sampled_from(["Read", "Bash"]), st.just("call_0")),
    st.builds(ToolCallArguments, keys, pieces),
    st.builds(ToolCallEnd, keys),
    st.builds(UsageReport, prompt_tokens=st.none() | st.integers(0, 9), output_tokens=st.none() | st.integers(0, 9)),
    st.builds(Finish, st.sampled_from([FinishReason.STOP, FinishReason.LENGTH, FinishReason.TOOL_CALLS])),
    st.just(Failure(UpstreamBrokenError("no"))),
)


@given(st.lists(st.lists(deltas, max_size=5) | st.none(), max_size=8))
@examples(300)
def test_any_deltas_and_any_silence_give_a_legal_stream(steps: list[list[Delta] | None]) -> None:
    answer = _answer(a_request(stop_sequences=["END"]))
    events = answer.start()
    for step in steps:
        events += answer.keep_alive() if step is None else answer.take(step)
    events += answer.close()
    assert_legal(events)
    assert_sdk_agrees(events)
