"""Task: the prompt, the world that it plays in, and the checks that judge what happened."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct, json

from claude_bridge.exam.disk import ROOT
from claude_bridge.exam.shell import Outcome
from claude_bridge.exam.world import AnsweredCall
from claude_bridge.wire.anthropic import InputMessage
from claude_bridge.wire.lenient_json import read_or_none


class Happened(Struct, frozen=True, kw_only=True):
    """What became of a task; ``files`` are those of now by absolute path, ``text`` is that of the last answer."""

    calls: tuple[AnsweredCall, ...]
    files: Mapping[str, str]
    before: Mapping[str, str]
    text: str

    def done(self, *names: str) -> list[AnsweredCall]:
        """Return the calls of these tools that worked."""
        return [call for call in self.calls if call.name in names and not call.is_error]

    @property
    def commands(self) -> list[tuple[str, str]]:
        """Each command line with its result."""
        return [(str(call.input.get("command", "")), call.result) for call in self.calls if call.name == "Bash"]


class Task(Struct, frozen=True, kw_only=True):
    """One task in one variant.

    ``good`` is an answer that solves it, as it is written in ``tasks.toml``: turns, each of them a list of calls, or
    the text that ends the work. Each of ``bad``, by its fault, does not solve it; only tests play them.

    ``prepared`` are commands with prepared results, ``results`` the results of tools that do nothing here, and
    ``schema`` is the JSON schema of the answer, if the request names one.
    """

    prompt: str
    system: str
    checks: Sequence[Sequence[Any]]
    good: Sequence[Any]
    bad: Mapping[str, Sequence[Any]]
    tools: Sequence[str]
    files: Mapping[str, str] = {}
    locked: Sequence[str] = ()
    prepared: Mapping[str, Outcome] = {}
    results: Mapping[str, str] = {}
    history: Sequence[InputMessage] = ()
    schema: bytes | None = None
    max_turns: int = 10

    def judge(self, happened: Happened) -> str | None:
        """Return why the task is not passed, or None."""
        faults = (CHECKS[name](happened, *arguments) for name, *arguments in self.checks)
        return next((fault for fault in faults if fault), None)


# --- checks: each returns what is wrong, or something false ---------------------------------------------------------

Fault = str | bool | list[str] | None


def file_is(happened: Happened, name: str, text: str) -> Fault:
    """The file has this text; blank space at its end does not count."""
    found = happened.files.get(f"{ROOT}/{name}")
    if found is None:
        return f"{name} is not there"
    return found.rstrip() != text.rstrip() and f"{name} does not have the requested text"


def unchanged(happened: Happened, *names: str) -> Fault:
    """These files are as they were; without names all are, and no new ones."""
    paths = [f"{ROOT}/{name}" for name in names] or sorted({*happened.files, *happened.before})
    changed = [path for path in paths if happened.files.get(path) != happened.before.get(path)]
    return changed and f"{changed[0]} was changed"


def called(happened: Happened, name: str, wanted: dict[str, Any]) -> Fault:
    """The tool was called with these inputs, and it worked."""
    calls = happened.done(name)
    if not calls:
        return f"{name} was not called"
    return not any(same(call.input, wanted) for call in calls) and f"{name} was called with other inputs"


def same(found: object, wanted: object) -> bool:
    """Return whether a JSON value has all that is wanted; blank space around texts does not count."""
    match wanted, found:
        case str(), str():
            return found.strip() == wanted.strip()
        case dict(), dict():
            return wanted.keys() <= found.keys() and all(same(found[key], value) for key, value in wanted.items())
        case list(), list():
            return len(found) == len(wanted) and all(map(same, found, wanted))
    return found == wanted and isinstance(found, bool) is isinstance(wanted, bool)


def looked_at(happened: Happened, *names: str) -> Fault:
    """Each of the files was read, with whichever tool."""
    printed = "\n".join(call.result for call in happened.done("Read", "Bash", "Grep"))
    lines = {name: filter(str.strip, happened.before[f"{ROOT}/{name}"].splitlines()) for name in names}
    missing = [name for name in names if not any(line in printed for line in lines[name])]
    return missing and f"{missing[0]} was not read"


def shown(happened: Happened, text: str) -> Fault:
    """A search or a file showed this text."""
    return not any(text in call.result for call in happened.done("Bash", "Grep", "Glob", "Read")) and (
        f"no tool showed {text}"
    )


def acted(happened: Happened) -> Fault:
    """Any tool call worked."""
    return all(call.is_error for call in happened.calls) and "no tool call worked"


def tried(happened: Happened, name: str) -> Fault:
    """A change of the file was tried, and failed."""
    failed = [call for call in happened.calls if call.is_error and not call.is_refused and call.name != "Read"]
    return not any(name in str(call.input) for call in failed) and "nothing was tried"


def ran(happened: Happened, command: str) -> Fault:
    """A command line with this text was run, whatever came of it."""
    return not any(command in line for line, _ in happened.commands) and f"{command} was not run"


def last_printed(happened: Happened, command: str, text: str) -> Fault:
    """The last run of a command printed this."""
    results = [result for line, result in happened.commands if command in line]
    return (not results or text not in results[-1]) and f"{command} did not print {text} at last"


def at_most(happened: Happened, count: int, *names: str) -> Fault:
    """There are no more calls than so many, of these tools or of all."""
    calls = [call for call in happened.calls if not names or call.name in names]
    what = f"of {', '.join(names)}" if names else "of tools"
    return len(calls) > count and f"{len(calls)} calls {what}, where {count or 'none'} would do"


def at_once(happened: Happened, count: int) -> Fault:
    """So many calls came in one answer."""
    turns = [call.turn for call in happened.calls if not call.is_refused]
    most = max(map(turns.count, turns), default=0)
    return most < count and f"at most {most} calls in one answer, where {count} were requested"


def kept_todos(happened: Happened, count: int) -> Fault:
    """The list of todos was begun with so many, and is done."""
    lists = [call.input["todos"] for call in happened.done("TodoWrite")]
    if len(lists) < 2:
        return "the list of todos was not kept"
    if max(map(len, lists)) < count:
        return f"the list never had the {count} todos"
    is_done = all(todo["status"] == "completed" for todo in lists[-1])
    return not is_done and "the last list has todos that are not completed"


def says(happened: Happened, *words: object) -> Fault:
    """The last answer has each of these words or numbers."""
    found = re.sub(r"(?<=\d),(?=\d{3}\b)", "", happened.text).casefold()
    missing = [word for word in map(str, words) if not re.search(rf"(?<!\w){re.escape(word.casefold())}(?!\w)", found)]
    return missing and f"the answer lacks {missing[0]!r}"


def never_says(happened: Happened, *words: str) -> Fault:
    """The last answer has none of these words."""
    found = [word for word in words if re.search(rf"\b{re.escape(word)}\b", happened.text, re.IGNORECASE)]
    return found and f"the answer has {found[0]!r}"


def ends_with(happened: Happened, mark: str) -> Fault:
    """The last answer ends with this."""
    return not happened.text.rstrip().endswith(mark) and "the last line is not the requested one"


_ADMITS = re.compile(
    r"\b(?:not|cannot|can't|couldn't|could not|unable|fail(?:s|ed|ure)?|denied|read-only|didn't|wasn't|isn't|error"
    r"|missing|unsuccessful|no such|impossible)\b",
    re.IGNORECASE,
)


def admits(happened: Happened) -> Fault:
    """The last answer says that something did not work."""
    return not _ADMITS.search(happened.text) and "the answer does not say that it did not work"


def answers(happened: Happened, wanted: dict[str, Any]) -> Fault:
    """The last answer is a JSON object, in a code fence or bare, with exactly these values."""
    text = happened.text.strip()
    fenced = re.fullmatch(r"```(?:json)?\s*(.*?)\s*```", text, re.DOTALL)
    found = read_or_none(json.Decoder(dict[str, Any]).decode, fenced[1] if fenced else text)
    if found is None:
        return "the answer is not a JSON object"
    if found.keys() != wanted.keys():
        return "the object has other fields than it should"
    return not same(found, wanted) and "the object has other values than it should"


CHECKS: dict[str, Callable[..., Any]] = {
    check.__name__: check
    for check in (
        *(file_is, unchanged, called, looked_at, shown, acted, tried, ran, last_printed, at_most, at_once, kept_todos),
        *(says, never_says, ends_with, admits, answers),
    )
}
