"""The law that work grows with its size and no faster, measured in the CPU time of this thread."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

import pytest

FACTOR = 8
MAX_GROWTH = 2.0 * FACTOR
"""Linear work grows by FACTOR; work that grows with the square of the size grows by the square of FACTOR."""

TRIES = 5
"""A busy machine spoils one measurement; it is not likely to spoil as many."""

MIN_S = 0.002
"""What takes less is not compared: chance decides there."""


def assert_linear(work: Callable[[int], Callable[[], object]], size: int, max_s: float = float("inf")) -> None:
    """Assert that work of ``size`` takes about FACTOR times as long as an eighth of it, and at most ``max_s`` seconds.

    ``work`` prepares the work of a size, anew for each measurement; only what it returns is measured.
    """
    measured = []
    for _ in range(TRIES):
        large_s = _cpu_s(work(size))
        if large_s < MIN_S:
            return
        small_s = _cpu_s(work(size // FACTOR))
        if large_s < min(max_s, MAX_GROWTH * max(small_s, MIN_S / FACTOR)):
            return
        measured.append(f"{large_s:.4f} s after {small_s:.4f} s")
    pytest.fail(f"{FACTOR} times the size takes too long: {', '.join(measured)}")


def _cpu_s(work: Callable[[], object]) -> float:
    gc.disable()  # its cost is that of all that the tests hold
    try:
        began = time.thread_time()
        work()
        return time.thread_time() - began
    finally:
        gc.enable()
