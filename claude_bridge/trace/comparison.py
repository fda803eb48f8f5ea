"""The client's request beside what the engine got, turn by turn: which parts are the same, changed, lost or added."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from claude_bridge.trace.parts import Part

_MAX_SKIPPED = 4
_READ_AS_TEXT = frozenset({"document", "image"})
"""What an engine may get as a text: the text of a PDF, the description of an image."""

_TELLING_CHARS = 20
"""A shorter text may stand in a longer one by chance."""

Mark = Literal["same", "joined", "changed", "lost", "added"]


class ComparedPart(NamedTuple):
    """A part of the client's request and what became of it. ``joined``: its text is part of one that stands above."""

    mark: Mark
    client: Part | None
    upstream: Part | None
    note: str = ""


class Sides(NamedTuple):
    """One request, taken apart."""

    turns: Sequence[Part]
    tools: Sequence[Part]
    parameters: Sequence[Part]


def compare(client: Sides, upstream: Sides, losses: Mapping[str, str]) -> list[ComparedPart]:
    """Return the rows of a comparison: the conversation, then the tools and the other parameters.

    ``losses`` are reasons by JSON path. The work grows with the number of parts.
    """
    rows = [*_turn_rows(client.turns, upstream.turns)]
    rows += _named_rows(client.tools, upstream.tools)
    rows += _named_rows(client.parameters, upstream.parameters)
    notes = dict(losses)
    return [_with_note(row, notes) for row in rows] + [
        ComparedPart("lost", None, None, f"{path}: {reason}") for path, reason in notes.items()
    ]


def _with_note(row: ComparedPart, notes: dict[str, str]) -> ComparedPart:
    """Return the row with the reasons that are about its part, which are taken from ``notes``."""
    if row.client is None or not row.client.path or not notes:
        return row
    path = row.client.path
    found = [one for one in notes if one == path or one.startswith((f"{path}.", f"{path}["))]
    if not found:
        return row
    reasons = "; ".join(dict.fromkeys(notes.pop(one) for one in found))
    return ComparedPart("changed" if row.mark == "same" else row.mark, row.client, row.upstream, reasons)


def _turn_rows(client: Sequence[Part], upstream: Sequence[Part]) -> Iterator[ComparedPart]:
    """Walk along both sides; where they differ, the nearer of the two next places of the same content decides."""
    places_upstream, places_client = _places(upstream), _places(client)
    left = right = 0
    while left < len(client) and right < len(upstream):
        ours, theirs = client[left], upstream[right]
        if ours.content == theirs.content:
            yield ComparedPart("same", ours, theirs)
            left, right = left + 1, right + 1
            continue
        ours_later = _next(places_upstream, ours, right)
        theirs_later = _next(places_client, theirs, left)
        join = _join(client, left, theirs) if theirs_later is None else None
        if join is not None and not (join.skipped and ours_later is not None):
            yield from (ComparedPart("lost", part, None) for part in client[left : left + join.skipped])
            left += join.skipped
            yield ComparedPart("joined" if join.is_whole else "changed", client[left], theirs)
            yield from (ComparedPart("joined", part, None) for part in client[left + 1 : left + join.parts])
            left, right = left + join.parts, right + 1
            continue
        if ours_later is None and theirs_later is None:
            if ours.kind == theirs.kind or (ours.kind in _READ_AS_TEXT and theirs.kind == "text"):
                yield ComparedPart("changed", ours, theirs)
                left, right = left + 1, right + 1
            else:
                yield ComparedPart("lost", ours, None)
                left += 1
        elif theirs_later is None or (ours_later is not None and ours_later - right <= theirs_later - left):
            yield ComparedPart("added", None, theirs)
            right += 1
        else:
            yield ComparedPart("lost", ours, None)
            left += 1
    yield from (ComparedPart("lost", part, None) for part in client[left:])
    yield from (ComparedPart("added", None, part) for part in upstream[right:])


class _Join(NamedTuple):
    """That the engine got several of the client's texts as one text."""

    skipped: int
    """How many of the client's parts before them it did not get."""
    parts: int
    is_whole: bool
    """Whether there is nothing else in that text."""


def _join(client: Sequence[Part], left: int, theirs: Part) -> _Join | None:
    """Return which of the client's next texts this text is made of; None for none."""
    if theirs.kind != "text":
        return None
    for skipped in range(min(_MAX_SKIPPED, len(client) - left)):
        at, end, has_gaps, text = left + skipped, 0, False, theirs.text
        while at < len(client) and client[at].kind == "text":
            piece = client[at].text.strip()
            found = text.find(piece, end)
            has_gap = found > end and not text[end:found].isspace()
            if found < 0 or (has_gap and len(piece) < _TELLING_CHARS):
                break
            end, at, has_gaps = found + len(piece), at + 1, has_gaps or has_gap
        if at > left + skipped:
            return _Join(skipped, at - left - skipped, is_whole=not has_gaps and not text[end:].strip())
    return None


def _places(parts: Sequence[Part]) -> dict[object, list[int]]:
    places: dict[object, list[int]] = {}
    for at, part in enumerate(parts):
        places.setdefault(part.content, []).append(at)
    return places


def _next(places: Mapping[object, list[int]], part: Part, start: int) -> int | None:
    found = places.get(part.content, [])
    at = bisect_left(found, start)
    return found[at] if at < len(found) else None


def _named_rows(client: Sequence[Part], upstream: Sequence[Part]) -> Iterable[ComparedPart]:
    """Pair what has names, such as tools: what the engine got under the name of the client's."""
    theirs = {part.name: part for part in upstream}
    for part in client:
        other = theirs.pop(part.name, None)
        if other is None:
            yield ComparedPart("lost", part, None)
        else:
            yield ComparedPart("same" if part.content == other.content else "changed", part, other)
    yield from (ComparedPart("added", None, part) for part in theirs.values())
