"""Memo: results kept by what they were made of, because the next turns bring the same content again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import anyio
from msgspec import Struct

_Value = TypeVar("_Value")


class MemoEntry(Struct, Generic[_Value], frozen=True, kw_only=True):
    """A result and the memory that it takes. ``keep_s`` None: it is kept for as long as there is room."""

    value: _Value
    size_bytes: int
    keep_s: float | None = None


class Memo(Generic[_Value]):
    """Keeps what was used last, in so many bytes; of two who ask for the same at once, one makes it."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[Hashable, tuple[MemoEntry[_Value], float]] = OrderedDict()
        self._being_made: dict[Hashable, anyio.Event] = {}

    async def get(self, key: Hashable, make: Callable[[], Awaitable[MemoEntry[_Value]]]) -> _Value:
        """Return what is kept under ``key``, or make it; raises what ``make`` raises, and then keeps nothing."""
        while True:
            kept = self._fresh(key)
            if kept is not None:
                return kept.value
            other = self._being_made.get(key)
            if other is None:
                break
            await other.wait()  # it may fail or be cancelled: then it is our turn
        finished = self._being_made[key] = anyio.Event()
        try:
            entry = await make()
            self._keep(key, entry)
            return entry.value
        finally:
            del self._being_made[key]
            finished.set()

    def _fresh(self, key: Hashable) -> MemoEntry[_Value] | None:
        entry, kept_at = self._kept.get(key, (None, 0.0))
        if entry is None:
            return None
        if entry.keep_s is not None and anyio.current_time() - kept_at > entry.keep_s:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return entry

    def _keep(self, key: Hashable, entry: MemoEntry[_Value]) -> None:
        if entry.size_bytes > self._max_bytes:
            return
        self._kept[key] = (entry, anyio.current_time())
        self._bytes += entry.size_bytes
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Hashable) -> None:
        entry, _ = self._kept.pop(key)
        self._bytes -= entry.size_bytes
