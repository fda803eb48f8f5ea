"""The context window that is asked of an Ollama: which, why, and what its KV cache costs in memory.

Left to itself Ollama takes 4,096 tokens on most machines and cuts longer prompts in silence.
"""

from __future__ import annotations

from msgspec import Struct

from claude_bridge.wire.ollama import ModelDescription

DEFAULT_WINDOW_TOKENS = 32_768
"""Comfortable for Claude Code, and the KV cache of most models still fits beside them."""

ENOUGH_TOKENS = 16_384
"""Claude Code's first request takes about 13,000: a loaded model with less would be of no use to it."""

FALLBACK_TRAINED_TOKENS = 8_192
"""For a model that does not tell what it was trained for."""

_KV_BYTES_PER_VALUE = 2
"""Ollama keeps keys and values as 16-bit floats unless told otherwise."""


class Window(Struct, frozen=True, kw_only=True):
    """The window, where it comes from, and its KV cache in bytes (None: the model does not tell its shape)."""

    tokens: int
    reason: str
    kv_cache_bytes: int | None


def choose_window(model: ModelDescription, *, explicit: int | None, loaded: int | None) -> Window:
    """Return the window to ask for at every request; changing it would make Ollama load the model again.

    ``explicit`` is the user's, ``loaded`` that of the running model; then comes the Modelfile's, then what the model
    was trained for, but no more than DEFAULT_WINDOW_TOKENS.
    """
    trained = trained_tokens(model)
    modelfile = model.parameter("num_ctx")
    if explicit is not None:
        tokens, reason = explicit, "as you set it"
    elif loaded is not None and loaded >= min(ENOUGH_TOKENS, trained):
        tokens, reason = loaded, "as the model is loaded"
    elif modelfile is not None and modelfile.isdigit() and int(modelfile) > 0:
        tokens, reason = int(modelfile), "as its Modelfile says"
    elif trained <= DEFAULT_WINDOW_TOKENS:
        tokens, reason = trained, "what the model was trained for"
    else:
        tokens, reason = DEFAULT_WINDOW_TOKENS, f"of {trained:,} that the model was trained for"
    return Window(tokens=tokens, reason=reason, kv_cache_bytes=kv_cache_bytes(model, tokens))


def trained_tokens(model: ModelDescription) -> int:
    """Return the window that the model was trained for, or FALLBACK_TRAINED_TOKENS if it does not tell."""
    return model.architecture_number("context_length") or FALLBACK_TRAINED_TOKENS


def kv_cache_bytes(model: ModelDescription, tokens: int) -> int | None:
    """Return the memory that the keys and values of a full window take, or None if the model's shape is not told.

    Counted as full attention in every layer; models with sliding windows take less.
    """
    layers = model.architecture_number("block_count")
    heads = model.architecture_number("attention.head_count")
    kv_heads = model.architecture_number("attention.head_count_kv") or heads
    width = model.architecture_number("embedding_length")
    head_size = width // heads if width and heads else None
    key_size = model.architecture_number("attention.key_length") or head_size
    value_size = model.architecture_number("attention.value_length") or head_size
    if not (layers and kv_heads and key_size and value_size):
        return None
    return layers * kv_heads * (key_size + value_size) * _KV_BYTES_PER_VALUE * tokens
