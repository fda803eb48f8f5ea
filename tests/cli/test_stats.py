"""``bridge stats`` and ``bridge statusline``: the figures of a bridge that runs."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import StringIO
from typing import Any

import anyio
import httpx
import pytest
from rich.console import Console

from claude_bridge.cli.stats import cost_text, reading_words, render_report, session_words, short_count
from claude_bridge.trace.stats import Finished, Stats
from claude_bridge.wire.admin_api import Figures, FirstTokens, ReadingPrompt
from tests.cli.process import LIMIT_S, Running, command, environment, run_bridge, serving
from tests.cli.process import Finished as Ended
from tests.fake_upstream import DONE, MODEL, FakeUpstream, Stall, finish, progress, stream, text, usage

QUESTION = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}


# --- words ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.0k"),
        (12_345, "12.3k"),
        (999_949, "999.9k"),
        (999_950, "1.0M"),
        (2 * 10**7, "20.0M"),
    ],
)
def test_counts_are_short(count: int, words: str) -> None:
    assert short_count(count) == words


@pytest.mark.parametrize(
    ("cost_usd", "unknown", "words"),
    [
        (0.0, 0, "$0.00"),
        (0.0123, 0, "$0.0123"),
        (1234.5, 0, "$1,234.50"),
        (0.0, 2, "?"),
        (0.5, 1, "$0.5000 + ?"),
    ],
)
def test_a_cost_that_is_not_known_is_not_free(cost_usd: float, unknown: int, words: str) -> None:
    assert cost_text(Figures(cost_usd=cost_usd, of_unknown_cost=unknown)) == words


def test_a_session_is_reported_by_what_is_known_of_it() -> None:
    full = Figures(
        answered=2,
        failed=1,
        prompt_tokens=20_000,
        cache_reported_prompt_tokens=20_000,
        cached_tokens=19_000,
        output_tokens=300,
        timed_output_tokens=300,
        output_s=6.0,
        first_token=FirstTokens(count=2, last_s=0.84, total_s=80, longest_s=79),
    )
    assert session_words(full) == [
        "20.0k in (95% cached)",
        "300 out",
        "50 tok/s",
        "first token 0.8 s",
        "$0.00",
        "1 failed",
    ]
    stopped = Figures(prompt_tokens=3_689, estimated=1, left=1)
    assert session_words(stopped) == ["~3.7k in", "1 stopped"]


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_the_tables_fit_the_terminal_and_no_number_is_broken(width: int) -> None:
    stats = Stats(now=lambda: 0.0)
    for number in range(12):
        stats.take(
            Finished(
                model="qwen3-coder:30b-a3b-instruct",
                session=f"0c0ffee{number:x}-aaaa",
                outcome="answered",
                prompt_tokens=10**number,
                cached_tokens=10**number // 2,
                output_tokens=100,
                output_s=2.0,
                first_token_s=1.0,
            )
        )
    console = Console(width=width, record=True, file=StringIO())
    console.print(render_report(stats.report(running=3), now_s=4000.0, width=width))
    shown = console.export_text()
    assert max(map(len, shown.splitlines())) <= width
    assert "up for 1 h, 3 running" in " ".join(shown.split())
    assert "the newest 10 of 12" in " ".join(shown.split())
    words = set(shown.split())
    assert words >= {"1.2k", "output"}
    assert "50%" in words
    assert ("thinking" in words) is (width == 200)
    assert ("if the terminal is wider" in " ".join(shown.split())) is (width < 200)
    assert not words & {"thinki", "ng", "unknow", "n", "111111"}, "no word is broken"


# --- the commands -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def used_bridge() -> AsyncIterator[Running]:
    """A bridge that has answered once."""
    script = [stream(text("Hi"), finish(), usage(1000, 50, cached_tokens=900), DONE)]
    async with (
        FakeUpstream(script) as upstream,
        serving("openai", "--base-url", upstream.base_url) as bridge,
        httpx.AsyncClient() as client,
    ):
        await bridge.says("claude --model")
        headers = {"x-claude-code-session-id": "session-1"}
        await client.post(f"{bridge.url}/v1/messages", json=QUESTION, headers=headers, timeout=LIMIT_S)
        yield bridge


async def status_line(url: str, reported: str) -> Ended:
    return await run_bridge("statusline", env={"ANTHROPIC_BASE_URL": url}, given=reported)


@pytest.mark.anyio
async def test_the_figures_of_a_running_bridge() -> None:
    async with used_bridge() as bridge:
        table = await run_bridge("stats", "--url", bridge.url)
        document = json.loads((await run_bridge("stats", "--json", "--url", bridge.url)).stdout)
        line = await status_line(bridge.url, json.dumps({"session_id": "session-1", "model": {"id": "opus"}}))
        others = [await status_line(bridge.url, given) for given in ("", "{}", '{"session_id": "x"}')]
    assert "90%" in table.stdout
    assert "session-" in table.stdout
    assert document["models"][MODEL]["cached_tokens"] == 900
    assert line.stdout.startswith(f"{MODEL} · 1.0k in (90% cached) · 50 out · ")
    assert line.stdout.count("\n") == 1
    assert [other.stdout for other in others] == [f"{MODEL}\n"] * 3


@pytest.mark.anyio
async def test_a_status_line_that_a_person_asks_for_does_not_wait_for_a_session() -> None:
    ours, theirs = pytest.importorskip("pty").openpty()  # Windows has none
    try:
        async with used_bridge() as bridge:
            variables = environment({"ANTHROPIC_BASE_URL": bridge.url})
            with anyio.fail_after(LIMIT_S):
                done = await anyio.run_process(command("statusline"), stdin=theirs, env=variables)
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.stdout.decode() == f"{MODEL}\n"


@pytest.mark.anyio
async def test_a_prompt_that_is_being_read_shows_how_far_the_engine_is_and_counts_when_it_is_stopped() -> None:
    script = [[*stream(progress(922, 3689, time_ms=10_000)), Stall()]]
    async with (
        FakeUpstream(script) as upstream,
        serving("llamacpp", "--base-url", upstream.base_url) as bridge,
        httpx.AsyncClient() as client,
    ):
        await bridge.says("claude --model")

        async def ask() -> None:
            headers = {"x-claude-code-session-id": "session-1"}
            asked = QUESTION | {"stream": True}
            await client.post(f"{bridge.url}/v1/messages", json=asked, headers=headers, timeout=LIMIT_S)

        async def reported(what: str) -> dict[str, Any]:
            with anyio.fail_after(LIMIT_S):
                while not (report := (await client.get(f"{bridge.url}/stats")).json())[what]:
                    await anyio.lowlevel.checkpoint()
            assert isinstance(report, dict)
            return report

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await reported("reading")
            line = await status_line(bridge.url, '{"session_id": "session-1"}')
            other = await status_line(bridge.url, '{"session_id": "session-2"}')
            table = await run_bridge("stats", "--url", bridge.url)
            tasks.cancel_scope.cancel()
        assert upstream.requests[0].json["return_progress"] is True
        report = await reported("sessions")
        after = await status_line(bridge.url, '{"session_id": "session-1"}')
    assert line.stdout == f"{MODEL} · reading 25% of 3.7k tokens, ~30 s left\n"
    assert other.stdout == f"{MODEL}\n"
    assert f"{MODEL}: reading 25% of 3.7k tokens, ~30 s left" in table.stdout
    assert after.stdout == f"{MODEL} · 3.7k in (0% cached) · 1 stopped\n"
    assert report["reading"] == []


def test_an_engine_that_reports_no_progress_is_judged_by_how_fast_it_read_before() -> None:
    stats = Stats(now=lambda: 100.0)
    prompt = ReadingPrompt(model="m", session=None, since_s=90.0, prompt_tokens=3000)
    stats.reading("req_1", prompt)
    stats.take(Finished(model="m", session=None, outcome="answered", prompt_tokens=1000, prompt_s=10.0))
    stats.reading("req_2", prompt)
    first, second = stats.report(running=2).reading
    assert reading_words(first, 100.0) == "reading ~3.0k tokens, 10 s"
    assert reading_words(second, 100.0) == "reading ~3.0k tokens, 10 s of ~30 s, less from cache"
    stats.reading("req_1", None)
    assert len(stats.report(running=1).reading) == 1


@pytest.mark.anyio
async def test_watching_shows_them_again_until_ctrl_c() -> None:
    async with used_bridge() as bridge:
        watch = command("stats", "--watch", "--every", "0.2", "--url", bridge.url)
        async with await anyio.open_process(watch, env=environment()) as process:
            assert process.stdout is not None
            seen = b""
            with anyio.fail_after(LIMIT_S):
                while b"90%" not in seen:
                    seen += await process.stdout.receive()
                process.send_signal(signal.SIGINT)
                assert await process.wait() == 0


@pytest.mark.anyio
async def test_without_a_bridge_it_is_reported() -> None:
    done = await run_bridge("stats", "--url", "http://127.0.0.1:9")
    assert (done.code, done.stdout) == (1, "")
    assert "bridge serve" in done.stderr
    assert "Errno" not in done.stderr
    assert (await status_line("http://127.0.0.1:9", "{}")).stdout == "no bridge is running\n"
