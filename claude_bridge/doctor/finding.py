"""Finding: what one check found, how bad that is, and what to do about it."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct, field


class Severity(StrEnum):
    """How bad it is: fine, something to know, or something that will not work. The values are those of ``--json``."""

    OK = "ok"
    WARN = "warn"
    FAIL = "bad"


class Finding(Struct, frozen=True):
    """What a check found. ``remedy`` is a command or a sentence to act on; None: nothing to do."""

    name: str
    severity: Severity = field(name="mark")
    seen: str
    remedy: str | None = None


class Step(Struct, frozen=True):
    """What is done next, and within how many seconds."""

    what: str
    limit_s: float


def ok(name: str, seen: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(name, Severity.OK, seen)


def warn(name: str, seen: str, remedy: str) -> Finding:
    """Return a finding of something that works, but not as well as it could."""
    return Finding(name, Severity.WARN, seen, remedy)


def fail(name: str, seen: str, remedy: str) -> Finding:
    """Return a finding of something that will not work."""
    return Finding(name, Severity.FAIL, seen, remedy)
