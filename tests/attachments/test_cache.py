"""What was made once is kept, within so many bytes, and made only once however many ask."""

from __future__ import annotations

import anyio
import pytest

from claude_bridge.attachments.cache import Memo, MemoEntry

pytestmark = pytest.mark.anyio


class Maker:
    """Makes values, and counts how often."""

    def __init__(self, size_bytes: int = 10, keep_s: float | None = None) -> None:
        self.made = 0
        self._size_bytes = size_bytes
        self._keep_s = keep_s

    async def __call__(self) -> MemoEntry[int]:
        self.made += 1
        await anyio.lowlevel.checkpoint()
        return MemoEntry(value=self.made, size_bytes=self._size_bytes, keep_s=self._keep_s)


async def test_a_value_is_made_once() -> None:
    memo, make = Memo[int](100), Maker()
    assert [await memo.get("a", make), await memo.get("a", make)] == [1, 1]
    assert make.made == 1


async def test_another_key_is_another_value() -> None:
    memo, make = Memo[int](100), Maker()
    assert [await memo.get("a", make), await memo.get("b", make)] == [1, 2]


async def test_what_was_not_asked_for_longest_goes_first() -> None:
    memo, make = Memo[int](25), Maker()
    for key in "abaca":
        await memo.get(key, make)
    assert make.made == 3
    await memo.get("b", make)
    assert make.made == 4, "b had to go for c"


async def test_what_is_larger_than_all_room_is_not_kept_and_costs_nothing_else_its_place() -> None:
    memo, make = Memo[int](25), Maker()
    await memo.get("a", make)
    huge = Maker(size_bytes=26)
    await memo.get("b", huge)
    await memo.get("b", huge)
    await memo.get("a", make)
    assert (huge.made, make.made) == (2, 1)


async def test_what_may_pass_is_forgotten_after_its_time() -> None:
    memo, lasting, passing = Memo[int](100), Maker(keep_s=60), Maker(keep_s=0)
    assert [await memo.get("a", lasting), await memo.get("a", lasting)] == [1, 1]
    assert [await memo.get("b", passing), await memo.get("b", passing)] == [1, 2]


async def test_of_many_who_ask_at_once_one_makes_it() -> None:
    memo, make = Memo[int](100), Maker()
    got: list[int] = []

    async def ask() -> None:
        got.append(await memo.get("a", make))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)
    assert got == [1] * 5


async def test_who_waited_for_one_who_left_makes_it_himself() -> None:
    memo, make = Memo[int](100), Maker()
    began = anyio.Event()

    async def never() -> MemoEntry[int]:
        began.set()
        await anyio.sleep_forever()
        raise AssertionError

    async with anyio.create_task_group() as tasks:
        leaver = anyio.CancelScope()

        async def leave() -> None:
            with leaver:
                await memo.get("a", never)

        tasks.start_soon(leave)
        await began.wait()
        with anyio.fail_after(60):
            async with anyio.create_task_group() as waiters:
                got: list[int] = []

                async def ask() -> None:
                    got.append(await memo.get("a", make))

                waiters.start_soon(ask)
                await anyio.wait_all_tasks_blocked()
                leaver.cancel()
    assert got == [1]


async def test_a_failure_is_raised_and_not_kept() -> None:
    memo, make = Memo[int](100), Maker()

    async def fail() -> MemoEntry[int]:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await memo.get("a", fail)
    assert await memo.get("a", make) == 1
