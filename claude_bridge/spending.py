"""Spending: what sessions and days came to, kept across restarts and bridges, and the budgets that end there."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import astuple

from claude_bridge.errors import BudgetError
from claude_bridge.trace.stats import Finished
from claude_bridge.wire.lenient_json import read_or_none

WARN_AT = 0.8
DAYS = 7
"""For so many days a session's spending is remembered."""

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Of a day's file no more than this is read."""


class Budget(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much may be spent, in US dollars and tokens of prompts and answers; None: any amount."""

    session_usd: Annotated[float, Meta(ge=0)] | None = None
    day_usd: Annotated[float, Meta(ge=0)] | None = None
    session_tokens: Annotated[int, Meta(ge=1)] | None = None
    day_tokens: Annotated[int, Meta(ge=1)] | None = None

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return any(limit is not None for limit in astuple(self))


class Spent(Struct, kw_only=True, omit_defaults=True):
    """What one exchange came to: a line of a day's file."""

    at_s: float
    provider: str
    session: str | None = None
    tokens: int = 0
    usd: float = 0.0


_spent_decoder = msgspec.json.Decoder(Spent)


class _Sum(NamedTuple):
    usd: float = 0.0
    tokens: int = 0


class _Use(NamedTuple):
    """How much of one limit is used."""

    period: str
    name: str | None
    scope: str | None
    unit: str
    amount: float
    limit: float

    @property
    def key(self) -> tuple[str | None, ...]:
        return self[:4]

    @property
    def remedy(self) -> str:
        table = f"[providers.{self.scope}.limits]" if self.scope else "[limits]"
        when = "It begins anew at midnight" if self.period == "day" else "Begin a new session"
        return f" {when}, or raise {self.period}_{self.unit} in {table} of the bridge's configuration."

    def __str__(self) -> str:
        used, allowed = (
            f"${one:,.2f}" if self.unit == "usd" else f"{one:,.0f} tokens" for one in (self.amount, self.limit)
        )
        whose = ("today" if self.period == "day" else "this session") + (f" at {self.scope}" if self.scope else "")
        return f"{whose} is used: {used} of {allowed}"


class Spending:
    """Adds up what exchanges came to, and refuses requests beyond a budget.

    Each exchange is a line in the file of its day, so that several bridges share one budget.
    """

    def __init__(
        self,
        budget: Budget,
        of_providers: Mapping[str, Budget],
        folder: Path,
        *,
        warn: Callable[[str], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        """``folder`` holds the files; ``warn`` gets what a person should know."""
        self._budgets: dict[str | None, Budget] = {}
        self.limit(budget, of_providers)
        self._folder = folder
        self._warn = warn
        self._now = now
        self._sums: defaultdict[tuple[str, str, str | None], _Sum] = defaultdict(_Sum)
        self._read_bytes: dict[str, int] = {}
        self._warned: set[tuple[str | None, ...]] = set()
        for days_ago in reversed(range(1, DAYS)):
            self._read(_day(now() - days_ago * 86_400))

    def limit(self, budget: Budget, of_providers: Mapping[str, Budget]) -> None:
        """Let these budgets hold from now on; what was spent counts for them too."""
        self._budgets = {None: budget}
        self._budgets.update(of_providers)

    def check(self, session: str | None, provider: str) -> None:
        """Check that a request to a provider is within the budgets.

        Raises:
            BudgetError: one is used up.
        """
        for use in self._uses(session, provider):
            if use.amount >= use.limit:
                raise BudgetError(f"The budget for {use}.{use.remedy}", is_of_provider=use.scope is not None)
            if use.amount >= WARN_AT * use.limit and use.key not in self._warned:
                self._warned.add(use.key)
                self._warn(f"{use.amount / use.limit:.0%} of the budget for {use}.")

    def _uses(self, session: str | None, provider: str) -> Iterator[_Use]:
        """Yield how far each budget is used that a request counts for."""
        today = _day(self._now())
        self._read(today)
        for scope in (None, provider):
            for period, name in (("session", session), ("day", today)):
                spent = self._sums[(period, name, scope)] if name else _Sum()
                for unit, amount in (("usd", spent.usd), ("tokens", spent.tokens)):
                    limit = getattr(self._budgets.get(scope), f"{period}_{unit}", None)
                    if limit is not None:
                        yield _Use(period, name, scope, unit, amount, limit)

    def take(self, finished: Finished) -> None:
        """Add what an exchange came to."""
        tokens = finished.prompt_tokens + finished.output_tokens
        if finished.provider is None or not (tokens or finished.cost_usd):
            return
        spent = Spent(
            at_s=round(self._now(), 3),
            provider=finished.provider,
            session=finished.session,
            tokens=tokens,
            usd=finished.cost_usd or 0.0,
        )
        line = msgspec.json.encode(spent) + b"\n"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._file(_day(self._now())).open("ab") as file:
                file.write(line)
        except OSError as error:
            self._warn(f"What is spent can't be kept in {self._folder}: {error.strerror}. It is counted until the end.")
            self._add(spent)

    def _file(self, day: str) -> Path:
        return self._folder / f"{day}.jsonl"

    def _read(self, day: str) -> None:
        """Add the lines that came since the last time, those of other bridges too."""
        start = self._read_bytes.get(day, 0)
        try:
            with self._file(day).open("rb") as file:
                file.seek(start)
                text = file.read(MAX_FILE_BYTES)
        except OSError:
            return
        whole = text[: text.rfind(b"\n") + 1]
        self._read_bytes[day] = start + len(whole)
        for line in whole.splitlines():
            if spent := read_or_none(_spent_decoder.decode, line):  # otherwise cut off, or of another version
                self._add(spent)

    def _add(self, spent: Spent) -> None:
        for scope in (None, spent.provider):
            for period, name in (("session", spent.session), ("day", _day(spent.at_s))):
                if name is not None:
                    before = self._sums[(period, name, scope)]
                    self._sums[(period, name, scope)] = _Sum(before.usd + spent.usd, before.tokens + spent.tokens)


def _day(at_s: float) -> str:
    return datetime.fromtimestamp(at_s).astimezone().strftime("%Y-%m-%d")
