"""What is wrong with this machine: proxies, the port, the client and its settings; secrets are never shown."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from claude_bridge.doctor.finding import Finding, Severity
from claude_bridge.doctor.machine import (
    SettingsFile,
    check_client,
    check_port,
    check_proxy,
    check_settings,
)

URL = "http://127.0.0.1:8765"
SECRET = "sk-ant-very-secret"


def settings(environment: Mapping[str, str], *files: SettingsFile) -> list[Finding]:
    found = check_settings(environment, list(files), bridge_url=URL)
    assert SECRET not in str(found)
    return found


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_that_would_swallow_the_bridges_traffic_is_reported_and_its_password_is_not(name: str) -> None:
    found = check_proxy(
        {name: f"http://user:{SECRET}@proxy.example:3128", "NO_PROXY": "localhost,.example"}, engine_host="127.0.0.1"
    )

    assert found.severity is Severity.FAIL
    assert f"{name} sends" in found.seen
    assert found.seen.endswith("the proxy proxy.example:3128")
    assert "export NO_PROXY=" in str(found.remedy)


@pytest.mark.parametrize("exempt", ["127.0.0.1", "localhost, 127.0.0.1", "*", "127.0.0.1:8765"])
def test_a_proxy_with_an_exception_for_this_machine_is_fine(exempt: str) -> None:
    assert (
        check_proxy({"HTTP_PROXY": "http://proxy:3128", "no_proxy": exempt}, engine_host="localhost").severity
        is Severity.OK
    )


def test_no_proxy_is_fine() -> None:
    assert check_proxy({"HTTP_PROXY": "", "PATH": "/bin"}, engine_host="gpu-box").severity is Severity.OK


@pytest.mark.parametrize("host", ["192.168.1.7", "gpu-box", "gpu.local"])
def test_a_proxy_between_the_bridge_and_an_engine_nearby_is_reported(host: str) -> None:
    proxy = {"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "127.0.0.1"}
    found = check_proxy(proxy, engine_host=host)

    assert found.severity is Severity.WARN
    assert found.remedy == f'export NO_PROXY="{host},$NO_PROXY"'
    assert check_proxy({**proxy, "NO_PROXY": f"127.0.0.1,{host}"}, engine_host=host).severity is Severity.OK


def test_a_proxy_before_an_engine_far_away_is_fine() -> None:
    proxy = {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "127.0.0.1"}

    assert check_proxy(proxy, engine_host="api.openai.com").severity is Severity.OK


def test_a_taken_port_is_reported_with_who_has_it_and_the_next_one() -> None:
    found = check_port(8765, is_free=False, owner=" by nginx (process 7)")

    assert (found.severity, found.seen) == (Severity.FAIL, "8765 is taken by nginx (process 7)")
    assert found.remedy == "bridge serve … --port 8766"


def test_a_bridge_that_runs_already_is_fine() -> None:
    assert check_port(8765, is_free=False, is_bridge=True).severity is Severity.OK
    assert check_port(8765, is_free=True).severity is Severity.OK


def test_the_client_is_reported_with_its_version() -> None:
    assert check_client("2.1.330 (Claude Code)", is_found=True) == Finding(
        "Claude Code", Severity.OK, "2.1.330 (Claude Code)"
    )
    assert check_client(None, is_found=True).severity is Severity.WARN


def test_a_client_that_is_missing_is_reported_with_how_to_get_it() -> None:
    found = check_client(None, is_found=False)

    assert found.severity is Severity.WARN  # other clients can use the bridge
    assert "npm install -g @anthropic-ai/claude-code" in str(found.remedy)


def test_nothing_set_is_fine() -> None:
    harmless = {"ANTHROPIC_API_KEY": "", "ANTHROPIC_BASE_URL": "http://localhost:8765/", "CLAUDE_CODE_USE_VERTEX": "0"}

    assert [found.severity for found in settings(harmless, SettingsFile("~/x", {}))] == [Severity.OK]


@pytest.mark.parametrize("name", ["CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX"])
def test_another_service_in_the_environment_is_reported(name: str) -> None:
    [found] = settings({name: "1"})

    assert (found.severity, found.remedy) == (Severity.FAIL, f"unset {name}")


@pytest.mark.parametrize(
    ("environment", "remedy"),
    [
        ({"ANTHROPIC_API_KEY": SECRET}, "export ANTHROPIC_API_KEY="),
        ({"ANTHROPIC_BASE_URL": f"https://u:{SECRET}@gateway.example/x"}, f"export ANTHROPIC_BASE_URL={URL}"),
    ],
    ids=["key", "base URL"],
)
def test_what_the_lines_to_paste_replace_is_reported_as_a_warning(environment: dict[str, str], remedy: str) -> None:
    [found] = settings(environment)

    assert (found.severity, found.remedy) == (Severity.WARN, remedy)


@pytest.mark.parametrize(
    ("name", "value", "mark"),
    [
        ("ANTHROPIC_BASE_URL", f"https://gateway.example/?key={SECRET}", Severity.FAIL),
        ("CLAUDE_CODE_USE_BEDROCK", "true", Severity.FAIL),
        ("ANTHROPIC_API_KEY", SECRET, Severity.WARN),
        ("ANTHROPIC_AUTH_TOKEN", SECRET, Severity.WARN),
    ],
)
def test_what_a_settings_file_overrides_is_reported_with_the_file(name: str, value: str, mark: Severity) -> None:
    [found] = settings({}, SettingsFile("~/.claude/settings.json", {name: value}))

    assert found.severity is mark
    assert found.remedy == f"Remove {name} from `env` in ~/.claude/settings.json."


def test_a_settings_file_that_is_no_json_is_reported() -> None:
    [found] = settings({}, SettingsFile("~/.claude/settings.json", None))

    assert "can't be read" in found.seen
