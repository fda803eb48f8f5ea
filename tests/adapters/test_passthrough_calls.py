"""Calls in answers of the Messages API: held until they are whole, and repaired as those of any other API."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.adapters.anthropic_messages.repaired import RepairedDocument
from claude_bridge.conversion.profile import MessagesProfile
from claude_bridge.wire.anthropic import TextBlock, ToolUseBlock
from claude_bridge.wire.anthropic_answers import (
    BlockInputJsonDelta,
    ContentBlockDelta,
    ContentBlockStart,
    ErrorEvent,
    MessageDelta,
    StreamEvent,
)
from claude_bridge.wire.anthropic_codec import encode_stream_event
from claude_bridge.wire.anthropic_lenient import read_events
from tests.adapters.test_cut_answers import FINISH_WORDS, LIMIT, TOOLS, answer_events, inputs, spell
from tests.adapters.test_repaired_streams import START, STOP, a_context, a_stream, end, frame, passed
from tests.dialogues import a_request, chunk
from tests.laws import assert_legal


def _passed_on(frames: list[bytes], **request: Any) -> list[StreamEvent]:
    """Return what a client gets of a stream of the Messages API."""
    return read_events(passed(a_stream(request=a_request(stream=True, tools=TOOLS, **request)), *frames))


def _document(document: dict[str, Any]) -> bytes:
    """Return what a client gets of a document of the Messages API."""
    request = a_request(tools=TOOLS)
    answer = RepairedDocument(request, MessagesProfile(), a_context(), "The engine")
    return b"".join(map(encode_stream_event, [*answer.feed(json.dumps(document).encode()), *answer.close()]))


def _calls_and_reason(events: Sequence[StreamEvent]) -> tuple[list[tuple[str, str]], str | None]:
    """Return the name and the input of each call, as the client gets its text, and the stop reason."""
    names = {
        event.index: event.content_block.name
        for event in events
        if isinstance(event, ContentBlockStart) and isinstance(event.content_block, ToolUseBlock)
    }
    texts = dict.fromkeys(names, "")
    for event in events:
        if isinstance(event, ContentBlockDelta) and isinstance(event.delta, BlockInputJsonDelta):
            texts[event.index] += event.delta.partial_json
    reason = next((event.delta.stop_reason for event in events if isinstance(event, MessageDelta)), None)
    return [(names[index], texts[index].strip() or "{}") for index in names], reason


odd_arguments = st.sampled_from(
    ["42", "[1,2]", '"text"', "this is no JSON", "null", '{"file_path": "C:\\proj\\new"}', '{"old": 5}', "{'old': 'x'}"]
)


@given(
    st.tuples(inputs, st.sampled_from(["json", "ascii", "python", "trailing comma"]), st.integers(0, 120) | st.none())
    | odd_arguments,
    st.sampled_from(FINISH_WORDS),
    st.sampled_from([5, LIMIT]),
    st.sampled_from(["Edit", "edit", "functions.Edit", "Other"]),
    st.booleans(),
)
def test_a_call_is_the_same_whichever_api_the_engine_speaks(
    given: Any, finish: str | None, tokens: int, name: str, comes_at_once: bool
) -> None:
    if isinstance(given, str):
        arguments = given
    else:
        value, style, place = given
        arguments = spell(value, style)[:place]
    call = {"index": 0, "id": "call_0", "function": {"name": name, "arguments": arguments}}
    translated = answer_events([chunk(tool_calls=[call])], finish, tokens)
    at = max(1, len(arguments) // 2)
    opened = {"type": "tool_use", "id": "call_0", "name": name, "input": arguments if comes_at_once else {}}
    pieces = [] if comes_at_once else [arguments[:at], arguments[at:]]
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    passed_on = _passed_on(
        [
            START,
            frame("content_block_start", index=0, content_block=opened),
            *(frame("content_block_delta", index=0, delta=delta) for delta in deltas),
            frame("content_block_stop", index=0),
            frame("message_delta", delta={"stop_reason": finish}, usage={"output_tokens": tokens}) if finish else b"",
            STOP,
        ],
        max_tokens=LIMIT,
    )
    assert_legal(passed_on)
    if isinstance(passed_on[-1], ErrorEvent):
        assert isinstance(translated[-1], ErrorEvent)
        return
    calls, reason = _calls_and_reason(passed_on)
    expected, expected_reason = _calls_and_reason(translated)
    assert calls == expected
    assert reason == expected_reason


def test_calls_whose_blocks_overlap_come_out_one_after_the_other() -> None:
    pieces = [(0, '{"old"'), (1, '{"old"'), (0, ':"a"}'), (1, ':"b"}')]
    opened = [{"type": "tool_use", "id": f"call_{index}", "name": "Edit", "input": {}} for index in (0, 1)]
    events = _passed_on(
        [
            START,
            *(frame("content_block_start", index=index, content_block=opened[index]) for index in (0, 1)),
            *(
                frame("content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": piece})
                for index, piece in pieces
            ),
            *(frame("content_block_stop", index=index) for index in (1, 0)),
            end("tool_use"),
            STOP,
        ]
    )
    assert_legal(events)
    assert _calls_and_reason(events) == ([("Edit", '{"old":"a"}'), ("Edit", '{"old":"b"}')], "tool_use")


def test_a_piece_of_a_call_may_come_with_the_start_of_its_block() -> None:
    pieces = [("Edit", {}), (None, '{"old":'), (None, '"a"}')]
    events = _passed_on(
        [
            START,
            *(
                part
                for index, (name, given) in enumerate(pieces)
                for part in (
                    frame("content_block_start", index=index, content_block={**_USE, "name": name, "input": given}),
                    frame("content_block_stop", index=index),
                )
            ),
            end("tool_use"),
            STOP,
        ]
    )
    assert _calls_and_reason(events) == ([("Edit", '{"old":"a"}')], "tool_use")


_USE = {"type": "tool_use", "id": "call_0"}


def test_a_call_comes_as_soon_as_the_next_one_begins_whatever_cuts_that_off() -> None:
    opened = [{"type": "tool_use", "id": f"call_{index}", "name": "Edit", "input": {}} for index in (0, 1)]
    stream = a_stream(request=a_request(stream=True, tools=TOOLS))
    first = [
        START,
        frame("content_block_start", index=0, content_block=opened[0]),
        frame("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": '{"old":"a",}'}),
        frame("content_block_stop", index=0),
        frame("content_block_start", index=1, content_block=opened[1]),
    ]
    rest = [
        frame("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": '{"old":"b'}),
        frame("content_block_stop", index=1),
        end("max_tokens"),
        STOP,
    ]
    early = read_events(b"".join(map(encode_stream_event, stream.feed(b"".join(first)))))
    assert _calls_and_reason(early) == ([("Edit", '{"old":"a"}')], None)
    late = read_events(passed(stream, *rest))
    assert _calls_and_reason(late)[1] == "max_tokens"


def _opened(index: int, name: str = "Edit") -> bytes:
    block = {"type": "tool_use", "id": f"call_{index}", "name": name, "input": {}}
    return frame("content_block_start", index=index, content_block=block)


def _piece(index: int, piece: str) -> bytes:
    return frame("content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": piece})


def test_text_inside_a_call_does_not_end_it() -> None:
    events = _passed_on(
        [
            *(START, _opened(0), _piece(0, '{"old":')),
            frame("content_block_delta", index=0, delta={"type": "text_delta", "text": "Hm."}),
            *(_piece(0, '"a"}'), frame("content_block_stop", index=0), end("tool_use"), STOP),
        ]
    )
    assert_legal(events)
    assert _calls_and_reason(events) == ([("Edit", '{"old":"a"}')], "tool_use")


def test_a_call_that_is_whole_comes_before_the_text_behind_it_though_its_end_is_missing() -> None:
    text = frame("content_block_start", index=1, content_block={"type": "text", "text": "Hm."})
    events = _passed_on([START, _opened(0), _piece(0, '{"old":"a"}'), text, end("tool_use"), STOP])
    assert_legal(events)
    kinds = [type(event.content_block) for event in events if isinstance(event, ContentBlockStart)]
    assert kinds == [ToolUseBlock, TextBlock]


def test_of_several_calls_only_the_last_may_be_one_that_was_cut_off_before_its_arguments() -> None:
    events = _passed_on([START, _opened(0, "List"), _opened(1), _opened(2), end("max_tokens"), STOP])
    assert _calls_and_reason(events) == ([("List", "{}"), ("Edit", "{}")], "max_tokens")
    events = _passed_on([START, _opened(0, "List"), _opened(1), _piece(1, '{"old":"a'), end("max_tokens"), STOP])
    assert _calls_and_reason(events) == ([("List", "{}"), ("Edit", '{"old":"a')], "max_tokens")


def _nameless(index: int, call_id: str, **fields: Any) -> bytes:
    block = {"type": "tool_use", "id": call_id, "name": None, "input": {}, **fields}
    return frame("content_block_start", index=index, content_block=block)


def test_white_space_in_a_block_of_its_own_is_no_other_call() -> None:
    events = _passed_on(
        [
            *(START, _opened(0), _piece(0, '{"old":"a"}'), frame("content_block_stop", index=0)),
            *(_nameless(1, "call_0"), _piece(1, "\n"), frame("content_block_stop", index=1), end("tool_use"), STOP),
        ]
    )
    assert _calls_and_reason(events)[0] == [("Edit", '{"old":"a"}')]


def test_arguments_belong_to_the_newest_call_with_their_number() -> None:
    events = _passed_on(
        [START, _opened(0), _piece(0, '{"old":"a'), _opened(0), _piece(0, '{"old":"b"}'), end("tool_use"), STOP]
    )
    assert _calls_and_reason(events) == ([("Edit", '{"old":"a'), ("Edit", '{"old":"b"}')], "max_tokens")


def test_a_call_without_a_name_is_one_if_its_input_comes_at_once() -> None:
    events = _passed_on([START, _nameless(0, "call_0", input={"old": "a"}), end("tool_use"), STOP])
    assert _calls_and_reason(events) == ([("unknown_tool", '{"old":"a"}')], "tool_use")


def test_a_document_of_the_messages_api_holds_no_call_that_was_cut_off() -> None:
    block = {"type": "tool_use", "id": "call_0", "name": "Edit", "input": '{"file_path": "/home/me/proj'}
    document = {"type": "message", "role": "assistant", "content": [block], "stop_reason": "tool_use", "usage": {}}
    answer = json.loads(_document(document))
    assert answer["stop_reason"] == "max_tokens"
    assert list(answer["content"][0]["input"]) == ["__unparsedToolInput"]


@pytest.mark.parametrize(
    ("reason", "tokens", "words"),
    [
        ("error", 0, "broke off"),
        ("novelty", 0, "unknown finish reason"),
        ("function_call_filter: MALFORMED_FUNCTION_CALL", 5, "dropped malformed output"),
        ("end_turn", 30, "reports 30 tokens"),
    ],
)
def test_an_answer_without_content_is_an_error_where_it_must_have_had_some(
    reason: str, tokens: int, words: str
) -> None:
    usage = {"output_tokens": tokens}
    *_, error = _passed_on([START, frame("message_delta", delta={"stop_reason": reason}, usage=usage), STOP])
    assert isinstance(error, ErrorEvent)
    assert words in error.error.message
    document = _document({"type": "message", "content": [], "stop_reason": reason, "usage": usage})
    assert document == b"", "the error becomes the status of the answer"


@pytest.mark.parametrize(("text", "is_error"), [("Hello", False), ("", True)], ids=["text in the start", "no text"])
def test_a_block_is_content_if_it_holds_some(text: str, is_error: bool) -> None:
    events = _passed_on(
        [
            START,
            frame("content_block_start", index=0, content_block={"type": "text", "text": text}),
            frame("content_block_stop", index=0),
            frame("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 30}),
            STOP,
        ]
    )
    assert isinstance(events[-1], ErrorEvent) is is_error


def test_arguments_that_are_no_text_are_left_out() -> None:
    opened = {"type": "tool_use", "id": "call_0", "name": "Edit", "input": {}}
    pieces = [None, '{"old":', 5, '"a"}']
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    events = _passed_on(
        [
            START,
            frame("content_block_start", index=0, content_block=opened),
            *(frame("content_block_delta", index=0, delta=delta) for delta in deltas),
            frame("content_block_stop", index=0),
            end("tool_use"),
            STOP,
        ]
    )
    assert _calls_and_reason(events) == ([("Edit", '{"old":"a"}')], "tool_use")


def test_an_engine_that_streams_though_nobody_wanted_it_gives_the_whole_message() -> None:
    citation = {"type": "char_location", "cited_text": "Hello"}
    deltas: list[Any] = [
        {"type": "text_delta", "text": "Hel"},
        {"type": "text_delta", "text": "lo"},
        {"type": "citations_delta", "citation": citation},
        {"type": "text_delta", "text": 5},
        {"type": ["text_delta"], "text": "no type"},
        {"type": "novel_delta", "text": "not known"},
        "no delta",
    ]
    frames = [
        START,
        frame("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *(frame("content_block_delta", index=0, delta=delta) for delta in deltas),
        frame("content_block_stop", index=0),
        end(),
        STOP,
    ]
    answer = RepairedDocument(a_request(), MessagesProfile(), a_context(), "The engine")
    message = json.loads(b"".join(map(encode_stream_event, [*answer.feed(b"".join(frames)), *answer.close()])))
    assert (message["id"], message["stop_reason"]) == ("msg_1", "end_turn")
    assert message["content"] == [{"type": "text", "text": "Hello", "citations": [citation]}]
    assert message["usage"]["output_tokens"] == 5


def test_nothing_follows_the_error_of_a_document_that_came_in_place_of_a_stream() -> None:
    blocks = [{"type": "text", "text": "Hello"}]
    document = {"type": "message", "role": "assistant", "content": blocks, "stop_reason": "error", "usage": {}}
    *_, last = _passed_on([json.dumps(document).encode()])
    assert isinstance(last, ErrorEvent)
    assert "broke off" in last.error.message


def test_arguments_that_come_as_an_object_are_not_lost() -> None:
    start = frame(
        "content_block_start", index=0, content_block={"type": "tool_use", "id": "t", "name": "Write", "input": {}}
    )
    piece = frame(
        "content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": {"file_path": "a"}}
    )
    events = _passed_on([START, start, piece, frame("content_block_stop", index=0), end("tool_use"), STOP])
    assert _calls_and_reason(events) == ([("Write", '{"file_path":"a"}')], "tool_use")
