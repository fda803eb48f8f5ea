"""BoundedCache: what was computed before, up to a number of bytes; the least recently used goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Generic, TypeVar

Value = TypeVar("Value")

_LARGEST_SHARE = 4
"""Usually one entry takes at most one part in so many of the cache, so that it can't push out all others."""


class BoundedCache(Generic[Value]):
    """A mapping whose entries together take no more than ``max_bytes``; safe to share between threads."""

    def __init__(self, max_bytes: int, *, largest_share: int = _LARGEST_SHARE) -> None:
        """``largest_share`` is the part of the cache, as one of so many, that one entry may take."""
        self._max_bytes = max_bytes
        self._largest_bytes = max_bytes // largest_share
        self._entries: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """How many bytes the entries take, by the sizes that ``put`` was given."""
        return self._bytes

    def get(self, key: Hashable) -> Value | None:
        """Return the value, or None where there is none."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: Hashable, value: Value, size_bytes: int) -> None:
        """Keep the value; ``size_bytes`` is what key and value take. What is too large for the cache is not kept."""
        if size_bytes > self._largest_bytes:
            return
        with self._lock:
            _, old_bytes = self._entries.pop(key, (None, 0))
            self._entries[key] = (value, size_bytes)
            self._bytes += size_bytes - old_bytes
            while self._bytes > self._max_bytes:
                _, (_, freed_bytes) = self._entries.popitem(last=False)
                self._bytes -= freed_bytes
