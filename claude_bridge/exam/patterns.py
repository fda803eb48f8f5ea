"""Regular expressions of a model, searched in bounded time: what could take for ever is refused."""

from __future__ import annotations

import re
from math import factorial

from claude_bridge.exam.disk import WorldError

MAX_PATTERN_CHARS = 300
MAX_LINE_CHARS = 2_000
"""Of a longer line, only so much is searched."""

MAX_STEPS = 20_000_000
"""Some tenths of a second of Python's own engine."""

_ESCAPED = re.compile(r"\\.", re.DOTALL)
_GROUP_IS_REPEATED = re.compile(r"\)[*+{]")
_REPEATS = re.compile(r"[*+{]")
_CHOICES = re.compile(r"[?|]")
_UNKNOWN = re.compile(r"\(\?(?!:|i\))|\\[1-9]")
_CLASSES = {"alpha": "A-Za-z", "digit": "0-9", "space": r"\s", "alnum": "A-Za-z0-9", "upper": "A-Z", "lower": "a-z"}


def compiled(pattern: str, lines: list[str], *, is_fixed: bool = False, ignores_case: bool = False) -> re.Pattern[str]:
    """Return the pattern, if a search in all these lines ends soon; one that can't be read stands for itself.

    Raises:
        WorldError: the search could take long.
    """
    flags = re.IGNORECASE if ignores_case else 0
    literal = re.compile(re.escape(pattern[:MAX_PATTERN_CHARS]), flags)
    if is_fixed:
        return literal
    pattern = pattern.replace(r"\|", "|")  # as grep writes it
    for name, inside in _CLASSES.items():
        pattern = pattern.replace(f"[:{name}:]", inside)
    plain = _ESCAPED.sub("e", pattern)
    repeats, choices = len(_REPEATS.findall(plain)), len(_CHOICES.findall(plain))
    longest = min(max(map(len, lines), default=0), MAX_LINE_CHARS)
    steps = (longest + 1.0) ** min(repeats + 1, 9) / factorial(min(repeats + 1, 9)) * 2.0**choices * len(lines)
    is_complex = _GROUP_IS_REPEATED.search(plain) or _UNKNOWN.search(pattern) or steps > MAX_STEPS
    if is_complex or len(pattern) > MAX_PATTERN_CHARS:
        raise WorldError("the pattern is too complex")
    try:
        return re.compile(pattern, flags)
    except (re.error, OverflowError, RecursionError):
        return literal


def matching(pattern: re.Pattern[str], line: str) -> bool:
    """Return whether the pattern is in the line, as far as it is searched."""
    return pattern.search(line, 0, MAX_LINE_CHARS) is not None
