"""A model as the configuration tells of it: nothing is asked, and everything is taken."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from claude_bridge.adapters.engine_profiles import LLAMA_CPP
from claude_bridge.conversion.pricing import FREE, Prices
from claude_bridge.conversion.profile import Profile
from claude_bridge.errors import SetupError
from claude_bridge.providers import PROVIDERS, Upstream, upstream_of
from claude_bridge.upstream.engines.discover import upstream_as_configured
from claude_bridge.upstream.engines.report import OfferedModel, with_ollama_limits


def upstream(provider: str, model: str = "m", base_url: str = "http://engine:1") -> Upstream:
    return upstream_of(PROVIDERS[provider], base_url=base_url, model=model)


def configured(requested: Upstream, **fields: Any) -> Upstream:
    model = OfferedModel(id="m", **fields)
    return upstream_as_configured(
        requested, [with_ollama_limits(model) if requested.adapter.kind == "ollama-chat" else model]
    )


def test_limits_and_prices_are_taken() -> None:
    prices = Prices(input=1, output=2)
    found = configured(upstream("openai"), context_window=8_192, max_output_tokens=512, cost=prices)

    assert (found.window_tokens, found.max_output_tokens, found.prices) == (8_192, 512, prices)
    assert found.base_url == "http://engine:1/v1"
    assert "context window 8,192 tokens" in found.notes


def test_what_is_not_configured_is_unknown() -> None:
    found = configured(upstream("openai"))

    assert (found.window_tokens, found.max_output_tokens, found.prices) == (None, None, None)
    assert found.profile == upstream("openai").profile


def test_an_ollamas_model_has_the_window_that_it_would_have_had_if_asked() -> None:
    found = configured(upstream("ollama", base_url="http://engine:1/v1"))

    assert (found.window_tokens, found.prices, found.slots) == (8_192, FREE, 1)
    assert found.base_url == "http://engine:1"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"sees_images": True, "thinks": False}),
        ({"thinking": True}, {"sees_images": True, "thinks": True, "reasoning_field": "thinking"}),
        ({"thinking": True, "images": False}, {"sees_images": False, "thinks": True}),
        ({"thinking": False}, {"sees_images": True, "thinks": False}),
        ({"images": False}, {"sees_images": False, "thinks": False}),
    ],
    ids=str,
)
def test_what_an_ollamas_model_can_do_chooses_its_profile(fields: Any, expected: Any) -> None:
    profile = configured(upstream("ollama"), **fields).profile
    assert profile.with_changes(expected) == profile


def test_a_family_is_known_by_its_name() -> None:
    model = with_ollama_limits(OfferedModel(id="hub/gpt-oss:20b", thinking=True))
    found = upstream_as_configured(upstream("ollama", "hub/gpt-oss:20b"), [model])
    assert found.profile.ollama.think_levels == ("low", "medium", "high")


def test_how_long_a_model_stays_loaded_is_kept() -> None:
    requested = upstream("ollama")
    requested = replace(requested, profile=requested.profile.with_changes({"keep_alive": "2h"}))
    assert configured(requested, thinking=True).profile.ollama.keep_alive == "2h"


def test_what_a_model_of_another_engine_can_do_is_taken() -> None:
    requested = replace(upstream("openai"), profile=LLAMA_CPP)

    def profile(**fields: Any) -> Profile:
        return configured(requested, **fields).profile

    assert profile() is LLAMA_CPP
    assert profile(images=False).sees_images is False
    assert profile(thinking=True) == LLAMA_CPP
    assert not profile(thinking=False).chat.thinking_switch


def test_a_model_without_tools_is_reported() -> None:
    assert any("can't call tools" in note for note in configured(upstream("openai"), tools=False).notes)
    assert not any("tools" in note for note in configured(upstream("openai")).notes)


MODELS = [OfferedModel(id="one:latest"), OfferedModel(id="two")]


def test_the_only_model_need_not_be_named() -> None:
    assert upstream_as_configured(upstream("openai", ""), MODELS[1:]).model == "two"


def test_an_ollamas_model_may_be_named_without_its_tag() -> None:
    assert upstream_as_configured(upstream("ollama", "one"), MODELS).model == "one:latest"
    with pytest.raises(SetupError):
        upstream_as_configured(upstream("openai", "one"), MODELS)


@pytest.mark.parametrize(
    ("name", "what", "hint"),
    [
        ("", "No model was given", "one:latest, two"),
        ("twoo", "lists no model 'twoo'", "Nearest: two."),
        ("zzzzzz", "lists no model 'zzzzzz'", "It lists: one:latest, two."),
    ],
)
def test_a_model_that_is_not_listed_is_reported_with_those_that_are(name: str, what: str, hint: str) -> None:
    with pytest.raises(SetupError, match=what) as error:
        upstream_as_configured(upstream("openai", name), MODELS)
    assert hint in error.value.hint


def test_a_relay_leaves_the_model_to_each_request_and_the_login_to_the_client() -> None:
    anthropic = upstream_of(PROVIDERS["anthropic"], base_url=None, model="")

    found = upstream_as_configured(anthropic, MODELS)

    assert (found.model, found.forwards_client_auth, found.base_url) == ("", True, "https://api.anthropic.com")
    named = upstream_as_configured(replace(anthropic, model="two"), MODELS)
    assert (named.model, named.forwards_client_auth) == ("two", True)
