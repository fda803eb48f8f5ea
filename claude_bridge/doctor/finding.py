"""Finding: what one check saw, how bad that is, and what to do about it."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Mark(StrEnum):
    """How bad it is: nothing, something to know, or something that will not work."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


class Finding(Struct, frozen=True):
    """What a check saw. ``remedy`` is a command or a sentence to act on; None: nothing to do."""

    name: str
    mark: Mark
    seen: str
    remedy: str | None = None


def fine(name: str, seen: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(name, Mark.OK, seen)


def doubtful(name: str, seen: str, remedy: str) -> Finding:
    """Return a finding of something that works, but not as well as it could."""
    return Finding(name, Mark.WARN, seen, remedy)


def broken(name: str, seen: str, remedy: str) -> Finding:
    """Return a finding of something that will not work."""
    return Finding(name, Mark.BAD, seen, remedy)
