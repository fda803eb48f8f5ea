"""Ollama's own API: exact in what we send, lenient in what we read."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import Raw

from claude_bridge.wire import ollama
from claude_bridge.wire.openai import FunctionDeclaration, ToolDeclaration


def test_a_request_has_only_the_fields_that_are_set_and_messages_come_last() -> None:
    request = ollama.ChatRequest(
        model="m", stream=True, truncate=False, shift=False, messages=[ollama.ChatMessage(role="user", content="Hi")]
    )
    assert msgspec.json.encode(request) == (
        b'{"model":"m","stream":true,"truncate":false,"shift":false,"messages":[{"role":"user","content":"Hi"}]}'
    )


def test_a_request_with_everything() -> None:
    function = FunctionDeclaration(name="Read", description="Reads.", parameters=Raw(b'{"type":"object"}'))
    called = ollama.ToolCall(id="t", function=ollama.Function("Read", Raw(b'{"b":1,"a":2}')))
    request = ollama.ChatRequest(
        model="m",
        stream=True,
        truncate=False,
        shift=False,
        keep_alive="30m",
        think="low",
        format=Raw(b"{}"),
        options=ollama.Options(num_ctx=8, num_predict=4, temperature=0.0, top_p=0.9, top_k=3),
        tools=[ToolDeclaration(function=function)],
        messages=[
            ollama.ChatMessage(role="user", content="Look.", images=["aa"]),
            ollama.ChatMessage(role="assistant", content="", thinking="Hm.", tool_calls=[called]),
            ollama.ChatMessage(role="tool", content="alpha", tool_name="Read", tool_call_id="t"),
        ],
    )
    assert msgspec.json.decode(msgspec.json.encode(request)) == {
        "model": "m",
        "stream": True,
        "truncate": False,
        "shift": False,
        "keep_alive": "30m",
        "think": "low",
        "format": {},
        "options": {"num_ctx": 8, "num_predict": 4, "temperature": 0.0, "top_p": 0.9, "top_k": 3},
        "tools": [
            {
                "type": "function",
                "function": {"name": "Read", "description": "Reads.", "parameters": {"type": "object"}},
            }
        ],
        "messages": [
            {"role": "user", "images": ["aa"], "content": "Look."},
            {
                "role": "assistant",
                "content": "",
                "thinking": "Hm.",
                "tool_calls": [{"id": "t", "function": {"name": "Read", "arguments": {"b": 1, "a": 2}}}],
            },
            {"role": "tool", "content": "alpha", "tool_name": "Read", "tool_call_id": "t"},
        ],
    }


def test_a_model_is_asked_about_by_name() -> None:
    assert ollama.encode_show_request("qwen3:8b") == b'{"model":"qwen3:8b"}'


def test_the_last_line_of_an_answer_is_read() -> None:
    output_text = ollama.parse_chat_chunk(
        b'{"model":"m","created_at":"2026-11-21T10:00:00Z","message":{"role":"assistant","content":"Hi"},"done":true,'
        b'"done_reason":"stop","total_duration":9,"load_duration":1,"prompt_eval_count":26,"prompt_eval_duration":2,'
        b'"eval_count":7,"eval_duration":3}'
    )
    assert output_text == ollama.ChatChunk(
        message=ollama.AnswerMessage(content="Hi"),
        done=True,
        done_reason="stop",
        load_duration=1,
        prompt_eval_count=26,
        prompt_eval_duration=2,
        eval_count=7,
        eval_duration=3,
    )


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"message":null,"done":null,"error":null}',
        b'{"message":{"content":null,"thinking":null,"tool_calls":null}}',
        b'{"message":{"tool_calls":[{},{"function":null},{"function":{"arguments":null}}]}}',
        b'{"message":"odd","done":"odd","eval_count":"odd"}',
    ],
)
def test_every_field_of_a_line_may_be_missing_or_null_or_odd(body: bytes) -> None:
    ollama.parse_chat_chunk(body)


@pytest.mark.parametrize("body", [b"", b"nope", b"[]", b'"x"', b"null", b'{"message":{', b"\xff"])
def test_garbage_is_no_line(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        ollama.parse_chat_chunk(body)


def test_bytes_that_are_no_text_are_mended_in_arguments_too() -> None:
    output_text = ollama.parse_chat_chunk(b'{"message":{"tool_calls":[{"function":{"arguments":{"a":"\xff"}}}]}}')
    assert output_text.message is not None
    assert output_text.message.tool_calls is not None
    function = output_text.message.tool_calls[0].function
    assert function is not None
    assert bytes(function.arguments).decode() == '{"a":"\ufffd"}'


def test_installed_models_are_those_with_a_name() -> None:
    local, cloud = ollama.parse_tags(
        b'{"models":[{"name":"qwen3:8b","model":"qwen3:8b","size":5200000000,"digest":"d","capabilities":["tools"],'
        b'"details":{"family":"qwen3","parameter_size":"8.2B","quantization_level":"Q4_K_M"}},null,{"size":1},'
        b'{"name":"gpt-oss:120b-cloud","remote_model":"gpt-oss:120b","remote_host":"https://ollama.com:443"}]}'
    )
    assert (local.name, local.size, local.capabilities, local.remote_host) == (
        "qwen3:8b",
        5_200_000_000,
        ["tools"],
        None,
    )
    assert cloud.remote_host == "https://ollama.com:443"


def test_a_model_is_described() -> None:
    shown = ollama.parse_show(
        b'{"capabilities":["completion","tools","thinking"],"details":{"family":"qwen3"},'
        b'"parameters":"stop                           \\"<|im_end|>\\"\\nnum_ctx                        8192\\nodd",'
        b'"model_info":{"general.architecture":"qwen3","qwen3.context_length":40960,"qwen3.block_count":36,'
        b'"qwen3.rope":true}}'
    )
    assert shown.capabilities == ["completion", "tools", "thinking"]
    assert shown.architecture == "qwen3"
    assert shown.architecture_number("context_length") == 40960
    assert shown.architecture_number("rope") is None
    assert shown.architecture_number("novelty") is None
    assert shown.parameter("num_ctx") == "8192"
    assert shown.parameter("stop") == '"<|im_end|>"'
    assert shown.parameter("odd") is None


def test_a_model_without_details() -> None:
    shown = ollama.parse_show(b'{"model_info":[],"parameters":null}')
    assert (shown.architecture, shown.architecture_number("context_length"), shown.parameter("num_ctx")) == (None,) * 3


def test_loaded_models() -> None:
    (loaded,) = ollama.parse_ps(
        b'{"models":[{"name":"qwen3:8b","size":6000,"size_vram":4000,"context_length":4096,"expires_at":"2026-11-21"}]}'
    )
    assert (loaded.size, loaded.size_vram, loaded.context_length) == (6000, 4000, 4096)
    assert ollama.parse_ps(b'{"models":[]}') == []


def test_the_version() -> None:
    assert ollama.parse_version(b'{"version":"0.32.15"}') == "0.32.15"


@pytest.mark.parametrize(
    "parse", [ollama.parse_tags, ollama.parse_ps, ollama.parse_version], ids=["tags", "ps", "version"]
)
@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"models":null}', b'{"error":"no"}', b"Ollama is running", b""])
def test_what_another_server_answers_is_refused(parse: object, body: bytes) -> None:
    assert callable(parse)
    with pytest.raises(msgspec.DecodeError):
        parse(body)
