"""The commands of the exam's shell: each reads and writes files in memory only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice, pairwise
from posixpath import basename, dirname
from typing import NamedTuple

from claude_bridge.exam.disk import Disk, WorldError
from claude_bridge.exam.patterns import MAX_LINE_CHARS, compiled, matching

MAX_OUTPUT_CHARS = 200_000
MAX_READ_CHARS = 1_000_000


class Output(NamedTuple):
    """What a command printed, and its exit code."""

    text: str = ""
    code: int = 0


def capped(parts: Iterable[str]) -> str:
    """Return the parts as one text, no longer than an output may be."""
    out: list[str] = []
    left = MAX_OUTPUT_CHARS
    for part in parts:
        out.append(part[:left])
        left -= len(part)
        if left <= 0:
            break
    return "".join(out)


def _options(arguments: Sequence[str], with_value: str = "") -> tuple[dict[str, str], list[str]]:
    """Return the one-letter options, those of ``with_value`` with theirs, and the other words."""
    found: dict[str, str] = {}
    others: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            others += words
        elif word.startswith("--"):
            found[word.partition("=")[0]] = word.partition("=")[2]
        elif word.startswith("-") and len(word) > 1:
            if word[1:].isdigit():
                found["n"] = word[1:]
                continue
            for at, letter in enumerate(word[1:], 2):
                if letter in with_value:
                    found[letter] = word[at:] or next(words, "")
                    break
                found[letter] = ""
        else:
            others.append(word)
    return found, others


def _texts(disk: Disk, names: Sequence[str], given: str) -> list[tuple[str, str]]:
    """Return (name, text) of each file that is named, or what is read from the pipe."""
    files = [file for name in names for file in disk.expand(name)]
    texts = [(file, disk.read(file)) for file in files] or [("-", given)]
    if sum(len(text) for _, text in texts) > MAX_READ_CHARS:
        raise WorldError("the files are too large to read in one go")
    return texts


Parts = Iterable[str]


def _ls(disk: Disk, arguments: Sequence[str], _: str) -> Parts:
    options, names = _options(arguments)
    for name in chain.from_iterable(disk.expand(name) for name in names or ["."]):
        if "R" in options:
            yield from (f"{file}\n" for file in disk.below(name))
        elif disk.path(name) in disk.files:
            yield f"{name}\n"
        else:
            yield from (f"{entry.rstrip('/') if 'p' not in options else entry}\n" for entry in disk.entries(name))


def _cat(disk: Disk, arguments: Sequence[str], given: str) -> Parts:
    options, names = _options(arguments)
    for _, text in _texts(disk, names, given):
        yield from _numbered(text) if "n" in options else [text]


def _nl(disk: Disk, arguments: Sequence[str], given: str) -> Parts:
    return chain.from_iterable(_numbered(text) for _, text in _texts(disk, _options(arguments)[1], given))


def _numbered(text: str) -> Parts:
    return (f"{number:6}\t{line}\n" for number, line in enumerate(text.splitlines(), 1))


def _head(disk: Disk, arguments: Sequence[str], given: str) -> Parts:
    options, names = _options(arguments, "nc")
    for _, text in _texts(disk, names, given):
        yield "".join(text.splitlines(keepends=True)[: int(options.get("n", "10"))])


def _tail(disk: Disk, arguments: Sequence[str], given: str) -> Parts:
    options, names = _options(arguments, "nc")
    count = options.get("n", "10")
    for _, text in _texts(disk, names, given):
        lines = text.splitlines(keepends=True)
        yield "".join(lines[int(count) - 1 :] if count.startswith("+") else lines[max(0, len(lines) - int(count)) :])


def _wc(disk: Disk, arguments: Sequence[str], given: str) -> Parts:
    options, names = _options(arguments)
    for name, text in _texts(disk, names, given):
        counts = {"l": text.count("\n"), "w": len(text.split()), "c": len(text.encode())}
        shown = [str(count) for letter, count in counts.items() if not options or letter in options]
        yield f"{' '.join(shown)}{'' if name == '-' else f' {name}'}\n"


def _grep(disk: Disk, arguments: Sequence[str], given: str) -> Output:
    options, words = _options(arguments, "eABCm")
    pattern, *names = [options["e"], *words] if "e" in options else words
    is_deep = bool({"r", "R"} & options.keys())
    if is_deep:
        names = [file for name in names or ["."] for file in disk.below(name)]
        kept = options.get("--include", "*").strip("'\"")
        names = [file for file in names if file in disk.glob(f"**/{kept}", "/")]
    files = _texts(disk, names, "" if is_deep else given) if names or not is_deep else []
    lines = [line for _, text in files for line in text.splitlines()]
    wanted = compiled(pattern, lines, is_fixed="F" in options, ignores_case="i" in options)
    printed: list[str] = []
    for name, text in files:
        hits = [
            (number, line)
            for number, line in enumerate(text.splitlines(), 1)
            if matching(wanted, line) is not ("v" in options)
        ]
        head = f"{name}:" if (is_deep or len(files) > 1) and "h" not in options else ""
        if "l" in options:
            printed += [name] * bool(hits)
        elif "c" in options:
            printed.append(f"{head}{len(hits)}")
        elif "o" in options:
            printed += [f"{head}{found[0]}" for _, line in hits if (found := wanted.search(line, 0, MAX_LINE_CHARS))]
        else:
            printed += [f"{head}{f'{number}:' if 'n' in options else ''}{line}" for number, line in hits]
    is_quiet = "q" in options
    return Output("" if is_quiet else capped(f"{line}\n" for line in printed), 0 if printed else 1)


def _find(disk: Disk, arguments: Sequence[str], _: str) -> Parts:
    folder = arguments[0] if arguments and not arguments[0].startswith("-") else "."
    tests = dict(pairwise(arguments))
    if {"-exec", "-delete", "-execdir", "-ok"} & set(arguments):
        raise WorldError("-exec and -delete are not available")
    if tests.get("-type") == "d":
        return (f"{folder}/{entry.rstrip('/')}\n" for entry in disk.entries(folder) if entry.endswith("/"))
    wanted = disk.glob(f"**/{tests.get('-name', tests.get('-iname', '*'))}", folder)
    top = disk.path(folder)
    return (f"{folder}{file.removeprefix(top)}\n" for file in wanted)


_SED_LINES = re.compile(r"(\d+)(?:,(\d+|\$))?p")
_SED_CHANGE = re.compile(r"s(?P<mark>[/|#,])(?P<old>.*?)(?<!\\)(?P=mark)(?P<new>.*?)(?<!\\)(?P=mark)(?P<flags>[gI]*)")


def _sed(disk: Disk, arguments: Sequence[str], given: str) -> Parts:
    options, words = _options(arguments, "e")
    script, *names = [options["e"], *words] if "e" in options else words
    script = script.strip()
    if "i" in options:
        for name, text in _texts(disk, names, given):
            disk.write(name, _changed(text, script))
        return
    for _, text in _texts(disk, names, given):
        lines = text.splitlines(keepends=True)
        shown = _SED_LINES.fullmatch(script)
        if shown is None:
            yield _changed(text, script)
        elif "n" in options:
            first = int(shown[1])
            yield from lines[first - 1 : None if shown[2] == "$" else int(shown[2] or first)]


def _changed(text: str, script: str) -> str:
    """Return a text after a substitution; the new part is taken as it is."""
    change = _SED_CHANGE.fullmatch(script)
    if change is None:
        raise WorldError("only s/old/new/g and -n 'N,Mp' are available")
    lines = text.splitlines(keepends=True)
    mark, new = change["mark"], change["new"]
    pattern = compiled(change["old"].replace(f"\\{mark}", mark), lines, ignores_case="I" in change["flags"])
    new = new.replace(f"\\{mark}", mark)
    if len(new) > MAX_LINE_CHARS:
        raise WorldError("the substitution is too large")
    count = 0 if "g" in change["flags"] else 1
    return capped(
        pattern.sub(lambda _: new, line, count=count) if len(line) <= MAX_LINE_CHARS else line for line in lines
    )


def _sort(disk: Disk, arguments: Sequence[str], given: str) -> Parts:
    options, names = _options(arguments, "kt")
    lines = [line for _, text in _texts(disk, names, given) for line in text.splitlines()]
    lines.sort(key=_number if "n" in options else str, reverse="r" in options)
    return (f"{line}\n" for line in (dict.fromkeys(lines) if "u" in options else lines))


def _number(line: str) -> tuple[float, str]:
    found = re.match(r"\s*(-?\d{1,15}(?:\.\d{1,15})?)", line)
    return (float(found[1]) if found else 0.0, line)


def _uniq(disk: Disk, arguments: Sequence[str], given: str) -> Parts:
    options, names = _options(arguments)
    lines = [line for _, text in _texts(disk, names, given) for line in text.splitlines()]
    counts = Counter(lines)
    return (f"{f'{counts[line]:7} ' if 'c' in options else ''}{line}\n" for line in counts)


def _cut(disk: Disk, arguments: Sequence[str], given: str) -> Parts:
    options, names = _options(arguments, "dfc")
    wanted = [int(part) - 1 for part in options["f"].split(",")]
    mark = options.get("d", "\t")
    for _, text in _texts(disk, names, given):
        for line in text.splitlines():
            fields = line.split(mark)
            yield mark.join(fields[at] for at in wanted if at < len(fields)) + "\n"


def _tr(_: Disk, arguments: Sequence[str], given: str) -> Parts:
    options, (old, *new) = _options(arguments)
    if "d" in options:
        return [given.translate({ord(letter): None for letter in old})]
    spans = {"a-z": "abcdefghijklmnopqrstuvwxyz", "A-Z": "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
    old, to = spans.get(old, old), spans.get(new[0], new[0])
    return [given.translate(str.maketrans(old, (to + to[-1:] * len(old))[: len(old)]))]


def _echo(_: Disk, arguments: Sequence[str], __: str) -> Parts:
    flags = [word for word in arguments[:2] if word in ("-n", "-e", "-ne", "-en")]
    text = " ".join(arguments[len(flags) :])
    if any("e" in flag for flag in flags):
        text = text.replace("\\n", "\n").replace("\\t", "\t")
    return [text, "" if any("n" in flag for flag in flags) else "\n"]


def _printf(_: Disk, arguments: Sequence[str], __: str) -> Parts:
    form, *values = arguments
    for value in values:
        form = re.sub(r"%[sd]", lambda _, value=value: value, form, count=1)  # type: ignore[misc] # a default binds it
    return [form.replace("\\n", "\n").replace("\\t", "\t")]


def _tac(disk: Disk, arguments: Sequence[str], given: str) -> Parts:
    return (line for _, text in _texts(disk, arguments, given) for line in reversed(text.splitlines(keepends=True)))


def _cd(disk: Disk, arguments: Sequence[str], _: str) -> Parts:
    folder = arguments[0] if arguments else "/project"
    if not disk.is_folder(folder):
        raise WorldError(f"{folder}: No such file or directory")
    disk.folder = disk.path(folder)
    return ()


def _test(disk: Disk, arguments: Sequence[str], _: str) -> Output:
    kind, name = arguments[0], arguments[1].rstrip("]")
    is_file, is_folder = disk.path(name) in disk.files, disk.is_folder(name)
    return Output("", 0 if {"-f": is_file, "-d": is_folder}.get(kind, is_file or is_folder) else 1)


def _mkdir(disk: Disk, arguments: Sequence[str], _: str) -> Parts:
    for name in _options(arguments)[1]:
        disk.make_folder(name)
    return ()


def _touch(disk: Disk, arguments: Sequence[str], _: str) -> Parts:
    for name in _options(arguments)[1]:
        disk.write(name, disk.files.get(disk.path(name), ""))
    return ()


def _copy(disk: Disk, arguments: Sequence[str], _: str) -> Parts:
    source, target = _options(arguments)[1]
    into = f"{target.rstrip('/')}/{basename(source)}" if disk.is_folder(target) else target
    disk.write(into, disk.read(source))
    return ()


def _diff(disk: Disk, arguments: Sequence[str], _: str) -> Output:
    first, second = (disk.read(name).splitlines() for name in _options(arguments)[1])
    is_old, is_new = set(first), set(second)
    lines = [f"< {line}\n" for line in first if line not in is_new]
    lines += [f"> {line}\n" for line in second if line not in is_old]
    return Output(capped(lines), 0 if first == second else 1)


def _tee(disk: Disk, arguments: Sequence[str], given: str) -> Parts:
    options, names = _options(arguments)
    for name in names:
        old = disk.files.get(disk.path(name), "") if "a" in options else ""
        disk.write(name, old + given)
    return [given]


def _file(disk: Disk, arguments: Sequence[str], _: str) -> Parts:
    return (f"{name}: ASCII text, {len(text.encode())} bytes\n" for name, text in _texts(disk, arguments, ""))


def _which(_: Disk, arguments: Sequence[str], __: str) -> Output:
    found = [name for name in islice(arguments, 20) if name in COMMANDS]
    return Output("".join(f"/usr/bin/{name}\n" for name in found), 0 if found else 1)


Command = Callable[[Disk, Sequence[str], str], Parts | Output]
COMMANDS: dict[str, Command] = {
    "ls": _ls,
    "cat": _cat,
    "nl": _nl,
    "head": _head,
    "tail": _tail,
    "wc": _wc,
    "grep": _grep,
    "egrep": _grep,
    "fgrep": lambda disk, arguments, given: _grep(disk, ["-F", *arguments], given),
    "find": _find,
    "sed": _sed,
    "sort": _sort,
    "uniq": _uniq,
    "cut": _cut,
    "tr": _tr,
    "tac": _tac,
    "echo": _echo,
    "printf": _printf,
    "tee": _tee,
    "diff": _diff,
    "file": _file,
    "stat": _file,
    "touch": _touch,
    "mkdir": _mkdir,
    "cp": _copy,
    "cd": _cd,
    "pwd": lambda disk, _, __: [disk.folder, "\n"],
    "test": _test,
    "[": _test,
    "true": lambda *_: Output(),
    ":": lambda *_: Output(),
    "false": lambda *_: Output("", 1),
    "basename": lambda _, arguments, __: [basename(arguments[0]), "\n"],
    "dirname": lambda _, arguments, __: [dirname(arguments[0]) or ".", "\n"],
    "date": lambda *_: ["Mon Nov 30 12:00:00 UTC 2026\n"],
    "whoami": lambda *_: ["user\n"],
    "uname": lambda *_: ["Linux\n"],
    "sleep": lambda *_: Output(),
    "which": _which,
    "wait": lambda *_: Output(),
}
"""Every command there is; each reads and writes files in memory only."""
