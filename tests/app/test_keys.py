"""Keys: whose they are, and where they go."""

from __future__ import annotations

import pytest

from claude_bridge.app.build import named_engine
from claude_bridge.config.schema import Config
from claude_bridge.errors import SetupError

LOGIN = "sk-ant-api03-mine"


@pytest.mark.parametrize(
    ("base_url", "api_key", "key"),
    [
        (None, None, LOGIN),
        ("https://api.anthropic.com/v1", None, LOGIN),
        ("http://localhost:8080", None, None),
        ("http://api.anthropic.com", None, None),
        ("http://localhost:8080", "its-own-key", "its-own-key"),
    ],
    ids=["Anthropic", "Anthropic by its address", "another engine", "Anthropic without TLS", "a key of its own"],
)
def test_what_is_there_for_anthropic_goes_nowhere_else(
    base_url: str | None, api_key: str | None, key: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", LOGIN)
    assert named_engine(Config(), "anthropic", "", base_url, api_key).api_key == key


def test_the_key_of_an_openai_compatible_engine_goes_where_the_user_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-mine")
    assert named_engine(Config(), "openai", "m", "http://localhost:8080/v1", None).api_key == "sk-mine"


@pytest.mark.parametrize(
    ("variable", "base_url", "address"),
    [
        ("https://work.openai.azure.com/", None, "https://work.openai.azure.com/openai/v1"),
        ("https://work.openai.azure.com/openai/v1", None, "https://work.openai.azure.com/openai/v1"),
        ("", "https://work.services.ai.azure.com", "https://work.services.ai.azure.com/openai/v1"),
    ],
)
def test_azure_is_found_by_the_address_of_the_resource(
    variable: str, base_url: str | None, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", variable)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "its-key")
    assert named_engine(Config(), "azure", "m", base_url, None).upstream.base_url == address


def test_azure_without_an_address_says_how_to_give_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_OPENAI_ENDPOINT", raising=False)
    with pytest.raises(SetupError) as raised:
        named_engine(Config(), "azure", "m", None, "its-key")
    assert "AZURE_OPENAI_ENDPOINT" in raised.value.hint


@pytest.mark.parametrize(
    ("region", "host"), [("", "us-east-1"), ("eu-central-1", "eu-central-1"), ("x/../y", "us-east-1")]
)
def test_bedrock_is_asked_in_the_region_that_is_set(region: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", region)
    upstream = named_engine(Config(), "bedrock", "m", None, "its-key").upstream
    assert upstream.base_url == f"https://bedrock-runtime.{host}.amazonaws.com/openai/v1"
