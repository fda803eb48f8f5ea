"""How much memory the bodies of all requests may take together."""

from __future__ import annotations

import gc
from contextlib import suppress
from pathlib import Path
from typing import Self

from claude_bridge.errors import OverloadedError

RETRY_AFTER_S = 5.0
UNKNOWN_FREE_BYTES = 4 * 1024**3
"""What a machine is taken to have free where it does not tell."""


COLLECTED_EACH_BYTES = 256 * 1024**2
"""Of bodies that were given back: so much may at most wait for the garbage collector, in cycles."""


class MemoryBudget:
    """Counts the bytes of all bodies that are held, and refuses those that would be too many."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.taken_bytes = 0
        self.uncollected_bytes = 0
        """Of bodies that were given back, since the garbage was last collected for them."""


class MemoryAccount:
    """What one request has taken of a budget; it is given back at the end of the context."""

    def __init__(self, budget: MemoryBudget) -> None:
        self.taken_bytes = 0
        self._budget = budget

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        budget = self._budget
        budget.taken_bytes -= self.taken_bytes
        budget.uncollected_bytes += self.taken_bytes
        if budget.uncollected_bytes > COLLECTED_EACH_BYTES:
            budget.uncollected_bytes = 0
            gc.collect()

    def take(self, size: int) -> None:
        """Take some bytes; raises as ``check`` does."""
        self.check(size)
        self._budget.taken_bytes += size
        self.taken_bytes += size

    def check(self, size: int) -> None:
        """Check that some bytes could be taken.

        Raises:
            OverloadedError: there are not so many left.
        """
        budget = self._budget
        if budget.taken_bytes + size > budget.max_bytes:
            raise OverloadedError(
                f"The bridge holds {budget.taken_bytes} bytes of other requests, and may hold {budget.max_bytes}. "
                "Wait, or give it more with --max-memory.",
                retry_after_s=RETRY_AFTER_S,
            )


def default_max_memory_bytes() -> int:
    """Return a quarter of what the machine has free.

    While a request is decoded and converted, it takes about four times the size of its body.
    """
    return free_memory_bytes() // 4


def free_memory_bytes() -> int:
    """Return how much memory this process can still get, by the system and by the limit of its container."""
    free = UNKNOWN_FREE_BYTES
    with suppress(OSError, ValueError, IndexError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # "max": no limit
        limit, used = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        free = min(free, max(0, limit - used))
    return free
