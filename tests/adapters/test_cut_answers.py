"""Nothing that was cut off runs, whatever engines do: laws over generated misbehaviour, as Anthropic's SDK reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
from anthropic.lib.streaming._messages import accumulate_event
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.wire.anthropic_answers import ErrorEvent
from claude_bridge.wire.anthropic_codec import encode_stream_event
from claude_bridge.wire.sse import SseDecoder
from tests.dialogues import a_request, answer_to, chunk, sse
from tests.examples import examples
from tests.laws import assert_legal, assert_sdk_agrees

FINISH_WORDS = [
    *(None, "stop", "tool_calls", "length", "content_filter", "function_call", "model_length", "MAX_TOKENS"),
    *("SAFETY", "network_error", "timeout", "error", "novelty", "null", "model_context_window_exceeded", "end_turn"),
    "function_call_filter: MALFORMED_FUNCTION_CALL",
]
BROKEN = {"network_error", "timeout", "error"}

TOOLS = [
    {
        "name": "Edit",
        "input_schema": {
            "type": "object",
            "properties": {"file_path": {"type": "string"}, "old": {"type": "string"}, "todos": {"type": "array"}},
        },
    }
]
LIMIT = 100

texts = st.text('a"\\{}[]:,\n\t é', max_size=12)
inputs: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"file_path": texts},
    optional={"old": texts, "todos": st.lists(st.fixed_dictionaries({"content": texts}), max_size=2)},
)


def _client_reads(events: list[Any]) -> tuple[list[dict[str, Any]], str | None, bool]:
    """Return what Anthropic's SDK makes of a stream: its content, the stop reason, and whether it ended in an error."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for frame in SseDecoder().feed(b"".join(map(encode_stream_event, events))):
        event = msgspec.json.decode(frame.data)
        if event["type"] == "error":
            return [], None, True
        if event["type"] != "ping":
            snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    message = snapshot.to_dict(mode="json")
    return message["content"], message.get("stop_reason"), False


def _inputs_that_run(events: list[Any]) -> list[Any]:
    """Return the inputs that Claude Code parses and runs: whole JSON, and none that it knows as not parsed."""
    parts: dict[int, str] = {}
    for frame in SseDecoder().feed(b"".join(map(encode_stream_event, events))):
        event = msgspec.json.decode(frame.data)
        if event["type"] == "content_block_delta" and event["delta"]["type"] == "input_json_delta":
            parts[event["index"]] = parts.get(event["index"], "") + event["delta"]["partial_json"]
    values = []
    for text in parts.values():
        try:
            value = json.loads(text or "{}")
        except ValueError:
            continue
        if "__unparsedToolInput" not in value:
            values.append(value)
    return values


def spell(value: dict[str, Any], style: str) -> str:
    match style:
        case "python":
            return repr(value)
        case "trailing comma":
            return json.dumps(value)[:-1] + ",}"
        case "line ends":
            return json.dumps(value, ensure_ascii=False).replace("\\n", "\n")
        case _:
            return json.dumps(value, ensure_ascii=style == "ascii")


def _strings(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for inner in value.values():
                yield from _strings(inner)
        case list():
            for inner in value:
                yield from _strings(inner)
        case str():
            yield value


@given(
    inputs,
    st.sampled_from(["json", "ascii", "python", "trailing comma", "line ends"]),
    st.integers(0, 120),
    st.sampled_from(FINISH_WORDS),
    st.sampled_from([None, 5, LIMIT]),
)
@examples(300)
def test_no_call_comes_out_whose_open_string_was_closed_by_us(
    value: dict[str, Any], style: str, place: int, finish: str | None, tokens: int | None
) -> None:
    whole = spell(value, style)
    half = whole[: min(place, len(whole))]
    events = answer_events(_pieces(half, "whole"), finish, tokens)
    meant = list(_strings(value))
    for run in _inputs_that_run(events):
        # Each string that runs is one that the model wrote to its end.
        assert [text for text in _strings(run) if text not in meant] == []
        if style in ("json", "ascii"):
            assert _is_beginning(run, value)
            assert run == value or (finish in ("stop", "tool_calls", "function_call", "end_turn") and tokens != LIMIT)


def _is_beginning(run: Any, value: Any) -> bool:
    """Return whether one value is another up to some whole member, as closing brackets leave it."""
    if isinstance(run, dict) and isinstance(value, dict):
        pairs = list(run.items())
        return all(key in value for key in run) and all(
            inner == value[key] or (at == len(pairs) - 1 and _is_beginning(inner, value[key]))
            for at, (key, inner) in enumerate(pairs)
        )
    if isinstance(run, list) and isinstance(value, list):
        return all(
            inner == value[at] or (at == len(run) - 1 and _is_beginning(inner, value[at]))
            for at, inner in enumerate(run)
        )
    return bool(run == value)


def _pieces(arguments: str, shape: str) -> list[dict[str, Any]]:
    """Return the chunks of one call, in one of the shapes in which engines send it."""
    size = max(1, len(arguments) // 3)
    parts = [arguments[at : at + size] for at in range(0, len(arguments), size)] or [""]
    match shape:
        case "whole":
            parts = [arguments]
        case "snapshots":
            parts = ["".join(parts[: at + 1]) for at in range(len(parts))]
        case "once more":
            parts = [*parts, arguments]
    calls = []
    for at, part in enumerate(parts):
        is_first = at == 0
        call: dict[str, Any] = {"index": 0, "id": "call_0", "function": {"arguments": part}}
        if is_first or shape == "name on each":
            call["function"]["name"] = "Edit"
        if shape == "new ids":
            call["id"] = f"call_{at}"
        if shape == "no index":
            del call["index"]
        if shape == "new index" and not is_first:
            call |= {"index": at, "id": f"call_{at}"}
        calls.append(chunk(tool_calls=[call]))
    return calls


def answer_events(chunks: list[Any], finish: str | None, tokens: int | None, *, done: bool = True) -> list[Any]:
    usage = [] if tokens is None else [{"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": tokens}}]
    end = [] if finish is None else [chunk(finish)]
    request = a_request(tools=TOOLS, max_tokens=LIMIT)
    return answer_to([sse(*chunks, *end, *usage, done=done)], request).events


SHAPES = ["whole", "pieces", "snapshots", "once more", "name on each", "new ids", "no index", "new index"]


@given(
    inputs,
    st.integers(0, 120) | st.none(),
    st.sampled_from(SHAPES),
    st.sampled_from(FINISH_WORDS),
    st.sampled_from([None, 5, LIMIT]),
    st.sampled_from([{}, {"reasoning_content": "Hm."}, {"reasoning": "Hm."}, {"reasoning_content": ""}]),
    st.sampled_from(["", "I edit it. "]),
    st.booleans(),
)
@examples(400)
def test_whatever_engines_do_no_call_is_half_invented_doubled_or_swallowed(
    value: dict[str, Any],
    place: int | None,
    shape: str,
    finish: str | None,
    tokens: int | None,
    reasoning: dict[str, str],
    words: str,
    done: bool,
) -> None:
    whole = json.dumps(value)
    arguments = whole if place is None else whole[:place]
    output = [chunk(**reasoning)] if reasoning else []
    output += [chunk(content=words)] if words else []
    events = answer_events([*output, *_pieces(arguments, shape)], finish, tokens, done=done)
    assert_legal(events)
    assert_sdk_agrees(events)
    runs = _inputs_that_run(events)
    content, stop_reason, has_failed = _client_reads(events)
    if finish in BROKEN or (not done and finish in (None, "null")):
        assert has_failed
        assert runs == []
        return
    assert not has_failed or finish is None or "MALFORMED" in finish or finish in ("novelty", "null")
    calls = [block for block in content if block["type"] == "tool_use"]
    assert all(block["name"] == "Edit" and isinstance(block["input"], dict) for block in calls)
    assert len(calls) <= 1, "none is invented, and none doubled"
    assert all(run == value or run == {} or _is_beginning(run, value) for run in runs)
    if arguments == whole:
        assert has_failed or runs == [value]
        assert has_failed or stop_reason in ("tool_use", "max_tokens", "model_context_window_exceeded", "refusal")
    elif calls and not runs:
        assert stop_reason in ("max_tokens", "model_context_window_exceeded", "refusal")
    said_text = "".join(block["text"] for block in content if block["type"] == "text")
    assert has_failed or said_text.strip() == words.strip()
    if not content:
        assert has_failed or stop_reason in ("max_tokens", "model_context_window_exceeded", "refusal")
    assert any(isinstance(event, ErrorEvent) for event in events) is has_failed
