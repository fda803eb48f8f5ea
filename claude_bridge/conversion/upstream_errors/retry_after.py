"""How long an engine asks to wait, in whichever header or words; and whether it wants to be asked again at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from math import isfinite

# OpenAI, Groq: "Please try again in 14.5s", "in 6m0s", "in 320ms"; Gemini: "Please retry in 22.03s"
_IN_WORDS = re.compile(
    r"(?:try again|retry) (?:in|after) (?:(?P<h>\d{1,3})h)?(?:(?P<m>\d{1,4})m(?!s))?"
    r"(?:(?P<s>\d{1,6}(?:\.\d{1,6})?) ?(?P<unit>ms|s(?:ec(?:ond)?s?)?)\b)?",
    re.IGNORECASE,
)


def retry_after_s(headers: Mapping[str, str], words: str = "") -> float | None:
    """Return the seconds to wait, or None if neither the headers nor the words tell."""
    wait_s = _number(headers.get("retry-after-ms"), per_second=1000)
    if wait_s is None:
        wait_s = _number(headers.get("retry-after"))
    if wait_s is None:
        wait_s = _until(headers.get("retry-after"), headers.get("date"))
    return _said(words) if wait_s is None else wait_s


def wants_retry(headers: Mapping[str, str]) -> bool | None:
    """Return what a gateway says with ``x-should-retry``; None: nothing."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").lower())


def _number(told: str | None, *, per_second: int = 1) -> float | None:
    try:
        wait_s = float(told or "nan") / per_second
    except ValueError:
        return None
    return max(0.0, wait_s) if isfinite(wait_s) else None  # "inf" and "nan" are floats too


def _until(then: str | None, now: str | None) -> float | None:
    """Return the seconds between two HTTP dates: by the engine's own clock, which may be wrong."""
    if not then or not now:
        return None
    try:
        return max(0.0, (parsedate_to_datetime(then) - parsedate_to_datetime(now)).total_seconds())
    except (ValueError, TypeError, OverflowError):  # TypeError: only one of them has a time zone
        return None


def _said(words: str) -> float | None:
    match = _IN_WORDS.search(words)
    if match is None or not any(match.group("h", "m", "s")):
        return None
    seconds = float(match["s"] or 0) / (1000 if (match["unit"] or "").lower() == "ms" else 1)
    return int(match["h"] or 0) * 3600 + int(match["m"] or 0) * 60 + seconds
