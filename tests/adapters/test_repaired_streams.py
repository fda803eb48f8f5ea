"""Laws of streams that engines speak themselves: what is right stays as it is, and what comes out can be followed."""

from __future__ import annotations

import json
import re
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.adapters.anthropic_messages.repaired import RepairedStream
from claude_bridge.conversion.profile import MessagesProfile
from claude_bridge.conversion.response.context import ResponseContext
from claude_bridge.errors import UpstreamBrokenError
from claude_bridge.wire.anthropic import TextBlock, ThinkingBlock, ToolUseBlock
from claude_bridge.wire.anthropic_answers import (
    ErrorEvent,
    Message,
    RawBytes,
    ResponseItem,
    StreamEvent,
)
from claude_bridge.wire.anthropic_codec import encode_stream_event
from claude_bridge.wire.anthropic_lenient import read_events, typed_events
from claude_bridge.wire.sse import SseDecoder
from tests.dialogues import a_request, cut, folded
from tests.laws import assert_legal, assert_sdk_agrees
from tests.text_helpers import texts


def a_context(prompt_tokens: int = 100) -> ResponseContext:
    numbers = count(1)
    return ResponseContext(
        message_id="msg_ours",
        request_id="req_ours",
        prompt_tokens=prompt_tokens,
        window_tokens=None,
        new_tool_id=lambda: f"toolu_{next(numbers):02}",
    )


def a_stream(*, prompt_tokens: int = 100, request: Any = None, **profile: Any) -> RepairedStream:
    context = a_context(prompt_tokens)
    return RepairedStream(request or a_request(stream=True), MessagesProfile(**profile), context, "The engine")


def frame(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields}, ensure_ascii=False)}\n\n".encode()


USAGE = {"input_tokens": 10, "output_tokens": 1, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "m", "usage": USAGE}
START = frame("message_start", message={**MESSAGE, "stop_reason": None, "stop_sequence": None})
STOP = frame("message_stop")


def end(reason: str = "end_turn") -> bytes:
    return frame("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage={"output_tokens": 5})


def block(index: int, kind: str, pieces: list[str]) -> list[bytes]:
    """Return the frames of one block."""
    opened: dict[str, dict[str, Any]] = {
        "text": {"text": ""},
        "thinking": {"thinking": "", "signature": ""},
        "tool_use": {"id": f"call_{index}", "name": "Read", "input": {}},
    }
    delta = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking")}
    kind_of_delta, field = delta.get(kind, ("input_json_delta", "partial_json"))
    frames = [frame("content_block_start", index=index, content_block={"type": kind, **opened[kind]})]
    frames += [frame("content_block_delta", index=index, delta={"type": kind_of_delta, field: part}) for part in pieces]
    if kind == "thinking":
        frames.append(frame("content_block_delta", index=index, delta={"type": "signature_delta", "signature": "x"}))
    return [*frames, frame("content_block_stop", index=index)]


blocks = st.lists(
    st.tuples(st.sampled_from(["text", "thinking"]), st.lists(texts, max_size=3))
    | st.tuples(st.just("tool_use"), st.just(['{"file_path"', ': "a"}'])),
    max_size=4,
)


def frames_of(output: list[tuple[str, list[str]]]) -> list[bytes]:
    reason = "tool_use" if any(kind == "tool_use" for kind, _ in output) else "end_turn"
    inner = [part for index, (kind, pieces) in enumerate(output) for part in block(index, kind, pieces)]
    return [START, *inner, end(reason), STOP]


def passed(stream: RepairedStream, *reads: bytes) -> bytes:
    pieces: list[ResponseItem] = [piece for data in reads for piece in stream.feed(data)]
    return b"".join(map(encode_stream_event, [*pieces, *stream.close()]))


def assert_readable(answer: bytes) -> list[StreamEvent]:
    events = read_events(answer)
    if not isinstance(events[0], ErrorEvent):
        assert_legal(events)
        assert_sdk_agrees(events)
    return events


@given(blocks, st.lists(st.integers(0, 3000), max_size=6), st.sampled_from([b"\n", b"\r\n"]))
def test_a_stream_with_nothing_wrong_is_passed_on_byte_for_byte(
    output: list[tuple[str, list[str]]], places: list[int], line_end: bytes
) -> None:
    whole = b"".join(frames_of(output)).replace(b"\n", line_end)
    stream = a_stream()
    assert passed(stream, *cut(whole, [place for place in places if place < len(whole)])) == whole
    assert not stream.repairs


@given(blocks, st.data())
def test_whatever_an_engine_leaves_out_repeats_or_mixes_up_can_be_followed(
    output: list[tuple[str, list[str]]], data: st.DataObject
) -> None:
    frames = frames_of(output)
    kept = data.draw(st.lists(st.sampled_from(frames), max_size=len(frames) + 2))
    assert_readable(passed(a_stream(), b"".join(kept)))


@given(blocks, st.data())
def test_frames_that_are_missing_cost_nothing_but_themselves(
    output: list[tuple[str, list[str]]], data: st.DataObject
) -> None:
    frames = frames_of(output)
    dropped = data.draw(st.sets(st.sampled_from(["content_block_stop", "message_start"]), max_size=2))
    kept = [part for part in frames if not any(f"event: {kind}\n".encode() in part for kind in dropped)]
    whole, repaired = (folded(read_events(passed(a_stream(), b"".join(part)))) for part in (frames, kept))
    assert repaired.content == whole.content
    assert repaired.stop_reason == whole.stop_reason


@given(blocks, st.integers(0, 3000))
def test_a_stream_that_was_cut_ends_in_an_error_or_was_whole(output: list[tuple[str, list[str]]], place: int) -> None:
    whole = b"".join(frames_of(output))
    place = min(place, len(whole) - 1)
    stream = a_stream()
    events = assert_readable(passed(stream, whole[:place]))
    is_whole = (
        b"event: message_delta\n" in whole[:place] and b"stop_reason" in whole[:place].rpartition(b"\n\n")[0][-200:]
    )
    assert isinstance(events[-1], ErrorEvent) is not (stream.error is None)
    assert is_whole or stream.error is not None


@given(blocks, st.lists(st.integers(0, 30), max_size=5))
def test_signs_of_life_may_come_anywhere(output: list[tuple[str, list[str]]], places: list[int]) -> None:
    frames = frames_of(output)
    stream, pieces = a_stream(), list[ResponseItem]()
    for place, part in enumerate(frames):
        for _ in range(places.count(place)):
            pieces += stream.keep_alive()
        pieces += stream.feed(part)
    events = assert_readable(b"".join(map(encode_stream_event, [*pieces, *stream.close()])))
    quiet = folded(read_events(b"".join(frames)))
    alive = folded(events)
    assert without_empty_text(alive) == without_empty_text(quiet)
    assert alive.stop_reason == quiet.stop_reason
    assert (alive.usage.input_tokens or 10, alive.usage.output_tokens) == (10, 5)


def without_empty_text(message: Message) -> list[Any]:
    return message.content


def test_a_message_that_was_opened_while_the_engine_was_silent_goes_on_in_its_block() -> None:
    stream = a_stream(prompt_tokens=77)
    early = typed_events(stream.keep_alive())
    late = typed_events([*stream.feed(b"".join(frames_of([("text", ["Hello"])]))), *stream.close()])
    assert [type(event).__name__ for event in early] == [
        *("MessageStart", "ContentBlockStart", "ContentBlockDelta", "Ping"),
    ]
    assert_legal([*early, *late])
    assert "ContentBlockStart" not in [type(event).__name__ for event in late]
    message = folded([*early, *late])
    assert message.id == "msg_ours"
    assert [type(part).__name__ for part in message.content] == ["TextBlock"]
    assert message.usage.input_tokens == 10, "what the engine counted, and not the estimate"


@pytest.mark.parametrize("sign", [b": comment\n\n", frame("ping")], ids=["a comment", "a ping"])
def test_an_engines_own_signs_of_life_are_no_progress(sign: bytes) -> None:
    stream = a_stream()
    stream.feed(START)
    (piece,) = stream.feed(sign)
    assert piece == RawBytes(sign, is_progress=False)


def test_nothing_follows_an_error() -> None:
    stream = a_stream()
    stream.feed(START)
    assert isinstance(typed_events(stream.fail(UpstreamBrokenError("gone")))[0], ErrorEvent)
    assert stream.done
    assert [*stream.feed(end()), *stream.keep_alive(), *stream.close()] == []


def in_lines(stream: bytes) -> bytes:
    """Return the stream with each event in JSON of several lines, and so of several ``data`` lines."""
    events = [json.loads(frame.data) for frame in SseDecoder().feed(stream)]
    documents = [json.dumps(event, indent=1).splitlines() for event in events]
    return b"".join(b"".join(b"data: %b\n" % part.encode() for part in lines) + b"\n" for lines in documents)


def test_an_event_in_several_lines_is_read_whole_when_it_has_to_be_repaired() -> None:
    output = b"".join(frames_of([("text", ["Hello"])])).replace(b'"role": "assistant", ', b"")
    events = assert_readable(passed(a_stream(), in_lines(output)))
    assert folded(events).content == folded(read_events(b"".join(frames_of([("text", ["Hello"])])))).content


@pytest.mark.parametrize(
    ("well", "badly"),
    [
        pytest.param(b'"stop_reason": null', b'"stop_reason": NaN', id="a number that JSON lacks"),
        pytest.param(b'"model": "m"', b'"model": "m\\ud83d"', id="half a pair"),
        pytest.param(b'"model": "m"', b'"model": "m\x80"', id="no text"),
        pytest.param(b'{"input_tokens"', b'{"\x80input_tokens"', id="no text in the name of a field"),
        pytest.param(b'"Hello"', b'"Hello\xff"', id="no text in the answer"),
    ],
)
def test_what_is_no_json_by_the_letter_is_repaired(well: bytes, badly: bytes) -> None:
    output = b"".join(frames_of([("text", ["Hello"])]))
    assert well in output
    stream = a_stream()
    events = assert_readable(passed(stream, output.replace(well, badly)))
    assert folded(events).stop_reason == "end_turn"
    assert stream.repairs


def test_events_get_the_names_by_which_clients_know_them() -> None:
    frames = frames_of([("text", ["Hel", "lo"])])
    assert b"".join(frames).count(b"event: content_block_delta") == 2
    misnamed = [re.sub(rb"event: \w+", b"event: message", part) for part in frames]
    stream = a_stream()
    events = assert_readable(passed(stream, *misnamed))
    assert folded(events).content == [TextBlock("Hello")]
    assert [repair.what for repair in stream.repairs] == ["events without names"]


def test_the_name_of_an_event_may_stand_behind_its_id() -> None:
    whole = b"".join(b"id: 1\n" + part for part in frames_of([("text", ["Hello"])]))
    stream = a_stream()
    assert passed(stream, whole) == whole
    assert not stream.repairs


def test_a_delta_without_a_number_is_of_the_open_block_and_a_new_block_ends_one_that_was_left_open() -> None:
    first, second = (block(index, "text", [text])[:-1] for index, text in enumerate(("One.", "Two.")))
    first[1] = first[1].replace(b'"index": 0, ', b"")
    stream = a_stream()
    events = assert_readable(passed(stream, START, *first, *second, end(), STOP))
    assert folded(events).content == [TextBlock("One."), TextBlock("Two.")]
    assert {repair.what for repair in stream.repairs} == {"a block was left open"}


def test_the_content_of_a_message_may_be_one_text() -> None:
    stream = a_stream()
    message = json.dumps(MESSAGE | {"content": "Hello", "stop_reason": "end_turn"}).encode()
    assert folded(assert_readable(passed(stream, message))).content == [TextBlock("Hello")]


ARGUMENTS = st.dictionaries(
    st.text(min_size=1), st.text() | st.integers() | st.lists(st.text(), max_size=3), min_size=1
)


@given(ARGUMENTS, st.lists(st.integers(1, 40), max_size=4), st.sampled_from(["same", "", "fresh"]))
def test_a_call_in_several_blocks_comes_out_as_one(given: dict[str, Any], places: list[int], ids: str) -> None:
    whole = json.dumps(given, ensure_ascii=False)

    text_pieces = [whole[start:end] for start, end in pairwise([0, *sorted(set(places)), len(whole)]) if start < end]
    frames = [START]
    for index, piece in enumerate(text_pieces):
        own_id = {"same": "call_1", "": "", "fresh": f"call_{index}"}[ids] if index else "call_1"
        opened: dict[str, Any] = {"type": "tool_use", "id": own_id, "name": None if index else "Read", "input": {}}
        delta = {"type": "input_json_delta", "partial_json": piece}
        frames += [
            frame("content_block_start", index=index, content_block=opened),
            frame("content_block_delta", index=index, delta=delta),
            frame("content_block_stop", index=index),
        ]
    stream = a_stream()
    message = folded(assert_readable(passed(stream, b"".join([*frames, end("tool_use"), STOP]))))
    (block,) = message.content
    assert isinstance(block, ToolUseBlock)
    assert (block.id, block.name, json.loads(bytes(block.input))) == ("call_1", "Read", given)
    assert message.stop_reason == "tool_use"


def test_a_thought_that_begins_with_its_signature_is_signed_with_it() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "signed"}
    start = frame("content_block_start", index=0, content_block=thought)
    answer = passed(a_stream(), START, start, frame("content_block_stop", index=0), end(), STOP)
    assert folded(assert_readable(answer)).content == [ThinkingBlock("Hm.", "signed")]


def test_an_answer_of_a_thought_alone_is_no_call_that_the_engine_dropped() -> None:
    last = frame("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 500})
    stream = a_stream()
    assert_readable(passed(stream, START, *block(0, "thinking", ["Hm."]), last, STOP))
    assert stream.error is None


def test_arguments_without_end_are_ended() -> None:
    stream = a_stream()
    opened = {"type": "tool_use", "id": "call_1", "name": "Read", "input": {}}
    stream.feed(START + frame("content_block_start", index=0, content_block=opened))
    delta = {"type": "input_json_delta", "partial_json": "x" * 4 * 1024 * 1024}
    piece = frame("content_block_delta", index=0, delta=delta)
    for _ in range(7):
        stream.feed(piece)
    with pytest.raises(UpstreamBrokenError, match="bytes of arguments"):
        stream.feed(piece)


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(frame("content_block_delta", index=0, delta={"type": "text_delta", "text": None}), id="null"),
        pytest.param(frame("content_block_delta", index=0, delta={"type": "text_delta", "text": {}}), id="an object"),
        pytest.param(frame("content_block_delta", index=0, delta={"type": "thinking_delta"}), id="no text"),
        pytest.param(frame("content_block_delta", index=0, delta=None), id="no delta"),
        pytest.param(frame("content_block_start", index=1, content_block=None), id="no block"),
    ],
)
def test_what_clients_fail_at_is_left_out(odd: bytes) -> None:
    frames = frames_of([("text", ["Hel", "lo"])])
    stream = a_stream()
    assert passed(stream, b"".join([*frames[:3], odd, *frames[3:]])) == b"".join(frames)
    assert stream.repairs


def test_numbers_of_the_wrong_type_are_put_right() -> None:
    frames = [START, *block(0, "tool_use", ['{"file_path": "a"}']), end("tool_use"), STOP]
    badly = [part.replace(b'"index": 0, "delta"', b'"index": null, "delta"') for part in frames]
    assert badly != frames
    assert read_events(passed(a_stream(), *badly)) == read_events(b"".join(frames))
    text = frames_of([("text", ["Hi"])])
    text[-2] = text[-2].replace(b'"output_tokens"', b'"input_tokens": "many", "output_tokens"')
    assert b"many" not in passed(a_stream(), *text)
