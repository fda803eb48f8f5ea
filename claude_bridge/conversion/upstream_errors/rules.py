"""What the errors of engines mean: rows of wordings, what the client gets, and what to do about it (``rules.toml``)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from msgspec import Struct

from claude_bridge.data_files import read_rows

REFUSED_STATUS = 424
"""Failed Dependency: an engine refused what it was sent, and would refuse it again.

Claude Code 2.1.330 sends a request that got 400 or 422 up to six times, with one feature less each time; 403 it calls
a failed login, 404 a wrong model, 413 too many images, and to 5xx it adds that it is temporary. After 424 it shows the
words as they are and stops, and so do the SDKs. Anthropic's documentation gives invalid_request_error for other 4xx.
"""

LOADING_STATUS, OVERLOADED_STATUS = 503, 529

IN_ANSWER = 0
"""In place of an HTTP status: the error came inside an answer, without a status."""


class Refusal(Struct, frozen=True, kw_only=True):
    """One error of engines: how it is worded, what the client gets, and the next step for the user.

    ``at`` are the HTTP statuses with which the words mean this, IN_ANSWER among them; None: any. ``advice`` may hold
    {model}, where ``words`` has a group of that name. ``is_final`` says that another attempt can't help; else the
    client decides. ``is_engine_failure``: the engine broke down, whatever else stands in its words, such as old lines
    of its log. ``may_succeed_elsewhere``: another model or account may serve the request: a fallback gets its turn.
    """

    name: str = ""
    """By which ``adapters/concessions.toml`` refers to it, where something gives way before the user needs advice."""
    words: re.Pattern[str]
    at: frozenset[int] | None = None
    status: int = REFUSED_STATUS
    is_final: bool = True
    advice: str = ""
    is_engine_failure: bool = False
    may_succeed_elsewhere: bool = False


MAX_CHARS = 4_000
"""How much of an engine's words is looked at: some repeat the whole request behind them."""


def read_refusals(name: str) -> tuple[Refusal, ...]:
    """Return the rows of a TOML file of the package."""
    document = read_rows(name)
    return tuple(_refusal(row, document.get("shared", {})) for row in document["refusal"])


def _refusal(row: dict[str, Any], shared: dict[str, str]) -> Refusal:
    pattern = "|".join(row["words"])
    for part, text in shared.items():
        pattern = pattern.replace(f"<{part}>", text)
    at = frozenset(row["at"]) if "at" in row else None
    return Refusal(**(row | {"words": re.compile(pattern, re.IGNORECASE), "at": at}))


@cache
def refusals() -> tuple[Refusal, ...]:
    """Return the rows for any engine; read at the first refusal, as that takes some time of each start."""
    return read_refusals("conversion/upstream_errors/rules.toml")


def find_refusal(rows: Iterable[Refusal], status: int | None, words: str) -> tuple[Refusal, str] | None:
    """Return the first row that fits, with its advice; ``status`` None: the error came inside an answer."""
    words = words[:MAX_CHARS]
    for row in rows:
        if (row.at is None or (status or IN_ANSWER) in row.at) and (match := row.words.search(words)):
            return row, row.advice.format_map(match.groupdict())
    return None
