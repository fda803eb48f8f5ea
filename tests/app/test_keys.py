"""Keys: whose they are, and where they go."""

from __future__ import annotations

import pytest

from claude_bridge.app.build import named_engine
from claude_bridge.config.schema import Config

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
