"""The catalog: all tasks in their groups, read from ``tasks.toml``, and their variants by seed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

from msgspec import Struct, convert, field, json

from claude_bridge.conversion.prompt.token_estimate import estimate_tokens
from claude_bridge.data_files import read_rows
from claude_bridge.exam.shell import Outcome
from claude_bridge.exam.task import Task
from claude_bridge.exam.world import TOOLS
from claude_bridge.wire.anthropic import InputMessage

CORE = ("Read", "Write", "Edit", "Bash", "Glob", "Grep", "TodoWrite")
"""What most tasks offer of the tools."""

ROOM_TOKENS = 4_000
"""What the system prompt, the tools and the answers take beside a long history."""

SYSTEM = (
    "You are a coding agent in a terminal. You work in the folder /project, and only with the tools that you are "
    "given. Do exactly what the user asks, and nothing else. When it is done, say so in one or two sentences, and "
    "stop. Never say that you did something that no tool has done."
)

_DOCUMENT = read_rows("exam/tasks.toml")
_SHARED, _BASES = _DOCUMENT.pop("shared"), _DOCUMENT.pop("base")

_PLACE = re.compile(r"\{(\w+)((?:\.\w+)*)\}")
_AS_WRITTEN = ("prompt", "checks", "good", "bad", "files", "locked", "results", "max_turns")
"""Fields of a task that are those of its table, with the names in them replaced."""


class Kind(Struct, frozen=True, kw_only=True):
    """One task with all its variants; ``is_for_client`` says that Claude Code has all the tools that it needs."""

    group: str
    name: str
    table: dict[str, Any]
    is_quick: bool = field(default=False, name="quick")
    history_tokens: int = 0
    is_for_client: bool = field(default=True, name="client")

    def task(self, seed: int, run: int) -> Task:
        """Return the variant of a run; the same seed gives the same one."""
        return _task_of(self.table, random.Random(f"{seed}/{self.name}/{run}"))  # noqa: S311 - no secret

    def fits(self, window_tokens: int | None) -> bool:
        """Return whether the task fits a window (None: not known)."""
        return window_tokens is None or self.history_tokens == 0 or self.history_tokens + ROOM_TOKENS <= window_tokens


def _kind_of(group: str, table: dict[str, Any]) -> Kind:
    table = _BASES.get(table.get("base"), {}) | table
    return convert({**table, "group": group, "table": table}, Kind)


CATALOG = tuple(_kind_of(group, table) for group, tables in _DOCUMENT.items() for table in tables)
GROUPS = tuple(_DOCUMENT)


def chosen(*, is_quick: bool) -> tuple[Kind, ...]:
    """Return the tasks of an exam, or of a quick one."""
    return tuple(kind for kind in CATALOG if kind.is_quick or not is_quick)


# --- variants -------------------------------------------------------------------------------------------------------


def _task_of(table: dict[str, Any], chance: random.Random) -> Task:
    values = _SHARED | table.get("constants", {})
    for name, rule in table.get("let", {}).items():
        values[name] = _value(rule, values, chance)
    filled: dict[str, Any] = _filled(table, values)
    tools = filled.get("tools", CORE)
    return Task(
        system=f"{SYSTEM} {filled['rule']}" if "rule" in filled else SYSTEM,
        tools=list(TOOLS) if tools == "all" else tools,
        history=[InputMessage(role, text) for role, text in filled.get("history", ())],
        schema=json.encode(filled["schema"]) if "schema" in filled else None,
        prepared={name: Outcome(**outcome) for name, outcome in filled.get("prepared", {}).items()},
        **{name: filled[name] for name in _AS_WRITTEN if name in filled},
    )


def _value(rule: Any, values: dict[str, Any], chance: random.Random) -> Any:  # noqa: ANN401 - any JSON
    """Return the value of a name; a rule is a table whose only key is a rule's name."""
    filled = _filled(rule, values)
    if not isinstance(filled, dict) or len(filled) != 1:
        return filled
    ((name, value),) = filled.items()
    rules: dict[str, Callable[[], Any]] = {
        "pick": lambda: chance.choice(value),
        "range": lambda: chance.randrange(value[0], value[1] + 1, *value[2:]),
        "several": lambda: chance.sample(value[1:], value[0]),
        "sum": lambda: sum(value),
        "sorted": lambda: sorted(value),
        "replace": lambda: value[0].replace(*value[1:]),
        "json": lambda: json.encode(value).decode(),
        "filler": lambda: _filler(value, chance),
    }
    return rules[name]() if name in rules else filled


def _filler(tokens: int, chance: random.Random) -> str:
    """Return lines of random words, of at least so many tokens."""
    lines: list[str] = []
    while sum(map(len, lines)) < tokens * 4 or (
        len(lines) % 50 == 0 and estimate_tokens("\n".join(lines).encode(), holds_images=False) < tokens
    ):
        lines.append(f"{len(lines) + 1}: {' '.join(chance.sample(_SHARED['WORDS'], 12))}.")
    return "\n".join(lines)


def _filled(value: Any, values: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON
    """Return a value with the names in its texts replaced; a text that is only a name becomes what that stands for."""
    if isinstance(value, dict):
        return {_filled(key, values): _filled(inner, values) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, values) for inner in value]
    if not isinstance(value, str):
        return value
    whole = _PLACE.fullmatch(value)
    return _named(whole, values) if whole else _PLACE.sub(lambda place: str(_named(place, values)), value)


def _named(place: re.Match[str], values: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON
    name = place[1]
    if name not in values:
        return str(values[name.lower()]).title() if name.istitle() else str(values[name.lower()]).upper()
    found = values[name]
    for step in place[2].split(".")[1:]:
        found = found[int(step)] if step.isdecimal() else found[step]
    return found
