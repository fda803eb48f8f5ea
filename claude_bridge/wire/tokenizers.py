"""Tokenizer routes that engines have beside their chat API: llama.cpp's, that of vLLM and SGLang, and Gemini's."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

# --- what we send -------------------------------------------------------------------------------------------


class Conversation(Struct, frozen=True, omit_defaults=True):
    """What of a Chat Completions request the chat template makes a prompt of; its bytes are kept as they are."""

    model: Raw
    messages: Raw
    tools: Raw | UnsetType = UNSET
    chat_template_kwargs: Raw | UnsetType = UNSET


class Text(Struct, frozen=True):
    """llama.cpp: text with the special tokens of a chat template in it, such as ``<|im_start|>``."""

    model: Raw
    content: str
    add_special: bool = True
    parse_special: bool = True


def parse_conversation(chat_request: bytes) -> Conversation:
    """Return what of our own Chat Completions request is the prompt."""
    return msgspec.json.decode(chat_request, type=Conversation)


def encode(question: Conversation | Text) -> bytes:
    """Return the question's body."""
    return msgspec.json.encode(question)


# --- what we read: msgspec.DecodeError where it is anything else ----------------------------------------------


class InputTokens(Struct, frozen=True):
    """llama.cpp: POST /v1/chat/completions/input_tokens; OpenAI: POST /v1/responses/input_tokens."""

    input_tokens: int


class Prompt(Struct, frozen=True):
    """llama.cpp: POST /apply-template."""

    prompt: str


class Tokens(Struct, frozen=True):
    """llama.cpp: POST /tokenize."""

    tokens: list[Raw]


class GeminiTokens(Struct, frozen=True, rename="camel"):
    """Gemini: POST /models/MODEL:countTokens."""

    total_tokens: int


class TokenizedChat(Struct, frozen=True):
    """vLLM and SGLang: POST /tokenize."""

    count: int
