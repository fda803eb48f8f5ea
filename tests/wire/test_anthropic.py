"""Messages requests are read strictly where they are known and kept where they are not; events are written fast."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from claude_bridge.errors import InvalidRequestError
from claude_bridge.wire import anthropic as wire
from claude_bridge.wire import anthropic_answers as answers
from claude_bridge.wire import anthropic_codec as wire_json
from claude_bridge.wire.anthropic_codec import BUDGETS, CountLimit
from claude_bridge.wire.sse import SseDecoder, encode_frame


def _body(**fields: Any) -> bytes:
    return msgspec.json.encode(
        {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]} | fields
    )


def _blocks(*blocks: Any) -> list[wire.Block]:
    content = (
        wire_json.parse_messages_request(_body(messages=[{"role": "user", "content": list(blocks)}]))
        .messages[0]
        .content
    )
    assert isinstance(content, list)
    return content


def test_the_smallest_request_is_read() -> None:
    request = wire_json.parse_messages_request(_body())
    assert (request.model, request.max_tokens, request.stream) == ("m", 1, None)
    assert request.messages == [wire.InputMessage("user", "Hi")]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "hologram", "x": 1},
        {"type": "hologram"},
        {"type": "~unknown"},
        {"type": ""},
        {"type": "hologram", "content": [{"type": "text", "text": "a"}]},
    ],
)
def test_an_unknown_block_is_kept_whole(block: dict[str, Any]) -> None:
    text, unknown = _blocks({"type": "text", "text": "a"}, block)
    assert text == wire.TextBlock("a")
    assert isinstance(unknown, wire.UnknownBlock)
    assert unknown.block_type == block["type"]
    assert msgspec.json.decode(unknown.raw) == block


def test_an_unknown_block_is_kept_inside_a_tool_result() -> None:
    (result,) = _blocks({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "hologram"}]})
    assert isinstance(result, wire.ToolResultBlock)
    assert isinstance(result.content, list)
    assert isinstance(result.content[0], wire.UnknownBlock)


def test_an_unknown_block_is_kept_inside_a_document() -> None:
    (document,) = _blocks({"type": "document", "source": {"type": "content", "content": [{"type": "hologram"}]}})
    assert isinstance(document, wire.DocumentBlock)
    assert isinstance(document.source, wire.ContentSource)
    assert isinstance(document.source.content[0], wire.UnknownBlock)


def test_an_unknown_block_is_kept_in_the_system_prompt() -> None:
    system = wire_json.parse_messages_request(_body(system=[{"type": "hologram"}])).system
    assert isinstance(system, list)
    assert isinstance(system[0], wire.UnknownBlock)


def test_unknown_fields_are_ignored_at_every_level() -> None:
    block = {"type": "text", "text": "a", "novelty": 1}
    body = _body(novelty=1, betas=["x"], messages=[{"role": "user", "content": [block], "novelty": {}}])
    assert wire_json.parse_messages_request(body).messages == [wire.InputMessage("user", [wire.TextBlock("a")])]


def test_a_tool_input_keeps_its_bytes() -> None:
    body = _body(
        messages=[{"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "n", "input": 0}]}]
    )
    content = (
        wire_json.parse_messages_request(body.replace(b'"input":0', b'"input":{"b": 1.0,  "a":2}')).messages[0].content
    )
    assert isinstance(content, list)
    assert isinstance(content[0], wire.ToolUseBlock)
    assert bytes(content[0].input) == b'{"b": 1.0,  "a":2}'


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"model": 3}, "$.model"),
        ({"max_tokens": "many"}, "$.max_tokens"),
        ({"max_tokens": 0}, "$.max_tokens"),
        ({"max_tokens": True}, "$.max_tokens"),
        ({"temperature": "hot"}, "$.temperature"),
        ({"messages": []}, "$.messages"),
        ({"messages": {}}, "$.messages"),
        ({"messages": [3]}, "$.messages[0]"),
        ({"messages": [{"content": "a"}]}, "$.messages[0]"),
        ({"messages": [{"role": "user", "content": None}]}, "$.messages[0].content"),
        ({"messages": [{"role": "user", "content": [3]}]}, "$.messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"text": "a"}]}]}, "$.messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": 3}]}]}, "$.messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "$.messages[0].content[0]"),
        (
            {"messages": [{"role": "user", "content": [{"type": "hologram"}, {"type": "text", "text": 3}]}]},
            "$.messages[0].content[1].text",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "s3"}}]}]},
            "$.messages[0].content[0].source.type",
        ),
        ({"tools": [3]}, "$.tools[0]"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_addition", "tool": {}}]}]},
            "$.messages[0].content[0].tool",
        ),
        ({"tool_choice": {"type": "maybe"}}, "$.tool_choice.type"),
        ({"stop_sequences": "END"}, "$.stop_sequences"),
        ({"system": 3}, "$.system"),
    ],
)
def test_a_wrong_field_is_named_by_its_path(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        wire_json.parse_messages_request(_body(**fields))
    assert f"`{path}`" in caught.value.message


@pytest.mark.parametrize("field", ["model", "max_tokens", "messages"])
def test_a_missing_field_is_named(field: str) -> None:
    body = msgspec.json.decode(_body())
    del body[field]
    with pytest.raises(InvalidRequestError, match=field):
        wire_json.parse_messages_request(msgspec.json.encode(body))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"hello",
        b"{",
        b"[]",
        b"null",
        b"3",
        _body()[:-1],
        _body() + b"x",
        _body(model="x").replace(b'"x"', b'"\xff"'),
        _body(novelty="x").replace(b'"x"', b'"\xff"'),
        _body(novelty=0).replace(b":0", b":" + b"[" * 100_000 + b"]" * 100_000),
        _body(novelty=0).replace(b":0", b":" + b'{"a":' * 100_000),
    ],
    ids=[
        "empty",
        "blank",
        "prose",
        "brace",
        "list",
        "null",
        "number",
        "truncated",
        "trailing",
        "no utf-8",
        "no utf-8 where nobody looks",
        "deep",
        "deep and open",
    ],
)
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        wire_json.parse_messages_request(body)
    with pytest.raises(InvalidRequestError):
        wire_json.parse_count_tokens_request(body)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        (
            {"messages": [{"role": "user", "content": "a"}] * 100_001},
            "messages: at most 100,000 messages are allowed, not 100,001 - at `$.messages`",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * 200_001}]},
            "messages: at most 200,000 content blocks are allowed, not 200,001 - at `$.messages`",
        ),
        ({"model": "m" * 1_001}, "model: at most 1,000 characters are allowed, not 1,001 - at `$.model`"),
        ({"tools": [{"name": "a"}] * 10_001}, "tools: at most 10,000 tools are allowed, not 10,001 - at `$.tools`"),
        (
            {"stop_sequences": ["a" * 4000, "b" * 97]},
            "stop_sequences: at most 4,096 characters in all are allowed - at `$.stop_sequences`",
        ),
        (
            {"stop_sequences": ["a"] * 300_000},
            "stop_sequences: at most 4,096 characters in all are allowed - at `$.stop_sequences`",
        ),
        (
            {"messages": [{"role": "user", "content": "{" * 500_000}]},
            "At most 500,000 `{` are allowed in a request, and this has 500,002.",
        ),
    ],
    ids=["messages", "blocks", "model", "tools", "stop sequences", "many stop sequences", "objects"],
)
def test_a_request_holds_only_so_much(fields: dict[str, Any], error: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        wire_json.parse_messages_request(_body(**fields))
    assert caught.value.message == error


@pytest.mark.parametrize("budget", BUDGETS, ids=lambda budget: budget.name)
def test_what_takes_the_decoder_long_is_counted_before_it_is_decoded(budget: CountLimit) -> None:
    body = _body(metadata="?").replace(b"?", budget.kind[-1:] * (budget.most + 1))
    with pytest.raises(InvalidRequestError, match=re.escape(f"At most {budget.most:,} {budget.name} are allowed")):
        wire_json.parse_messages_request(body)


def test_characters_outside_ascii_are_counted_where_slices_cut_them_too() -> None:
    text = "€" * 600_000  # more than one slice, and each character has three bytes
    assert (
        wire_json.parse_messages_request(_body(messages=[{"role": "user", "content": text}])).messages[0].content
        == text
    )
    with pytest.raises(InvalidRequestError, match="At most 10,000,000 bytes of characters outside ASCII"):
        wire_json.parse_messages_request(_body(metadata="€" * 5_000_001))


def test_no_utf_8_is_refused_inside_a_tool_input_too() -> None:
    block = {"type": "tool_use", "id": "t", "name": "n", "input": {"a": "x"}}
    body = _body(messages=[{"role": "assistant", "content": [block]}]).replace(b'"x"', b'"\xff"')
    with pytest.raises(InvalidRequestError, match="not valid JSON"):
        wire_json.parse_messages_request(body)


def test_lone_surrogates_become_replacement_characters_everywhere() -> None:
    block = {"type": "tool_use", "id": "t", "name": "n", "input": {"a": "SURROGATE"}}
    messages = [{"role": "user", "content": "SURROGATE"}, {"role": "assistant", "content": [block]}]
    body = _body(messages=messages, SURROGATE=1).replace(b"SURROGATE", rb"\ud83d!")
    request = wire_json.parse_messages_request(body)
    assert request.messages[0].content == "\ufffd!"
    assert isinstance(request.messages[1].content, list)
    call = request.messages[1].content[0]
    assert isinstance(call, wire.ToolUseBlock)
    assert msgspec.json.decode(call.input) == {"a": "\ufffd!"}


def test_a_count_needs_no_max_tokens() -> None:
    request = wire_json.parse_count_tokens_request(b'{"model":"m","messages":[]}')
    assert request == wire.CountTokensRequest(model="m", messages=[])


MESSAGE = answers.Message(id="msg_1", model="m", content=[], stop_reason=None, usage=answers.Usage(input_tokens=3))

EVENTS: dict[str, answers.StreamEvent] = {
    "message_start": answers.MessageStart(MESSAGE),
    "text block": answers.ContentBlockStart(0, wire.TextBlock("")),
    "thinking block": answers.ContentBlockStart(1, wire.ThinkingBlock("")),
    "tool_use block": answers.ContentBlockStart(2, wire.ToolUseBlock("toolu_1", "Read")),
    "text_delta": answers.ContentBlockDelta(0, answers.BlockTextDelta('a"\n\\ ä \u2028 🎉 \x00')),
    "empty text_delta": answers.ContentBlockDelta(0, answers.BlockTextDelta("")),
    "percent signs": answers.ContentBlockDelta(0, answers.BlockTextDelta("100 %d %b")),
    "input_json_delta": answers.ContentBlockDelta(12, answers.BlockInputJsonDelta('{"a":"\\n"}')),
    "thinking_delta": answers.ContentBlockDelta(1, answers.BlockThinkingDelta("hm")),
    "signature_delta": answers.ContentBlockDelta(1, answers.BlockSignatureDelta("s")),
    "content_block_stop": answers.ContentBlockStop(2),
    "message_delta": answers.MessageDelta(answers.Stop("stop_sequence", "END"), answers.Usage(output_tokens=4)),
    "thinking tokens": answers.MessageDelta(
        answers.Stop("end_turn"), answers.Usage(output_tokens_details=answers.OutputTokensDetails(3))
    ),
    "message_stop": answers.MessageStop(),
    "ping": answers.Ping(),
    "error": answers.ErrorEvent(answers.ErrorDetail("api_error", "no"), "req_1"),
}

each_event = pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS.keys())


@each_event
def test_an_event_is_written_as_the_general_encoding_would(event: answers.StreamEvent) -> None:
    data = msgspec.json.encode(event)
    kind = msgspec.json.decode(data)["type"].encode()
    assert wire_json.encode_stream_event(event) == encode_frame(kind, data)


@each_event
def test_an_event_is_read_back_as_it_was(event: answers.StreamEvent) -> None:
    (frame,) = SseDecoder().feed(wire_json.encode_stream_event(event))
    assert msgspec.json.encode(wire_json.parse_stream_event(frame.data)) == msgspec.json.encode(event)


def test_a_tool_use_block_starts_with_an_empty_input() -> None:
    assert b'"input":{}' in wire_json.encode_stream_event(EVENTS["tool_use block"])


def test_every_count_of_the_usage_is_always_there() -> None:
    usage = msgspec.json.decode(msgspec.json.encode(answers.Usage()))
    assert usage == {
        "input_tokens": 0,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 0,
    }


def test_a_message_is_written_whole() -> None:
    message = msgspec.structs.replace(
        MESSAGE, content=[wire.ToolUseBlock("toolu_1", "Read", Raw(b'{"b":1,"a":2}'))], stop_reason="tool_use"
    )
    written = wire_json.encode_message(message)
    assert b'"input":{"b":1,"a":2}' in written
    assert msgspec.json.decode(written)["type"] == "message"
    assert msgspec.json.decode(written)["stop_sequence"] is None


def test_an_error_body_has_anthropics_shape() -> None:
    assert msgspec.json.decode(wire_json.encode_error("api_error", "no", "req_1")) == {
        "type": "error",
        "error": {"type": "api_error", "message": "no"},
        "request_id": "req_1",
    }


def test_the_other_bodies_have_anthropics_shape() -> None:
    model = answers.ModelInfo(id="m", display_name="M", created_at="2026-01-01T00:00:00Z")
    listed = {"type": "model", "id": "m", "display_name": "M", "created_at": "2026-01-01T00:00:00Z"}
    assert msgspec.json.decode(wire_json.encode_model(model)) == listed
    assert msgspec.json.decode(wire_json.encode_model_list([model])) == {
        "data": [listed],
        "has_more": False,
        "first_id": "m",
        "last_id": "m",
    }
    assert msgspec.json.decode(wire_json.encode_model_list([]))["first_id"] is None
    assert wire_json.encode_token_count(7) == b'{"input_tokens":7}'
