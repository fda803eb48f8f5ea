"""Budgets: what counts, when they warn, when they refuse, and what a restart or another bridge knows of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from claude_bridge.errors import BudgetError
from claude_bridge.spending import Budget, Spending
from claude_bridge.trace.stats import Finished

NOON = 1_800_000_000.0
DAY_S = 86_400.0


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


class Purse:
    """A Spending with what it warned of."""

    def __init__(self, folder: Path, budget: Budget, clock: Clock, **of_providers: Budget) -> None:
        self.warnings: list[str] = []
        self.spending = Spending(budget, of_providers, folder, warn=self.warnings.append, now=clock)

    def spend(self, *, usd: float | None = None, tokens: int = 0, session: str | None = "s", at: str = "work") -> None:
        self.spending.take(
            Finished(model="m", session=session, provider=at, outcome="answered", prompt_tokens=tokens, cost_usd=usd)
        )

    def refusal(self, session: str | None = "s", at: str = "work") -> str:
        try:
            self.spending.check(session, at)
        except BudgetError as error:
            return error.message
        return ""


def test_it_warns_once_at_80_percent_and_then_refuses(tmp_path: Path) -> None:
    purse = Purse(tmp_path, Budget(day_usd=10.0), Clock())
    purse.spend(usd=7.9)
    assert (purse.refusal(), purse.warnings) == ("", [])
    purse.spend(usd=0.2)
    assert purse.refusal() == purse.refusal() == ""
    assert purse.warnings == ["81% of the budget for today is used: $8.10 of $10.00."]
    purse.spend(usd=2.0)
    assert purse.refusal() == (
        "The budget for today is used: $10.10 of $10.00. It begins anew at midnight, or raise day_usd in [limits] of "
        "the bridge's configuration."
    )


def test_a_new_day_begins_anew_and_a_session_does_not(tmp_path: Path) -> None:
    clock = Clock()
    purse = Purse(tmp_path, Budget(day_tokens=100, session_tokens=150), clock)
    purse.spend(tokens=100)
    assert "100 tokens of 100 tokens" in purse.refusal()
    clock.now += DAY_S
    assert purse.refusal() == ""
    purse.spend(tokens=60)
    assert purse.refusal().startswith("The budget for this session is used: 160 tokens of 150 tokens. Begin a new")
    assert purse.refusal(session="other") == ""
    assert purse.refusal(session=None) == "", "who names no session has no budget for one"


def test_a_provider_has_a_budget_of_its_own_and_another_one_may_serve(tmp_path: Path) -> None:
    purse = Purse(tmp_path, Budget(day_usd=100), Clock(), work=Budget(day_usd=1))
    purse.spend(usd=1.5)
    assert "today at work is used: $1.50 of $1.00" in purse.refusal()
    assert purse.refusal(at="home") == ""
    with pytest.raises(BudgetError) as caught:
        purse.spending.check("s", "work")
    assert caught.value.may_succeed_elsewhere


def test_local_engines_count_in_tokens_and_not_in_money(tmp_path: Path) -> None:
    purse = Purse(tmp_path, Budget(day_usd=0.01, day_tokens=1_000), Clock())
    purse.spend(usd=None, tokens=999)
    assert purse.refusal() == ""
    purse.spend(usd=0.0, tokens=1)
    assert "tokens" in purse.refusal()


def test_restarts_and_other_bridges_share_what_is_spent(tmp_path: Path) -> None:
    clock = Clock()
    first, second = (Purse(tmp_path / "spending", Budget(day_usd=1, session_usd=1.5), clock) for _ in range(2))
    first.spend(usd=0.5)
    second.spend(usd=0.6)
    assert first.refusal()
    assert second.refusal()
    clock.now += DAY_S
    later = Purse(tmp_path / "spending", Budget(day_usd=1, session_usd=1.1), clock)
    assert "this session" in later.refusal()


def test_a_damaged_file_costs_nothing_but_its_lines(tmp_path: Path) -> None:
    clock = Clock()
    purse = Purse(tmp_path, Budget(day_tokens=10), clock)
    purse.spend(tokens=5)
    (file,) = tmp_path.iterdir()
    with file.open("ab") as more:
        more.write(b'\xff not json\n[]\n{"at_s": 1')
    again = Purse(tmp_path, Budget(day_tokens=10), clock)
    assert again.refusal() == ""
    with file.open("ab") as more:
        more.write(b"\n")
    again.spend(tokens=5)
    assert again.refusal()


def test_a_folder_that_can_not_be_written_is_warned_of_and_counted_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    purse = Purse(tmp_path / "file" / "folder", Budget(day_tokens=10), Clock())
    purse.spend(tokens=10)
    assert "can't be kept" in purse.warnings[0]
    assert purse.refusal()
