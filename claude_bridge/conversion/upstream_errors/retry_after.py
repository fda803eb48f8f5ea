"""How long an engine asks to wait, in whichever header, field or words; and whether it wants a retry."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

from claude_bridge.wire.lenient_json import as_object, list_in, object_in

MAX_WAIT_S = 86_400.0
"""The longest wait that a client gets: a day. Longer waits are mistakes, or for people to read in the message."""

_MAX_CHARS = 4_000
_MAX_DETAILS = 20

_UNIT = r"(?P<unit>milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)"
_PART = re.compile(rf"(?P<number>\d{{1,9}}(?:\.\d{{1,9}})?) ?{_UNIT}(?![a-z])", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "mil": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}

# OpenAI, Groq: "Please try again in 14.5s", "in 6m0s", "in 320ms"; Gemini: "Please retry in 22.03s"; Azure: "Please
# retry after 36 seconds"; others: "wait 2 minutes", "try again in 1 hour and 5 minutes", "resets in 3 hours"
_PARTS = r"(?:\d{1,9}(?:\.\d{1,9})? ?[a-z]{1,12}(?:,? (?:and )?)?){1,4}"
_IN_WORDS = re.compile(
    r"(?:try again|retry|wait|resets?|available(?: again)?) (?:(?:in|after|for|about|another|at least) ){0,2}"
    rf"({_PARTS})",
    re.IGNORECASE,
)


def retry_after_s(headers: Mapping[str, str], words: str = "", document: Any = None) -> float | None:  # noqa: ANN401 - any JSON
    """Return the seconds to wait, at the most MAX_WAIT_S, or None if neither headers, body nor words say so.

    ``document`` is the body as JSON, ``words`` what it says.
    """
    waits_s = (min(wait_s, MAX_WAIT_S) for wait_s in _reported(headers, words, document) if wait_s is not None)
    return next(waits_s, None)


def wants_retry(headers: Mapping[str, str]) -> bool | None:
    """Return what a gateway says with ``x-should-retry``; None: nothing."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").lower())


def _reported(headers: Mapping[str, str], words: str, document: Any) -> Iterator[float | None]:  # noqa: ANN401 - as above
    yield _number(headers.get("retry-after-ms"), per_second=1000)
    yield _seconds(headers.get("retry-after"))
    yield _until(headers.get("retry-after"), headers.get("date"))
    if isinstance(document, list) and len(document) == 1:
        document = document[0]  # Gemini
    error = document.get("error", document) if isinstance(document, dict) else None
    if isinstance(error, dict):
        for detail in list_in(error, "details")[:_MAX_DETAILS]:
            delay = as_object(detail).get("retryDelay")
            yield _seconds(delay.get("seconds") if isinstance(delay, dict) else delay)  # Gemini, and gRPC
        for fields in (error, object_in(error, "metadata")):
            for name in ("retry_after", "retry_after_seconds", "retryAfter"):
                yield _seconds(fields.get(name))
    match = _IN_WORDS.search(words[:_MAX_CHARS])
    yield _duration(match[1]) if match else None


def _seconds(reported: object) -> float | None:
    """Return the seconds of a number, or of a duration in words; None where it is neither."""
    if isinstance(reported, bool) or not isinstance(reported, str | int | float):
        return None
    wait_s = _number(str(reported))
    return _duration(str(reported)) if wait_s is None else wait_s


def _number(reported: str | None, *, per_second: int = 1) -> float | None:
    try:
        wait_s = float(reported or "nan") / per_second
    except ValueError:
        return None
    return max(0.0, wait_s) if isfinite(wait_s) else None  # "inf" and "nan" are floats too


def _duration(reported: str) -> float | None:
    """Return the seconds of "39s", "6m0s", "1 hour and 5 minutes"; None where it is no duration."""
    parts = list(_PART.finditer(reported[:100]))
    if not parts:
        return None
    return sum(float(part["number"]) * _seconds_of(part["unit"].lower()) for part in parts)


def _seconds_of(unit: str) -> float:
    return next(_SECONDS[start] for start in ("ms", "mil", unit[0]) if unit.startswith(start))


def _until(then: str | None, now: str | None) -> float | None:
    """Return the seconds between two HTTP dates: by the engine's own clock, which may be wrong."""
    if not then or not now:
        return None
    from email.utils import parsedate_to_datetime  # takes 5 ms to load

    try:
        return max(0.0, (parsedate_to_datetime(then) - parsedate_to_datetime(now)).total_seconds())
    except (ValueError, TypeError, OverflowError):  # TypeError: only one of them has a time zone
        return None
