"""Memo: what was made once of some content, kept for the next turns, which bring the same content again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import anyio
from msgspec import Struct

_Value = TypeVar("_Value")


class Made(Struct, Generic[_Value], frozen=True, kw_only=True):
    """What was made, and how dear it is to keep. ``keep_s`` None: for as long as there is room."""

    value: _Value
    size_bytes: int
    keep_s: float | None = None


class Memo(Generic[_Value]):
    """Keeps what was used last, in so many bytes; of two who ask for the same at once, one makes it."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[Hashable, tuple[Made[_Value], float]] = OrderedDict()
        self._being_made: dict[Hashable, anyio.Event] = {}

    async def get(self, key: Hashable, make: Callable[[], Awaitable[Made[_Value]]]) -> _Value:
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
            made = await make()
            self._keep(key, made)
            return made.value
        finally:
            del self._being_made[key]
            finished.set()

    def _fresh(self, key: Hashable) -> Made[_Value] | None:
        made, kept_at = self._kept.get(key, (None, 0.0))
        if made is None:
            return None
        if made.keep_s is not None and anyio.current_time() - kept_at > made.keep_s:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return made

    def _keep(self, key: Hashable, made: Made[_Value]) -> None:
        if made.size_bytes > self._max_bytes:
            return
        self._kept[key] = (made, anyio.current_time())
        self._bytes += made.size_bytes
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: Hashable) -> None:
        made, _ = self._kept.pop(key)
        self._bytes -= made.size_bytes
