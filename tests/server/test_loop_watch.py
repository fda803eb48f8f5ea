"""What holds the event loop up is said, with its place; what is nobody's fault is not."""

from __future__ import annotations

import subprocess
import sys
import time

import anyio
import pytest
from anyio import to_thread

from claude_bridge.server import loop_watch
from claude_bridge.server.loop_watch import HELD_S, watch_loop
from claude_bridge.wire.chunked import ChunkedDecoder

pytestmark = [pytest.mark.anyio, pytest.mark.timing]
on_one_loop = pytest.mark.parametrize("anyio_backend", ["asyncio"])
"""For what has no eye for the loop's own functions."""

LONGER_THAN_A_BEAT_S = 0.2


async def what_is_said_of(*works: object) -> list[str]:
    """Return what is said while the loop does each of these in turn."""
    printed: list[str] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch_loop, printed.append)
        await anyio.sleep(LONGER_THAN_A_BEAT_S)
        for work in works:
            assert callable(work)
            result = work()
            if hasattr(result, "__await__"):
                await result
            await anyio.sleep(LONGER_THAN_A_BEAT_S)
        tasks.cancel_scope.cancel()
    return printed


def hold(seconds: float) -> None:
    """Keep a function of the bridge busy."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ChunkedDecoder().feed(b"1\r\nx\r\n" * 10_000)


async def test_what_holds_the_loop_is_named_with_its_time() -> None:
    (printed,) = await what_is_said_of(lambda: hold(4 * HELD_S))
    assert "wire/chunked.py:" in printed
    seconds = float(printed.partition(" for ")[2].partition(" s ")[0])
    assert seconds > HELD_S


@on_one_loop
async def test_a_short_hold_is_not_worth_a_word() -> None:
    assert await what_is_said_of(lambda: hold(HELD_S / 5)) == []


@on_one_loop
async def test_a_thread_that_computes_lets_the_loop_go_on() -> None:
    assert await what_is_said_of(lambda: to_thread.run_sync(hold, 2 * HELD_S)) == []


@on_one_loop
async def test_the_same_place_is_not_reported_again_at_once() -> None:
    assert len(await what_is_said_of(lambda: hold(3 * HELD_S), lambda: hold(3 * HELD_S))) == 1


async def test_a_pause_of_somebody_else_is_not_ours() -> None:
    assert await what_is_said_of(lambda: time.sleep(3 * HELD_S)) == []


def test_it_sees_through_uvloop() -> None:
    pytest.importorskip("uvloop")
    program = """
import anyio
from tests.server.test_loop_watch import hold, what_is_said_of
from claude_bridge.server.loop_watch import HELD_S

async def main():
    print(await what_is_said_of(lambda: hold(4 * HELD_S)))

anyio.run(main, backend_options={"use_uvloop": True})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert "wire/chunked.py" in done.stdout
    assert loop_watch.REPORT_EVERY_S > 1
