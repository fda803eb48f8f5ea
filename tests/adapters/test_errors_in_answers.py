"""Errors that come inside an answer, with HTTP 200 already spent: each engine's own shape ends in one error event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from claude_bridge.conversion.deltas import Failure, UsageReport
from claude_bridge.conversion.ending import EndingJudge
from claude_bridge.errors import BridgeError
from claude_bridge.wire.anthropic_answers import ErrorEvent
from tests.dialogues import (
    OLLAMA_CHAT,
    OPENAI_CHAT,
    RESPONSES,
    TRANSLATING,
    UPSTREAM,
    answered,
    chunk,
    line,
    ndjson,
    sse,
)

BEGUN = {
    OPENAI_CHAT: sse(chunk(content="Half an"), done=False),
    OLLAMA_CHAT: ndjson(line(content="Half an")),
    RESPONSES: sse({"type": "response.output_text.delta", "delta": "Half an"}, done=False),
}
"""The beginning of an answer at each kind."""


def _event(payload: bytes) -> bytes:
    return b"event: error\ndata: " + payload + b"\n\n"


# What the engine says; then the status and type that a client is told before the stream has begun, and the words.
SHAPES: dict[str, tuple[bytes, int, str, str]] = {
    "OpenAI": (
        sse({"error": {"message": "The server had an error", "type": "server_error", "code": None}}, done=False),
        502, "api_error", "The server had an error",
    ),
    "OpenRouter": (
        sse({"id": "gen-1", "error": {"code": 502, "message": "Provider disconnected unexpectedly"},
             "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]}),
        502, "api_error", "Provider disconnected unexpectedly",
    ),
    "OpenRouter, a word for a code": (
        sse({"error": {"code": "server_error", "message": "Provider disconnected unexpectedly"},
             "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]}),
        502, "api_error", "Provider disconnected unexpectedly",
    ),
    "OpenRouter, in the choice": (
        sse({"choices": [{"index": 0, "delta": {}, "finish_reason": "error",
                          "error": {"code": 429, "message": "Provider is rate-limited"}}]}),
        429, "rate_limit_error", "Provider is rate-limited",
    ),
    "OpenRouter, no words": (sse(chunk("error")), 502, "api_error", "finish reason: error"),
    "vLLM": (
        sse({"error": {"message": "EngineCore encountered an issue. See stack trace (above) for the root cause.",
                       "type": "BadRequestError", "param": None, "code": 400}}),
        502, "api_error", "The engine has died",
    ),
    "vLLM, older": (
        sse({"object": "error", "message": "boom", "type": "InternalServerError", "param": None, "code": 500}),
        502, "api_error", "boom",
    ),
    **{
        f"no object around it: {', '.join(error)}": (sse(error, done=False), 502, "api_error", "boom")
        for error in (
            {"message": "boom", "type": "Internal"},
            {"detail": "boom"},
            {"errors": [{"message": "boom"}]},
            {"error_code": 336, "error_msg": "boom"},
            {"success": False, "code": 1302, "msg": "boom"},
            {"status": 500, "title": "boom"},
        )
    },
    "vLLM, aborted": (sse(chunk("abort")), 502, "api_error", "finish reason: abort"),
    "SGLang": (
        sse({"error": {"object": "error", "message": "The request queue is full.", "type": "abort", "code": 503}}),
        529, "overloaded_error", "queue is full",
    ),
    "llama.cpp": (
        sse({"error": {"code": 500, "message": "Context size has been exceeded.", "type": "server_error"}}, done=False),
        400, "invalid_request_error", "prompt is too long",
    ),
    "llama.cpp, older": (
        b'error: {"code":500,"message":"boom","type":"server_error"}\n\n', 502, "api_error", "boom",
    ),
    "LM Studio": (
        _event(b'{"error":{"message":"The model has crashed without additional information. (Exit code: 6)"}}'),
        502, "api_error", "The model has crashed",
    ),
    "LM Studio, too long": (
        _event(b'{"error":{"message":"The number of tokens to keep from the initial prompt is greater than the context '
               b'length."}}'),
        400, "invalid_request_error", "prompt is too long",
    ),
    "Groq": (sse({"x_groq": {"error": "over capacity"}, "choices": []}), 529, "overloaded_error", "over cap"),
    "Gemini": (
        sse([{"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}]),
        529, "overloaded_error", "The model is overloaded",
    ),
    "TGI": (
        sse({"error": "Request failed during generation: boom", "error_type": "generation"}), 502, "api_error", "boom",
    ),
    "DeepSeek": (sse(chunk("insufficient_system_resource")), 502, "api_error", "insufficient_system_resource"),
    "a word": (b"data: Internal Server Error\n\n", 502, "api_error", "Internal Server Error"),
    "a page": (b"data: <html><body>Bad Gateway</body></html>\n\n", 502, "api_error", "a web page"),
}  # fmt: skip

LINES: dict[str, tuple[bytes, int, str, str]] = {
    "Ollama": (ndjson({"error": "boom"}), 502, "api_error", "boom"),
    "a proxy": (ndjson({"detail": "boom"}), 502, "api_error", "boom"),
    "a proxy, no object": (ndjson({"message": "boom"}), 502, "api_error", "boom"),
    "Ollama, with a status": (
        ndjson({"StatusCode": 429, "Status": "429 Too Many Requests", "error": "too many concurrent requests"}),
        502, "api_error", "too many concurrent requests",
    ),
    "Ollama, memory": (
        ndjson({"error": "model requires more system memory (9.1 GiB) than is available (5.2 GiB)"}),
        502, "api_error", "smaller window",
    ),
}  # fmt: skip

EVENTS: dict[str, tuple[bytes, int, str, str]] = {
    "Responses, incomplete for a reason that means a breakdown": (
        sse({"type": "response.incomplete",
             "response": {"status": "incomplete", "incomplete_details": {"reason": "network_error"}, "output": []}}),
        502, "api_error", "finish reason: network_error",
    ),
}  # fmt: skip

ALL = [
    *((OPENAI_CHAT, engine, *shape) for engine, shape in SHAPES.items()),
    *((OLLAMA_CHAT, engine, *shape) for engine, shape in LINES.items()),
    *((RESPONSES, engine, *shape) for engine, shape in EVENTS.items()),
]
each_shape = pytest.mark.parametrize(
    ("kind", "output", "status", "error_type", "words"),
    [(kind, *shape) for kind, _, *shape in ALL],
    ids=[engine for _, engine, *_ in ALL],
)


def _failure(kind: str, reads: Sequence[bytes]) -> BridgeError:
    decoder = TRANSLATING[kind].decoder(UPSTREAM)
    deltas = [delta for data in reads for delta in decoder.feed(data)] + decoder.close()
    deltas = EndingJudge(None, UPSTREAM).feed(deltas)
    assert isinstance(deltas[-1], Failure)
    return deltas[-1].error


@each_shape
def test_before_the_answer_began_an_error_keeps_its_meaning(
    kind: str, output: bytes, status: int, error_type: str, words: str
) -> None:
    error = _failure(kind, [output])
    assert (error.status, error.error_type) == (status, error_type)
    assert words in error.message


@each_shape
def test_after_some_text_an_error_ends_the_stream(
    kind: str, output: bytes, status: int, error_type: str, words: str
) -> None:
    *_, last = answered([BEGUN[kind], output], kind=kind)
    assert isinstance(last, ErrorEvent)
    assert last.error.type == error_type
    assert words in last.error.message


DOCUMENTS: dict[str, tuple[bytes, int, str, str]] = {
    "OpenRouter": (b'{"error":{"code":402,"message":"Insufficient credits"}}', 402, "billing_error", "Insufficient"),
    "OpenRouter, a choice": (
        b'{"choices":[{"message":{"content":""},"finish_reason":"error","error":{"code":502,"message":"boom"}}]}',
        502, "api_error", "boom",
    ),
    "LM Studio": (b'{"error":"Unexpected endpoint or method. (POST /chat/completions)"}', 502, "api_error", "endpoint"),
    "Gemini": (b'[{"error":{"code":429,"message":"Quota. Please retry in 7s."}}]', 429, "rate_limit_error", "Quota"),
    "llama.cpp": (b'{"error":{"code":503,"message":"Loading model"}}', 503, "overloaded_error", "still loading"),
    "words only": (b'{"message":"no"}', 502, "api_error", "no"),
    "a page": (b"<!DOCTYPE html><html><body>Sign in</body></html>", 502, "api_error", "a web page"),
    "a word": (b"Not here", 502, "api_error", "Not here"),
    "nothing of use": (b"{}", 502, "api_error", "{}"),
}  # fmt: skip


@pytest.mark.parametrize(("output", "status", "error_type", "words"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_an_error_with_http_200_is_an_error(output: bytes, status: int, error_type: str, words: str) -> None:
    error = _failure(OPENAI_CHAT, [output])
    assert (error.status, error.error_type) == (status, error_type)
    assert words in error.message


def test_what_came_before_an_error_is_counted() -> None:
    failing: dict[str, Any] = {"error": {"code": 502, "message": "boom"}, "choices": []}
    failing["usage"] = {"prompt_tokens": 7, "completion_tokens": 3, "cost": 0.001}
    usage, _ = TRANSLATING[OPENAI_CHAT].decoder(UPSTREAM).feed(sse(failing, done=False))
    assert usage == UsageReport(prompt_tokens=7, output_tokens=3, cost_usd=0.001)


@pytest.mark.parametrize("wait", ["Please retry in 7s.", "Please try again in 7.0s"])
def test_an_error_in_an_answer_says_when_to_ask_again(wait: str) -> None:
    error = _failure(OPENAI_CHAT, [sse({"error": {"code": 429, "message": f"Too fast. {wait}"}})])
    assert error.retry_after_s == 7
