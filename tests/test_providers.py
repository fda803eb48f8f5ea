"""Provider rows: what an address means, and to whom clients' own logins go."""

from __future__ import annotations

import pytest

from claude_bridge.adapters import engine_profiles
from claude_bridge.conversion.profile import Profile
from claude_bridge.providers import PROVIDERS, is_home_of_logins, upstream_of, with_api
from claude_bridge.wire.urls import join_path


@pytest.mark.parametrize(
    ("base_url", "is_home"),
    [
        ("https://api.anthropic.com", True),
        ("https://API.anthropic.com/v1", True),
        ("https://api.anthropic.com:443", True),
        ("http://api.anthropic.com", False),
        ("https://api.anthropic.com:8443", False),
        ("https://api.anthropic.com.evil.example", False),
        ("https://evil.example/api.anthropic.com", False),
        ("https://evil.example#@api.anthropic.com", False),
        ("https://api.openai.com/v1", False),
        ("http://localhost:8080", False),
        ("http://192.168.1.7:8080/v1", False),
    ],
)
def test_logins_go_to_anthropic_itself_over_tls(base_url: str, is_home: bool) -> None:
    assert is_home_of_logins(base_url) is is_home
    assert upstream_of(PROVIDERS["anthropic"], base_url=base_url, model="").forwards_client_auth is is_home


@pytest.mark.parametrize("name", PROVIDERS)
def test_only_anthropic_gets_the_clients_login(name: str) -> None:
    assert upstream_of(PROVIDERS[name], base_url=None, model="m").forwards_client_auth is (name == "anthropic")


@pytest.mark.parametrize(
    ("provider", "base_url", "kind", "profile"),
    [
        ("openai", None, "openai-responses", engine_profiles.OPENAI_RESPONSES),
        ("openai", "https://api.openai.com/v1", "openai-responses", engine_profiles.OPENAI_RESPONSES),
        ("openai", "http://localhost:8080/v1", "openai-chat", engine_profiles.UNKNOWN),
        ("openai", "https://api.x.ai/v1", "openai-responses", engine_profiles.XAI_RESPONSES),
        ("openai", "https://openrouter.ai/api/v1", "openai-chat", engine_profiles.OPENROUTER),
        ("openai", "https://work.openai.azure.com/openai/v1", "openai-chat", engine_profiles.AZURE),
        ("openai", "https://work.openai.azure.com.evil.example/v1", "openai-chat", engine_profiles.UNKNOWN),
        ("openai", "https://.openai.azure.com/v1", "openai-chat", engine_profiles.UNKNOWN),
        ("xai", None, "openai-responses", engine_profiles.XAI_RESPONSES),
        ("azure", "https://work.openai.azure.com/openai/v1", "openai-responses", engine_profiles.AZURE_RESPONSES),
        ("bedrock", None, "openai-responses", engine_profiles.BEDROCK_RESPONSES),
        ("groq", None, "openai-chat", engine_profiles.GROQ),
    ],
)
def test_which_api_is_spoken_depends_on_the_provider_and_on_the_address(
    provider: str, base_url: str | None, kind: str, profile: Profile
) -> None:
    upstream = upstream_of(PROVIDERS[provider], base_url=base_url, model="m")
    assert (upstream.adapter.kind, upstream.profile) == (kind, profile)


@pytest.mark.parametrize(
    ("provider", "base_url", "api", "profile"),
    [
        ("openai", None, "openai-chat", engine_profiles.OPENAI),
        ("openai", "https://work.openai.azure.com/openai/v1", "openai-responses", engine_profiles.AZURE_RESPONSES),
        (
            "openai",
            "https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1",
            "openai-responses",
            engine_profiles.BEDROCK_RESPONSES,
        ),
        ("openai", "http://localhost:1/v1", "openai-responses", engine_profiles.UNKNOWN),
        ("llamacpp", None, "openai-responses", engine_profiles.LLAMA_CPP_RESPONSES),
        ("vllm", None, "openai-responses", engine_profiles.UNKNOWN),
        ("openai", None, "anthropic-messages", engine_profiles.UNKNOWN),
    ],
)
def test_another_api_keeps_what_is_known_of_the_engine_in_it(
    provider: str, base_url: str | None, api: str, profile: Profile
) -> None:
    upstream = with_api(upstream_of(PROVIDERS[provider], base_url=base_url, model="m"), api)
    assert (upstream.adapter.kind, upstream.profile) == (api, profile)


def test_an_address_with_a_query_keeps_its_path_before_it() -> None:
    base_url = "https://work.openai.azure.com/openai/deployments/x?api-version=2026-01-01"
    assert join_path(base_url, "/chat/completions") == (
        "https://work.openai.azure.com/openai/deployments/x/chat/completions?api-version=2026-01-01"
    )
