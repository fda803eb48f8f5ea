"""``--web-search`` on the command line: what may be chosen, what is missing, and what ``bridge doctor`` finds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from claude_bridge.app import web
from claude_bridge.app.build import web_plan
from claude_bridge.config.schema import Config, Web
from claude_bridge.config.types import SearchChoice, Secret
from claude_bridge.errors import SetupError
from tests.cli.process import run_bridge
from tests.fake_upstream import FakeUpstream, document
from tests.server_tools.engines import ARCH, searxng

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("google", "is not off, duckduckgo, searxng:URL, brave, tavily, exa or ollama"),
        ("searxng", "is not off, duckduckgo, searxng:URL"),
        ("searxng:http://user:pass@localhost:8888", "contains"),
        ("brave", "Set BRAVE_API_KEY, or [web] search_key"),
    ],
)
async def test_a_choice_that_can_not_be_used_is_refused_with_what_to_do(choice: str, said: str) -> None:
    finished = await run_bridge("serve", "openai", "m", "--base-url", "http://127.0.0.1:9/v1", "--web-search", choice)
    assert finished.code == 1
    assert said in " ".join(finished.stderr.split())
    assert "pass@" not in finished.stderr


async def test_doctor_searches_once() -> None:
    async with (
        FakeUpstream([]) as engine,
        FakeUpstream(lambda _: searxng(ARCH), answers_get=True) as search,
    ):
        address = search.base_url.removesuffix("/v1")
        finished = await run_bridge(
            *("doctor", "openai", "scripted", "--base-url", engine.base_url, "--json"),
            *("--web-search", f"searxng:{address}"),
        )
        (searched,) = [one for one in json.loads(finished.stdout)["checks"] if one["name"] == "web search"]
    assert (searched["mark"], "SearXNG: 1 result " in searched["seen"]) == ("ok", True)
    assert len(search.requests) == 1


async def test_doctor_says_what_is_wrong_with_a_search_service() -> None:
    page = document(b"<html>Welcome</html>", content_type="text/html")
    async with FakeUpstream([]) as engine, FakeUpstream(lambda _: page, answers_get=True) as search:
        address = search.base_url.removesuffix("/v1")
        arguments = ("doctor", "openai", "scripted", "--base-url", engine.base_url, "--json")
        finished = await run_bridge(*arguments, env={"BRIDGE_SEARCH": f"searxng:{address}"})
        (searched,) = [one for one in json.loads(finished.stdout)["checks"] if one["name"] == "web search"]
    assert searched["mark"] == "bad"
    assert "settings.yml" in searched["seen"]
    assert finished.code == 1


def test_duckduckgo_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "find_spec", lambda _: None)
    with pytest.raises(SetupError) as caught:
        web.require_library(SearchChoice("duckduckgo"))
    assert caught.value.hint == "pip install 'claude-bridge-cli[web]'"


def test_a_key_comes_from_the_configuration_or_its_own_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text("of-the-file\n")
    configured = Web(search=SearchChoice("brave"), search_key=Secret.parse("file:key"))
    monkeypatch.setenv("BRAVE_API_KEY", "of-the-variable")
    assert web_plan(Config(web=configured, folder=tmp_path), None).search_key == "of-the-file"
    assert web_plan(Config(), "brave").search_key == "of-the-variable"
    monkeypatch.setenv("TAVILY_API_KEY", "of-tavily")
    assert web_plan(Config(web=configured, folder=tmp_path), "tavily").search_key == "of-tavily"
    assert web_plan(Config(web=configured, folder=tmp_path), "off").search_key is None
