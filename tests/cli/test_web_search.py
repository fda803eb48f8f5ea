"""``--web-search`` on the command line: what may be chosen, what is missing, and what ``bridge doctor`` finds."""

from __future__ import annotations

import json
import shlex
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from claude_bridge.app import web
from claude_bridge.app.build import web_plan
from claude_bridge.app.notices import Notices
from claude_bridge.app.plan import WebPlan
from claude_bridge.config.schema import Config, Web
from claude_bridge.config.types import SearchChoice, Secret
from claude_bridge.errors import SetupError
from tests.claude_code.terminal import Terminal
from tests.cli.process import command, run_bridge, serving
from tests.cli.test_run import Machine, at, open_shell, upstream
from tests.fake_upstream import FakeUpstream, document, model_list
from tests.server_tools.engines import ARCH, searxng

pytestmark = pytest.mark.anyio

__all__ = ["upstream"]  # the fixture of `bridge run`


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("google", "is not auto, off, duckduckgo, searxng:URL, brave, tavily, exa or ollama"),
        ("searxng", "is not auto, off, duckduckgo, searxng:URL"),
        ("searxng:http://user:pass@localhost:8888", "contains"),
        ("brave", "Set BRAVE_API_KEY, or [web] search_key"),
    ],
)
async def test_a_choice_that_can_not_be_used_is_refused_with_what_to_do(choice: str, words: str) -> None:
    finished = await run_bridge("serve", "openai", "m", "--base-url", "http://127.0.0.1:9/v1", "--web-search", choice)
    assert finished.code == 1
    assert words in " ".join(finished.stderr.split())
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


@pytest.mark.parametrize(("choice", "mark"), [("searxng", "ok"), ("brave", "warn")])
async def test_doctor_tries_what_the_running_bridge_searches_with(choice: str, mark: str) -> None:
    """Where that needs a key, only the running bridge may have it."""
    async with (
        FakeUpstream(documents={"/v1/models": model_list("m")}) as engine,
        FakeUpstream(lambda _: searxng(ARCH), answers_get=True) as search,
    ):
        choice = f"searxng:{search.base_url.removesuffix('/v1')}" if choice == "searxng" else choice
        arguments = ("openai", "m", "--base-url", engine.base_url, "--web-search", choice)
        async with serving(*arguments, env={"BRAVE_API_KEY": "k"}) as bridge:
            await bridge.says("claude --model m")
            finished = await run_bridge("doctor", "--json", "--port", bridge.url.rpartition(":")[2])
        assert len(search.requests) == (mark == "ok")
    (searched,) = [one for one in json.loads(finished.stdout)["checks"] if one["name"] == "web search"]
    assert searched["mark"] == mark
    assert ("SearXNG: 1 result" if mark == "ok" else "the running bridge searches by brave") in searched["seen"]


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


async def test_a_language_may_be_written_in_capitals() -> None:
    async with AsyncExitStack() as stack:
        tools = await web.open_web_tools(WebPlan(settings=Web(search_language="EN")), stack)
    assert tools.language == "en"


def test_duckduckgo_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ddgs", None)
    with pytest.raises(SetupError) as caught:
        web_plan(Config(), "duckduckgo")
    assert caught.value.hint.endswith("ddgs html-to-markdown`")


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


# --- the question of `bridge run` -------------------------------------------------------------------------------

QUESTION = "Search with DuckDuckGo? [y/N]:"
HOW_TO = "no web search; --web-search duckduckgo sends Claude Code's queries to DuckDuckGo"


def kept_answer(home: Path) -> str | None:
    file = home / ".local" / "share" / "claude-bridge" / "web-search"
    return file.read_text() if file.exists() else None


async def run_again(terminal: Terminal, upstream: FakeUpstream, *arguments: str, marked: str) -> None:
    await terminal.type(
        f"clear; {shlex.join(command('run', *at(upstream), *arguments))}; echo {marked[0]}''{marked[1:]}"
    )


async def test_run_asks_once_whether_queries_may_go_to_duckduckgo_and_keeps_a_yes(
    upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with upstream, open_shell(Machine(tmp_path, "exit 0"), search="") as terminal:
        await run_again(terminal, upstream, marked="ended")
        await terminal.wait_for(QUESTION)
        assert "leave this machine and go to DuckDuckGo" in (await terminal.screen()).replace("\n", " ")
        await terminal.type("maybe")
        await terminal.wait_for(QUESTION, times=2)
        await terminal.type("y")
        await terminal.wait_for("ended")
        assert "web searches go to duckduckgo" in await terminal.screen()
        assert kept_answer(tmp_path) == "duckduckgo\n"
        await run_again(terminal, upstream, "--", "-p", "hi", marked="once more")
        await terminal.wait_for("once more")
        screen = await terminal.screen()
        assert "web searches go to duckduckgo" in screen
        assert QUESTION not in screen


async def test_a_no_is_kept_and_a_choice_needs_no_question(upstream: FakeUpstream, tmp_path: Path) -> None:
    async with upstream, open_shell(Machine(tmp_path, "exit 0"), search="") as terminal:
        await run_again(terminal, upstream, "--web-search", "off", marked="chosen")
        await terminal.wait_for("chosen")
        assert QUESTION not in await terminal.screen()
        await run_again(terminal, upstream, "--", "-p", "hi", marked="printed")
        await terminal.wait_for("printed")
        assert QUESTION not in await terminal.screen()
        assert kept_answer(tmp_path) is None
        await run_again(terminal, upstream, marked="ended")
        await terminal.wait_for(QUESTION)
        await terminal.press("Enter")
        await terminal.wait_for("ended")
        assert HOW_TO in (await terminal.screen()).replace("\n", " ")
        assert kept_answer(tmp_path) == "off\n"


async def test_the_end_of_the_input_is_no_answer_and_ctrl_c_ends_it(upstream: FakeUpstream, tmp_path: Path) -> None:
    async with upstream, open_shell(Machine(tmp_path, "echo claude began"), search="") as terminal:
        await run_again(terminal, upstream, marked="stopped")
        await terminal.wait_for(QUESTION)
        await terminal.press("C-c")
        await terminal.wait_for("stopped")
        assert "claude began" not in await terminal.screen()
        await run_again(terminal, upstream, marked="ended")
        await terminal.wait_for(QUESTION)
        await terminal.press("C-d")
        await terminal.wait_for("ended")
        assert "claude began" in await terminal.screen()
        assert kept_answer(tmp_path) is None


async def test_without_a_terminal_nothing_is_asked_and_one_line_says_how(
    upstream: FakeUpstream, tmp_path: Path
) -> None:
    async with upstream:
        done = await Machine(tmp_path, "exit 0").run(*at(upstream))
    assert done.code == 0
    assert QUESTION not in done.stderr
    assert done.stderr.count(HOW_TO) == 1
    assert kept_answer(tmp_path) is None


async def test_without_its_library_nobody_is_asked_and_the_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Agrees(Notices):
        async def agrees_to_search(self) -> bool:
            raise AssertionError("asked for what can't be done")

    monkeypatch.setitem(sys.modules, "ddgs", None)
    plan = web_plan(Config(), None)
    assert await web.with_agreed_search(plan, Agrees()) == plan
    assert (web.no_search_note(plan) or "").endswith("ddgs html-to-markdown`")
