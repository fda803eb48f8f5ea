"""How engines with a tokenizer of their own count a prompt; pure, as requests and their responses.

A counting yields a Question, is sent the body of its answer, and so on until it returns the count. It raises
msgspec.DecodeError for an answer that is none.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from urllib.parse import quote

import msgspec
from msgspec import Raw, Struct

from claude_bridge.adapters.anthropic_messages import COUNT_PATH
from claude_bridge.conversion.profile import CountRoute
from claude_bridge.wire import tokenizers


class Question(Struct, frozen=True):
    """What to POST. ``path`` is relative to the base URL, or to the engine's root where ``at_root``: without /v1.

    ``key_header`` is another header for the key than all other requests have.
    """

    path: str
    body: bytes
    at_root: bool = False
    key_header: str | None = None


Counting = Generator[Question, bytes, int]


def _by_input_tokens(chat_request: bytes) -> Counting:
    # Recent llama.cpp (xllamacpp 2026.10 has it): the request as it would be sent, images counted.
    answer = yield Question("/chat/completions/input_tokens", chat_request)
    return msgspec.json.decode(answer, type=tokenizers.InputTokens).input_tokens


_COUNTED_FIELDS = frozenset(
    {"model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text"}
)
"""What OpenAI's count takes of a request (openai/types/responses/input_token_count_params.py)."""


def _by_responses(responses_request: bytes) -> Counting:
    fields = msgspec.json.decode(responses_request, type=dict[str, Raw])
    counted = {name: value for name, value in fields.items() if name in _COUNTED_FIELDS}
    answer = yield Question("/responses/input_tokens", msgspec.json.encode(counted))
    return msgspec.json.decode(answer, type=tokenizers.InputTokens).input_tokens


def _by_gemini(chat_request: bytes) -> Counting:
    # Gemini's own API, beside the route for OpenAI's: the whole prompt as one text, which is near enough.
    conversation = tokenizers.parse_conversation(chat_request)
    text = msgspec.json.encode(conversation).decode()
    prompt = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    model = quote(msgspec.json.decode(conversation.model, type=str).removeprefix("models/"), safe="")
    answer = yield Question(f"/models/{model}:countTokens", msgspec.json.encode(prompt), True, "x-goog-api-key")
    return msgspec.json.decode(answer, type=tokenizers.GeminiTokens).total_tokens


def _by_template(chat_request: bytes) -> Counting:
    conversation = tokenizers.parse_conversation(chat_request)
    answer = yield Question("/apply-template", tokenizers.encode(conversation), at_root=True)
    prompt = msgspec.json.decode(answer, type=tokenizers.Prompt).prompt
    text = tokenizers.Text(conversation.model, prompt)
    answer = yield Question("/tokenize", tokenizers.encode(text), at_root=True)
    return len(msgspec.json.decode(answer, type=tokenizers.Tokens).tokens)


def _by_tokenize(chat_request: bytes) -> Counting:
    # vLLM, and SGLang since it takes messages there.
    conversation = tokenizers.parse_conversation(chat_request)
    answer = yield Question("/tokenize", tokenizers.encode(conversation), at_root=True)
    return msgspec.json.decode(answer, type=tokenizers.TokenizedChat).count


def _by_messages(messages_request: bytes) -> Counting:
    # Anthropic's own way. Ollama has it not (404), and LM Studio answers without a count (lmstudio-bug-tracker#2055).
    answer = yield Question(COUNT_PATH, messages_request)
    return msgspec.json.decode(answer, type=tokenizers.InputTokens).input_tokens


COUNTINGS: Mapping[CountRoute, Callable[[bytes], Counting]] = {
    "input-tokens": _by_input_tokens,
    "responses-input-tokens": _by_responses,
    "gemini": _by_gemini,
    "template": _by_template,
    "tokenize": _by_tokenize,
    "messages": _by_messages,
}
"""Every route by the name that profiles give it; each takes the body of a request to the engine."""

COUNTS_IMAGES: frozenset[CountRoute] = frozenset({"input-tokens", "responses-input-tokens", "messages"})
"""The routes that count images; the others leave a mark of a token or two in their place."""
