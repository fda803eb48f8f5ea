"""A queue before an engine that answers only so many requests at a time; fair between the sessions of its clients."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

from claude_bridge.errors import OverloadedError

MAX_WAITING = 100
RETRY_AFTER_S = 10.0

ReportPosition = Callable[[int], None]


class RequestQueue:
    """Lets ``max_concurrent`` requests through at a time; the others wait for their turn.

    The next turn goes to the session that has the fewest requests running, and among those to the one that had its last
    turn first: twenty sub-agents of one session do not hold up another one. Within a session its main conversation goes
    first, then who came first.
    """

    def __init__(self, max_concurrent: int, *, max_waiting: int = MAX_WAITING) -> None:
        self._max_concurrent = max_concurrent
        self._max_waiting = max_waiting
        self._waiting: list[_Waiter] = []
        self._running: Counter[str | None] = Counter()
        self._last_turns: dict[str | None, int] = {}  # of the sessions that are running or waiting
        self._turns = 0

    @property
    def running(self) -> int:
        """How many requests have their turn."""
        return self._running.total()

    @property
    def waiting(self) -> int:
        """How many requests wait for theirs."""
        return len(self._waiting)

    @asynccontextmanager
    async def turn(
        self, session: str | None, *, is_subagent: bool = False, report_position: ReportPosition | None = None
    ) -> AsyncIterator[None]:
        """Wait for a turn, which lasts as long as the context.

        ``report_position`` is called with the number of requests that go first, plus one, as often as it changes,
        and with 0 when the turn comes.

        Raises:
            OverloadedError: too many wait already.
        """
        waiter = _Waiter(session, is_subagent=is_subagent, report_position=report_position)
        if self.running < self._max_concurrent and not self._waiting:
            self._begin(session)
        else:
            await self._wait(waiter)
        try:
            yield
        finally:
            self._end(session)

    async def _wait(self, waiter: _Waiter) -> None:
        if len(self._waiting) >= self._max_waiting:
            raise OverloadedError(
                f"{self.running} requests are running and {self.waiting} are waiting, and more can't: the engine gets "
                f"{self._max_concurrent} at a time (--max-concurrent).",
                retry_after_s=RETRY_AFTER_S,
            )
        self._waiting.append(waiter)
        self._report_positions()
        try:
            await waiter.has_turn.wait()
        except BaseException:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                self._report_positions()
            else:  # its turn came in the same moment
                self._end(waiter.session)
            raise

    def limit(self, max_concurrent: int) -> None:
        """Let so many through at a time from now on."""
        self._max_concurrent = max_concurrent
        self._let_in()

    def _begin(self, session: str | None) -> None:
        self._running[session] += 1
        self._turns += 1
        self._last_turns[session] = self._turns

    def _end(self, session: str | None) -> None:
        self._running[session] -= 1
        if not self._running[session]:
            del self._running[session]
        self._let_in()
        known = {*self._running, *(waiter.session for waiter in self._waiting)}
        self._last_turns = {name: turn for name, turn in self._last_turns.items() if name in known}

    def _let_in(self) -> None:
        while self._waiting and self.running < self._max_concurrent:
            waiter = self._order()[0]
            self._waiting.remove(waiter)
            self._begin(waiter.session)
            waiter.has_turn.set()
            if waiter.report_position is not None:
                waiter.report_position(0)
            self._report_positions()

    def _order(self) -> list[_Waiter]:
        """Return who waits, in the order of their turns if nobody came or went."""
        waiting = sorted(self._waiting, key=lambda waiter: waiter.is_subagent)  # stable: else as they came
        running, last_turns, turns = self._running.copy(), dict(self._last_turns), self._turns
        order: list[_Waiter] = []
        while waiting:
            following = min(waiting, key=lambda waiter: (running[waiter.session], last_turns.get(waiter.session, 0)))
            waiting.remove(following)
            order.append(following)
            turns += 1
            running[following.session] += 1
            last_turns[following.session] = turns
        return order

    def _report_positions(self) -> None:
        for position, waiter in enumerate(self._order(), 1):
            if position != waiter.position:
                waiter.position = position
                if waiter.report_position is not None:
                    waiter.report_position(position)


class RequestQueues:
    """One queue for each engine, by its address: its models share what it can do."""

    def __init__(self, max_concurrent: int | None, *, max_waiting: int = MAX_WAITING) -> None:
        """``max_concurrent`` None: engines get what comes, and there are no queues."""
        self._max_concurrent = max_concurrent
        self._max_waiting = max_waiting
        self._queues: dict[str, RequestQueue] = {}

    def at(self, base_url: str) -> RequestQueue | None:
        """Return the queue before an engine, None where there is none."""
        if self._max_concurrent is None:
            return None
        queue = RequestQueue(self._max_concurrent, max_waiting=self._max_waiting)
        return self._queues.setdefault(base_url.rstrip("/"), queue)

    def limit(self, max_concurrent: int | None) -> None:
        """Let each engine get so many at a time from now on; None: all that come."""
        self._max_concurrent = max_concurrent
        for queue in self._queues.values():
            queue.limit(max_concurrent or sys.maxsize)

    @property
    def max_concurrent(self) -> int | None:
        """How many requests each engine gets at a time; None: all that come."""
        return self._max_concurrent

    @property
    def waiting(self) -> int:
        """How many requests wait, at all engines."""
        return sum(queue.waiting for queue in self._queues.values())


class _Waiter:
    """A request that waits for its turn."""

    def __init__(self, session: str | None, *, is_subagent: bool, report_position: ReportPosition | None) -> None:
        self.session = session
        self.is_subagent = is_subagent
        self.report_position = report_position
        self.position: int | None = None
        self.has_turn = anyio.Event()
