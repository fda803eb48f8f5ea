"""Every mistake is told with file, line and key; and what goes before what."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from claude_bridge.config.load import Reading, changed_keys, check_secrets, read_config
from claude_bridge.config.schema import Config, ModelSettings
from claude_bridge.errors import SetupError

KEY = "sk-very-secret"


class Files:
    """A folder with a configuration in it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "config.toml"

    def read(self, text: str, **variables: str) -> Reading:
        self.file.write_text(text, "utf-8")
        self.file.chmod(0o600)
        reading = read_config(self.file, variables)
        assert KEY not in "".join(map(str, (*reading.mistakes, *reading.doubts)))
        return reading

    def mistakes(self, text: str, **variables: str) -> list[str]:
        """Return the mistakes, each as LINE: KEY AND WHAT, or with the variable."""
        return [str(mistake).removeprefix(f"{self.file}:") for mistake in self.read(text, **variables).mistakes]

    def config(self, text: str, **variables: str) -> Config:
        reading = self.read(text, **variables)
        assert reading.mistakes == ()
        return reading.config


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


# --- what is read ---------------------------------------------------------------------------------------------

WHOLE = f"""
[server]
host = "0.0.0.0"
port = 1234
auth_token = "env:TOKEN"

[defaults]
model = "work/some/model"
context_window = 65536
max_tokens = 4096

[providers.work]
kind = "ollama-chat"
base_url = "https://gpu.example/ollama"
api_key = "{KEY}"
keep_alive = "1h30m"

[[providers.work.models]]
id = "some/model"
context_window = 8192
max_tokens = 81920
tools = true
thinking = false
vision = true
cost = {{ input = 1, output = 10.5, cached = 0.1 }}

[[providers.work.models]]
id = "other"
"""


def test_every_setting_is_read(files: Files) -> None:
    config = files.config(WHOLE)

    assert (config.server.host, config.server.port) == ("0.0.0.0", 1234)
    assert config.server.auth_token is not None
    assert config.server.auth_token.shown == "env:TOKEN"
    assert (config.defaults.model, config.defaults.context_window, config.defaults.max_tokens) == (
        "work/some/model",
        65_536,
        4_096,
    )
    work = config.providers["work"]
    assert (work.kind, work.base_url, work.keep_alive) == ("ollama-chat", "https://gpu.example/ollama", "1h30m")
    assert work.api_key is not None
    assert [key.read({}, files.file) for key in work.api_key] == [KEY]
    first, second = work.models
    assert (first.id, first.context_window, first.max_tokens) == ("some/model", 8_192, 81_920)
    assert (first.tools, first.thinking, first.vision) == (True, False, True)
    assert first.cost is not None
    assert (first.cost.input, first.cost.output, first.cost.cached) == (1, 10.5, 0.1)
    assert second == ModelSettings(id="other")


def test_nothing_settled_is_the_defaults(files: Files) -> None:
    assert files.config("").server == Config().server
    assert (Config().server.host, Config().server.port, Config().server.auth_token) == ("127.0.0.1", 8765, None)


# --- mistakes -------------------------------------------------------------------------------------------------

OWN = '[providers.work]\nkind = "openai-chat"\nbase_url = "http://h"\n'


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        pytest.param("[server]\n\nprot = 1", "3: server.prot is not a setting; nearest: port", id="unknown key"),
        pytest.param("[sever]\nport = 1", "1: sever is not a setting; nearest: server", id="unknown table"),
        pytest.param(
            "[server]\nzzz = 1", "2: server.zzz is not a setting; there are: host, port, auth_token", id="nothing near"
        ),
        pytest.param("port = 1", "1: port belongs into [server]", id="outside its table"),
        pytest.param("model = 1", "1: model belongs into [defaults]", id="outside its other table"),
        pytest.param("server = 3", "1: server must be a table, not 3", id="no table"),
        pytest.param("providers = 3", "1: providers must be a table, not 3", id="no table of names"),
        pytest.param("providers.work = 3", "1: providers.work must be a table, not 3", id="no table under a name"),
        pytest.param(
            "[server]\nport = 99999",
            "2: server.port must be an integer from 0 to 65535, not 99999",
            id="out of range",
        ),
        pytest.param(
            "[server]\nport = '8765'",
            '2: server.port must be an integer from 0 to 65535, not "8765"',
            id="a number as text",
        ),
        pytest.param(
            "[server]\nport = true", "2: server.port must be an integer from 0 to 65535, not true", id="wrong type"
        ),
        pytest.param('[server]\nhost = ""', '2: server.host must be text that is not empty, not ""', id="empty text"),
        pytest.param(
            "[defaults]\ncontext_window = 12",
            "2: defaults.context_window must be an integer of at least 256, not 12",
            id="too small",
        ),
        pytest.param(
            f"[defaults]\nmax_tokens = '{'x' * 200}'",
            f'2: defaults.max_tokens must be an integer of at least 1, not "{"x" * 58}…',
            id="a long value is cut",
        ),
        pytest.param(
            '[defaults]\nmodel = "olama/m"',
            '2: defaults.model names the provider "olama", which does not exist; nearest: ollama',
            id="unknown provider of a model",
        ),
        pytest.param(
            '[defaults]\nmodel = "qwen3:1.7b"',
            '2: defaults.model must be PROVIDER/MODEL, such as "ollama/qwen3:1.7b", or PROVIDER, and no provider is '
            'named "qwen3:1.7b"; there are: openai, ollama, ',
            id="a model without its provider",
        ),
        pytest.param(
            '[defaults]\nmodel = "local/m"',
            '2: defaults.model names a model of "local", which has only one: write "local"',
            id="a model of local",
        ),
        pytest.param(
            '[defaults]\nthink = "yes"', '2: defaults.think must be one of auto, off, on, not "yes"', id="no choice"
        ),
        pytest.param(
            '[routes]\n"claude *" = "ollama/m"',
            '2: routes."claude *" must be a model name in which * and ? may stand for any letters, such as '
            '"claude-opus-*", not "claude *"',
            id="a pattern that matches nothing",
        ),
        pytest.param('[routes]\n"" = "ollama/m"', '2: routes."" must be a model name in which * and', id="no pattern"),
        pytest.param('[routes]\n"a" = "olama/m"', "2: routes.a names the provider", id="a route that leads nowhere"),
        pytest.param(
            '[defaults]\nfallback = ["ollama/m", "local"]',
            '2: defaults.fallback[1] is "local", which can only be the main provider: defaults.model',
            id="local as a fallback",
        ),
        pytest.param(
            '[web]\nsearch_language = "english"', "2: web.search_language must be two letters", id="no two letters"
        ),
        pytest.param(
            '[defaults]\nfallback = ["ollama/m", "x/"]',
            "2: defaults.fallback[1] must be PROVIDER/MODEL",
            id="one of a list",
        ),
        pytest.param(
            '[defaults]\nfallback = "ollama/m"',
            "2: defaults.fallback must be a list; each must be PROVIDER/MODEL",
            id="no list",
        ),
        pytest.param(
            '[providers.ollama]\nbase_url = "localhost"',
            '2: providers.ollama.base_url must be an address, such as "http://localhost:11434", not "localhost"',
            id="no address",
        ),
        pytest.param(
            '[providers.ollama]\nbase_url = "http://u:hunter2@h"',
            "2: providers.ollama.base_url contains a password",
            id="a password in an address",
        ),
        pytest.param(
            '[providers.ollama]\nkind = "ollama"',
            "2: providers.ollama.kind must be one of ",
            id="unknown API",
        ),
        pytest.param(
            '[providers.olama]\nbase_url = "http://h"',
            "1: providers.olama is not a provider that the bridge knows (nearest: ollama); one of your own needs kind",
            id="a provider that is misspelt",
        ),
        pytest.param(
            f'{OWN}profile = "vlm"',
            '4: providers.work.profile must be a known provider of the kind openai-chat, not "vlm"; nearest: vllm',
            id="unknown profile",
        ),
        pytest.param(
            '[providers.ollama]\nprofile = "vllm"',
            "2: providers.ollama.profile must be a known provider of the kind ollama-chat",
            id="a profile of another kind",
        ),
        pytest.param(
            "[providers.local]", "1: providers.local is started by the bridge, and has no settings", id="local"
        ),
        pytest.param(
            OWN.replace("work", '"a/b"'),
            '1: providers."a/b" is not a valid name for a provider: use letters, digits, "-", "_" and "."',
            id="a name that breaks PROVIDER/MODEL",
        ),
        pytest.param(
            '[providers.ollama]\nkeep_alive = "30"',
            '2: providers.ollama.keep_alive must be a time, such as "30m", not "30"',
            id="a time without a unit",
        ),
        pytest.param(
            f'{OWN}keep_alive = "30m"',
            '4: providers.work.keep_alive is only for Ollama\'s own API: kind = "ollama-chat"',
            id="a setting of another API",
        ),
        pytest.param(
            f"{OWN}[[providers.work.models]]\ntools = true", "4: providers.work.models[0].id is missing", id="no id"
        ),
        pytest.param(
            f'{OWN}models = [{{ id = "a" }},\n  {{ id = "b", tools = 1 }}]',
            "4: providers.work.models[1].tools must be true or false, not 1",
            id="inside a list",
        ),
        pytest.param(
            f'{OWN}[[providers.work.models]]\nid = "a"\n[[providers.work.models]]\nid = "a"',
            '7: providers.work.models[1].id is used twice: "a"',
            id="twice",
        ),
        pytest.param(
            f'{OWN}models = [{{ id = "a", cost = {{ input = -1, output = 1 }} }}]',
            "4: providers.work.models[0].cost.input must be a number of at least 0, not -1",
            id="a negative price",
        ),
        pytest.param(
            f'{OWN}models = "a"', '4: providers.work.models must be a list of tables, not "a"', id="no list of tables"
        ),
        pytest.param(
            "[server]\nport 1", "2 is not valid TOML: Expected '=' after a key in a key/value pair", id="no TOML"
        ),
        pytest.param("[server]\nport = 1\nport = 2", "3 is not valid TOML: Cannot overwrite a value", id="a key twice"),
        pytest.param("models = [\n1,\n", "3 is not valid TOML: ", id="no end"),
    ],
)
def test_a_mistake_is_reported_with_its_line_and_key(files: Files, text: str, reported: str) -> None:
    found = files.mistakes(text)

    assert len(found) == 1, found
    assert found[0].startswith(reported)


def test_a_key_that_is_no_text_is_reported_and_not_repeated(files: Files) -> None:
    assert files.mistakes("[server]\nauth_token = 12345") == [
        '2: server.auth_token must be "env:NAME", "file:PATH", "command:PROGRAM ARGUMENTS", or the key itself'
    ]


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_lines(files: Files) -> None:
    text = "[defaults]\nmodel = 1\n[server]\nprot = 1\nport = -1\n[providers.x]\n"

    found = files.mistakes(text, BRIDGE_PORT="x", BRIDGE_MODEL="nowhere/m")

    assert [mistake.partition(" ")[0] for mistake in found] == ["2:", "4:", "5:", "6:", "BRIDGE_PORT", "BRIDGE_MODEL"]
    assert found[4] == 'BRIDGE_PORT must be an integer from 0 to 65535, not "x"'


def test_with_mistakes_nothing_is_settled(files: Files) -> None:
    assert files.read("[server]\nport = 1\nprot = 2", BRIDGE_HOST="h").config == Config()


def test_a_model_of_ones_own_provider_is_known_by_variable_too(files: Files) -> None:
    assert files.config(OWN, BRIDGE_MODEL="work/m").defaults.model == "work/m"


def test_a_file_that_a_windows_editor_wrote_is_read(files: Files) -> None:
    assert files.config("\ufeff[server]\r\nport = 1\r\n").server.port == 1


# --- the file -------------------------------------------------------------------------------------------------


def test_the_usual_file_need_not_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    reading = read_config(None, {})

    assert (reading.config.server, reading.mistakes, reading.is_there) == (Config().server, (), False)
    assert reading.file.parts[-2:] == ("claude-bridge", "config.toml")
    assert reading.file.is_relative_to(tmp_path)


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    missing = tmp_path / "nothing.toml"

    by_option, by_variable = read_config(missing, {}), read_config(None, {"BRIDGE_CONFIG": str(missing)})
    for reading, option in ((by_option, f" --config {missing}"), (by_variable, "")):
        assert [str(mistake) for mistake in reading.mistakes] == [
            f"{missing} does not exist; `bridge config init{option}` writes an example"
        ]
        with pytest.raises(SetupError) as refused:
            reading.without_mistakes()
        assert refused.value.hint == f"Correct them; `bridge config check{option}` checks again."


def test_an_option_names_the_file_before_the_variable(files: Files, tmp_path: Path) -> None:
    files.file.write_text("[server]\nport = 1")
    other = tmp_path / "other.toml"
    other.write_text("[server]\nport = 2")

    assert read_config(files.file, {"BRIDGE_CONFIG": str(other)}).config.server.port == 1
    assert read_config(None, {"BRIDGE_CONFIG": str(other)}).config.server.port == 2


def test_a_file_that_is_no_text_or_no_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")

    assert "can't be read: it is not UTF-8 text" in str(read_config(tmp_path / "bytes", {}).mistakes[0])
    assert "can't be read: Is a directory" in str(read_config(tmp_path, {}).mistakes[0])


# --- what goes before what ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "name", "in_file", "by_variable", "read"),
    [
        ("server", "host", '"a"', "b", "b"),
        ("server", "port", "1", "2", 2),
        ("defaults", "model", '"ollama/a"', "ollama/b", "ollama/b"),
        ("defaults", "context_window", "1000", "2000", 2_000),
        ("defaults", "max_tokens", "1", "2", 2),
        ("defaults", "think", '"on"', "off", "off"),
    ],
)
def test_a_variable_goes_before_the_file(
    files: Files, table: str, name: str, in_file: str, by_variable: str, read: Any
) -> None:
    text = f"[{table}]\n{name} = {in_file}"
    variables: Mapping[str, str] = {f"BRIDGE_{name.upper()}": by_variable}

    def value(config: Config) -> Any:
        holder: Struct = getattr(config, table)
        return getattr(holder, name)

    assert value(files.config(text, **variables)) == read
    assert value(files.config("", **variables)) == read
    assert str(value(files.config(text, **{f"BRIDGE_{name.upper()}": " "}))) == in_file.strip('"')


def test_a_token_by_variable_goes_before_the_files(files: Files) -> None:
    token = files.config("[server]\nauth_token = 'a'", BRIDGE_AUTH_TOKEN="b").server.auth_token
    assert token is not None
    assert token.read({}, Path()) == "b"


# --- doubts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "doubts"), [(0o600, 0), (0o640, 1), (0o604, 1)])
def test_a_key_in_a_file_that_others_can_read_is_reported(files: Files, mode: int, doubts: int) -> None:
    files.read(f'[providers.ollama]\napi_key = "{KEY}"')
    files.file.chmod(mode)
    found = [str(doubt) for doubt in read_config(files.file, {}).doubts]

    assert len(found) == doubts
    assert all(f"{files.file}:2: providers.ollama.api_key" in one and "chmod 600" in one for one in found)
    assert KEY not in str(found)


def test_a_key_elsewhere_is_no_secret_of_the_file(files: Files) -> None:
    files.read('[server]\nauth_token = "env:A"\n[providers.ollama]\napi_key = "file:b"')
    files.file.chmod(0o644)
    assert read_config(files.file, {"BRIDGE_AUTH_TOKEN": KEY}).doubts == ()


def test_a_variable_that_is_nearly_one_of_ours_is_reported(files: Files) -> None:
    reading = files.read("", BRIDGE_PROT="1", BRIDGE_HEIGHT="3", BRIDGE_BASE_URL="http://h", BRIDGE_CONFIG="x")
    assert [str(doubt) for doubt in reading.doubts] == ["BRIDGE_PROT is not a setting; nearest: BRIDGE_PORT"]


def test_a_key_that_can_not_be_had_is_reported_when_asked(files: Files) -> None:
    reading = files.read('[server]\nauth_token = "env:SET"\n[providers.ollama]\napi_key = "env:UNSET"')

    assert [str(problem) for problem in check_secrets(reading, {"SET": KEY})] == [
        f"{files.file}:4: providers.ollama.api_key is env:UNSET, and that variable is not set"
    ]


def test_what_two_readings_set_differently_is_named_by_its_keys(files: Files) -> None:
    before = files.read(f"[server]\nport = 1\n[limits]\nday_usd = 0\n[providers.openai]\napi_key = '{KEY}'")
    after = files.read("[limits]\nsession_usd = 0\n[providers.openai]\napi_key = 'another'\n[web]\nfetch = false\n")
    assert changed_keys(before, before) == []
    assert changed_keys(before, after) == [
        "server.port",
        "limits.day_usd",
        "limits.session_usd",
        "providers.openai.api_key",
        "web.fetch",
    ]
