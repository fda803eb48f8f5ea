"""A configuration that changes while the bridge serves: what is taken up, what is refused, and what goes on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint

from claude_bridge.app import serve
from claude_bridge.app.build import build_plan
from claude_bridge.app.notices import Notices
from claude_bridge.app.options import Options
from claude_bridge.app.plan import Listening
from claude_bridge.app.reload import ConfigurationSource
from claude_bridge.app.running import WAIT_TIMES, RunningBridge, WaitTimes, provide_when_found
from claude_bridge.config.load import read_config
from claude_bridge.server.listener import accept_connections
from tests.fake_upstream import (
    DONE,
    WAIT_S,
    FakeUpstream,
    Head,
    Reply,
    Send,
    Wait,
    answer,
    finish,
    text,
)
from tests.kept_events import KeptEvents
from tests.server.served import until

pytestmark = pytest.mark.anyio

OLD_KEY, NEW_KEY = "key-before-the-change-1", "key-after-the-change-2"


class PrintedNotices(Notices):
    """Keeps what a person would read."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    warn = say

    def problem(self, what: str, hint: str) -> None:
        self.lines.append(f"{what} {hint}")


class Changing:
    """A bridge that serves by a file."""

    def __init__(self, file: Path, bridge: RunningBridge, source: ConfigurationSource, notices: PrintedNotices) -> None:
        self.file = file
        self.bridge = bridge
        self.notices = notices
        self.url = bridge.listening.url
        self.client = httpx.AsyncClient(base_url=self.url, timeout=WAIT_S)
        self._source = source

    async def change(self, text: str, *words: str) -> str:
        """Change the file, ask for it to be read, and return the line in which the bridge says what came of it."""
        self.file.write_text(text)
        self._source.request()
        return await self.says("onfiguration", *words)

    async def says(self, *words: str) -> str:
        """Wait for a new line with these words; return it, and forget all lines."""

        def found() -> list[str]:
            return [line for line in self.notices.lines if all(word in line for word in words)]

        await until(lambda: bool(found()))
        line = found()[0]
        self.notices.lines.clear()
        return line

    async def ask(self, model: str = "m") -> httpx.Response:
        question = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
        return await self.client.post("/v1/messages", json=question)

    async def words(self) -> str:
        """Return what a model answers."""
        return str((await self.ask()).json()["content"][0]["text"])


@asynccontextmanager
async def changing(
    tmp_path: Path,
    text: str,
    *,
    watch_s: float = 3_600.0,
    check: bool = False,
    wait_times: WaitTimes = WAIT_TIMES,
) -> AsyncIterator[Changing]:
    file = tmp_path / "config.toml"
    file.write_text(text)
    options = Options(check=check)
    reading = read_config(file, {})
    plan = build_plan(reading.without_mistakes().config, options, Notices())
    source, notices, events = ConfigurationSource(reading, options, watch_s=watch_s), PrintedNotices(), KeptEvents()
    async with (
        serve._open_bridge(plan, Listening(), notices, [events], wait_times=wait_times) as (bridge, listener, _),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(accept_connections, listener, bridge.service)
        tasks.start_soon(provide_when_found, bridge)
        tasks.start_soon(source.follow, bridge, tasks)
        running = Changing(file, bridge, source, notices)
        async with running.client:
            yield running
        tasks.cancel_scope.cancel()
    for key in (OLD_KEY, NEW_KEY):
        assert key not in str(events.events)
        assert key not in str(notices.lines)


def settings(upstream: FakeUpstream, more: str = "", *, key: str = OLD_KEY) -> str:
    provider = f'[providers.work]\nkind = "openai-chat"\nbase_url = "{upstream.base_url}"\napi_key = "{key}"\n'
    return f'[defaults]\nmodel = "work/m"\n{provider}{more}'


async def test_new_requests_use_the_change_and_running_answers_finish_as_they_began(tmp_path: Path) -> None:
    go_on = anyio.Event()
    slow: Reply = [Head(), Send(text("old ")), Wait(go_on), Send(text("to the end")), Send(finish()), Send(DONE)]
    async with FakeUpstream([slow]) as old, FakeUpstream(lambda _: answer("new")) as new:
        async with changing(tmp_path, settings(old)) as running, anyio.create_task_group() as tasks:
            answers: list[str] = []

            async def ask() -> None:
                answers.append(await running.words())

            tasks.start_soon(ask)
            await old.request()
            notice = await running.change(settings(new, key=NEW_KEY))
            assert notice.startswith("Configuration changed: providers.work.base_url, providers.work.api_key.")
            assert await running.words() == "new"
            assert answers == []
            go_on.set()
        assert answers == ["old to the end"]
        assert old.requests[0].headers["authorization"] == f"Bearer {OLD_KEY}"
        assert new.requests[0].headers["authorization"] == f"Bearer {NEW_KEY}"


async def test_what_can_not_be_used_is_refused_with_its_place_and_what_was_before_goes_on(tmp_path: Path) -> None:
    async with FakeUpstream(lambda _: answer("Hello")) as upstream:
        good = settings(upstream)
        async with changing(tmp_path, good) as running:
            cases = [
                (good + "[half\n", f"{running.file}:7 is not valid TOML"),
                (good + "[server]\nprot = 1\n", f"{running.file}:8: server.prot is not a setting; nearest: port"),
                (good.replace("work/m", "wrk/m"), f"{running.file}:2: defaults.model names the provider"),
                (good.replace(f'"{OLD_KEY}"', '"env:NOT_SET_HERE"'), "providers.work.api_key is env:NOT_SET_HERE"),
                (good.replace(f'"{OLD_KEY}"', '"command:false"'), "that command failed with exit code 1"),
                (good.replace('"work/m"', '"local"'), "Restart the bridge"),
            ]
            for text, reason in cases:
                notice = await running.change(text)
                assert notice.startswith("The changed configuration is not used; the one before stays in force.")
                assert reason in notice
                assert await running.words() == "Hello"
            running.file.unlink()
            running._source.request()
            assert "does not exist" in await running.says("not used")
            assert await running.words() == "Hello"
            assert (await running.change(good + "[limits]\nday_usd = 5\n")).startswith("Configuration changed: limits")


async def test_a_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    async with FakeUpstream(lambda _: answer("Hello")) as upstream:
        good = settings(upstream).replace("work/m", "work/scripted")
        async with changing(tmp_path, good, check=True) as running:
            assert await running.words() == "Hello"
            assert "'mm'" in await running.change(good.replace("work/scripted", "work/mm"), "not used")
            assert await running.words() == "Hello"
            assert upstream.requests[-1].json["model"] == "scripted"


async def test_an_engine_that_comes_later_is_used_when_it_answers(tmp_path: Path) -> None:
    new = FakeUpstream(lambda _: answer("new"))
    async with FakeUpstream(lambda _: answer("old")) as old, new:
        before, after = (settings(one).replace("work/m", "work/scripted") for one in (old, new))
    async with old, changing(tmp_path, before, check=True, wait_times=WaitTimes(retry_s=0.02)) as running:
        assert await running.words() == "old"
        await running.change(after)
        assert (await running.ask()).status_code >= 500
        async with new:
            await until(lambda: bool(new.probes))
            assert await running.words() == "new"


async def test_a_file_is_watched_and_a_storm_of_changes_ends_with_the_last(tmp_path: Path) -> None:
    async with (
        FakeUpstream(lambda request: answer(request.json["model"])) as upstream,
        changing(tmp_path, settings(upstream), watch_s=0.02) as running,
    ):
        for number in range(300):
            whole = settings(upstream).replace("work/m", f"work/m{number}")
            running.file.write_text(whole[: len(whole) // 2] if number % 3 else whole)
            await checkpoint()
        running.file.write_text(settings(upstream).replace("work/m", "work/last"))
        main = running.bridge
        await until(lambda: main.main is not None and main.main.upstream.model == "last")
        assert await running.words() == "last"


async def test_what_was_served_before_is_closed_once_nothing_uses_it(tmp_path: Path) -> None:
    go_on = anyio.Event()
    slow: Reply = [Head(), Send(text("slow")), Wait(go_on), Send(finish()), Send(DONE)]
    async with (
        FakeUpstream([slow, *[answer("x")] * 9]) as upstream,
        changing(tmp_path, settings(upstream), wait_times=WaitTimes(others_within_s=-1.0)) as running,
    ):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(running.words)
            await upstream.request()
            for number in range(3):
                await running.change(settings(upstream, f"[limits]\nday_usd = {number}.5\n"))
            await until(lambda: len(running.bridge._before) == 1)
            go_on.set()
        running._source.request()
        await until(lambda: not running.bridge._before)


async def test_settings_of_the_start_are_named_and_the_rest_is_taken_up(tmp_path: Path) -> None:
    async with FakeUpstream(lambda _: answer("Hello")) as upstream, changing(tmp_path, settings(upstream)) as running:
        running.file.write_text(settings(upstream, "[server]\nport = 1\n"))
        running._source.request()
        assert await running.says("Restart") == "Restart the bridge to apply: server.port."
        assert await running.words() == "Hello"


async def test_what_was_spent_counts_for_the_budgets_of_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    async with FakeUpstream(lambda _: answer("Hi", prompt_tokens=60, completion_tokens=10)) as upstream:
        budget = "[limits]\nday_tokens = {}\n"
        async with changing(tmp_path, settings(upstream, budget.format(100))) as running:
            statuses = [(await running.ask()).status_code for _ in range(3)]
            await running.change(settings(upstream, budget.format(200)))
            statuses.append((await running.ask()).status_code)
            await running.change(settings(upstream))
            statuses.append((await running.ask()).status_code)
            await running.change(settings(upstream, budget.format(210)))
            refused = await running.ask()
    assert (*statuses, refused.status_code) == (200, 200, 402, 200, 200, 402)
    assert "280 tokens of 210" in json.loads(refused.content)["error"]["message"]
