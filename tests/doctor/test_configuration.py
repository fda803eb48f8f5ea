"""What is wrong with the configuration, and with what it says of a model."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from claude_bridge.adapters import engine_profiles
from claude_bridge.doctor.finding import Severity, Subject
from claude_bridge.doctor.machine import check_configuration
from claude_bridge.doctor.model import (
    check_listed,
    check_loaded_window,
    check_memory,
    check_ollama_window,
    check_window,
    with_configured,
)
from claude_bridge.providers import PROVIDERS, upstream_of
from claude_bridge.upstream.engines.engine import Engine
from claude_bridge.upstream.engines.report import EngineReport, OfferedModel, OllamaModel
from tests.doctor.test_windows import described, report

ANY, OLLAMA_REPORT = EngineReport(), EngineReport(profile=engine_profiles.OLLAMA)

FILE = "/home/me/.config/claude-bridge/config.toml"


def test_a_file_without_mistakes_is_fine() -> None:
    found = check_configuration(FILE, is_there=True, mistakes=[], doubts=[])
    assert (found.severity, found.seen, found.remedy) == (Severity.OK, FILE, None)


def test_no_file_is_fine() -> None:
    found = check_configuration(FILE, is_there=False, mistakes=[], doubts=[])
    assert (found.severity, found.seen) == (Severity.OK, "none, and none is needed")


def test_mistakes_are_broken_and_the_first_is_reported() -> None:
    found = check_configuration(FILE, is_there=True, mistakes=["a:1: x", "a:2: y", "a:3: z"], doubts=["d"])

    assert (found.severity, found.remedy) == (Severity.FAIL, "bridge config check")
    assert found.seen.startswith("a:1: x (and 2 more);")


def test_doubts_are_reported() -> None:
    found = check_configuration(FILE, is_there=True, mistakes=[], doubts=["d", "e"])
    assert (found.severity, found.seen, found.remedy) == (Severity.WARN, "d; e", "bridge config check")


MODELS = (OfferedModel(id="one:latest"), OfferedModel(id="two"))


def subject(provider: str, model: str, models: tuple[OfferedModel, ...] = (), **fields: Any) -> Subject:
    upstream = upstream_of(PROVIDERS["openai"], base_url="http://h", model=model)
    return Subject(provider=provider, engine=Engine(upstream=upstream, models=models, **fields))


@pytest.mark.parametrize(
    ("name", "severity", "remedy"),
    [
        ("tow", Severity.FAIL, "bridge doctor work two --base-url http://h"),
        ("", Severity.WARN, "bridge doctor work one:latest --base-url http://h"),
    ],
)
def test_a_model_that_is_not_listed_is_reported(name: str, severity: Severity, remedy: str) -> None:
    found = check_listed(subject("work", name, MODELS), ANY)

    assert found is not None
    assert (found.severity, found.remedy) == (severity, remedy)
    assert "one:latest, two" in found.seen


def test_no_warning_where_the_list_is_missing_or_has_the_model() -> None:
    assert check_listed(subject("ollama", "x"), OLLAMA_REPORT) is None
    assert check_listed(subject("ollama", "one", MODELS), OLLAMA_REPORT) is None
    assert check_listed(subject("work", "", MODELS[1:]), ANY) is None


@pytest.mark.parametrize(
    ("reported", "configured", "expected"),
    [
        ({"tools": True}, {}, {"tools": True}),
        ({"tools": True}, {"tools": False}, {"tools": False}),
        ({"tools": False}, {"tools": True, "images": True}, {"tools": True, "images": True}),
        ({}, {}, {"tools": None}),
        ({}, {"tools": True}, {"tools": True}),
    ],
    ids=str,
)
def test_what_is_configured_goes_before_what_the_engine_reports(
    reported: Any, configured: Any, expected: dict[str, Any]
) -> None:
    models = (OfferedModel(id="m", context_window=8_192, **configured),)

    model, window = with_configured(
        subject("work", "m", models, window_tokens=99_999), ANY, OfferedModel(id="m", **reported)
    )

    assert {name: getattr(model, name) for name in expected} == expected
    assert window == 8_192


def test_a_window_for_any_model_is_taken_where_none_is_listed() -> None:
    _, window = with_configured(subject("work", "m", window_tokens=4_096), ANY, OfferedModel(id="m"))
    assert window == 4_096


# --- the windows that are configured --------------------------------------------------------------------------

OLLAMA = subject("ollama", "m")


def test_a_configured_window_is_what_an_ollama_is_asked_for() -> None:
    model = described(131_072, loaded=65_536)
    found = check_ollama_window(OLLAMA, model, configured=8_192)

    assert found.severity is Severity.FAIL
    assert "asks for 8,192 tokens (configured 8,192, trained for 131,072" in found.seen
    assert check_loaded_window(model, configured=100_000) is not None
    assert check_loaded_window(model, configured=8_192) is None


def test_a_configured_window_beyond_the_training_is_not_what_an_ollama_gives() -> None:
    found = check_ollama_window(OLLAMA, described(8_192), configured=16_384)

    assert "asks for 8,192 tokens (configured 16,384, trained for 8,192, not loaded)" in found.seen


def test_memory_is_reported_for_the_configured_window() -> None:
    model = replace(described(131_072), ollama=OllamaModel(kv_bytes_per_token=4_096))
    small, large = (check_memory(model, configured=tokens) for tokens in (8_192, 65_536))
    assert small is not None
    assert large is not None
    assert "8,192" in small.seen
    assert "65,536" in large.seen


def test_a_configured_window_that_the_engine_does_not_have_fails() -> None:
    found = check_window(OLLAMA, report("llama.cpp"), described(131_072, window=16_384), configured=32_768)

    assert found.severity is Severity.FAIL
    assert "32,768 tokens are configured, but llama.cpp has 16,384" in found.seen
    assert "context_window to 16384" in str(found.remedy)


@pytest.mark.parametrize(
    ("reported", "configured", "severity"),
    [(None, 65_536, Severity.OK), (131_072, 65_536, Severity.OK), (131_072, 8_192, Severity.FAIL)],
)
def test_a_configured_window_is_judged_by_what_claude_code_needs(
    reported: int | None, configured: int, severity: Severity
) -> None:
    found = check_window(OLLAMA, report("vLLM"), described(None, window=reported), configured=configured)

    assert found.severity is severity
    assert found.seen.startswith(f"{configured:,} tokens, as configured")
