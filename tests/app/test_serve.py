"""The runner, without a command line: what it says, what it returns, and what becomes of errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import anyio
import pytest

from claude_bridge.app.build import build_plan
from claude_bridge.app.notices import Notices
from claude_bridge.app.options import Options
from claude_bridge.app.running import RunningBridge
from claude_bridge.app.serve import run, serve_beside
from claude_bridge.config.schema import Config
from claude_bridge.errors import SetupError, UpstreamTimeoutError
from claude_bridge.providers import Upstream
from claude_bridge.upstream.client import UpstreamClient

NOWHERE = "http://127.0.0.1:9"


def raising(*errors: BaseException) -> Callable[[], Awaitable[None]]:
    async def one(error: BaseException) -> None:
        raise error

    async def main() -> None:
        async with anyio.create_task_group() as outer, anyio.create_task_group() as inner:
            for error in errors:
                inner.start_soon(one, error)
            outer.start_soon(anyio.sleep, 0)

    return main


def test_what_the_user_can_correct_comes_out_of_all_task_groups() -> None:
    with pytest.raises(SetupError, match="no model"):
        run(raising(ValueError("a bug"), SetupError("There is no model.", "Name another.")))


def test_an_error_of_the_engine_is_one_message_with_advice() -> None:
    with pytest.raises(SetupError, match="The engine is silent") as caught:
        run(raising(UpstreamTimeoutError("The engine is silent.")))
    assert "`bridge doctor`" in caught.value.hint


def test_a_bug_is_shown_as_itself_and_not_as_a_group() -> None:
    with pytest.raises(ValueError, match=r"^a bug$"):
        run(raising(ValueError("a bug")))


def test_ctrl_c_in_a_task_is_ctrl_c() -> None:
    with pytest.raises(KeyboardInterrupt):
        run(raising(KeyboardInterrupt()))


def test_a_program_can_use_a_bridge_without_a_command_line() -> None:
    async def ask(bridge: RunningBridge, upstream: Upstream) -> tuple[str, int]:
        async with UpstreamClient(bridge.listening.url, api_key=None, name="The bridge") as client:
            return upstream.model, (await client.fetch("/healthz", timeout_s=5.0)).status

    options = Options(provider="openai", model="m", base_url=NOWHERE, check=False)
    plan = build_plan(Config(), options, Notices())
    assert run(partial(serve_beside, plan, ask, Notices())) == ("m", 200)


def test_without_an_engine_the_work_does_not_begin() -> None:
    async def never(_bridge: RunningBridge, _upstream: Upstream) -> None:
        raise AssertionError

    plan = build_plan(Config(), Options(provider="openai", model="m", base_url=NOWHERE), Notices())
    with pytest.raises(SetupError, match="refused the connection"):
        run(partial(serve_beside, plan, never, Notices()))
