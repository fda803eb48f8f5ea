"""Which window is enough for Claude Code, and what is advised where it is not."""

from __future__ import annotations

import pytest

from claude_bridge.doctor.facts import Kind
from claude_bridge.doctor.finding import Mark
from claude_bridge.doctor.windows import check_memory, check_ollama_window, check_window
from claude_bridge.wire.ollama import LoadedModel, ModelDescription


def model(trained: int, *, num_ctx: int | None = None) -> ModelDescription:
    info = {"general.architecture": "x", "x.context_length": trained}
    return ModelDescription(model_info=info, parameters=f"num_ctx {num_ctx}" if num_ctx else None)


@pytest.mark.parametrize(
    ("tokens", "mark"),
    [
        (4_096, Mark.BAD),
        (12_999, Mark.BAD),
        (16_383, Mark.BAD),
        (16_384, Mark.WARN),
        (32_767, Mark.WARN),
        (32_768, Mark.OK),
        (None, Mark.WARN),
    ],
)
def test_a_window_is_judged_by_what_claude_code_needs(tokens: int | None, mark: Mark) -> None:
    found = check_window(Kind.OTHER, tokens, None)

    assert found.mark is mark
    assert (found.remedy is None) == (mark is Mark.OK)


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [(Kind.LLAMA_CPP, "llama-server -c 32768"), (Kind.VLLM, "--max-model-len 32768"), (Kind.OTHER, "32,768 tokens")],
)
def test_a_window_is_enlarged_where_the_engine_is_started(kind: Kind, remedy: str) -> None:
    assert remedy in str(check_window(kind, 8_192, 131_072).remedy)


def test_a_window_that_is_all_the_model_has_is_not_to_be_enlarged() -> None:
    assert "-c 32768" not in str(check_window(Kind.LLAMA_CPP, 8_192, 8_192).remedy)
    assert "claude --tools" in str(check_window(Kind.LLAMA_CPP, 8_192, 8_192).remedy)


def test_a_model_that_was_trained_for_too_little_is_to_be_replaced() -> None:
    found = check_ollama_window("gemma", model(8_192), None)

    assert found.mark is Mark.BAD
    assert "a model with a longer window" in str(found.remedy)


def test_a_model_that_was_trained_for_just_enough_is_not_advised_what_it_can_not_do() -> None:
    found = check_ollama_window("m", model(20_000), None)

    assert found.mark is Mark.WARN
    assert "--context-window" not in str(found.remedy)


@pytest.mark.parametrize("num_ctx", [16_384, 20_000])
def test_a_modelfile_with_a_small_window_is_advised_the_option(num_ctx: int) -> None:
    found = check_ollama_window("m", model(131_072, num_ctx=num_ctx), None)

    assert found.mark is Mark.WARN
    assert found.remedy == "bridge serve ollama m --context-window 32768"


def test_trained_configured_and_loaded_windows_are_all_told() -> None:
    found = check_ollama_window("m", model(131_072, num_ctx=65_536), LoadedModel("m", context_length=40_000))

    assert found.mark is Mark.OK
    assert found.seen == (
        "the bridge asks for 40,000 tokens (trained for 131,072, Modelfile 65,536, loaded with 40,000)"
    )


def test_memory_is_told_only_where_the_shape_is_known() -> None:
    assert check_memory(model(131_072), None) is None
