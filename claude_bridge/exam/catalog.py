"""The catalog: all tasks in their groups, and which of them make up the quick exam."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from claude_bridge.exam import calls, projects, words
from claude_bridge.exam.task import Task, Variant

ROOM_TOKENS = 4_000
"""What the system prompt, the tools and the answers take beside a long history."""


class Kind(NamedTuple):
    """One row of the catalog."""

    group: str
    make: Callable[[Variant], Task]
    is_quick: bool = False
    history_tokens: int = 0
    is_for_client: bool = True
    """Whether Claude Code has all that the task needs: its tools are its own, and so is its system prompt."""

    @property
    def name(self) -> str:
        """The task's name in results."""
        return self.make.__name__.replace("_", " ")

    def task(self, seed: int, run: int) -> Task:
        """Return the variant of a run; the same seed gives the same one."""
        return self.make(Variant(f"{seed}/{self.name}/{run}"))

    def fits(self, window_tokens: int | None) -> bool:
        """Return whether the task fits a window (None: not known)."""
        return window_tokens is None or self.history_tokens == 0 or self.history_tokens + ROOM_TOKENS <= window_tokens


CATALOG = (
    Kind("one tool", calls.read_a_number, is_quick=True),
    Kind("one tool", calls.write_a_file),
    Kind("one tool", calls.run_a_command),
    Kind("choice of tools", calls.choose_calendar, is_quick=True, is_for_client=False),
    Kind("choice of tools", calls.choose_ticket, is_for_client=False),
    Kind("choice of tools", calls.choose_chat, is_for_client=False),
    Kind("no tool", words.add_numbers, is_quick=True),
    Kind("no tool", words.name_a_word),
    Kind("arguments", calls.nested_order, is_quick=True, is_for_client=False),
    Kind("arguments", calls.ask_the_user, is_for_client=False),
    Kind("arguments", calls.long_text),
    Kind("arguments", calls.numbers_and_flags, is_for_client=False),
    Kind("edits", projects.fix_a_bug, is_quick=True),
    Kind("edits", projects.change_a_value),
    Kind("edits", projects.add_in_order),
    Kind("edits", projects.rename_in_two),
    Kind("several calls", calls.read_three, is_quick=True),
    Kind("several calls", calls.look_twice),
    Kind("recovery", projects.wrong_path, is_quick=True),
    Kind("recovery", projects.twice_in_the_file),
    Kind("recovery", projects.missing_command),
    Kind("plan", projects.build_four, is_quick=True, is_for_client=False),
    Kind("plan", projects.update_three, is_for_client=False),
    Kind("memory", words.fact_2k, is_quick=True, history_tokens=2_000, is_for_client=False),
    Kind("memory", words.fact_8k, history_tokens=8_000, is_for_client=False),
    Kind("memory", words.fact_24k, history_tokens=24_000, is_for_client=False),
    Kind("rules", words.last_line, is_quick=True),
    Kind("rules", words.hands_off),
    Kind("structure", words.by_schema, is_quick=True, is_for_client=False),
    Kind("structure", words.by_words, is_for_client=False),
    Kind("stopping", words.test_once),
    Kind("stopping", words.one_file),
    Kind("honesty", projects.read_only, is_quick=True),
    Kind("honesty", projects.no_deploy),
    Kind("compaction", projects.go_on),
    Kind("compaction", projects.decided_before),
)
GROUPS = tuple(dict.fromkeys(kind.group for kind in CATALOG))


def chosen(*, is_quick: bool) -> tuple[Kind, ...]:
    """Return the tasks of an exam, or of a quick one."""
    return tuple(kind for kind in CATALOG if kind.is_quick or not is_quick)
