"""The commands of the exam's shell: each reads and writes files in memory only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice, pairwise
from posixpath import basename, dirname
from typing import NamedTuple

from claude_bridge.exam.disk import MAX_SEARCHED_CHARS, ROOT, Disk, WorldError, compiled, matching

MAX_OUTPUT_CHARS = 200_000
MAX_READ_CHARS = 1_000_000


class CommandOutput(NamedTuple):
    """What a command printed, and its exit code."""

    text: str = ""
    code: int = 0


class Run(NamedTuple):
    """One run of a command: its one-letter options with their values, its other words, and its input."""

    disk: Disk
    options: dict[str, str]
    words: list[str]
    stdin: str

    @property
    def texts(self) -> list[tuple[str, str]]:
        """(name, text) of each file among the words, or of the input."""
        return self.read(self.words)

    def read(self, names: Sequence[str]) -> list[tuple[str, str]]:
        """Return (name, text) of each file, or of the input where none is named."""
        files = [file for name in names for file in self.disk.expand(name)]
        texts = [(file, self.disk.read(file)) for file in files] or [("-", self.stdin)]
        if sum(len(text) for _, text in texts) > MAX_READ_CHARS:
            raise WorldError("the files are too large to read in one go")
        return texts

    @property
    def lines(self) -> list[str]:
        """The lines of all texts."""
        return [line for _, text in self.texts for line in text.splitlines()]


Parts = Iterable[str]


def run_command(disk: Disk, program: str, arguments: Sequence[str], stdin: str) -> CommandOutput | None:
    """Return what a command printed; None: there is no such command."""
    if program not in COMMANDS:
        return None
    command, with_value = COMMANDS[program]
    options, words = ({}, list(arguments)) if with_value is None else _options(arguments, with_value)
    printed = command(Run(disk, options, words, stdin))
    return printed if isinstance(printed, CommandOutput) else CommandOutput(capped(printed))


def capped(parts: Parts) -> str:
    """Return the parts as one text, no longer than an output may be."""
    out: list[str] = []
    left = MAX_OUTPUT_CHARS
    for part in parts:
        out.append(part[:left])
        left -= len(part)
        if left <= 0:
            break
    return "".join(out)


def _options(arguments: Sequence[str], with_value: str) -> tuple[dict[str, str], list[str]]:
    """Return the one-letter options, those of ``with_value`` with theirs, and the other words."""
    found: dict[str, str] = {}
    others: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            others += words
        elif word.startswith("--"):
            found[word.partition("=")[0]] = word.partition("=")[2]
        elif word[:1] == "-" and word[1:].isdigit():
            found["n"] = word[1:]
        elif word[:1] == "-" and len(word) > 1:
            for at, letter in enumerate(word[1:], 2):
                if letter in with_value:
                    found[letter] = word[at:] or next(words, "")
                    break
                found[letter] = ""
        else:
            others.append(word)
    return found, others


# --- texts ----------------------------------------------------------------------------------------------------------


def _cat(run: Run) -> Parts:
    for _, text in run.texts:
        numbered = (f"{number:6}\t{line}\n" for number, line in enumerate(text.splitlines(), 1))
        yield from numbered if "n" in run.options else [text]


def _head(run: Run) -> Parts:
    for _, text in run.texts:
        yield from text.splitlines(keepends=True)[: int(run.options.get("n", "10"))]


def _tail(run: Run) -> Parts:
    count = run.options.get("n", "10")
    for _, text in run.texts:
        lines = text.splitlines(keepends=True)
        yield from lines[int(count) - 1 :] if count.startswith("+") else lines[max(0, len(lines) - int(count)) :]


def _wc(run: Run) -> Parts:
    for name, text in run.texts:
        counts = {"l": text.count("\n"), "w": len(text.split()), "c": len(text.encode())}
        kept = [str(count) for letter, count in counts.items() if not run.options or letter in run.options]
        yield f"{' '.join(kept)}{'' if name == '-' else f' {name}'}\n"


def _grep(run: Run) -> CommandOutput:
    options = run.options
    pattern, *names = [options["e"], *run.words] if "e" in options else run.words
    is_deep = bool({"r", "R"} & options.keys())
    if is_deep:
        kept = run.disk.glob(f"**/{options.get('--include', '*').strip(chr(39) + chr(34))}", "/")
        names = [file for name in names or ["."] for file in run.disk.below(name) if file in kept]
    files = run.read(names) if names or not is_deep else []
    lines = [line for _, text in files for line in text.splitlines()]
    wanted = compiled(pattern, lines, is_fixed="F" in options, ignores_case="i" in options)
    printed: list[str] = []
    for name, text in files:
        numbered = enumerate(text.splitlines(), 1)
        hits = [(number, line) for number, line in numbered if matching(wanted, line) is not ("v" in options)]
        head = f"{name}:" if (is_deep or len(files) > 1) and "h" not in options else ""
        if "l" in options:
            printed += [name] * bool(hits)
        elif "c" in options:
            printed.append(f"{head}{len(hits)}")
        elif "o" in options:
            printed += [
                f"{head}{found[0]}" for _, line in hits if (found := wanted.search(line, 0, MAX_SEARCHED_CHARS))
            ]
        else:
            printed += [f"{head}{f'{number}:' if 'n' in options else ''}{line}" for number, line in hits]
    return CommandOutput("" if "q" in options else capped(f"{line}\n" for line in printed), 0 if printed else 1)


_SED_LINES = re.compile(r"(\d+)(?:,(\d+|\$))?p")
_SED_CHANGE = re.compile(r"s(?P<mark>[/|#,])(?P<old>.*?)(?<!\\)(?P=mark)(?P<new>.*?)(?<!\\)(?P=mark)(?P<flags>[gI]*)")


def _sed(run: Run) -> Parts:
    script, *names = [run.options["e"], *run.words] if "e" in run.options else run.words
    shown = _SED_LINES.fullmatch(script.strip())
    for name, text in run.read(names):
        if "i" in run.options:
            run.disk.write(name, _changed(text, script.strip()))
        elif shown is None:
            yield _changed(text, script.strip())
        elif "n" in run.options:
            first = int(shown[1])
            last = None if shown[2] == "$" else int(shown[2] or first)
            yield from text.splitlines(keepends=True)[first - 1 : last]


def _changed(text: str, script: str) -> str:
    """Return a text after a substitution; the new part is taken as it is."""
    change = _SED_CHANGE.fullmatch(script)
    if change is None:
        raise WorldError("only s/old/new/g and -n 'N,Mp' are available")
    lines = text.splitlines(keepends=True)
    old, new = (change[part].replace(f"\\{change['mark']}", change["mark"]) for part in ("old", "new"))
    pattern = compiled(old, lines, ignores_case="I" in change["flags"])
    if len(new) > MAX_SEARCHED_CHARS:
        raise WorldError("the substitution is too large")
    count = 0 if "g" in change["flags"] else 1
    return capped(
        pattern.sub(lambda _: new, line, count=count) if len(line) <= MAX_SEARCHED_CHARS else line for line in lines
    )


def _sort(run: Run) -> Parts:
    lines = sorted(run.lines, key=_number if "n" in run.options else str, reverse="r" in run.options)
    return (f"{line}\n" for line in (dict.fromkeys(lines) if "u" in run.options else lines))


def _number(line: str) -> tuple[float, str]:
    found = re.match(r"\s*(-?\d{1,15}(?:\.\d{1,15})?)", line)
    return (float(found[1]) if found else 0.0, line)


def _cut(run: Run) -> Parts:
    wanted = [int(part) - 1 for part in run.options["f"].split(",")]
    mark = run.options.get("d", "\t")
    fields = (line.split(mark) for line in run.lines)
    return (mark.join(parts[at] for at in wanted if at < len(parts)) + "\n" for parts in fields)


def _tr(run: Run) -> Parts:
    old, *new = run.words
    if "d" in run.options:
        return [run.stdin.translate({ord(letter): None for letter in old})]
    spans = {"a-z": "abcdefghijklmnopqrstuvwxyz", "A-Z": "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
    old, to = spans.get(old, old), spans.get(new[0], new[0])
    return [run.stdin.translate(str.maketrans(old, (to + to[-1:] * len(old))[: len(old)]))]


def _echo(run: Run) -> Parts:
    flags = [word for word in run.words[:2] if word in ("-n", "-e", "-ne", "-en")]
    text = " ".join(run.words[len(flags) :])
    text = _unescaped(text) if any("e" in flag for flag in flags) else text
    return [text, "" if any("n" in flag for flag in flags) else "\n"]


def _printf(run: Run) -> Parts:
    form, *values = run.words
    for value in values:
        form = re.sub(r"%[sd]", lambda _, value=value: value, form, count=1)  # type: ignore[misc] # a default binds it
    return [_unescaped(form)]


def _unescaped(text: str) -> str:
    return text.replace("\\n", "\n").replace("\\t", "\t")


# --- files and folders ----------------------------------------------------------------------------------------------


def _ls(run: Run) -> Parts:
    for name in chain.from_iterable(run.disk.expand(name) for name in run.words or ["."]):
        if "R" in run.options:
            yield from (f"{file}\n" for file in run.disk.below(name))
        elif run.disk.path(name) in run.disk.files:
            yield f"{name}\n"
        else:
            entries = run.disk.entries(name)
            yield from (f"{entry if 'p' in run.options else entry.rstrip('/')}\n" for entry in entries)


def _find(run: Run) -> Parts:
    folder = run.words[0] if run.words and not run.words[0].startswith("-") else "."
    tests = dict(pairwise(run.words))
    if {"-exec", "-delete", "-execdir", "-ok"} & set(run.words):
        raise WorldError("-exec and -delete are not available")
    if tests.get("-type") == "d":
        return (f"{folder}/{entry.rstrip('/')}\n" for entry in run.disk.entries(folder) if entry.endswith("/"))
    wanted = run.disk.glob(f"**/{tests.get('-name', tests.get('-iname', '*'))}", folder)
    top = run.disk.path(folder)
    return (f"{folder}{file.removeprefix(top)}\n" for file in wanted)


def _cd(run: Run) -> Parts:
    folder = run.words[0] if run.words else ROOT
    if not run.disk.is_folder(folder):
        raise WorldError(f"{folder}: No such file or directory")
    run.disk.folder = run.disk.path(folder)
    return ()


def _test(run: Run) -> CommandOutput:
    kind, name = run.words[0], run.words[1].rstrip("]")
    is_file, is_folder = run.disk.path(name) in run.disk.files, run.disk.is_folder(name)
    return CommandOutput("", 0 if {"-f": is_file, "-d": is_folder}.get(kind, is_file or is_folder) else 1)


def _mkdir(run: Run) -> Parts:
    for name in run.words:
        run.disk.make_folder(name)
    return ()


def _touch(run: Run) -> Parts:
    return _append(run, "")


def _tee(run: Run) -> Parts:
    return [*_append(run, run.stdin, keeps="a" in run.options), run.stdin]


def _append(run: Run, text: str, *, keeps: bool = True) -> Parts:
    for name in run.words:
        run.disk.write(name, (run.disk.files.get(run.disk.path(name), "") if keeps else "") + text)
    return ()


def _copy(run: Run) -> Parts:
    source, target = run.words
    into = f"{target.rstrip('/')}/{basename(source)}" if run.disk.is_folder(target) else target
    run.disk.write(into, run.disk.read(source))
    return ()


def _which(run: Run) -> CommandOutput:
    found = [name for name in islice(run.words, 20) if name in COMMANDS]
    return CommandOutput("".join(f"/usr/bin/{name}\n" for name in found), 0 if found else 1)


COMMANDS: dict[str, tuple[Callable[[Run], Parts | CommandOutput], str | None]] = {
    "ls": (_ls, ""),
    "cat": (_cat, ""),
    "head": (_head, "nc"),
    "tail": (_tail, "nc"),
    "wc": (_wc, ""),
    **dict.fromkeys(("grep", "egrep"), (_grep, "eABCm")),
    "fgrep": (lambda run: _grep(run._replace(options=run.options | {"F": ""})), "eABCm"),
    "find": (_find, None),
    "sed": (_sed, "e"),
    "sort": (_sort, "kt"),
    "cut": (_cut, "dfc"),
    "tr": (_tr, ""),
    "echo": (_echo, None),
    "printf": (_printf, None),
    "tee": (_tee, ""),
    "touch": (_touch, ""),
    "mkdir": (_mkdir, ""),
    "cp": (_copy, ""),
    "cd": (_cd, None),
    "pwd": (lambda run: [run.disk.folder, "\n"], None),
    **dict.fromkeys(("test", "["), (_test, None)),
    **dict.fromkeys(("true", ":", "sleep", "wait"), (lambda _: CommandOutput(), None)),
    "false": (lambda _: CommandOutput("", 1), None),
    "basename": (lambda run: [basename(run.words[0]), "\n"], None),
    "dirname": (lambda run: [dirname(run.words[0]) or ".", "\n"], None),
    "date": (lambda _: ["Mon Nov 30 12:00:00 UTC 2026\n"], None),
    "uname": (lambda _: ["Linux\n"], None),
    "which": (_which, None),
}
"""Every command there is, with the letters of its options that take a value (None: it has no options)."""
