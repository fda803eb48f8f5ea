"""How engines with a tokenizer of their own count a prompt; pure, as requests and their responses.

A counting yields a Question, is sent the body of its answer, and so on until it returns the count. It raises
msgspec.DecodeError for an answer that is none.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import TypeVar
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from claude_bridge.adapters.anthropic_messages import COUNT_PATH
from claude_bridge.conversion.profile import CountRoute

_Value = TypeVar("_Value")


class Question(Struct, frozen=True):
    """What to POST. ``path`` is relative to the base URL, or to the engine's root where ``at_root``: without /v1.

    ``key_header`` is another header for the key than all other requests have.
    """

    path: str
    body: bytes
    at_root: bool = False
    key_header: str | None = None


# --- what is sent, and what is read of the answers -------------------------------------------------------------


class Conversation(Struct, frozen=True, omit_defaults=True):
    """What of a Chat Completions request the chat template makes a prompt of; its bytes are kept as they are."""

    model: Raw
    messages: Raw
    tools: Raw | UnsetType = UNSET
    chat_template_kwargs: Raw | UnsetType = UNSET


# --- the ways to count ------------------------------------------------------------------------------------------

Counting = Generator[Question, bytes, int]


def _ask_once(question: Question, field: str = "input_tokens") -> Counting:
    """Ask one question, whose answer has the count in this field."""
    return _field((yield question), field, int)


def _field(answer: bytes, name: str, kind: type[_Value]) -> _Value:
    return msgspec.json.decode(msgspec.json.decode(answer, type=dict[str, Raw]).get(name, b""), type=kind)


_COUNTED_FIELDS = frozenset(
    {"model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning", "text"}
)
"""What OpenAI's count takes of a request (openai/types/responses/input_token_count_params.py)."""


def _by_responses(responses_request: bytes) -> Counting:
    fields = msgspec.json.decode(responses_request, type=dict[str, Raw])
    counted = {name: value for name, value in fields.items() if name in _COUNTED_FIELDS}
    return _ask_once(Question("/responses/input_tokens", msgspec.json.encode(counted)))


def _by_gemini(chat_request: bytes) -> Counting:
    # Gemini's own API, beside the route for OpenAI's: the whole prompt as one text, which is near enough.
    conversation = msgspec.json.decode(chat_request, type=Conversation)
    text = msgspec.json.encode(conversation).decode()
    prompt = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    model = quote(msgspec.json.decode(conversation.model, type=str).removeprefix("models/"), safe="")
    question = Question(f"/models/{model}:countTokens", msgspec.json.encode(prompt), True, "x-goog-api-key")
    return _ask_once(question, "totalTokens")


def _by_template(chat_request: bytes) -> Counting:
    conversation = msgspec.json.decode(chat_request, type=Conversation)
    # llama.cpp: the prompt has the special tokens of the chat template in it, such as ``<|im_start|>``.
    answer = yield Question("/apply-template", msgspec.json.encode(conversation), at_root=True)
    prompt = _field(answer, "prompt", str)
    text = {"model": conversation.model, "content": prompt, "add_special": True, "parse_special": True}
    answer = yield Question("/tokenize", msgspec.json.encode(text), at_root=True)
    return len(_field(answer, "tokens", list[Raw]))


def _by_tokenize(chat_request: bytes) -> Counting:
    # vLLM, and SGLang since it takes messages there.
    conversation = msgspec.json.decode(chat_request, type=Conversation)
    return _ask_once(Question("/tokenize", msgspec.json.encode(conversation), at_root=True), "count")


COUNTINGS: Mapping[CountRoute, Callable[[bytes], Counting]] = {
    # Recent llama.cpp (xllamacpp 2026.10 has it): the request as it would be sent, images counted.
    "input-tokens": lambda chat_request: _ask_once(Question("/chat/completions/input_tokens", chat_request)),
    "responses-input-tokens": _by_responses,
    "gemini": _by_gemini,
    "template": _by_template,
    "tokenize": _by_tokenize,
    # Anthropic's own route. Ollama lacks it (404), and LM Studio answers without a count (lmstudio-bug-tracker#2055).
    "messages": lambda messages_request: _ask_once(Question(COUNT_PATH, messages_request)),
}
"""Every route by the name that profiles give it; each takes the body of a request to the engine."""

COUNTS_IMAGES: frozenset[CountRoute] = frozenset({"input-tokens", "responses-input-tokens", "messages"})
"""The routes that count images; the others leave a mark of a token or two in their place."""
