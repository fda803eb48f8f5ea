"""A thread for work on large bodies, so that the event loop keeps serving all others meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import anyio
from anyio import to_thread
from anyio.lowlevel import RunVar

LARGE_BYTES = 256 * 1024
"""Work on less holds the loop up for a few milliseconds, even where a request is all tools and schemas."""

Result = TypeVar("Result")

# One at a time: each thread that computes makes the loop wait for the interpreter once more, and none is faster for it.
_limiter: RunVar[anyio.CapacityLimiter] = RunVar("claude_bridge_off_loop")


async def run_off_loop_if_large(size_bytes: int, function: Callable[..., Result], *arguments: object) -> Result:
    """Return what a pure function makes of ``size_bytes`` of input, in a thread where that is much.

    What the function shares with others must be safe to share between threads.
    """
    if size_bytes <= LARGE_BYTES:
        return function(*arguments)
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = anyio.CapacityLimiter(1)
        _limiter.set(limiter)
    return await to_thread.run_sync(function, *arguments, limiter=limiter)
