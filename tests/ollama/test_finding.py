"""What is found out about an Ollama and its models."""

from __future__ import annotations

import pytest

from claude_bridge.conversion.pricing import FREE
from claude_bridge.doctor.examine import examine_engine
from claude_bridge.doctor.finding import Finding, Severity, Subject
from claude_bridge.errors import SetupError
from claude_bridge.providers import PROVIDERS, Upstream, upstream_of
from claude_bridge.upstream.engines.catalog import list_models
from claude_bridge.upstream.engines.discover import discover
from claude_bridge.upstream.engines.engine import Engine
from tests.real_ollama import WINDOW_TOKENS

pytestmark = pytest.mark.anyio


async def found(base_url: str, model: str = "able", *, provider: str = "ollama") -> Upstream:
    upstream = upstream_of(PROVIDERS[provider], base_url=base_url, model=model)
    return await discover(Engine(upstream=upstream))


async def mistake(base_url: str, model: str) -> SetupError:
    with pytest.raises(SetupError) as caught:
        await found(base_url, model)
    return caught.value


@pytest.mark.parametrize("path", ["", "/", "/v1", "/api/chat"])
async def test_it_is_found_behind_any_of_its_addresses(ollama: str, path: str) -> None:
    upstream = await found(ollama + path)
    assert upstream.base_url == ollama
    assert upstream.name.startswith("Ollama 0.")


async def test_behind_an_openai_address_it_is_asked_through_its_own_api(ollama: str) -> None:
    upstream = await found(f"{ollama}/v1", provider="openai")
    assert (upstream.adapter.kind, upstream.base_url) == ("ollama-chat", ollama)


@pytest.mark.parametrize(("model", "thinks"), [("able", False), ("thinker", True), ("able:latest", False)])
async def test_what_a_model_can_do_is_known(ollama: str, model: str, thinks: bool) -> None:
    upstream = await found(ollama, model)
    assert (upstream.profile.ollama.thinks, upstream.profile.sees_images) == (thinks, False)


async def test_the_window_is_the_modelfiles_and_reported_with_its_memory(ollama: str) -> None:
    upstream = await found(ollama)
    assert upstream.window_tokens == WINDOW_TOKENS
    assert upstream.notes[0] == "context window 2,048 tokens (as its Modelfile says), 0.0 GiB of KV cache"


async def test_no_more_is_asked_for_than_the_model_was_trained_for(ollama: str) -> None:
    requested = upstream_of(PROVIDERS["ollama"], base_url=ollama, model="able")
    upstream = await discover(Engine(upstream=requested, window_tokens=16_384))
    assert upstream.window_tokens == 8_192
    assert "Ollama does not load it with 16,384" in upstream.notes[0]


async def test_a_model_that_can_not_call_tools_is_reported(ollama: str) -> None:
    assert any("can't call tools" in note for note in (await found(ollama, "talker")).notes)


async def test_of_several_models_those_that_call_tools_are_named(ollama: str) -> None:
    hint = (await mistake(ollama, "")).hint
    assert "able:latest" in hint
    assert "thinker:latest" in hint
    assert "talker" not in hint


async def test_an_unknown_model_is_reported_with_how_to_get_it_and_what_is_near(ollama: str) -> None:
    error = await mistake(ollama, "thinkers")
    assert "ollama pull thinkers" in error.hint
    assert "similar name: thinker:latest" in error.hint


async def test_each_model_is_listed_with_what_it_can_do(ollama: str) -> None:
    upstream = upstream_of(PROVIDERS["ollama"], base_url=ollama, model="")
    listing = await list_models(Engine(provider="ollama", upstream=upstream))
    models = {model.id: model for model in listing.models}
    assert set(models) == {"able:latest", "thinker:latest", "talker:latest"}
    assert [(model.tools, model.thinking, model.images) for _, model in sorted(models.items())] == [
        (True, False, False),
        (False, False, False),
        (True, True, False),
    ]
    assert {(model.context_window, model.max_output_tokens, model.cost) for model in models.values()} == {
        (8_192, 81_920, FREE)
    }


async def checks(base_url: str, model: str) -> dict[str, Finding]:
    engine = Engine(upstream=upstream_of(PROVIDERS["ollama"], base_url=base_url, model=model))
    subject = Subject(provider="ollama", engine=engine)
    _, findings = await examine_engine(subject, usual=())
    return {finding.name: finding for finding in findings}


async def test_doctor_judges_the_engine_and_a_model_with_a_small_window(ollama: str) -> None:
    found = await checks(ollama, "able")
    marks = {name: finding.severity for name, finding in found.items()}
    assert {marks[name] for name in ("reachable", "engine", "version", "model", "tools")} == {Severity.OK}
    assert marks["context window"] is Severity.FAIL
    assert "the bridge asks for 2,048 tokens (trained for 8,192, Modelfile 2,048" in found["context window"].seen


@pytest.mark.parametrize(
    ("model", "name", "words"),
    [("talker", "tools", "can't call tools"), ("thinkers", "model", "nearest: thinker:latest")],
)
async def test_doctor_names_what_is_wrong_with_a_model(ollama: str, model: str, name: str, words: str) -> None:
    finding = (await checks(ollama, model))[name]
    assert finding.severity is Severity.FAIL
    assert words in finding.seen
