"""The assembler makes only streams that the transition table allows, from any deltas."""

from __future__ import annotations

import pytest

from claude_bridge.conversion.deltas import (
    Delta,
    Failure,
    Finish,
    FinishReason,
    HostedSearch,
    RedactedReasoning,
    TextDelta,
    TextStart,
    ThinkingDelta,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
    UrlCitation,
    UsageReport,
)
from claude_bridge.conversion.response.assembler import (
    TRANSITIONS,
    UNSIGNED,
    IllegalEventError,
    MessageAssembler,
    State,
    next_state,
)
from claude_bridge.conversion.response.context import ResponseContext
from claude_bridge.errors import UpstreamBrokenError
from claude_bridge.wire import anthropic as wire
from claude_bridge.wire import anthropic_answers as answers
from tests.laws import assert_legal, assert_sdk_agrees

HEAD = answers.Message(id="msg_1", model="m", content=[], stop_reason=None, usage=answers.Usage())

ONE_OF_EACH: dict[type, answers.StreamEvent] = {
    answers.MessageStart: answers.MessageStart(HEAD),
    wire.TextBlock: answers.ContentBlockStart(0, wire.TextBlock("")),
    wire.ThinkingBlock: answers.ContentBlockStart(0, wire.ThinkingBlock("")),
    wire.ToolUseBlock: answers.ContentBlockStart(0, wire.ToolUseBlock("t", "n")),
    answers.BlockTextDelta: answers.ContentBlockDelta(0, answers.BlockTextDelta("")),
    answers.BlockThinkingDelta: answers.ContentBlockDelta(0, answers.BlockThinkingDelta("")),
    answers.BlockSignatureDelta: answers.ContentBlockDelta(0, answers.BlockSignatureDelta("")),
    answers.BlockInputJsonDelta: answers.ContentBlockDelta(0, answers.BlockInputJsonDelta("")),
    answers.ContentBlockStop: answers.ContentBlockStop(0),
    answers.MessageDelta: answers.MessageDelta(answers.Stop("end_turn"), answers.Usage()),
    answers.MessageStop: answers.MessageStop(),
    answers.Ping: answers.Ping(),
    answers.ErrorEvent: answers.ErrorEvent(answers.ErrorDetail("api_error", "no")),
}

CALL: list[Delta] = [
    ToolCallStart(0, "Read", "toolu_1"),
    ToolCallArguments(0, '{"a":'),
    ToolCallArguments(0, "1}"),
    ToolCallEnd(0),
]


def _assembler() -> MessageAssembler:
    context = ResponseContext(
        message_id="msg_1", request_id="req_1", prompt_tokens=40, window_tokens=60, new_tool_id=lambda: "toolu_1"
    )
    return MessageAssembler(context, "m")


def _events(*deltas: Delta, window_full: bool = False) -> list[answers.StreamEvent]:
    assembler = _assembler()
    if window_full:
        deltas = (UsageReport(prompt_tokens=40, output_tokens=20), *deltas)
    return assembler.start() + assembler.feed(deltas) + assembler.close()


def _end(events: list[answers.StreamEvent]) -> answers.MessageDelta:
    (end,) = [event for event in events if isinstance(event, answers.MessageDelta)]
    return end


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_the_table_decides_what_may_come(state: State) -> None:
    for kind, event in ONE_OF_EACH.items():
        following = TRANSITIONS[state].get(kind)
        if following is not None:
            assert next_state(state, event) is following, kind
        else:
            with pytest.raises(IllegalEventError, match=f"{kind.__name__} may not come in state {state.name}"):
                next_state(state, event)


def test_the_table_says_what_anthropic_promises() -> None:
    assert set(TRANSITIONS) == set(State)
    assert set(TRANSITIONS[State.NEW]) == {answers.MessageStart}, "message_start opens a stream, and nothing else does"
    assert not TRANSITIONS[State.ENDED], "nothing comes after the end"
    blocks = {wire.TextBlock, wire.ThinkingBlock, wire.ToolUseBlock}
    assert {state for state, allowed in TRANSITIONS.items() if blocks & set(allowed)} == {State.BETWEEN_BLOCKS}
    assert answers.ContentBlockStop not in TRANSITIONS[State.THINKING], "thinking ends with a signature"
    assert TRANSITIONS[State.ENDING][answers.MessageStop] is State.ENDED
    for state, allowed in TRANSITIONS.items():
        if state not in (State.NEW, State.ENDED):
            assert allowed[answers.Ping] is state, "a ping may come anywhere"
            assert allowed[answers.ErrorEvent] is State.ENDED, "and so may an error"


def _texts(events: list[answers.StreamEvent]) -> list[str]:
    deltas = [event.delta for event in events if isinstance(event, answers.ContentBlockDelta)]
    return [delta.text for delta in deltas if isinstance(delta, answers.BlockTextDelta)]


def _starts(events: list[answers.StreamEvent]) -> list[type]:
    return [type(event.content_block) for event in events if isinstance(event, answers.ContentBlockStart)]


def test_white_space_before_a_call_does_not_come_behind_it() -> None:
    assert _texts(_events(TextDelta("\n\n"), *CALL, TextDelta("a"), Finish(FinishReason.STOP))) == ["a"]


def test_a_new_message_begins_a_block_only_behind_text() -> None:
    for before in ([TextDelta("a")], []):
        events = _events(*before, TextStart(), TextDelta("b"), TextStart(), Finish(FinishReason.STOP))
        assert _starts(events) == [wire.TextBlock] * (len(before) + 1)
        assert_legal(events)


def test_sealed_reasoning_and_a_search_of_the_service_are_blocks_of_their_own() -> None:
    search = HostedSearch("srvtoolu_1", "cats", ["https://cats.example"])
    events = _events(RedactedReasoning("x"), search, TextDelta("a"), Finish(FinishReason.STOP))
    assert _starts(events) == [
        wire.RedactedThinkingBlock,
        wire.ServerToolUseBlock,
        wire.WebSearchToolResultBlock,
        wire.TextBlock,
    ]
    assert_legal(events)
    assert _end(events).usage.server_tool_use == answers.ServerToolUsage(1)


def test_a_page_is_cited_only_behind_text() -> None:
    cited = UrlCitation("https://cats.example", "Cats")
    for text, citations in (("a", 1), ("", 0)):
        events = _events(TextDelta(text), cited, TextDelta("b"), Finish(FinishReason.STOP))
        deltas = [event.delta for event in events if isinstance(event, answers.ContentBlockDelta)]
        assert sum(isinstance(delta, answers.BlockCitationDelta) for delta in deltas) == citations


@pytest.mark.parametrize(
    ("deltas", "is_error"),
    [
        ([Finish(FinishReason.UNKNOWN)], True),
        ([TextDelta("a"), Finish(FinishReason.UNKNOWN)], False),
        ([UsageReport(output_tokens=9), Finish(FinishReason.STOP)], True),
        ([ThinkingDelta("a"), UsageReport(output_tokens=9), Finish(FinishReason.STOP)], False),
        ([Finish(FinishReason.MALFORMED_CALL)], True),
        ([*CALL, Finish(FinishReason.MALFORMED_CALL)], False),
    ],
    ids=["nothing", "text", "tokens that nobody sees", "thinking", "a dropped call", "a call beside a dropped one"],
)
def test_an_answer_that_lacks_what_its_end_speaks_of_is_an_error(deltas: list[Delta], is_error: bool) -> None:
    assert isinstance(_events(*deltas)[-1], answers.ErrorEvent) is is_error


def test_text_opens_one_block_and_goes_on_in_it() -> None:
    assert _events(TextDelta("a"), TextDelta(" "), TextDelta("b"), Finish(FinishReason.STOP))[1:-2] == [
        answers.ContentBlockStart(0, wire.TextBlock("")),
        answers.ContentBlockDelta(0, answers.BlockTextDelta("a")),
        answers.ContentBlockDelta(0, answers.BlockTextDelta(" ")),
        answers.ContentBlockDelta(0, answers.BlockTextDelta("b")),
        answers.ContentBlockStop(0),
    ]


def test_thinking_ends_with_a_signature() -> None:
    assert _events(ThinkingDelta("hm"), ThinkingDelta(""), TextDelta("a"), Finish(FinishReason.STOP))[1:5] == [
        answers.ContentBlockStart(0, wire.ThinkingBlock("")),
        answers.ContentBlockDelta(0, answers.BlockThinkingDelta("hm")),
        answers.ContentBlockDelta(0, answers.BlockSignatureDelta(UNSIGNED)),
        answers.ContentBlockStop(0),
    ]


def test_a_tool_use_starts_empty_and_its_json_follows() -> None:
    assert _events(*CALL, Finish(FinishReason.TOOL_CALLS))[1:-2] == [
        answers.ContentBlockStart(0, wire.ToolUseBlock("toolu_1", "Read")),
        answers.ContentBlockDelta(0, answers.BlockInputJsonDelta('{"a":')),
        answers.ContentBlockDelta(0, answers.BlockInputJsonDelta("1}")),
        answers.ContentBlockStop(0),
    ]


@pytest.mark.parametrize(
    "deltas",
    [
        [TextDelta("\n\n"), *CALL],
        [TextDelta("\n"), TextDelta(" "), ThinkingDelta("hm")],
        [*CALL, TextDelta(" \n")],
        [TextDelta("")],
        [TextDelta(" ")],
    ],
    ids=["before a call", "before thinking", "after a call", "empty", "alone"],
)
def test_white_space_alone_opens_no_text_block(deltas: list[Delta]) -> None:
    events = _events(*deltas, Finish(FinishReason.STOP))
    assert not any(
        isinstance(event, answers.ContentBlockStart) and isinstance(event.content_block, wire.TextBlock)
        for event in events
    )


def test_white_space_before_text_is_kept() -> None:
    events = _events(TextDelta("\n"), TextDelta(" "), TextDelta("a"), Finish(FinishReason.STOP))
    assert answers.ContentBlockDelta(0, answers.BlockTextDelta("\n a")) in events


@pytest.mark.parametrize(
    ("reason", "window_full", "with_call", "stop_reason"),
    [
        (FinishReason.STOP, False, False, "end_turn"),
        (FinishReason.STOP, False, True, "tool_use"),
        (FinishReason.TOOL_CALLS, False, True, "tool_use"),
        (FinishReason.TOOL_CALLS, False, False, "end_turn"),
        (FinishReason.LENGTH, False, False, "max_tokens"),
        (FinishReason.LENGTH, False, True, "max_tokens"),
        (FinishReason.LENGTH, True, False, "model_context_window_exceeded"),
        (FinishReason.STOP, True, False, "end_turn"),
        (FinishReason.REFUSAL, False, True, "refusal"),
        (FinishReason.STOP_SEQUENCE, False, False, "stop_sequence"),
    ],
)
def test_the_stop_reason_follows_from_what_was_given(
    reason: FinishReason, window_full: bool, with_call: bool, stop_reason: str
) -> None:
    events = _events(TextDelta("a"), *(CALL if with_call else []), Finish(reason), window_full=window_full)
    assert _end(events).delta.stop_reason == stop_reason


def test_usage_is_gathered_field_by_field_and_the_prompt_is_split() -> None:
    end = _end(
        _events(
            UsageReport(prompt_tokens=90, output_tokens=1, thinking_tokens=2),
            TextDelta("a"),
            UsageReport(cached_tokens=60, output_tokens=5),
            Finish(FinishReason.STOP),
            UsageReport(output_tokens=6),
        )
    )
    assert end.usage == answers.Usage(
        input_tokens=30,
        cache_read_input_tokens=60,
        output_tokens=6,
        output_tokens_details=answers.OutputTokensDetails(2),
    )


def test_more_cached_tokens_than_there_are_make_no_negative_input() -> None:
    end = _end(_events(UsageReport(prompt_tokens=5, cached_tokens=9), Finish(FinishReason.STOP)))
    assert (end.usage.input_tokens, end.usage.cache_read_input_tokens) == (0, 5)


def test_a_last_report_of_zeros_takes_nothing_back() -> None:
    reported = UsageReport(prompt_tokens=90, cached_tokens=60, output_tokens=6)
    zeros = UsageReport(prompt_tokens=0, cached_tokens=0, output_tokens=0)
    end = _end(_events(reported, TextDelta("a"), zeros, Finish(FinishReason.STOP), zeros))
    assert end.usage == answers.Usage(input_tokens=30, cache_read_input_tokens=60, output_tokens=6)


def test_a_report_of_zeros_alone_is_none() -> None:
    zeros = UsageReport(prompt_tokens=0, output_tokens=0)
    end = _end(_events(TextDelta("abcdefgh"), zeros, Finish(FinishReason.STOP)))
    assert end.usage == answers.Usage(input_tokens=40, output_tokens=2)


def test_no_more_was_thought_than_was_written() -> None:
    report = UsageReport(prompt_tokens=9, output_tokens=5, thinking_tokens=50)
    end = _end(_events(ThinkingDelta("a"), report, Finish(FinishReason.STOP)))
    assert end.usage.output_tokens_details == answers.OutputTokensDetails(5)


def test_the_estimate_stands_in_for_what_the_engine_does_not_report() -> None:
    events = _events(TextDelta("abcd" * 5), ThinkingDelta("abcd"), Finish(FinishReason.STOP))
    assert isinstance(events[0], answers.MessageStart)
    assert events[0].message.usage.input_tokens == 40
    assert _end(events).usage == answers.Usage(input_tokens=40, output_tokens=6)


def test_no_finish_is_an_error_and_no_quiet_success() -> None:
    events = _events(TextDelta("a"))
    assert isinstance(events[-1], answers.ErrorEvent)
    assert "ended its answer in the middle" in events[-1].error.message
    assert_legal(events)


def test_after_a_failure_no_event_follows() -> None:
    assembler = _assembler()
    error = UpstreamBrokenError("it broke")
    events = assembler.start() + assembler.feed([TextDelta("a"), Failure(error), TextDelta("b"), *CALL])
    assert events[-1] == answers.ErrorEvent(answers.ErrorDetail("api_error", "it broke"), "req_1")
    assert assembler.error is error
    assert assembler.ended
    assert assembler.feed([TextDelta("c"), ThinkingDelta("d")]) == []
    assert assembler.keep_alive() == assembler.close() == assembler.fail(error) == []


STATES: dict[str, list[Delta]] = {
    "at the start": [],
    "in text": [TextDelta("a")],
    "with white space held back": [TextDelta("\n")],
    "in thinking": [ThinkingDelta("hm")],
    "in a tool use": CALL[:2],
    "between blocks": CALL,
    "after the finish": [TextDelta("a"), Finish(FinishReason.STOP)],
}

in_each_state = pytest.mark.parametrize("before", STATES.values(), ids=STATES.keys())


@in_each_state
def test_the_line_is_kept_alive_with_a_delta_and_a_ping(before: list[Delta]) -> None:
    assembler = _assembler()
    events = assembler.start() + assembler.feed(before)
    alive = assembler.keep_alive()
    assert isinstance(alive[-2], answers.ContentBlockDelta), "old clients do not count pings"
    assert alive[-1] == answers.Ping()
    again = assembler.keep_alive()
    assert not any(isinstance(event, answers.ContentBlockStart) for event in again)
    rest: list[Delta] = [] if before == STATES["after the finish"] else [Finish(FinishReason.STOP)]
    if before == STATES["in a tool use"]:
        rest = [*CALL[2:], *rest]
    events += alive + again + assembler.feed([*rest]) + assembler.close()
    assert_legal(events)
    assert_sdk_agrees(events)


@in_each_state
def test_keeping_alive_says_nothing(before: list[Delta]) -> None:
    assembler = _assembler()
    assembler.start()
    assembler.feed(before)
    output = [event.delta for event in assembler.keep_alive() if isinstance(event, answers.ContentBlockDelta)]
    nothing = (answers.BlockTextDelta(""), answers.BlockThinkingDelta(""), answers.BlockInputJsonDelta(""))
    closing = answers.BlockSignatureDelta(UNSIGNED)
    assert all(delta in nothing or delta == closing for delta in output)


def test_before_the_start_and_after_the_end_nothing_keeps_alive() -> None:
    assembler = _assembler()
    assert assembler.keep_alive() == []
    assembler.start()
    assembler.feed([Finish(FinishReason.STOP)])
    assembler.close()
    assert assembler.keep_alive() == []


def test_text_goes_on_in_the_block_that_kept_the_line_alive() -> None:
    assembler = _assembler()
    assembler.start()
    assembler.keep_alive()
    assert assembler.feed([TextDelta("\n"), TextDelta("a")]) == [
        answers.ContentBlockDelta(0, answers.BlockTextDelta("\na"))
    ]


def test_white_space_stays_out_of_the_block_that_kept_the_line_alive() -> None:
    assembler = _assembler()
    assembler.start()
    assembler.keep_alive()
    assert assembler.feed([TextDelta("\n\n"), ThinkingDelta("hm")])[0] == answers.ContentBlockStop(0)
