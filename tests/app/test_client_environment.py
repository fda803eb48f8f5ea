"""What Claude Code is told of a bridge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from claude_bridge.app.client_environment import (
    VARIABLES,
    Served,
    client_environment,
)
from claude_bridge.clients.claude_code import OTHER_SERVICES, RESERVE_TOKENS
from claude_bridge.wire.admin_api import Readiness

URL = "http://127.0.0.1:8765"


def _served(*, outside: Mapping[str, str] = {}, allows_traffic: bool = False, **reported: Any) -> Served:
    bridge = Readiness(ready=True, version="", **reported)
    return Served(url=URL, bridge=bridge, outside=outside, allows_traffic=allows_traffic)


SERVED = _served(model="qwen3:1.7b")


def test_every_request_of_the_client_goes_to_the_model_that_is_served() -> None:
    reported = client_environment(_served(model="big", small_model="small"))
    requested = {name: value for name, value in reported.items() if name.endswith("_MODEL")}
    assert requested == {
        "ANTHROPIC_MODEL": "big",
        "ANTHROPIC_DEFAULT_MODEL": "big",
        "ANTHROPIC_DEFAULT_OPUS_MODEL": "big",
        "ANTHROPIC_DEFAULT_SONNET_MODEL": "big",
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": "small",
        "ANTHROPIC_DEFAULT_FABLE_MODEL": "big",
        "CLAUDE_CODE_SUBAGENT_MODEL": "big",
    }
    assert client_environment(SERVED)["ANTHROPIC_DEFAULT_HAIKU_MODEL"] == "qwen3:1.7b"


def test_a_key_of_the_users_own_is_taken_out_of_the_way() -> None:
    reported = client_environment(SERVED)
    assert (reported["ANTHROPIC_API_KEY"], reported["ANTHROPIC_AUTH_TOKEN"]) == ("", "bridge")


def test_what_is_not_known_is_not_reported() -> None:
    reported = client_environment(_served(model=None))
    assert [name for name in reported if name.endswith("_MODEL") or "_TOKENS" in name] == [
        "CLAUDE_CODE_TOTAL_TOKENS_REMINDER"
    ]
    assert "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS" not in reported
    assert "NO_PROXY" not in reported


@pytest.mark.parametrize(
    ("window_tokens", "fires_at"),
    [
        pytest.param(32_768, 24_576, id="32k: three quarters"),
        pytest.param(65_536, 49_152, id="64k: three quarters"),
        pytest.param(131_072, 109_880, id="128k: as the client does by itself"),
    ],
)
def test_the_client_gets_a_window_with_which_it_compacts_in_time(window_tokens: int, fires_at: int) -> None:
    reported = client_environment(_served(model="m", window_tokens=window_tokens))
    window, answer_tokens = (int(reported[f"CLAUDE_CODE_MAX_{what}_TOKENS"]) for what in ("CONTEXT", "OUTPUT"))
    assert window - answer_tokens - RESERVE_TOKENS == fires_at


@pytest.mark.parametrize(
    ("window_tokens", "model_limit", "answer_tokens"),
    [(None, None, None), (None, 4096, "4096"), (200_000, None, "8192"), (200_000, 2048, "2048"), (4096, None, "1024")],
)
def test_an_answer_leaves_room_in_the_window(
    window_tokens: int | None, model_limit: int | None, answer_tokens: str | None
) -> None:
    served = _served(model="m", window_tokens=window_tokens, max_output_tokens=model_limit)
    assert client_environment(served).get("CLAUDE_CODE_MAX_OUTPUT_TOKENS") == answer_tokens


@pytest.mark.parametrize(("slots", "is_set"), [(1, True), (2, False), (None, False)])
def test_sub_agents_do_not_wait_for_the_main_conversation_on_an_engine_with_one_slot(
    slots: int | None, is_set: bool
) -> None:
    reported = client_environment(_served(model="m", slots=slots))
    assert ("CLAUDE_CODE_DISABLE_BACKGROUND_TASKS" in reported) is is_set


@pytest.mark.parametrize(
    ("outside", "no_proxy"),
    [
        pytest.param({}, None, id="no proxy"),
        pytest.param({"NO_PROXY": "example.org"}, "example.org,127.0.0.1,localhost", id="exceptions alone"),
        pytest.param({"HTTPS_PROXY": "http://p"}, "127.0.0.1,localhost", id="no exceptions yet"),
        pytest.param(
            {"http_proxy": "http://p", "no_proxy": "a.example, localhost"}, "a.example,localhost,127.0.0.1", id="some"
        ),
    ],
)
def test_a_proxy_is_kept_from_swallowing_what_goes_to_the_bridge(outside: dict[str, str], no_proxy: str | None) -> None:
    reported = client_environment(_served(model="m", outside=outside))
    assert (reported.get("NO_PROXY"), reported.get("no_proxy")) == (no_proxy, no_proxy)


def test_other_services_are_switched_off_where_they_are_on() -> None:
    reported = client_environment(_served(model="m", outside={OTHER_SERVICES[0]: "1"}))
    assert [reported.get(name) for name in OTHER_SERVICES] == ["0", None, None]


def test_traffic_to_the_clients_maker_is_off_unless_asked_for() -> None:
    assert client_environment(SERVED)["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"] == "1"
    allowed = client_environment(_served(model="m", allows_traffic=True))
    assert "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC" not in allowed


def test_each_variable_has_one_row_and_a_reason() -> None:
    assert len({row.name for row in VARIABLES}) == len(VARIABLES)
    assert all(row.reason for row in VARIABLES)


def test_the_model_picker_says_what_each_name_stands_for_and_lists_the_bridges_models() -> None:
    environment = client_environment(_served(model="big", small_model="small"))
    shown = {name: value for name, value in environment.items() if name.endswith(("_NAME", "_DESCRIPTION"))}
    assert len(shown) == len(set(shown.values())) == 8, "no two lines of the picker are alike"
    assert shown["ANTHROPIC_DEFAULT_OPUS_MODEL_NAME"] == "big (opus)"
    assert shown["ANTHROPIC_DEFAULT_HAIKU_MODEL_NAME"] == "small (haiku)"
    assert environment["CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY"] == "1"


@pytest.mark.parametrize(
    ("model", "window_tokens", "is_off"),
    [
        ("m", None, True),
        ("m", 32_768, True),
        ("m", 1_000_000, False),
        ("claude-opus-5-5", None, False),
        (None, None, False),
    ],
)
def test_no_model_is_believed_to_have_a_window_of_a_million(
    model: str | None, window_tokens: int | None, is_off: bool
) -> None:
    served = _served(model=model, window_tokens=window_tokens)
    assert ("CLAUDE_CODE_DISABLE_1M_CONTEXT" in client_environment(served)) is is_off
