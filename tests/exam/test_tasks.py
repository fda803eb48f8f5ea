"""Every task with an answer that passes and answers that fail, in several variants."""

from __future__ import annotations

import msgspec
import pytest

from claude_bridge.exam.catalog import CATALOG, GROUPS, Kind, chosen
from claude_bridge.exam.task import Happened, Task, at_most, says
from claude_bridge.exam.world import World
from tests.exam.scripted import Script, script_from

RUNS = range(8)
"""Variants of each task; names and numbers differ between them."""

KINDS = pytest.mark.parametrize("kind", CATALOG, ids=lambda kind: kind.name)


def played(task: Task, script: Script) -> Happened:
    """Return what becomes of a task when a model does this."""
    world = World(task.files, offered=task.tools, prepared=task.prepared, results=task.results, locked=task.locked)
    before, calls, words = dict(world.disk.files), [], ""
    for number, turn in enumerate(script):
        if isinstance(turn, str):
            words = turn
        else:
            calls += [world.use(use.name, msgspec.json.encode(use.input), turn=number) for use in turn]
    return Happened(calls=tuple(calls), files=world.disk.files, before=before, text=words)


def failing(task: Task) -> dict[str, Script]:
    """Return the bad answers of a task, and for one that needs calls: only to say what its end would be."""
    *steps, end = script_from(task.good)
    claims: dict[str, Script] = {"claims it without acting": (end,)} if steps else {}
    return {fault: script_from(turns) for fault, turns in task.bad.items()} | claims


@KINDS
def test_a_good_answer_passes(kind: Kind) -> None:
    for run in RUNS:
        task = kind.task(0, run)
        assert task.judge(played(task, script_from(task.good))) is None


@KINDS
def test_at_least_two_bad_answers_fail_each_for_a_reason(kind: Kind) -> None:
    for run in RUNS:
        task = kind.task(0, run)
        faults = {name: task.judge(played(task, script)) for name, script in failing(task).items()}
        assert len(faults) >= 2
        assert all(faults.values()), faults


@KINDS
def test_the_same_seed_gives_the_same_task_and_others_give_other_ones(kind: Kind) -> None:
    def seen(seed: int, run: int) -> object:
        task = kind.task(seed, run)
        return task.prompt, task.files, task.good, task.history

    assert seen(1, 1) == seen(1, 1)
    assert any(seen(1, run) != seen(2, run) for run in RUNS)
    assert any(seen(1, run) != seen(1, 0) for run in RUNS)


def test_every_group_has_two_tasks_and_the_quick_exam_is_a_third() -> None:
    assert all(sum(kind.group == group for kind in CATALOG) >= 2 for group in GROUPS)
    assert len(GROUPS) == 14
    assert len(chosen(is_quick=True)) * 3 == len(CATALOG)


def test_tasks_that_do_not_fit_the_window_are_left_out() -> None:
    def names(window: int | None) -> list[str]:
        return [kind.name for kind in CATALOG if not kind.fits(window)]

    assert names(8_192) == ["fact 8k", "fact 24k"]
    assert names(32_768) == names(None) == []


@pytest.mark.parametrize(
    ("words", "passes"),
    [("It is 1,234 now.", True), ("**1234**", True), ("12345", False), ("0.1234", True), ("a1234", False)],
)
def test_numbers_are_found_as_people_write_them(words: str, *, passes: bool) -> None:
    happened = Happened(calls=(), files={}, before={}, text=words)

    assert bool(says(happened, "1234")) is not passes
    assert not at_most(happened, 0)
