"""How engines say that a prompt is too long: in words that are known, in words that nobody has met, and in neither."""

from __future__ import annotations

from functools import partial

import pytest

from claude_bridge.conversion.upstream_errors.context_overflow import OverflowNumbers, overflow_numbers, prompt_too_long
from tests.growth import assert_linear

# What is said, with the tokens of the prompt and of the window where both are named.
TOO_LONG: list[tuple[str, int | None, int | None]] = [
    ("prompt token count of 74490 exceeds the limit of 72000", 74_490, 72_000),
    ("Prompt length 30000 is greater than max_seq_len", None, None),
    ("Prompt length (9000) is greater than max_seq_len (8192)", 9_000, 8_192),
    ("length of prompt_tokens must be less than max_seq_len", None, None),
    ("input length 9000 exceeds the maximum allowed 8192", 9_000, 8_192),
    ("Requested tokens (9000) exceed context window of 8192", 9_000, 8_192),
    ("The total number of tokens in your request (9000) exceeds the model's limit of 8192", 9_000, 8_192),
    ("The prompt has 9,000 tokens, which is more than the 8,192 token context window", 9_000, 8_192),
    ("The prompt has 9_000 tokens, but the context window is exceeded: 8_192", 9_000, 8_192),
    ("Prompt is too large: 9000 tokens, the context window is 8192 tokens", 9_000, 8_192),
    ("The input (9000 tokens) does not fit the context window (8192 tokens)", 9_000, 8_192),
    ("The prompt of 131.072 tokens exceeds the 128k context", 131_072, 128_000),
    ("Sequence length (9000) exceeds max_seq_length 8192", 9_000, 8_192),
    ("Conversation is too long for the model's context window", None, None),
    ("Your input exceeds the context window of this model. Please adjust your input and try again.", None, None),
    ("Token count exceeds the limit: 131072", None, None),
    ("Context window exceeded", None, None),
    ("context_window_exceeded", None, None),
    ("prompt_tokens (9000) > n_ctx (8192)", 9_000, 8_192),
    ("maximum sequence length exceeded: 9000 > 8192", 9_000, 8_192),
    ("exceeded the maximum number of tokens: 9000 > 8192", 9_000, 8_192),
    ("max_tokens must be at least 1, got -808.", None, None),
    ("Your prompt is 9000 tokens, over the model's 8192 limit", 9_000, 8_192),
    ("ValueError: a prompt of 9000 tokens won't fit in a context of 8192", 9_000, 8_192),
    ("inputs must have less than 8192 tokens, given: 9000", None, None),
    ("The context window of this model is 8192 tokens, but 9000 were given", None, None),
    ("This request requires 9000 tokens but model supports 8192", None, None),
    ("number of tokens (9000) exceeds maximum (8192)", 9_000, 8_192),
    ("exceeds the model's max input tokens of 8192", None, None),
    ("tokens in request more than max tokens allowed: 9000 vs 8192", None, None),
    ("Too many tokens in prompt", None, None),
    ("Request body too large for gpt-4o-mini model. Max size: 8000 tokens. (tokens_limit_reached)", None, None),
    ("Something failed. Please shorten your prompt.", None, None),
    ("\u8f93\u5165\u957f\u5ea6\u8d85\u8fc7\u9650\u5236", None, None),
    (
        "maximum context length is 9000 tokens. You requested 9900 tokens (8000 of text input, 500 of tool input)",
        8_500,
        9_000,
    ),
    ("input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000", 188_240, 200_000),
]

OTHER_TROUBLE = [
    "Tokens per minute limit exceeded - too many tokens processed. (token_quota_exceeded)",
    "max_tokens is too large: 32000. This model supports at most 16384 completion tokens, whereas you provided 32000.",
    "`max_tokens` (32000) exceeds this model's maximum context length (8192)",
    "`max_tokens` must be greater than `thinking.budget_tokens`",
    "context deadline exceeded",
    "max_tokens must be at least 1, got 0",
    "more than one system message is not supported",
    "The request has more than 128 tools",
    "Too many requests: over the limit of 60 per minute",
    "This request needs more than one choice, which is not supported",
    "request timeout exceeded",
    "This request would exceed your organization's rate limit of 30,000 input tokens per minute",
    "You exceeded your current quota of input tokens",
    "Request body exceeds maximum size of 10MB",
    "messages: array length 300 exceeds maximum of 256",
    "tools.0.name: string length 70 exceeds maximum of 64",
    "Invalid 'messages[3].tool_calls[0].id': string too long. Expected a string with maximum length 40",
    "input schema exceeds maximum length",
    "Input validation error: temperature must be less than 2",
    "image input tokens exceed the limit of 1000 tokens",
    "input is too large to process. increase the physical batch size (current batch size: 512)",
    "The token has expired",
    "the model's output exceeded the maximum output tokens",
]


@pytest.mark.parametrize(("words", "prompt", "window"), TOO_LONG)
def test_a_prompt_that_is_too_long_is_recognised(words: str, prompt: int | None, window: int | None) -> None:
    assert overflow_numbers(words, None) == OverflowNumbers(prompt, window)


@pytest.mark.parametrize("words", OTHER_TROUBLE)
def test_other_trouble_is_not_taken_for_a_long_prompt(words: str) -> None:
    assert overflow_numbers(words, None) is None


@pytest.mark.parametrize(
    ("prompt", "message"), [(4_095, None), (4_096, "prompt is too long: 8193 tokens > 8192 maximum")]
)
def test_a_prompt_of_less_than_half_the_window_is_not_what_is_too_long(prompt: int, message: str | None) -> None:
    error = prompt_too_long("too long", {"error": {"n_prompt_tokens": prompt, "n_ctx": 8_192}})
    assert (error and error.message) == message


def test_what_an_engine_repeats_of_the_request_is_not_read() -> None:
    assert prompt_too_long("Invalid request: " + "x " * 3_000 + "the prompt exceeds the context window", None) is None


@pytest.mark.parametrize(
    "piece",
    [
        "prompt ",
        "input 1 + 1 ",
        "maximum context length is 1 tokens ",
        "request (1 tokens) ",
        "1 + 1 > ",
        "1",
        "exceeds ",
    ],
)
def test_words_without_end_take_time_by_their_length_only(piece: str) -> None:
    assert_linear(lambda size: partial(overflow_numbers, piece * (size // len(piece)), None), 800_000)
