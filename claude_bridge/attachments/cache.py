"""Memo: results kept by what they were made of, because the next turns bring the same content again."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import anyio
from msgspec import Struct

from claude_bridge.conversion.bounded_cache import BoundedCache

_Value = TypeVar("_Value")


class MemoEntry(Struct, Generic[_Value], frozen=True, kw_only=True):
    """A result and the memory that it takes. ``keep_s`` None: it is kept for as long as there is room."""

    value: _Value
    size_bytes: int
    keep_s: float | None = None


class Memo(Generic[_Value]):
    """Keeps what was used last, in so many bytes; of two who ask for the same at once, one makes it."""

    def __init__(self, max_bytes: int) -> None:
        self._kept: BoundedCache[tuple[_Value, float]] = BoundedCache(max_bytes, largest_share=1)
        """Each with the time until which it is fresh."""
        self._being_made: dict[Hashable, anyio.Event] = {}

    async def get(self, key: Hashable, make: Callable[[], Awaitable[MemoEntry[_Value]]]) -> _Value:
        """Return what is kept under ``key``, or make it; raises what ``make`` raises, and then keeps nothing."""
        while True:
            kept = self._kept.get(key)
            if kept is not None and kept[1] >= anyio.current_time():
                return kept[0]
            other = self._being_made.get(key)
            if other is None:
                break
            await other.wait()  # it may fail or be cancelled: then it is our turn
        finished = self._being_made[key] = anyio.Event()
        try:
            entry = await make()
            keep_s = math.inf if entry.keep_s is None else entry.keep_s
            self._kept.put(key, (entry.value, anyio.current_time() + keep_s), entry.size_bytes)
            return entry.value
        finally:
            del self._being_made[key]
            finished.set()
