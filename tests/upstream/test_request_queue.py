"""The queue before an engine: bounded, fair between sessions, and empty again whatever happens."""

from __future__ import annotations

from collections import Counter
from random import Random

import anyio
import pytest
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from claude_bridge.errors import OverloadedError
from claude_bridge.upstream.request_queue import RequestQueue, RequestQueues

pytestmark = pytest.mark.anyio


async def _settled() -> None:
    """Let each task go on until it waits; anyio alone sleeps for 0.1 s if it finds one that has not begun."""
    for _ in range(5):
        await checkpoint()
    await anyio.wait_all_tasks_blocked()


class Engine:
    """Whoever has its turn stays until the test ends it."""

    def __init__(self, queue: RequestQueue, tasks: TaskGroup) -> None:
        self.queue = queue
        self.turns: list[str] = []
        self.positions: dict[str, list[int]] = {}
        self._tasks = tasks
        self._ends: dict[str, anyio.Event] = {}
        self._scopes: dict[str, anyio.CancelScope] = {}

    async def ask(self, name: str, session: str | None, *, is_subagent: bool = False) -> None:
        self._tasks.start_soon(self._ask, name, session, is_subagent)
        await _settled()

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await _settled()

    async def cancel(self, name: str) -> None:
        self._scopes[name].cancel()
        await _settled()

    async def _ask(self, name: str, session: str | None, is_subagent: bool) -> None:
        self._ends[name] = anyio.Event()
        positions = self.positions.setdefault(name, [])
        with anyio.CancelScope() as self._scopes[name]:
            async with self.queue.turn(session, is_subagent=is_subagent, report_position=positions.append):
                self.turns.append(name)
                await self._ends[name].wait()


async def test_so_many_run_at_a_time_and_the_others_wait_in_their_order() -> None:
    async with anyio.create_task_group() as tasks:
        engine = Engine(RequestQueue(2), tasks)
        for name in "abcd":
            await engine.ask(name, "one")
        assert engine.turns == ["a", "b"]
        assert (engine.queue.running, engine.queue.waiting) == (2, 2)
        assert engine.positions == {"a": [], "b": [], "c": [1], "d": [2]}
        await engine.end("b")
        assert engine.turns == ["a", "b", "c"]
        assert engine.positions["d"] == [2, 1]
        for name in "acd":
            await engine.end(name)
    assert (engine.queue.running, engine.queue.waiting) == (0, 0)


async def test_twenty_sub_agents_do_not_hold_up_a_person() -> None:
    async with anyio.create_task_group() as tasks:
        engine = Engine(RequestQueue(4), tasks)
        agents = [f"agent {number}" for number in range(20)]
        for name in agents:
            await engine.ask(name, "busy", is_subagent=True)
        await engine.ask("person", "other")
        assert engine.positions["person"] == [1]
        await engine.end(agents[0])
        assert engine.turns[-1] == "person"
        for name in (*agents[1:], "person"):
            await engine.end(name)


async def test_sessions_take_turns() -> None:
    async with anyio.create_task_group() as tasks:
        engine = Engine(RequestQueue(1), tasks)
        for session in "abc":
            for number in range(3):
                await engine.ask(f"{session}{number}", session)
        for _ in range(9):
            await engine.end(engine.turns[-1])
    assert engine.turns == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]


async def test_a_position_counts_what_a_session_will_have_running_by_then() -> None:
    async with anyio.create_task_group() as tasks:
        engine = Engine(RequestQueue(2), tasks)
        for name, session in (("b0", "b"), ("c0", "c"), ("a1", "a"), ("a2", "a"), ("b1", "b")):
            await engine.ask(name, session)
        assert engine.positions == {"b0": [], "c0": [], "a1": [1], "a2": [2, 3], "b1": [2]}
        for name in ("c0", "b0", "a1", "b1", "a2"):
            await engine.end(name)
    assert engine.turns == ["b0", "c0", "a1", "b1", "a2"]


async def test_the_main_conversation_of_a_session_goes_before_its_sub_agents() -> None:
    async with anyio.create_task_group() as tasks:
        engine = Engine(RequestQueue(1), tasks)
        await engine.ask("first", "one")
        await engine.ask("agent", "one", is_subagent=True)
        await engine.ask("main", "one")
        for _ in range(3):
            await engine.end(engine.turns[-1])
    assert engine.turns == ["first", "main", "agent"]


async def test_one_too_many_is_refused_at_once() -> None:
    async with anyio.create_task_group() as tasks:
        engine = Engine(RequestQueue(1, max_waiting=1), tasks)
        await engine.ask("a", "one")
        await engine.ask("b", "one")
        with pytest.raises(OverloadedError, match="--max-concurrent") as caught:
            async with engine.queue.turn("two"):
                pass
        assert (caught.value.status, caught.value.retry_after_s) == (529, 10)
        for name in "ab":
            await engine.end(name)


async def test_who_leaves_while_waiting_or_running_makes_room() -> None:
    async with anyio.create_task_group() as tasks:
        engine = Engine(RequestQueue(1), tasks)
        for name in "abc":
            await engine.ask(name, "one")
        await engine.cancel("b")
        assert engine.positions["c"] == [2, 1]
        await engine.cancel("a")
        assert engine.turns == ["a", "c"]
        await engine.end("c")
    assert (engine.queue.running, engine.queue.waiting) == (0, 0)


async def test_a_turn_that_comes_in_the_moment_of_leaving_is_not_lost() -> None:
    queue = RequestQueue(1)
    async with anyio.create_task_group() as tasks:
        engine = Engine(queue, tasks)
        for name in "abc":
            await engine.ask(name, "one")
        engine._ends["a"].set()
        await anyio.lowlevel.checkpoint()
        engine._scopes["b"].cancel()
        await _settled()
        assert engine.turns[-1] in "bc"
        await engine.end("c")
    assert (queue.running, queue.waiting) == (0, 0)


async def test_any_coming_and_going_leaves_the_queue_empty_and_starves_nobody() -> None:
    random = Random(7)
    queue, most, served = RequestQueue(3), 0, Counter[str]()

    async def client(session: str) -> None:
        nonlocal most
        for _ in range(20):
            with anyio.move_on_after(random.uniform(0, 0.02)):
                async with queue.turn(session):
                    most = max(most, queue.running)
                    served[session] += 1
                    await anyio.sleep(random.uniform(0, 0.003))
            await anyio.lowlevel.checkpoint()

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(client, f"session {number % 5}")
    assert most == 3
    assert len(served) == 5
    assert (queue.running, queue.waiting) == (0, 0)
    assert not queue._running
    assert not queue._last_turns


def test_models_of_one_engine_share_its_queue() -> None:
    queues = RequestQueues(2)
    assert queues.at("http://localhost:1/v1/") is queues.at("http://localhost:1/v1")
    assert queues.at("http://localhost:1/v1") is not queues.at("http://localhost:2/v1")
    assert RequestQueues(None).at("http://localhost:1/v1") is None


async def test_a_higher_limit_lets_those_in_that_wait_and_a_lower_one_ends_nothing() -> None:
    queues = RequestQueues(1)
    queue = queues.at("http://localhost:1")
    assert queue is not None
    leave = anyio.Event()

    async def client() -> None:
        async with queue.turn(None):
            await leave.wait()

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(client)
        await _settled()
        seen = [(queue.running, queue.waiting)]
        for limit in (3, 1, None):
            queues.limit(limit)
            seen.append((queue.running, queue.waiting))
        leave.set()
    assert seen == [(1, 3), (3, 1), (3, 1), (4, 0)]
    assert queues.at("http://localhost:1") is None
