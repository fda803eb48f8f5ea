"""What holds, and where it comes from; keys are hidden."""

from __future__ import annotations

from pathlib import Path

from claude_bridge.config.line_numbers import key_text
from claude_bridge.config.load import effective_settings, read_config
from claude_bridge.config.types import shown

KEY = "sk-very-secret"


def effective(file: Path, text: str, **variables: str) -> dict[str, tuple[str, str]]:
    """Return the value as it is shown and its origin, for each key."""
    file.write_text(text)
    settings = list(effective_settings(read_config(file, variables), variables))
    assert KEY not in str(settings)
    return {one.key: (shown(one.value), one.origin) for one in settings}


def test_without_anything_all_are_defaults(tmp_path: Path) -> None:
    found = effective(tmp_path / "c.toml", "")

    assert found["server.port"] == ("8765", "default")
    assert found["defaults.model"] == ("-", "default")
    assert {origin for _, origin in found.values()} == {"default"}


def test_each_value_has_its_line_or_variable(tmp_path: Path) -> None:
    text = '[server]\nhost = "h"\nport = 1\nauth_token = "env:T"\n[defaults]\nmax_tokens = 5\n'
    found = effective(tmp_path / "c.toml", text, BRIDGE_PORT="2", BRIDGE_AUTH_TOKEN=KEY)

    assert found["server.host"] == ('"h"', "line 2")
    assert found["server.port"] == ("2", "BRIDGE_PORT")
    assert found["server.auth_token"] == ("(hidden)", "BRIDGE_AUTH_TOKEN")
    assert found["defaults.max_tokens"] == ("5", "line 6")


def test_providers_are_shown_with_what_is_configured_of_them(tmp_path: Path) -> None:
    text = (
        f'[providers.work]\nkind = "openai-chat"\nbase_url = "http://h"\napi_key = "{KEY}"\n'
        '[[providers.work.models]]\nid = "m"\ncost = { input = 1, output = 2 }\n'
        '[providers.openai]\napi_key = "env:A"\n'
    )
    found = effective(tmp_path / "c.toml", text, OPENAI_API_KEY=KEY)

    assert found["providers.work.kind"] == ('"openai-chat"', "line 2")
    assert found["providers.work.api_key"] == ("(hidden)", "line 4")
    assert found["providers.work.models[0]"] == ('{ id = "m", cost = { input = 1.0, output = 2.0 } }', "line 5")
    assert found["providers.openai.api_key"] == ('"env:A"', "line 9")


def test_variables_of_providers_and_options_are_shown_where_they_hold(tmp_path: Path) -> None:
    variables = {"OPENAI_API_KEY": KEY, "OLLAMA_HOST": "gpu:1", "BRIDGE_API_KEY": KEY, "BRIDGE_BASE_URL": "http://b"}
    found = effective(tmp_path / "c.toml", "", **variables)

    assert found["providers.openai.api_key"] == ("(hidden)", "OPENAI_API_KEY")
    assert found["providers.ollama.base_url"] == ('"http://gpu:1"', "OLLAMA_HOST")
    assert found["--api-key"] == ("(hidden)", "BRIDGE_API_KEY")
    assert found["--base-url"] == ('"http://b"', "BRIDGE_BASE_URL")


def test_a_password_in_an_address_is_hidden(tmp_path: Path) -> None:
    variables = {"OLLAMA_HOST": f"http://u:{KEY}@gpu:1", "BRIDGE_BASE_URL": f"http://u:{KEY}@b"}
    found = effective(tmp_path / "c.toml", "", **variables)

    assert found["providers.ollama.base_url"] == ("(hidden)", "OLLAMA_HOST")
    assert found["--base-url"] == ("(hidden)", "BRIDGE_BASE_URL")


def test_keys_are_written_as_in_toml() -> None:
    assert key_text(("providers", "a.b", "models", 0, "id")) == 'providers."a.b".models[0].id'
