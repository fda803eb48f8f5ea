"""What is true of openai-chat for every conversation and every stream, however it is cut and whatever is in it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_bridge.adapters import profiles
from claude_bridge.conversion.profile import Profile
from claude_bridge.errors import InvalidRequestError
from claude_bridge.wire.anthropic import ErrorEvent, MessageStop, StreamEvent, TextBlock, ThinkingBlock, ToolUseBlock
from claude_bridge.wire.anthropic_json import parse_messages_request
from tests.dialogues import a_request, answered, chunk, client_bytes, cut, folded, sent, sse
from tests.laws import assert_legal, assert_sdk_agrees

# --- what an engine may say ---------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8"), max_size=30)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
inputs = st.dictionaries(st.sampled_from(["file_path", "command", "old", "ä"]), values, max_size=3)
calls = st.tuples(st.sampled_from(["Read", "Bash", "Edit"]), inputs)


class Said:
    """One answer of an engine: what it thought, wrote and called, and why it stopped."""

    def __init__(self, thought: str, text: str, calls: list[tuple[str, dict[str, Any]]], reason: str) -> None:
        self.thought, self.text, self.calls, self.reason = thought, text, calls, reason

    def __repr__(self) -> str:
        return f"Said({self.thought!r}, {self.text!r}, {self.calls!r}, {self.reason!r})"

    def as_body(self) -> bytes:
        """Return the answer as a JSON body."""
        message = {
            "role": "assistant",
            "reasoning_content": self.thought,
            "content": self.text,
            "tool_calls": [
                {"id": "call_0", "index": at, "function": {"name": name, "arguments": json.dumps(arguments)}}
                for at, (name, arguments) in enumerate(self.calls)
            ],
        }
        return msgspec.json.encode({"choices": [{"message": message, "finish_reason": self.reason}], "usage": USAGE})

    def as_stream(self, piece: int) -> bytes:
        """Return the answer as a stream of chunks, in pieces of so many characters."""
        chunks = [chunk(role="assistant", content="")]
        chunks += [chunk(reasoning_content=part) for part in _pieces(self.thought, piece)]
        chunks += [chunk(content=part) for part in _pieces(self.text, piece)]
        for at, (name, arguments) in enumerate(self.calls):
            chunks.append(chunk(tool_calls=[{"index": at, "id": "call_0", "function": {"name": name}}]))
            chunks += [
                chunk(tool_calls=[{"index": at, "function": {"arguments": part}}])
                for part in _pieces(json.dumps(arguments), piece)
            ]
        return sse(*chunks, chunk(self.reason), {"choices": [], "usage": USAGE})


USAGE = {"prompt_tokens": 50, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 20}}


def _pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


answers = st.builds(
    Said, texts, texts, st.lists(calls, max_size=3), st.sampled_from(["stop", "tool_calls", "length", "content_filter"])
)
sizes = st.integers(1, 9)
cuts = st.lists(st.integers(0, 4000), max_size=12)


def _ends_once(events: list[StreamEvent]) -> None:
    """Assert that a stream is legal and that it ends in message_stop or one error."""
    assert_legal(events)
    assert sum(isinstance(event, ErrorEvent | MessageStop) for event in events) == 1
    assert_sdk_agrees(events)


# --- answers ------------------------------------------------------------------------------------------------


@given(answers, sizes, cuts)
def test_where_the_reads_end_changes_nothing(said: Said, piece: int, places: list[int]) -> None:
    stream = said.as_stream(piece)
    assert answered(cut(stream, places)) == answered([stream])


@given(answers, sizes)
@settings(max_examples=20)
def test_byte_by_byte_changes_nothing(said: Said, piece: int) -> None:
    stream = said.as_stream(piece)
    assert answered(stream[at : at + 1] for at in range(len(stream))) == answered([stream])


@given(answers, sizes)
def test_every_answer_is_a_legal_stream_that_the_sdk_understands(said: Said, piece: int) -> None:
    _ends_once(answered([said.as_stream(piece)]))


@given(answers, sizes)
def test_what_the_engine_said_is_what_the_client_gets(said: Said, piece: int) -> None:
    message = folded(answered([said.as_stream(piece)]))
    thought = "".join(block.thinking for block in message.content if isinstance(block, ThinkingBlock))
    text = "".join(block.text for block in message.content if isinstance(block, TextBlock))
    tools = [
        (block.name, json.loads(bytes(block.input))) for block in message.content if isinstance(block, ToolUseBlock)
    ]
    assert thought == said.thought
    assert text == (said.text if said.text.strip() else "")
    assert tools == [(name, json.loads(json.dumps(arguments))) for name, arguments in said.calls]
    assert message.usage.input_tokens + message.usage.cache_read_input_tokens == 50
    assert message.usage.output_tokens == 7


@given(answers, sizes)
def test_a_stream_folds_into_what_a_json_body_gives(said: Said, piece: int) -> None:
    streamed, whole = folded(answered([said.as_stream(piece)])), folded(answered([said.as_body()]))
    assert msgspec.json.encode(streamed) == msgspec.json.encode(whole)


@given(
    st.lists(
        st.sampled_from(["<think>", "</think>", "<", "think", ">", "\n", " ", "a", "ö", "END", "EN"]), max_size=12
    ),
    cuts,
)
def test_think_tags_and_stop_sequences_do_not_depend_on_how_text_is_cut(words: list[str], places: list[int]) -> None:
    text = "".join(words)
    request = a_request(stop_sequences=["END", "\n\n\n", "a<"])
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    pieces = ["".join(part) for part in _cut_text(text, places)]
    whole = answered([sse(chunk(content=text), chunk("stop"))], request)
    in_pieces = answered([sse(*(chunk(content=part) | {"usage": usage} for part in pieces), chunk("stop"))], request)
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


@given(answers, sizes, st.integers(0, 4000))
def test_any_prefix_ends_in_a_stop_or_in_one_error(said: Said, piece: int, length: int) -> None:
    _ends_once(answered([said.as_stream(piece)[:length]]))


@given(answers, st.integers(0, 1000))
def test_any_prefix_of_a_json_body_ends_in_a_stop_or_in_one_error(said: Said, length: int) -> None:
    _ends_once(answered([said.as_body()[:length]]))


@given(answers, sizes, st.dictionaries(st.text("xyz_", min_size=1), values, max_size=3))
def test_unknown_fields_change_nothing(said: Said, piece: int, extra: dict[str, Any]) -> None:
    def with_extra(value: Any) -> Any:
        if isinstance(value, list):
            return [with_extra(item) for item in value]
        if isinstance(value, dict):
            return extra | {key: with_extra(item) for key, item in value.items()}
        return value

    stream = said.as_stream(piece)
    frames = [frame.removeprefix(b"data: ") for frame in stream.split(b"\n\n")[:-2]]
    odd = sse(*(with_extra(msgspec.json.decode(frame)) for frame in frames))
    assert answered([odd]) == answered([stream])


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_garbage_is_answered_with_one_error(reads: list[bytes]) -> None:
    _ends_once(answered(reads))


@given(answers, sizes, st.integers(0, 3000), st.binary(min_size=1, max_size=5))
def test_a_damaged_stream_ends_all_the_same(said: Said, piece: int, at: int, damage: bytes) -> None:
    stream = said.as_stream(piece)
    _ends_once(answered([stream[:at] + damage + stream[at + len(damage) :]]))


FIELDS = ["choices", "delta", "message", "content", "tool_calls", "function", "name", "arguments", "index", "id"]
FIELDS += ["finish_reason", "usage", "prompt_tokens", "completion_tokens", "prompt_tokens_details", "cached_tokens"]
FIELDS += ["timings", "cache_n", "prompt_n", "prompt_ms", "predicted_n", "reasoning", "reasoning_content", "thinking"]
FIELDS += [
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
]

odd_scalars = st.sampled_from(["stop", "Read", "{}", '{"a":1}', "{", "", "error", "0", "x", 0, 1, -1, 2**70, 0.5, 7.0])
odd_values = st.recursive(
    st.none() | st.booleans() | odd_scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=20,
)


@given(st.lists(odd_values, max_size=4), st.booleans())
@settings(max_examples=300)
def test_any_json_in_place_of_chunks_ends_in_a_legal_stream(chunks: list[Any], done: bool) -> None:
    _ends_once(answered([sse(*chunks, done=done)]))


@st.composite
def odd_chunks(draw: st.DrawFn) -> dict[str, Any]:
    """Return a chunk of the right shape with one field of any value."""
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "Read", "arguments": '{"a":1}'}}
    made = chunk("stop", content="Hi", reasoning="Hm", tool_calls=[call]) | {"usage": USAGE, "timings": {"cache_n": 1}}
    places = [
        made,
        made["choices"][0],
        made["choices"][0]["delta"],
        call,
        call["function"],
        made["usage"],
        made["timings"],
    ]
    place: dict[str, Any] = draw(st.sampled_from(places))
    place[draw(st.sampled_from(sorted(place)))] = draw(odd_values)
    return made


@given(st.lists(odd_chunks(), min_size=1, max_size=4))
@settings(max_examples=300)
def test_one_odd_field_gives_no_traceback_and_no_illegal_stream(chunks: list[dict[str, Any]]) -> None:
    _ends_once(answered([sse(*chunks)]))


fragments = st.fixed_dictionaries(
    {},
    optional={
        "index": st.sampled_from([0, 1, 2, None, "0"]),
        "id": st.sampled_from(["", "call_0", "call_1", None]),
        "function": st.fixed_dictionaries(
            {},
            optional={
                "name": st.sampled_from(["", "Read", "Bash", None]),
                "arguments": st.sampled_from(
                    ["", "{", "}", "{}", '{"a":', "1", '"x"', '{"a":1}', {"a": 1}, None, "\ud7ff"]
                ),
            },
        ),
    },
)


@given(st.lists(st.lists(fragments, max_size=3), max_size=6), st.sampled_from(["stop", "length", "tool_calls", None]))
@settings(max_examples=300)
def test_any_order_of_call_fragments_gives_a_legal_stream(
    parts: list[list[dict[str, Any]]], reason: str | None
) -> None:
    _ends_once(answered([sse(*(chunk(tool_calls=part) for part in parts), chunk(reason))]))


# --- requests -----------------------------------------------------------------------------------------------

ids = st.sampled_from(["toolu_1", "toolu_2", "toolu_3"])
words = st.sampled_from(["", " ", "Hi.", "ä\n", "<system-reminder>x</system-reminder>"])
text_blocks = st.builds(lambda text: {"type": "text", "text": text}, words)
image_blocks = st.sampled_from(
    [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aa"}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
    ]
)
odd_blocks = st.sampled_from(
    [
        {"type": "hologram", "x": 1},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "tool_reference", "tool_name": "Read"},
        {"type": "document", "source": {"type": "text", "data": "a"}, "title": "t"},
        {"type": "document", "source": {"type": "content", "content": [{"type": "hologram"}]}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "a"}},
        {"type": "search_result", "source": "s", "title": "t", "content": []},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "q"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": None},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"title": None}, 3]},
    ]
)
thinking_blocks = st.builds(lambda text: {"type": "thinking", "thinking": text, "signature": "s"}, words)
tool_uses = st.builds(lambda at, given: {"type": "tool_use", "id": at, "name": "Read", "input": given}, ids, values)
result_content = st.none() | words | st.lists(text_blocks | image_blocks | odd_blocks | tool_uses, max_size=2)
tool_results = st.builds(
    lambda at, content, failed: {"type": "tool_result", "tool_use_id": at, "content": content, "is_error": failed},
    ids,
    result_content,
    st.none() | st.booleans(),
)
all_blocks = text_blocks | image_blocks | odd_blocks | thinking_blocks | tool_uses | tool_results
contents = words | st.lists(all_blocks, max_size=4)


def _turns(role: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda content: {"role": role, "content": content}, contents)


any_turns = st.sampled_from(["user", "assistant", "system", "developer"]).flatmap(_turns)
conversations = st.lists(any_turns, min_size=1, max_size=6)
a_user_says = st.builds(
    lambda more: {"role": "user", "content": [{"type": "text", "text": "Go on."}, *more]},
    st.lists(all_blocks, max_size=2),
)
every_profile = pytest.mark.parametrize(
    "profile",
    [profiles.UNKNOWN, profiles.OPENAI, profiles.LLAMA_CPP, profiles.EMBEDDED, profiles.VLLM],
    ids=lambda row: row.name,
)


@every_profile
@given(conversations)
def test_any_conversation_is_encoded_or_refused_with_a_reason(profile: Profile, messages: list[dict[str, Any]]) -> None:
    try:
        outgoing, _ = sent(a_request(messages=messages), profile)
    except InvalidRequestError:
        return
    upstream = msgspec.json.decode(outgoing.body)["messages"]
    assert upstream
    _assert_strict(upstream)


def _assert_strict(messages: list[dict[str, Any]]) -> None:
    """Assert what strict chat templates want: alternation, and each call's result right after it, in order."""
    waiting: list[str] = []
    previous = None
    for message in messages:
        role = message["role"]
        if role == "tool":
            assert message["tool_call_id"] == waiting.pop(0)
            assert message["content"] != ""
        else:
            assert not waiting
            assert role != previous
            waiting = [call["id"] for call in message.get("tool_calls", ())]
        previous = role
    assert not waiting


@every_profile
@given(conversations, a_user_says, st.lists(any_turns, max_size=3), a_user_says, st.booleans())
def test_a_longer_history_extends_the_bytes_of_the_shorter(
    profile: Profile,
    begun: list[dict[str, Any]],
    asked: dict[str, Any],
    more: list[dict[str, Any]],
    last: dict[str, Any],
    with_tools: bool,
) -> None:
    tools = [{"name": "Read", "input_schema": {"type": "object"}}] if with_tools else []
    answer = {"role": "assistant", "content": [{"type": "text", "text": "Well."}]}
    shorter = [*begun, asked]
    longer = [*shorter, answer, *more, last]
    short, long = (
        sent(a_request(messages=messages, tools=tools, system="Be terse."), profile)[0].body
        for messages in (shorter, longer)
    )
    assert short.endswith(b"]}")
    assert long.startswith(short.removesuffix(b"]}")), "else no engine can reuse its prompt cache"


@every_profile
@given(conversations)
def test_the_same_history_gives_the_same_bytes(profile: Profile, messages: list[dict[str, Any]]) -> None:
    body = msgspec.json.encode(
        {"model": "m", "max_tokens": 5, "messages": [*messages, {"role": "user", "content": "a"}]}
    )
    first, second = (sent(parse_messages_request(body), profile)[0].body for _ in range(2))
    assert first == second


odd_fields = st.dictionaries(
    st.sampled_from(["temperature", "top_p", "top_k", "tools", "tool_choice", "thinking", "output_config", "metadata"]),
    st.sampled_from(
        [
            None,
            1,
            2**70,
            0.5,
            [],
            [{"name": "a b", "input_schema": {"$defs": {"format": {"pattern": "x"}}, "maximum": 2**70}}],
            [{"name": "x" * 90, "input_schema": {}, "strict": True}, {"name": "", "defer_loading": True}],
            [{"name": "bash", "type": "bash_20250124"}],
            [{"name": "a", "input_schema": 3}],
            {"type": "enabled", "budget_tokens": 5000},
            {"type": "adaptive"},
            {"type": "tool", "name": "a b"},
            {"type": "any", "disable_parallel_tool_use": True},
            {"effort": "max"},
            {"effort": "", "format": {"type": "json_schema", "schema": {"a": 1}}},
            {"format": {"type": "json_schema"}},
            {"user_id": '{"session_id":"s"}'},
            {"user_id": "[]"},
        ]
    ),
    max_size=4,
)


@every_profile
@given(odd_fields)
def test_any_parameters_are_encoded_or_refused_with_a_reason(profile: Profile, fields: dict[str, Any]) -> None:
    with suppress(InvalidRequestError):
        sent(a_request(**fields), profile)


def test_what_is_nested_too_deeply_is_refused_and_no_traceback() -> None:
    for depth in (100, 300, 450, 500, 700, 900, 1100):
        nested = b"[" * depth + b"]" * depth
        deep_input = b'{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"n","input":%b}]}' % nested
        schema = b'{"name":"n","input_schema":{"a":%b}}' % nested
        for body in (
            b'{"model":"m","max_tokens":1,"messages":[%b]}' % deep_input,
            b'{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"a"}],"tools":[%b]}' % schema,
        ):
            try:
                sent(parse_messages_request(body), profiles.LLAMA_CPP)
            except InvalidRequestError as error:
                assert "deep" in error.message or "recursion" in error.message  # noqa: PT017


def test_the_events_of_a_stream_do_not_change_when_they_are_written() -> None:
    said = Said("Hm.", "Hi.", [("Read", {"a": 1})], "tool_calls")
    assert client_bytes(answered([said.as_stream(3)])).endswith(
        b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )
