"""SeenBodies: of a body that is nearly the one before, only what is new is searched for secrets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from claude_bridge.trace.key_forms import Span

_MAX_SEEN, _MAX_SEEN_BYTES = 16, 16 * 1024 * 1024
MIN_BYTES = 16 * 1024
"""A shorter body is searched as a whole."""

_MARGIN_BYTES = 1024
"""How far around what is new is searched: more than a key needs to be recognized."""


class Searched(NamedTuple):
    """A body, where secrets are in it, and whether it is UTF-8."""

    body: bytes
    spans: list[Span]
    is_text: bool


class SeenBodies:
    """The last body of each conversation: the next turn is nearly the same.

    Clients write the system prompt and the tools behind the messages, so that both ends of two turns are the same.
    """

    def __init__(self) -> None:
        self._bodies: deque[Searched] = deque()
        self._size = 0

    def search(self, body: bytes, find: Callable[[bytes], list[Span]]) -> Searched:
        """Return where secrets are; only what is new is looked at."""
        start, end, known, was_text = 0, len(body), list[Span](), True
        for seen in reversed(self._bodies) if len(body) > MIN_BYTES else ():
            if seen.body == body:
                return seen
            first, last, kept = _new_part(body, seen.body, seen.spans)
            if last - first < end - start:
                start, end, known, was_text = first, last, kept, seen.is_text
            if end - start < len(body) * 0.1:
                self._forget(seen)  # it was the turn before
                break
        new = body[start:end]
        found = sorted([*known, *((first + start, last + start) for first, last in find(new))])
        searched = Searched(body, found, is_text=was_text and (body.isascii() or is_utf8(new)))
        if MIN_BYTES < len(body) <= _MAX_SEEN_BYTES // 2:
            self._bodies.append(searched)
            self._size += len(body)
            while self._size > _MAX_SEEN_BYTES or len(self._bodies) > _MAX_SEEN:
                self._forget(self._bodies[0])
        return searched

    def _forget(self, seen: Searched) -> None:
        self._bodies.remove(seen)
        self._size -= len(seen.body)


def _new_part(body: bytes, seen: bytes, spans: Sequence[Span]) -> tuple[int, int, list[Span]]:
    """Return the part of a body that another one does not have, and where secrets are known to be beside it.

    It begins and ends at quotation marks, which are never a part of another character, and some way beyond what is
    new. A secret that reaches into it is looked for again as a whole.
    """
    same = same_bytes(body, seen)
    start = max(0, body.rfind(b'"', 0, max(0, same - _MARGIN_BYTES)))
    start = next((first for first, last in spans if first < start < last + _MARGIN_BYTES), start)
    behind = min(same_bytes(body, seen, from_end=True), len(body) - same, len(seen) - same) - _MARGIN_BYTES
    end = body.find(b'"', len(body) - behind) if behind > 0 else -1
    further = len(body) - len(seen)
    end = len(body) if end < 0 else end
    end = next((last + further for first, last in reversed(spans) if first < end - further < last), end)
    known = [span for span in spans if span[1] <= start]
    return start, end, known + [(first + further, last + further) for first, last in spans if first + further >= end]


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


def is_utf8(text: bytes) -> bool:
    """Return whether it is valid UTF-8."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
