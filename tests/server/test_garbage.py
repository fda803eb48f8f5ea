"""Bodies that stay in cycles wait for the garbage collector, but only so many of them."""

from __future__ import annotations

import weakref

from claude_bridge.server.memory import COLLECTED_EACH_BYTES, MemoryAccount, MemoryBudget


def test_what_stays_in_cycles_is_collected_once_many_bodies_were_given_back() -> None:
    class Held:
        def __init__(self) -> None:
            self.cycle = self

    held = weakref.ref(Held())
    with MemoryAccount(MemoryBudget(2 * COLLECTED_EACH_BYTES)) as account:
        account.take(COLLECTED_EACH_BYTES + 1)
    assert held() is None
