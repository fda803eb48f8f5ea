"""SeenBodies: of a body that is nearly the one before, only what is new is searched for secrets."""

from __future__ import annotations

from collections import deque

_MAX_SEEN, _MAX_SEEN_BYTES = 16, 16 * 1024 * 1024
_MIN_BYTES = 16 * 1024
"""A shorter body is searched as a whole."""

_MARGIN_BYTES = 1024
"""How far around what is new is searched: more than a key needs to be recognized."""


class SeenBodies:
    """The last body of each conversation, where it holds no secret: the next turn is nearly the same.

    Clients write the system prompt and the tools behind the messages, so that both ends of two turns are the same.
    """

    def __init__(self) -> None:
        self._bodies: deque[bytes] = deque(maxlen=_MAX_SEEN)

    def new_part(self, body: bytes) -> bytes:
        """Return the part of a body that none of these has."""
        part = slice(0, len(body))
        for seen in reversed(self._bodies):
            start = same_bytes(body, seen)
            end = len(body) - min(same_bytes(body, seen, from_end=True), len(body) - start, len(seen) - start)
            if end - start < part.stop - part.start:
                part = slice(start, end)
            if end - start < len(body) // 10:
                self._bodies.remove(seen)  # it is the turn before
                break
        return body[max(0, part.start - _MARGIN_BYTES) : part.stop + _MARGIN_BYTES]

    def add(self, body: bytes) -> None:
        """Remember a body without secrets."""
        if _MIN_BYTES < len(body) <= _MAX_SEEN_BYTES // 2:
            self._bodies.append(body)
            while sum(map(len, self._bodies)) > _MAX_SEEN_BYTES:
                self._bodies.popleft()


def same_bytes(one: bytes, other: bytes, *, from_end: bool = False) -> int:
    """Return how many bytes both begin with, or end in."""
    same, most = 0, min(len(one), len(other))
    for block in (64 * 1024, 4 * 1024, 256, 16, 1):
        while same + block <= most and (
            one[len(one) - same - block : len(one) - same] == other[len(other) - same - block : len(other) - same]
            if from_end
            else one[same : same + block] == other[same : same + block]
        ):
            same += block
    return same
