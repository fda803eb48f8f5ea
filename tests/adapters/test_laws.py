"""What is true of every upstream kind, for every answer, however its stream is cut."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from claude_bridge.wire.anthropic import (
    MessagesRequest,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
)
from claude_bridge.wire.anthropic_answers import (
    ErrorEvent,
    MessageStop,
    StreamEvent,
)
from tests.dialogues import TRANSLATING, a_request, answered, cut, folded
from tests.examples import examples
from tests.laws import assert_legal, assert_sdk_agrees
from tests.text_helpers import (
    OUTPUT_TOKENS,
    PROMPT_TOKENS,
    ModelOutput,
    answers,
    framed,
    full_chunk,
    text_chunks,
    values,
)

every_kind = pytest.mark.parametrize("kind", TRANSLATING)

sizes = st.integers(1, 9)
cuts = st.lists(st.integers(0, 4000), max_size=12)


def events_of(kind: str, reads: Iterable[bytes], request: MessagesRequest | None = None) -> list[StreamEvent]:
    """Return what the client gets for what an engine of that kind said."""
    return answered(reads, request, kind=kind)


def _ends_once(events: list[StreamEvent]) -> None:
    """Assert that a stream is legal and that it ends in message_stop or one error."""
    assert_legal(events)
    assert sum(isinstance(event, ErrorEvent | MessageStop) for event in events) == 1
    assert_sdk_agrees(events)


# --- answers ------------------------------------------------------------------------------------------------


@every_kind
@given(answers, sizes, cuts)
def test_where_the_reads_end_changes_nothing(kind: str, output: ModelOutput, piece: int, places: list[int]) -> None:
    stream = output.as_stream(kind, piece)
    assert events_of(kind, cut(stream, places)) == events_of(kind, [stream])


@every_kind
@given(answers, sizes)
@examples(20)
def test_byte_by_byte_changes_nothing(kind: str, output: ModelOutput, piece: int) -> None:
    stream = output.as_stream(kind, piece)
    assert events_of(kind, [stream[at : at + 1] for at in range(len(stream))]) == events_of(kind, [stream])


@every_kind
@given(answers, sizes)
def test_every_answer_is_a_legal_stream_that_the_sdk_understands(kind: str, output: ModelOutput, piece: int) -> None:
    _ends_once(events_of(kind, [output.as_stream(kind, piece)]))


@every_kind
@given(answers, sizes)
def test_what_the_engine_sent_is_what_the_client_gets(kind: str, output: ModelOutput, piece: int) -> None:
    assume(output.calls or output.text.strip() or output.reason != "tool_calls")  # else the engine dropped a call
    message = folded(events_of(kind, [output.as_stream(kind, piece)]))
    thought = "".join(block.thinking for block in message.content if isinstance(block, ThinkingBlock))
    text = "".join(block.text for block in message.content if isinstance(block, TextBlock))
    tools = [
        (block.name, json.loads(bytes(block.input))) for block in message.content if isinstance(block, ToolUseBlock)
    ]
    assert thought == output.thought
    assert text == (output.text if output.text.strip() else "")
    assert tools == [(name, json.loads(json.dumps(arguments))) for name, arguments in output.calls]
    assert message.usage.input_tokens + message.usage.cache_read_input_tokens == PROMPT_TOKENS
    assert message.usage.output_tokens == OUTPUT_TOKENS


@every_kind
@given(answers, sizes)
def test_a_stream_folds_into_what_a_json_body_gives(kind: str, output: ModelOutput, piece: int) -> None:
    streamed = folded(events_of(kind, [output.as_stream(kind, piece)]))
    whole = folded(events_of(kind, [output.as_body(kind)]))
    assert msgspec.json.encode(streamed) == msgspec.json.encode(whole)


@every_kind
@given(
    st.lists(
        st.sampled_from(["<think>", "</think>", "<", "think", ">", "\n", " ", "a", "ö", "END", "EN"]), max_size=12
    ),
    cuts,
)
def test_how_text_is_cut_changes_no_think_tag_and_no_stop_sequence(
    kind: str, words: list[str], places: list[int]
) -> None:
    text = "".join(words)
    request = a_request(stop_sequences=["END", "\n\n\n", "a<"])
    pieces = ["".join(part) for part in _cut_text(text, places)]
    whole = events_of(kind, [framed(kind, text_chunks(kind, [text]))], request)
    in_pieces = events_of(kind, [framed(kind, text_chunks(kind, pieces))], request)
    _ends_once(in_pieces)
    ours, theirs = folded(in_pieces), folded(whole)
    assert (ours.content, ours.stop_reason, ours.stop_sequence) == (
        theirs.content,
        theirs.stop_reason,
        theirs.stop_sequence,
    )


def _cut_text(text: str, places: list[int]) -> list[str]:
    starts = sorted({0, *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


@every_kind
@given(answers, sizes, st.integers(0, 4000))
def test_any_prefix_ends_in_a_stop_or_in_one_error(kind: str, output: ModelOutput, piece: int, length: int) -> None:
    _ends_once(events_of(kind, [output.as_stream(kind, piece)[:length]]))


@every_kind
@given(answers, st.integers(0, 1000))
def test_any_prefix_of_a_json_body_ends_in_a_stop_or_in_one_error(kind: str, output: ModelOutput, length: int) -> None:
    _ends_once(events_of(kind, [output.as_body(kind)[:length]]))


@every_kind
@given(answers, sizes, st.dictionaries(st.text("xyz_", min_size=1), values, max_size=3))
def test_unknown_fields_change_nothing(kind: str, output: ModelOutput, piece: int, extra: dict[str, Any]) -> None:
    def with_extra(value: Any) -> Any:
        if isinstance(value, list):
            return [with_extra(item) for item in value]
        if isinstance(value, dict):
            # What a tool is called with is the model's own.
            return extra | {key: item if key == "arguments" else with_extra(item) for key, item in value.items()}
        return value

    chunks = output.as_chunks(kind, piece)
    odd = framed(kind, [with_extra(chunk) for chunk in chunks])
    assert events_of(kind, [odd]) == events_of(kind, [framed(kind, chunks)])


@every_kind
@given(st.lists(st.binary(max_size=60), max_size=5))
def test_garbage_is_answered_with_one_error(kind: str, reads: list[bytes]) -> None:
    _ends_once(events_of(kind, reads))


@every_kind
@given(answers, sizes, st.integers(0, 3000), st.binary(min_size=1, max_size=5))
def test_a_damaged_stream_ends_all_the_same(kind: str, output: ModelOutput, piece: int, at: int, damage: bytes) -> None:
    stream = output.as_stream(kind, piece)
    _ends_once(events_of(kind, [stream[:at] + damage + stream[at + len(damage) :]]))


FIELDS = [
    "choices",
    "delta",
    "message",
    "content",
    "tool_calls",
    "function",
    "name",
    "arguments",
    "index",
    "id",
    "finish_reason",
    "usage",
    "prompt_tokens",
    "completion_tokens",
    "prompt_tokens_details",
    "cached_tokens",
    "timings",
    "cache_n",
    "prompt_n",
    "prompt_ms",
    "predicted_n",
    "reasoning",
    "reasoning_content",
    "thinking",
    "reasoning_details",
    "text",
    "type",
    "refusal",
    "function_call",
    "error",
    "code",
    "object",
    "metadata",
    "raw",
    "done",
    "done_reason",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
]

odd_scalars = st.sampled_from(
    ["stop", "load", "Read", "{}", '{"a":1}', "{", "", "error", "0", "x", 0, 1, -1, 2**70, 0.5, 7.0]
)
odd_values = st.recursive(
    st.none() | st.booleans() | odd_scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=20,
)


@every_kind
@given(st.lists(odd_values, max_size=4), st.booleans())
@examples(300)
def test_any_json_in_place_of_chunks_ends_in_a_legal_stream(kind: str, chunks: list[Any], done: bool) -> None:
    _ends_once(events_of(kind, [framed(kind, chunks, done=done)]))


@every_kind
@given(st.data())
@examples(300)
def test_one_odd_field_gives_no_traceback_and_no_illegal_stream(kind: str, data: st.DataObject) -> None:
    chunks = [data.draw(_odd_chunk(kind)) for _ in range(data.draw(st.integers(1, 4)))]
    _ends_once(events_of(kind, [framed(kind, chunks)]))


@st.composite
def _odd_chunk(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """Return a chunk of the right shape with one field of any value."""
    made = full_chunk(kind)
    place = draw(st.sampled_from(list(_objects_in(made))))
    place[draw(st.sampled_from(sorted(place)))] = draw(odd_values)
    return made


def _objects_in(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _objects_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _objects_in(inner)
