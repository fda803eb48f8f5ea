"""Chat Completions: exact in what we send, lenient in what we read."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import Raw
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from pydantic import TypeAdapter

from claude_bridge.wire import openai


def test_a_request_has_only_the_fields_that_are_set_and_messages_come_last() -> None:
    request = openai.ChatRequest(
        model="m", stream=True, max_tokens=5, messages=[openai.ChatMessage(role="user", content="Hi")]
    )
    assert msgspec.json.encode(request) == (
        b'{"model":"m","stream":true,"max_tokens":5,"messages":[{"role":"user","content":"Hi"}]}'
    )


def test_a_request_with_everything_is_one_that_the_sdk_accepts() -> None:
    call = openai.ToolCall(id="call_1", function=openai.Function("Read", "{}"))
    image = openai.ImagePart(openai.ImageUrl("data:image/png;base64,xx"))
    request = openai.ChatRequest(
        model="m",
        stream=True,
        stream_options=openai.StreamOptions(),
        max_completion_tokens=5,
        temperature=0.5,
        top_p=0.9,
        reasoning_effort="low",
        response_format=openai.ResponseFormat(type="json_schema", json_schema=openai.JsonSchema(schema=Raw(b"{}"))),
        tool_choice=openai.NamedToolChoice(function=openai.NamedFunction("Read")),
        parallel_tool_calls=False,
        prompt_cache_key="k",
        user="u",
        tools=[
            openai.ToolDeclaration(
                function=openai.FunctionDeclaration(
                    name="Read", description="Reads.", parameters=Raw(b"{}"), strict=True
                )
            )
        ],
        messages=[
            openai.ChatMessage(role="system", content="Be terse."),
            openai.ChatMessage(role="user", content=[openai.TextPart("Look."), image]),
            openai.ChatMessage(role="assistant", content=None, tool_calls=[call]),
            openai.ChatMessage(role="tool", content="alpha", tool_call_id="call_1"),
        ],
    )
    TypeAdapter(CompletionCreateParamsStreaming).validate_json(msgspec.json.encode(request), strict=True)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"choices":[]}',
        b'{"choices":null,"usage":null,"error":null}',
        b'{"choices":[{"delta":null,"finish_reason":null}]}',
        b'{"choices":[{"delta":{"content":null,"tool_calls":null,"role":"assistant"}}]}',
    ],
)
def test_every_field_of_a_chunk_may_be_missing_or_null(body: bytes) -> None:
    openai.parse_chunk(body)


def test_a_chunk_of_the_sdk_is_read() -> None:
    theirs = ChatCompletionChunk.model_validate(
        {
            "id": "x",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
        }
    )
    chunk = openai.parse_chunk(theirs.model_dump_json().encode())
    assert chunk.choices is not None
    assert chunk.choices[0].delta == openai.AnswerDelta(content="Hi")
    assert chunk.choices[0].finish_reason == "stop"
    assert chunk.usage == openai.CompletionUsage(prompt_tokens=1, completion_tokens=2, total_tokens=3)


@pytest.mark.parametrize("body", [b"", b"nope", b"[]", b'"x"', b"null", b'{"choices":[', b"\xff"])
def test_garbage_is_no_chunk(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        openai.parse_chunk(body)


def test_bytes_that_are_no_text_are_mended_in_arguments_too() -> None:
    chunk = openai.parse_chunk(b'{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":{"a":"\xff"}}}]}}]}')
    assert chunk.choices is not None
    delta = chunk.choices[0].delta
    assert delta is not None
    assert delta.tool_calls is not None
    function = delta.tool_calls[0].function
    assert function is not None
    assert bytes(function.arguments).decode() == '{"a":"\ufffd"}'
