"""How engines say that a prompt is too long for them: each wording, with the numbers in it."""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct

from claude_bridge.errors import PromptTooLongError

_N = r"\d[\d,]{0,14}"

# Ollama, Groq, DeepSeek, Moonshot, Z.ai, Qwen, MiniMax and others give no numbers, or not in this order.
_WITHOUT_NUMBERS = (
    r"prompt is (?:longer than|too long)|prompt too long|context_length_exceeded|exceed_context_size"
    r"|maximum context length|exceeds the (?:model's |available )?(?:maximum )?context"
    r"|longer than the model's context length|reduce the length of the (?:messages|prompt|input)|input is too long"
    r"|exceeded model token limit|prompt exceeds max length|input token length too long"
    r"|but model only supports up to|input tokens exceed the configured limit|context exceeds your deployment"
    r"|tokens to keep from the initial prompt is greater than the context length|context size has been exceeded"
    r"|model_context_window_exceeded|context window exceeds limit|range of input length should be"
)

# Groups: prompt tokens and window, where they are told.
_WORDINGS = [
    # llama.cpp: "request (9031 tokens) exceeds the available context size (8192 tokens), try increasing it"
    rf"request \((?P<prompt>{_N}) tokens\) exceeds the available context size \((?P<window>{_N}) tokens\)",
    # OpenAI, vLLM, DeepSeek: "maximum context length is 8192 tokens. However, you requested 9000 tokens (8500 in the
    # messages, 500 in the completion)"
    rf"maximum context length is (?P<window>{_N}) tokens?.*?\((?P<prompt>{_N}) in the messages",
    # OpenRouter: "maximum context length is 8192 tokens. However, you requested about 9000 tokens (8000 of text input,
    # 500 of tool input, 500 in the output)"
    rf"maximum context length is (?P<window>{_N}) tokens?.*?\((?P<prompt>{_N}) of text input",
    # vLLM since 0.11: "… However, you requested 500 output tokens and your prompt contains at least 8000 input tokens"
    rf"maximum context length is (?P<window>{_N}) tokens?.*?prompt contains (?:at least )?(?P<prompt>{_N})",
    # SGLang: "… You requested a total of 9000 tokens: 8000 tokens from the input messages and 1000 tokens for the …"
    rf"maximum context length of (?P<window>{_N}) tokens?.*?(?P<prompt>{_N}) tokens from the input messages",
    # OpenAI, vLLM, OpenRouter: "maximum context length is 8192 tokens. However, you requested about 9000 tokens"
    rf"maximum context length is (?P<window>{_N}) tokens?.*?(?P<prompt>{_N}) (?:input )?tokens",
    # OpenAI: "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens."
    rf"exceed the configured limit of (?P<window>{_N}) tokens.*?resulted in (?P<prompt>{_N}) tokens",
    # OpenAI with 429, Groq with 413: more than a minute's tokens in one request, which no waiting makes smaller
    rf"request too large for .*?limit (?P<window>{_N}), requested (?P<prompt>{_N})",
    # vLLM: "The decoder prompt (length 9000) is longer than the maximum model length of 8192"
    rf"prompt \(length (?P<prompt>{_N})\) is longer than the maximum model length of (?P<window>{_N})",
    # SGLang, Together: "The input (9000 tokens) is longer than the model's context length (8192 tokens)."
    rf"input \((?P<prompt>{_N}) tokens\) is longer than the model's context length \((?P<window>{_N}) tokens\)",
    # SGLang: "Input length 131393 exceeds the maximum allowed input length of 131040 tokens."
    rf"input length (?P<prompt>{_N}) exceeds the maximum allowed (?:input )?length \(?(?:of )?(?P<window>{_N})",
    # Gemini: "The input token count (9000) exceeds the maximum number of tokens allowed (8192)"
    rf"input token count \(?(?P<prompt>{_N})\)? exceeds the maximum number of tokens allowed \(?(?P<window>{_N})",
    # Mistral: "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length"
    rf"prompt contains (?P<prompt>{_N}) tokens.*?too large for model with (?P<window>{_N})",
    # Fireworks: "The prompt is too long: 203557, model maximum context length: 196607"
    rf"prompt is too long: (?P<prompt>{_N}), model maximum context length: (?P<window>{_N})",
    # Docker's model runner: "Prompt has 9,000 tokens, but the configured context size is 8,192 tokens"
    rf"prompt has (?P<prompt>{_N}) tokens, but the configured context size is (?P<window>{_N})",
    # LM Studio: "Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded with
    # context length of only 4096 tokens"
    rf"keep the first (?P<prompt>{_N}) tokens.*?context length of only (?P<window>{_N}) tokens",
    # LM Studio, older llama.cpp: "Cannot truncate prompt with n_keep (9000) >= n_ctx (4096)"
    rf"n_keep \((?P<prompt>{_N})\) >= n_ctx \((?P<window>{_N})\)",
    # xAI: "This model's maximum prompt length is 131072 but the request contains 150000 tokens."
    rf"maximum prompt length is (?P<window>{_N}) but the request contains (?P<prompt>{_N}) tokens",
    # Text Generation Inference: "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens and …"
    rf"`max_new_tokens` must be <= (?P<window>{_N})\. Given: (?P<prompt>{_N}) `inputs` tokens",
    rf"`inputs` must have less than (?P<window>{_N}) tokens\. Given: (?P<prompt>{_N})",
    # Moonshot: "Your request exceeded model token limit: 131072 (requested: 200000)"
    rf"exceeded model token limit: (?P<window>{_N}) \(requested: (?P<prompt>{_N})\)",
    # Anthropic
    rf"prompt is too long: (?P<prompt>{_N}) tokens > (?P<window>{_N})",
    _WITHOUT_NUMBERS,
]
_PATTERNS = [re.compile(wording, re.IGNORECASE | re.DOTALL) for wording in _WORDINGS]


class OverflowNumbers(Struct, frozen=True):
    """How an engine says that a request is too long for it; None: it names no number.

    Where the limit of the answer is counted in, the prompt may be the smaller number.
    """

    prompt_tokens: int | None = None
    window_tokens: int | None = None


def overflow_numbers(words: str, document: Any) -> OverflowNumbers | None:  # noqa: ANN401 - any JSON
    """Return the numbers in an error, or None if it does not say that a request is too long.

    ``document`` is the whole body as JSON, ``words`` what it says.
    """
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, dict):
        prompt, window = error.get("n_prompt_tokens"), error.get("n_ctx")
        if isinstance(prompt, int) and isinstance(window, int):
            return OverflowNumbers(prompt, window)  # llama.cpp
    for pattern in _PATTERNS:
        if match := pattern.search(words):
            numbers = match.groupdict()
            return OverflowNumbers(*(int(numbers[name].replace(",", "")) for name in ("prompt", "window") if numbers))
    return None


def prompt_too_long(words: str, document: Any) -> PromptTooLongError | None:  # noqa: ANN401 - as above
    """Return the error in Anthropic's words, or None if this is another trouble.

    Not too long is what fits without the limit on the answer: a shorter conversation would not help there.
    """
    numbers = overflow_numbers(words, document)
    if numbers is None:
        return None
    prompt, window = numbers.prompt_tokens, numbers.window_tokens
    if prompt is None or window is None:
        return PromptTooLongError(None, None)
    return None if prompt < window // 2 else PromptTooLongError(max(prompt, window + 1), window)
