"""What one small request costs, counted and not timed: no busy machine changes it."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType

import anyio
import pytest

import claude_bridge
from tests.fake_upstream import FakeUpstream, answer
from tests.server.served import BridgeServer, post

pytestmark = pytest.mark.anyio

FOLDERS = {"bridge": str(Path(claude_bridge.__file__).parent), "anyio": str(Path(anyio.__file__).parent)}
TRIES = 10
MOST_CALLS = 800
"""A fifth more than there were when this was written."""


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_small_request_takes_few_calls_and_no_task_of_its_own(*, stream: bool) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10, "stream": stream}
    tries: list[Counter[str]] = []

    def count(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call":
            tries[-1].update(name for name, folder in FOLDERS.items() if code.co_filename.startswith(folder))
            tries[-1][code.co_name] += code.co_filename.startswith(FOLDERS["anyio"])

    async with FakeUpstream(lambda _: answer("Hello")) as fake, BridgeServer(fake) as server, server.connect() as wire:
        for _ in range(TRIES):
            tries.append(Counter())
            sys.setprofile(count)
            try:
                await wire.send(post("/v1/messages", body))
                assert (await wire.response()).status == 200
            finally:
                sys.setprofile(None)
    assert min(one["bridge"] for one in tries) <= MOST_CALLS
    assert min(one["start_soon"] for one in tries) == 0, "a task costs as much as fifty calls"
    assert min(one["cancel"] for one in tries) == 0, "and so does it to cancel a scope"
