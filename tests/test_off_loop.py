"""Work on much leaves the event loop, one piece at a time; work on little does not."""

from __future__ import annotations

import threading
import time

import anyio
import pytest

from claude_bridge.off_loop import LARGE_BYTES, run_off_loop_if_large

pytestmark = pytest.mark.anyio


def thread_of(word: str) -> tuple[str, int]:
    return word, threading.get_ident()


async def test_work_on_much_is_done_in_a_thread() -> None:
    assert await run_off_loop_if_large(LARGE_BYTES, thread_of, "little") == ("little", threading.get_ident())
    word, thread = await run_off_loop_if_large(LARGE_BYTES + 1, thread_of, "much")
    assert word == "much"
    assert thread != threading.get_ident()


async def test_only_one_thread_computes_at_a_time() -> None:
    at_once = most = 0

    def work() -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        time.sleep(0.01)
        at_once -= 1

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(run_off_loop_if_large, LARGE_BYTES + 1, work)
    assert most == 1


async def test_an_error_comes_out_as_it_is() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        await run_off_loop_if_large(LARGE_BYTES + 1, int, "x")
