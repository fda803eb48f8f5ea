"""Task: what is asked, the world that it is asked in, and the checks that judge what happened."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from msgspec import DecodeError, Struct, json

from claude_bridge.exam.disk import ROOT
from claude_bridge.exam.shell import Outcome
from claude_bridge.exam.tools import CORE
from claude_bridge.exam.world import Call
from claude_bridge.wire.anthropic import InputMessage

SYSTEM = (
    "You are a coding agent in a terminal. You work in the folder /project, and only with the tools that you are "
    "given. "
    "Do exactly what the user asks, and nothing else. When it is done, say so in one or two sentences, and stop. "
    "Never "
    "say that you did something that no tool has done."
)


class Use(NamedTuple):
    """A tool call of a scripted answer."""

    name: str
    input: dict[str, Any]


Turn = str | tuple[Use, ...]
Script = tuple[Turn, ...]
"""What a model may do, turn by turn: tool calls, or the words that end its work."""


class Happened(Struct, frozen=True, kw_only=True):
    """What became of a task."""

    calls: tuple[Call, ...]
    files: Mapping[str, str]
    """The files as they are now, by absolute path."""
    before: Mapping[str, str]
    words: str
    """The text of the last answer."""

    def done(self, *names: str) -> list[Call]:
        """Return the calls of these tools that worked."""
        return [call for call in self.calls if call.name in names and not call.is_error]


Check = Callable[[Happened], str | None]
"""Returns what is wrong, or None."""


class Task(Struct, frozen=True, kw_only=True):
    """One task in one variant. ``good`` solves it; each of ``bad``, by what is wrong with it, does not."""

    prompt: str
    checks: tuple[Check, ...]
    good: Script
    bad: Mapping[str, Script]
    files: Mapping[str, str] = {}
    locked: frozenset[str] = frozenset()
    prepared: Mapping[str, Outcome] = {}
    """Commands of the shell with prepared results."""
    results: Mapping[str, str] = {}
    """What tools answer that do nothing in this world."""
    tools: tuple[str, ...] = CORE
    system: str = SYSTEM
    history: tuple[InputMessage, ...] = ()
    schema: bytes | None = None
    """The JSON schema that the answer must have, if the API is to be asked for one."""
    max_turns: int = 10

    def judge(self, happened: Happened) -> str | None:
        """Return why the task is not passed, or None."""
        return next((fault for check in self.checks if (fault := check(happened)) is not None), None)


class Variant:
    """Names and numbers that differ from one variant of a task to the next; the same seed gives the same ones."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)  # noqa: S311 - no secret

    def pick(self, *options: str) -> str:
        """Return one of the options."""
        return self._random.choice(options)

    def several(self, count: int, *options: str) -> list[str]:
        """Return so many different options."""
        return self._random.sample(options, count)

    def number(self, least: int, most: int) -> int:
        """Return a number."""
        return self._random.randint(least, most)

    def name(self) -> str:
        """Return a first name."""
        return self.pick("Ana", "Bruno", "Chika", "Dilan", "Elif", "Femi", "Greta", "Hugo", "Imani", "Jonas")

    def noun(self) -> str:
        """Return a word for a thing."""
        return self.pick("harbor", "lantern", "meadow", "copper", "falcon", "granite", "willow", "compass", "saddle")


def at(name: str) -> str:
    """Return the absolute path of a file of the project."""
    return f"{ROOT}/{name}"


# --- checks -------------------------------------------------------------------------------------------------------


def file_is(name: str, text: str) -> Check:
    """The file has this text; blank space at its end does not count."""

    def check(happened: Happened) -> str | None:
        found = happened.files.get(at(name))
        if found is None:
            return f"{name} is not there"
        return None if found.rstrip() == text.rstrip() else f"{name} does not have the text that was asked for"

    return check


def unchanged(*names: str) -> Check:
    """These files are as they were; without names all are, and no new ones."""

    def check(happened: Happened) -> str | None:
        paths = [at(name) for name in names] or sorted({*happened.files, *happened.before})
        changed = [path for path in paths if happened.files.get(path) != happened.before.get(path)]
        return f"{changed[0]} was changed" if changed else None

    return check


def called(name: str, **wanted: Any) -> Check:  # noqa: ANN401 - any JSON
    """The tool was called with these inputs, and it worked."""

    def check(happened: Happened) -> str | None:
        calls = happened.done(name)
        if not calls:
            return f"{name} was not called"
        is_right = any(all(same(call.input.get(key), value) for key, value in wanted.items()) for call in calls)
        return None if is_right else f"{name} was called with other inputs than it should be"

    return check


def same(found: object, wanted: object) -> bool:
    """Return whether two JSON values are the same; blank space around texts does not count."""
    if isinstance(wanted, str) and isinstance(found, str):
        return found.strip() == wanted.strip()
    if isinstance(wanted, dict) and isinstance(found, dict):
        return wanted.keys() <= found.keys() and all(same(found[key], value) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(found, list):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    return (type(found) is type(wanted) and found == wanted) or (
        is_number(found) and is_number(wanted) and found == wanted
    )


def is_number(value: object) -> bool:
    """Return whether a JSON value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def looked_at(*names: str) -> Check:
    """Each of the files was read, with whichever tool."""

    def check(happened: Happened) -> str | None:
        shown = "\n".join(call.result for call in happened.done("Read", "Bash", "Grep"))
        missing = [name for name in names if not _is_shown(happened.before[at(name)], shown)]
        return f"{missing[0]} was not read" if missing else None

    return check


def _is_shown(text: str, shown: str) -> bool:
    return any(line.strip() and line in shown for line in text.splitlines())


def acted(happened: Happened) -> str | None:
    """Any tool call worked."""
    return None if any(not call.is_error for call in happened.calls) else "no tool call worked"


def ran(command: str) -> Check:
    """A command line with these words was run, whatever came of it."""

    def check(happened: Happened) -> str | None:
        lines = [str(call.input.get("command", "")) for call in happened.calls if call.name == "Bash"]
        return None if any(command in line for line in lines) else f"{command} was not run"

    return check


def at_most(count: int, *names: str) -> Check:
    """There are no more calls than so many, of these tools or of all."""

    def check(happened: Happened) -> str | None:
        calls = [call for call in happened.calls if not names or call.name in names]
        what = f"of {', '.join(names)}" if names else "of tools"
        return None if len(calls) <= count else f"{len(calls)} calls {what}, where {count or 'none'} would do"

    return check


def at_once(count: int) -> Check:
    """So many calls came in one answer."""

    def check(happened: Happened) -> str | None:
        turns = [call.turn for call in happened.calls if not call.is_refused]
        most = max(map(turns.count, turns), default=0)
        return None if most >= count else f"at most {most} calls in one answer, where {count} were asked for"

    return check


def kept_todos(count: int) -> Check:
    """The list of todos was begun with so many, and is done."""

    def check(happened: Happened) -> str | None:
        lists = [call.input["todos"] for call in happened.done("TodoWrite")]
        if len(lists) < 2:
            return "the list of todos was not kept"
        if max(map(len, lists)) < count:
            return f"the list never had the {count} todos"
        is_done = all(todo["status"] == "completed" for todo in lists[-1])
        return None if is_done else "the last list has todos that are not completed"

    return check


def says(*words: str) -> Check:
    """The last answer has each of these words or numbers."""

    def check(happened: Happened) -> str | None:
        found = re.sub(r"(?<=\d),(?=\d{3}\b)", "", happened.words).casefold()
        missing = [word for word in words if not re.search(rf"(?<![\w]){re.escape(word.casefold())}(?![\w])", found)]
        return f"the answer lacks {missing[0]!r}" if missing else None

    return check


def never_says(*words: str) -> Check:
    """The last answer has none of these words."""

    def check(happened: Happened) -> str | None:
        found = [word for word in words if re.search(rf"\b{re.escape(word)}\b", happened.words, re.IGNORECASE)]
        return f"the answer has {found[0]!r}" if found else None

    return check


_ADMITS = re.compile(
    r"\b(?:not|cannot|can't|couldn't|could not|unable|fail(?:s|ed|ure)?|denied|read-only|didn't|wasn't|isn't|error"
    r"|missing|unsuccessful|no such|impossible)\b",
    re.IGNORECASE,
)


def admits(happened: Happened) -> str | None:
    """The last answer says that something did not work."""
    return None if _ADMITS.search(happened.words) else "the answer does not say that it did not work"


def answers(**wanted: Any) -> Check:  # noqa: ANN401 - any JSON
    """The last answer is a JSON object, in a code fence or bare, with exactly these values."""

    def check(happened: Happened) -> str | None:
        text = happened.words.strip()
        fenced = re.fullmatch(r"```(?:json)?\s*(.*?)\s*```", text, re.DOTALL)
        try:
            found = json.decode(fenced[1] if fenced else text, type=dict[str, Any])
        except (DecodeError, RecursionError):
            return "the answer is not a JSON object"
        if found.keys() != wanted.keys():
            return "the object has other fields than it should"
        return None if same(found, wanted) else "the object has other values than it should"

    return check
