"""What is wrong with the configuration, and with what it says of a model."""

from __future__ import annotations

from typing import Any

import pytest

from claude_bridge.doctor.configuration import check_configuration, check_listed, with_configured
from claude_bridge.doctor.facts import Facts, Kind
from claude_bridge.doctor.finding import Mark
from claude_bridge.doctor.windows import check_loaded_window, check_memory, check_ollama_window, check_window
from claude_bridge.upstream.engines.catalog import OfferedModel
from claude_bridge.wire.ollama import LoadedModel, ModelDescription
from tests.upstream.test_checks_windows import model as described

FILE = "/home/me/.config/claude-bridge/config.toml"


def test_a_file_without_mistakes_is_fine() -> None:
    found = check_configuration(FILE, is_there=True, mistakes=[], doubts=[])
    assert (found.mark, found.seen, found.remedy) == (Mark.OK, FILE, None)


def test_no_file_is_fine() -> None:
    found = check_configuration(FILE, is_there=False, mistakes=[], doubts=[])
    assert (found.mark, found.seen) == (Mark.OK, "none, and none is needed")


def test_mistakes_are_broken_and_the_first_is_told() -> None:
    found = check_configuration(FILE, is_there=True, mistakes=["a:1: x", "a:2: y", "a:3: z"], doubts=["d"])

    assert (found.mark, found.remedy) == (Mark.BAD, "bridge config check")
    assert found.seen.startswith("a:1: x (and 2 more);")


def test_doubts_are_told() -> None:
    found = check_configuration(FILE, is_there=True, mistakes=[], doubts=["d", "e"])
    assert (found.mark, found.seen, found.remedy) == (Mark.WARN, "d; e", "bridge config check")


MODELS = [OfferedModel(id="one:latest"), OfferedModel(id="two")]


@pytest.mark.parametrize(
    ("name", "mark", "remedy"),
    [
        ("tow", Mark.BAD, "bridge doctor work two --base-url http://h"),
        ("", Mark.WARN, "bridge doctor work one:latest --base-url http://h"),
    ],
)
def test_a_model_that_is_not_listed_is_told(name: str, mark: Mark, remedy: str) -> None:
    found = check_listed("work", name, MODELS, kind=Kind.OTHER, place="--base-url http://h")

    assert found is not None
    assert (found.mark, found.remedy) == (mark, remedy)
    assert "one:latest, two" in found.seen


def test_nothing_is_said_of_a_list_that_there_is_not_or_that_has_the_model() -> None:
    assert check_listed("ollama", "x", [], kind=Kind.OLLAMA, place="") is None
    assert check_listed("ollama", "one", MODELS, kind=Kind.OLLAMA, place="") is None
    assert check_listed("work", "", MODELS[1:], kind=Kind.OTHER, place="") is None


@pytest.mark.parametrize(
    ("told", "configured", "expected"),
    [
        (("completion", "tools"), {}, ("completion", "tools")),
        (("completion", "tools"), {"tools": False}, ("completion",)),
        (("completion",), {"tools": True, "images": True}, ("completion", "tools", "vision")),
        (None, {}, None),
        (None, {"tools": True}, ("completion", "tools")),
    ],
    ids=str,
)
def test_what_is_configured_goes_before_what_the_engine_tells(told: Any, configured: Any, expected: Any) -> None:
    facts = Facts(kind=Kind.LLAMA_CPP, model="m", capabilities=told)
    models = [OfferedModel(id="m", context_window=8_192, **configured)]

    found = with_configured(facts, models, window_tokens=99_999)

    assert (found.capabilities, found.wished_tokens) == (expected, 8_192)


def test_a_window_for_any_model_is_taken_where_none_is_listed() -> None:
    assert with_configured(Facts(model="m"), [], window_tokens=4_096).wished_tokens == 4_096


# --- the windows that are configured --------------------------------------------------------------------------


def test_a_configured_window_is_what_an_ollama_is_asked_for() -> None:
    loaded = LoadedModel("m", context_length=65_536)
    found = check_ollama_window("m", described(131_072), loaded, wished=8_192)

    assert found.mark is Mark.BAD
    assert "asks for 8,192 tokens (as configured, trained for 131,072" in found.seen
    assert check_loaded_window(described(131_072), loaded, wished=100_000) is not None
    assert check_loaded_window(described(131_072), loaded, wished=8_192) is None


def test_memory_is_told_for_the_configured_window() -> None:
    shape = {"x.block_count": 1, "x.attention.head_count": 1, "x.embedding_length": 1024}
    info = {**(described(131_072).model_info or {}), **shape}
    small, large = (check_memory(ModelDescription(model_info=info), None, wished=tokens) for tokens in (8_192, 65_536))
    assert small is not None
    assert large is not None
    assert "8,192" in small.seen
    assert "65,536" in large.seen


def test_a_configured_window_that_the_engine_does_not_have_is_broken() -> None:
    found = check_window(Kind.LLAMA_CPP, 16_384, 131_072, wished=32_768)

    assert found.mark is Mark.BAD
    assert "32,768 tokens are configured, and llama.cpp has 16,384" in found.seen
    assert "context_window to 16384" in str(found.remedy)


@pytest.mark.parametrize(
    ("told", "wished", "mark"), [(None, 65_536, Mark.OK), (131_072, 65_536, Mark.OK), (131_072, 8_192, Mark.BAD)]
)
def test_a_configured_window_is_judged_by_what_claude_code_needs(told: int | None, wished: int, mark: Mark) -> None:
    found = check_window(Kind.VLLM, told, None, wished=wished)

    assert found.mark is mark
    assert found.seen.startswith(f"{wished:,} tokens, as configured")
