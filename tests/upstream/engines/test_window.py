"""The window: each source in its turn, and the memory that it costs."""

from __future__ import annotations

from typing import Any

import pytest

from claude_bridge.upstream.engines.ollama import Window, choose_window, offered_by_ollama
from claude_bridge.upstream.engines.report import OfferedModel
from claude_bridge.wire.ollama import InstalledModel, LoadedModel, ModelDescription

QWEN3: dict[str, Any] = {
    "general.architecture": "qwen3",
    "qwen3.context_length": 40_960,
    "qwen3.block_count": 28,
    "qwen3.attention.head_count": 16,
    "qwen3.attention.head_count_kv": 8,
    "qwen3.attention.key_length": 128,
    "qwen3.attention.value_length": 128,
    "qwen3.embedding_length": 2_048,
}
SMALL = {**QWEN3, "qwen3.context_length": 8_192}
NUM_CTX = "temperature 1\nnum_ctx    9000\nstop x"


def described(model_info: dict[str, Any], *, parameters: str = "", loaded: int | None = None) -> OfferedModel:
    running = [LoadedModel("m:latest", context_length=loaded)] if loaded else []
    description = ModelDescription(model_info=model_info, parameters=parameters)
    return offered_by_ollama(InstalledModel("m:latest"), description, running)


def chosen(model_info: dict[str, Any], explicit: int | None = None, **known: Any) -> Window:
    return choose_window(described(model_info, **known), explicit=explicit)


@pytest.mark.parametrize(
    ("explicit", "loaded", "parameters", "model_info", "tokens", "reason"),
    [
        pytest.param(12_000, 20_000, NUM_CTX, QWEN3, 12_000, "as you set it", id="explicit"),
        pytest.param(None, 20_000, NUM_CTX, QWEN3, 20_000, "as the model is loaded", id="loaded"),
        pytest.param(None, 4_096, NUM_CTX, QWEN3, 9_000, "as its Modelfile says", id="modelfile"),
        pytest.param(None, 4_096, "", QWEN3, 32_768, "of 40,960 that the model was trained for", id="loaded too small"),
        pytest.param(None, None, "", QWEN3, 32_768, "of 40,960 that the model was trained for", id="trained for more"),
        pytest.param(None, None, "num_ctx many", SMALL, 8_192, "what the model was trained for", id="odd modelfile"),
        pytest.param(None, 8_192, "", SMALL, 8_192, "as the model is loaded", id="loaded, and small"),
        pytest.param(None, None, "", {}, 8_192, "what the model was trained for", id="nothing told"),
    ],
)
def test_the_window_comes_from_the_first_source_that_has_one(  # one argument for each source
    explicit: int | None, loaded: int | None, parameters: str, model_info: dict[str, Any], tokens: int, reason: str
) -> None:
    window = chosen(model_info, explicit, parameters=parameters, loaded=loaded)

    assert (window.tokens, window.reason) == (tokens, reason)


@pytest.mark.parametrize(
    "known",
    [{"explicit": 16_384}, {"loaded": 16_384}, {"parameters": "num_ctx 16384"}],
    ids=["as set", "as loaded", "as the Modelfile says"],
)
def test_no_window_is_larger_than_what_the_model_was_trained_for(known: dict[str, Any]) -> None:
    window = chosen(SMALL, **known)

    assert window.tokens == 8_192
    assert window.reason == "what the model was trained for: Ollama does not load it with 16,384"


def test_where_the_training_is_not_reported_the_users_window_is_taken() -> None:
    assert chosen({}, 16_384).tokens == 16_384


KV_BYTES = 28 * 8 * (128 + 128) * 2


def test_the_kv_cache_counts_keys_and_values_of_every_layer() -> None:
    assert chosen(QWEN3, 1_000).kv_cache_bytes == KV_BYTES * 1_000


def test_head_sizes_that_are_not_reported_follow_from_the_width() -> None:
    known = {key: value for key, value in QWEN3.items() if not key.endswith(("key_length", "value_length"))}

    assert chosen(known, 1_000).kv_cache_bytes == KV_BYTES * 1_000


@pytest.mark.parametrize("missing", ["qwen3.block_count", "general.architecture"])
def test_memory_is_not_guessed(missing: str) -> None:
    known = {key: value for key, value in QWEN3.items() if key != missing}

    assert chosen(known, 1_000).kv_cache_bytes is None


def test_what_the_model_was_trained_for_is_read_by_its_architecture() -> None:
    assert described(QWEN3).trained_window == 40_960
    assert described({**QWEN3, "qwen3.context_length": "many"}).trained_window is None
