"""What engines' errors mean to the client, in each engine's own wording."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.conversion.upstream_errors.translate import (
    MAX_QUOTED_CHARS,
    explain_error_object,
    explain_no_json,
    explain_refusal,
    quote,
)
from claude_bridge.errors import (
    BridgeError,
    PromptTooLongError,
    UpstreamBrokenError,
    UpstreamLoadingError,
    UpstreamOverloadedError,
    UpstreamRefusedError,
)
from tests.growth import assert_linear


def _refused(status: int, body: Any = b"", **headers: str) -> BridgeError:
    document = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return explain_refusal(status, {key.replace("_", "-"): value for key, value in headers.items()}, document, "Engine")


TOO_LONG: dict[str, tuple[int, Any, str]] = {
    "llama.cpp": (
        400,
        {
            "error": {
                "code": 400,
                "message": "request (9031 tokens) exceeds the available context size (8192 tokens), try increasing it",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 9031,
                "n_ctx": 8192,
            }
        },
        "9031 tokens > 8192 maximum",
    ),
    "llama.cpp in words": (
        500,
        {
            "error": {
                "message": "request (9031 tokens) exceeds the available context size (8192 tokens), try increasing it"
            }
        },
        "9031 tokens > 8192 maximum",
    ),
    "OpenAI": (
        400,
        {
            "error": {
                "message": "This model's maximum context length is 8192 tokens. However, your messages resulted in "
                "9000 tokens. Please reduce the length of the messages.",
                "code": "context_length_exceeded",
            }
        },
        "9000 tokens > 8192 maximum",
    ),
    "vLLM": (
        400,
        {
            "object": "error",
            "message": "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens "
            "(8500 in the messages, 500 in the completion). Please reduce the length of the messages or completion.",
        },
        "8500 tokens > 8192 maximum",
    ),
    "vLLM, with the answer counted in": (
        400,
        {
            "message": "This model's maximum context length is 8192 tokens. However, you requested 9000 tokens "
            "(8000 in the messages, 1000 in the completion). Please reduce the length of the messages or completion."
        },
        "8193 tokens > 8192 maximum",
    ),
    "vLLM, input tokens": (
        400,
        {
            "error": {
                "message": "This model's maximum context length is 8192 tokens. "
                "However, your request has 9000 input tokens."
            }
        },
        "9000 tokens > 8192 maximum",
    ),
    "vLLM, decoder": (
        400,
        {"error": {"message": "The decoder prompt (length 9000) is longer than the maximum model length of 8192."}},
        "9000 tokens > 8192 maximum",
    ),
    "Gemini": (
        400,
        [{"error": {"message": "The input token count (9000) exceeds the maximum number of tokens allowed (8192)."}}],
        "9000 tokens > 8192 maximum",
    ),
    "LM Studio": (
        400,
        {
            "error": "Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded "
            "with context length of only 4096 tokens, which is not enough."
        },
        "9000 tokens > 4096 maximum",
    ),
    "Anthropic": (
        400,
        {"type": "error", "error": {"message": "prompt is too long: 210000 tokens > 200000 maximum"}},
        "210000 tokens > 200000 maximum",
    ),
    "OpenRouter": (
        400,
        {
            "error": {
                "message": "Provider returned error",
                "metadata": {"raw": "maximum context length is 8192 tokens, but 9000 tokens were given"},
            }
        },
        "9000 tokens > 8192 maximum",
    ),
    "Ollama": (
        400,
        {"error": {"message": "the prompt is longer than the context length currently available to the model"}},
        "",
    ),
    "Groq": (413, {"error": {"message": "Please reduce the length of the messages or completion.", "code": "x"}}, ""),
    "SGLang": (
        400,
        {"message": "Requested token count exceeds the model's maximum context length of 8192 tokens."},
        "",
    ),
    "xAI": (
        400,
        {"error": "This model's maximum prompt length is 131072 but the request contains 150000 tokens."},
        "150000 tokens > 131072 maximum",
    ),
    "Text Generation Inference": (
        422,
        {
            "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. "
            "Given: 5000 `inputs` tokens and 20 `max_new_tokens`"
        },
        "5000 tokens > 4096 maximum",
    ),
    "Moonshot": (400, {"error": {"message": "Invalid request: Your request exceeded model token limit: 131072"}}, ""),
    "Z.ai": (400, {"error": {"code": "1261", "message": "Prompt exceeds max length"}}, ""),
    "code only": (400, {"error": {"code": "context_length_exceeded"}}, ""),
    "plain text": (400, b"Input is too long for requested model", ""),
}


@pytest.mark.parametrize(("status", "body", "numbers"), TOO_LONG.values(), ids=TOO_LONG.keys())
def test_a_prompt_that_is_too_long_is_reported_in_the_words_that_compact(status: int, body: Any, numbers: str) -> None:
    error = _refused(status, body)
    assert isinstance(error, PromptTooLongError)
    assert error.message == ("prompt is too long: " + numbers if numbers else "prompt is too long")
    assert (error.status, error.error_type) == (400, "invalid_request_error")


def test_max_tokens_that_do_not_fit_are_no_long_prompt() -> None:
    words = (
        "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context length is 8192 "
        "tokens and your request has 500 input tokens (32000 > 8192 - 500)."
    )
    error = _refused(400, {"error": {"message": words}})
    assert not isinstance(error, PromptTooLongError), "compacting would not help, and the client would do it for ever"
    assert words in error.message


@pytest.mark.parametrize(
    ("status", "reported", "error_type", "should_retry"),
    [
        (400, 424, "invalid_request_error", False),
        (401, 401, "authentication_error", False),
        (402, 402, "billing_error", False),
        (403, 403, "permission_error", False),
        (404, 404, "not_found_error", False),
        (408, 504, "timeout_error", None),
        (413, 413, "request_too_large", False),
        (422, 424, "invalid_request_error", False),
        (429, 429, "rate_limit_error", None),
        (500, 502, "api_error", None),
        (502, 502, "api_error", None),
        (418, 424, "invalid_request_error", False),
    ],
)
def test_a_status_keeps_its_meaning(status: int, reported: int, error_type: str, should_retry: bool | None) -> None:
    error = _refused(status, {"error": {"message": "because"}})
    assert (error.status, error.error_type, error.should_retry) == (reported, error_type, should_retry)
    advice = ". Check the engine's key: --api-key, or the provider's variable." if status == 401 else ""
    assert error.message == f"Engine answered {status}: because{advice}"


def test_only_an_error_about_memory_is_explained_by_it() -> None:
    advice = {
        words: _refused(500, {"error": words}).message.removeprefix(f"Engine answered 500: {words}. ")
        for words in ("CUDA error: out of memory", "CUDA error: device-side assert triggered")
    }
    assert list(advice.values()) == [
        "The engine's memory did not suffice: take a smaller window or a smaller model.",
        "The engine's log says why. Start the engine again.",
    ]


@pytest.mark.parametrize("status", [503, 529])
def test_an_engine_with_too_much_to_do_is_overloaded(status: int) -> None:
    error = _refused(
        status, {"error": "server busy, please try again.  maximum pending requests exceeded"}, retry_after="3"
    )
    assert isinstance(error, UpstreamOverloadedError)
    assert error.retry_after_s == 3
    assert "server busy, please try again. maximum pending" in error.message


def test_an_engine_that_loads_its_model_is_worth_waiting_for() -> None:
    error = _refused(503, {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}})
    assert isinstance(error, UpstreamLoadingError)
    assert (error.status, error.retry_after_s) == (503, 2)


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("inf", None),
        ("nan", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("", None),
    ],
)
def test_retry_after_is_passed_on_where_it_is_a_number(header: str, wait_s: float | None) -> None:
    assert _refused(429, retry_after=header).retry_after_s == wait_s


def test_a_redirect_names_the_address_to_use() -> None:
    error = _refused(308, location="https://api.example.com/v1")
    assert "https://api.example.com/v1" in error.message
    assert (error.status, error.should_retry) == (502, False)


WORDS: dict[str, tuple[Any, str]] = {
    "OpenAI": ({"error": {"message": "m", "type": "t", "code": None}}, "m (t)"),
    "Ollama": ({"error": "model 'x' not found"}, "model 'x' not found"),
    "vLLM": ({"object": "error", "message": "m", "type": "BadRequestError", "code": 404}, "m"),
    "FastAPI": ({"detail": "Not Found"}, "Not Found"),
    "FastAPI validation": (
        {"detail": [{"loc": ["body"], "msg": "missing"}]},
        '{"detail":[{"loc":["body"],"msg":"missing"}]}',
    ),
    "message beside a null error": ({"error": None, "message": "m"}, "m"),
    "list": ([1, 2], "[1,2]"),
    "string": ("no", "no"),
    "empty": (b"", "(no explanation)"),
    "html": (b"<html><body><h1>Not&nbsp;here</h1></body></html>", "Not&nbsp;here"),
    "no utf-8": (b"\xff\xfe", "\ufffd\ufffd"),
}


@pytest.mark.parametrize(("body", "words"), WORDS.values(), ids=WORDS.keys())
def test_the_engines_own_words_are_quoted(body: Any, words: str) -> None:
    assert _refused(404, body).message == f"Engine answered 404: {words}"


@pytest.mark.parametrize(
    "key",
    [
        "sk-abcdef123456",
        "sk-proj-abc_DEF-123456",
        "sk-or-v1-0123456789abcdef",
        "sk-abc***********wxyz",
        "gsk_abcdefghijkl",
        "xai-abcdefghijkl",
        "hf_abcdefghijkl",
        "nvapi-abcdefghijkl",
        "AIzaSyA1234567890abcdef",
        "Bearer abc.def/ghi+jkl==",
        "bearer 0123456789",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-def",
        "user:hunter22",
    ],
)
def test_keys_are_removed_from_what_is_quoted(key: str) -> None:
    words = f"Incorrect key at https://{key}@host: {key}." if ":" in key else f"Incorrect API key provided: {key}."
    assert "[key removed]" in quote(words)
    secret = key.rpartition(" ")[2]
    for error in (
        _refused(401, {"error": {"message": words}}),
        _refused(401, words.encode()),
        explain_error_object({"message": words}, "Engine"),
        explain_error_object(words, "Engine"),
        explain_no_json(words.encode(), "Engine"),
    ):
        assert f"{secret}@" not in error.message
        assert f"provided: {secret}" not in error.message


@pytest.mark.parametrize("piece", ["eyJ-", "://a:", "sk-", "bearer ", "a:b@", "key-a.", "<", "{"])
def test_words_without_end_are_quoted_in_time_by_their_length_only(piece: str) -> None:
    assert len(quote(piece * 10_000)) <= MAX_QUOTED_CHARS
    assert_linear(lambda size: partial(quote, piece * (size // len(piece))), 400_000)
    assert_linear(lambda size: partial(_refused, 400, (piece * (size // len(piece))).encode()), 80_000)


def test_ordinary_words_stay() -> None:
    words = "The task-specific bearer of a key is basic: skip it, see https://example.com/a:b"
    assert quote(words) == words


def test_a_quotation_is_one_short_line() -> None:
    assert quote("a\n\n  b\tc") == "a b c"
    assert len(quote("x" * 10_000)) == MAX_QUOTED_CHARS
    assert len(_refused(500, b"y" * 1_000_000).message) < 600


OBJECTS: dict[str, tuple[Any, type[BridgeError], int]] = {
    "llama.cpp": ({"code": 500, "message": "m", "type": "server_error"}, UpstreamBrokenError, 502),
    "rate limit": ({"code": 429, "message": "m"}, UpstreamRefusedError, 429),
    "rate limit in digits": ({"code": "429", "message": "m"}, UpstreamRefusedError, 429),
    "overloaded": ({"code": 503, "message": "m"}, UpstreamOverloadedError, 529),
    "loading": ({"code": 503, "message": "Loading model"}, UpstreamLoadingError, 503),
    "no key": ({"code": 401, "message": "m"}, UpstreamRefusedError, 401),
    "too long": ({"message": "prompt is too long"}, PromptTooLongError, 400),
    "refused": ({"code": 400, "message": "m"}, UpstreamRefusedError, 424),
    "code in words": ({"code": "server_error", "message": "m"}, UpstreamBrokenError, 502),
    "string": ("m", UpstreamBrokenError, 502),
    "number": (5, UpstreamBrokenError, 502),
    "list": ([], UpstreamBrokenError, 502),
    "true": (True, UpstreamBrokenError, 502),
    "null": (None, UpstreamBrokenError, 502),
    "code true": ({"code": True}, UpstreamBrokenError, 502),
    "code list": ({"code": [], "message": {"a": 1}, "metadata": []}, UpstreamBrokenError, 502),
    "code huge": ({"code": 2**80, "n_prompt_tokens": "x", "n_ctx": True}, UpstreamBrokenError, 502),
    "digits without end": (
        "prompt (length " + "9" * 9_000 + ") is longer than the maximum model length of 8192",
        UpstreamBrokenError,
        502,
    ),
}


@pytest.mark.parametrize(("error", "kind", "status"), OBJECTS.values(), ids=OBJECTS.keys())
def test_an_error_object_means_what_its_code_says(error: Any, kind: type[BridgeError], status: int) -> None:
    explained = explain_error_object(error, "Engine")
    assert type(explained) is kind
    assert explained.status == status


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "code", "type", "detail", "metadata", "raw", "n_ctx"]), inner
        )
    ),
    max_leaves=8,
)


@given(anything, st.integers(100, 999))
def test_any_error_is_explained(error: Any, status: int) -> None:
    assert explain_error_object(error, "Engine").message
    assert _refused(status, error).message


@given(st.binary(max_size=80), st.integers(100, 999))
def test_any_bytes_are_explained(body: bytes, status: int) -> None:
    assert _refused(status, body).message
    assert explain_no_json(body, "Engine").message


def test_a_web_page_is_called_one() -> None:
    for page in (b"<!DOCTYPE html><p>x", b"\n<HTML><body>"):
        assert "a web page in place of an API answer" in explain_no_json(page, "Engine").message
