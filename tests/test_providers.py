"""Provider rows: what an address means, and to whom clients' own logins go."""

from __future__ import annotations

import pytest

from claude_bridge.providers import PROVIDERS, is_home_of_logins, upstream_of


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
