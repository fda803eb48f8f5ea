"""Which window is enough for Claude Code, and what is advised where it is not."""

from __future__ import annotations

import pytest

from claude_bridge.adapters.engine_profiles import LLAMA_CPP, LM_STUDIO, UNKNOWN, VLLM
from claude_bridge.doctor.finding import Finding, Severity, Subject
from claude_bridge.doctor.model import check_memory, check_ollama_window, check_processor, check_window
from claude_bridge.providers import PROVIDERS, upstream_of
from claude_bridge.upstream.engines.engine import Engine
from claude_bridge.upstream.engines.report import EngineReport, OfferedModel, OllamaModel

PROFILES = {profile.name: profile for profile in (LLAMA_CPP, LM_STUDIO, UNKNOWN, VLLM)}
SUBJECT = Subject(
    provider="ollama",
    engine=Engine(upstream=upstream_of(PROVIDERS["ollama"], base_url="http://h", model="m")),
    is_usual_url=True,
)


def report(engine: str) -> EngineReport:
    return EngineReport(profile=PROFILES[engine], base_url="http://h")


def described(
    trained: int | None, *, window: int | None = None, modelfile: int | None = None, loaded: int | None = None
) -> OfferedModel:
    ollama = OllamaModel(modelfile_window=modelfile, loaded_window=loaded)
    return OfferedModel(id="m", context_window=window, trained_window=trained, ollama=ollama)


def window_of(engine: str, tokens: int | None, trained: int | None = None) -> Finding:
    return check_window(SUBJECT, report(engine), described(trained, window=tokens))


@pytest.mark.parametrize(
    ("tokens", "severity"),
    [
        (4_096, Severity.FAIL),
        (12_999, Severity.FAIL),
        (16_383, Severity.FAIL),
        (16_384, Severity.WARN),
        (32_767, Severity.WARN),
        (32_768, Severity.OK),
        (None, Severity.WARN),
    ],
)
def test_a_window_is_judged_by_what_claude_code_needs(tokens: int | None, severity: Severity) -> None:
    found = window_of("unknown", tokens)

    assert found.severity is severity
    assert (found.remedy is None) == (severity is Severity.OK)


def test_a_window_that_is_not_reported_is_to_be_given() -> None:
    found = window_of("vLLM", None)

    assert "vLLM does not report it" in found.seen
    assert found.remedy == "If you know it: `bridge serve ollama m --context-window N`"


@pytest.mark.parametrize(
    ("engine", "remedy"),
    [
        ("llama.cpp", "llama-server -c 32768"),
        ("vLLM", "--max-model-len 32768"),
        ("LM Studio", "lms load MODEL --context-length 32768"),
        ("unknown", "32,768 tokens"),
    ],
)
def test_a_window_is_enlarged_where_the_engine_is_started(engine: str, remedy: str) -> None:
    assert remedy in str(window_of(engine, 8_192, 131_072).remedy)


def test_a_window_that_is_all_the_model_has_is_not_to_be_enlarged() -> None:
    found = window_of("llama.cpp", 8_192, 8_192)

    assert "-c 32768" not in str(found.remedy)
    assert "claude --tools" in str(found.remedy)


def test_a_model_that_was_trained_for_too_little_is_to_be_replaced() -> None:
    found = check_ollama_window(SUBJECT, described(8_192))

    assert found.severity is Severity.FAIL
    assert "a model with a longer window" in str(found.remedy)


def test_a_model_that_was_trained_for_just_enough_is_not_advised_what_it_cannot_do() -> None:
    found = check_ollama_window(SUBJECT, described(20_000))

    assert found.severity is Severity.WARN
    assert "--context-window" not in str(found.remedy)


@pytest.mark.parametrize("modelfile", [16_384, 20_000])
def test_a_modelfile_with_a_small_window_is_advised_the_option(modelfile: int) -> None:
    found = check_ollama_window(SUBJECT, described(131_072, modelfile=modelfile))

    assert found.severity is Severity.WARN
    assert found.remedy == "bridge serve ollama m --context-window 32768"


def test_trained_configured_and_loaded_windows_are_all_reported() -> None:
    found = check_ollama_window(SUBJECT, described(131_072, modelfile=65_536, loaded=40_000))

    assert found.severity is Severity.OK
    assert found.seen == (
        "the bridge asks for 40,000 tokens (trained for 131,072, Modelfile 65,536, loaded with 40,000)"
    )


def test_memory_is_reported_only_where_the_shape_is_known() -> None:
    assert check_memory(described(131_072)) is None


@pytest.mark.parametrize(
    ("gpu_bytes", "severity", "words"),
    [
        (2**32, Severity.OK, "all 4.0 GiB on the GPU"),
        (2**30, Severity.WARN, "75% of m (4.0 GiB) is on the CPU"),
        (0, Severity.WARN, "m (4.0 GiB) runs on the CPU alone"),
    ],
)
def test_where_the_model_runs_is_judged(gpu_bytes: int, severity: Severity, words: str) -> None:
    found = check_processor(OfferedModel(id="m", ollama=OllamaModel(loaded_bytes=2**32, gpu_bytes=gpu_bytes)))

    assert found is not None
    assert (found.severity, words in found.seen) == (severity, True)
