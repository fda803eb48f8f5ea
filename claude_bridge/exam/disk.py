"""The files of a task: names and texts in memory, and searches in them that end. Nothing here knows the machine's."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from math import factorial
from posixpath import basename, dirname, join, normpath

ROOT = "/project"
MAX_FILE_CHARS = 200_000
MAX_CHARS = 2_000_000
MAX_FILES = 200
MAX_NAME_CHARS = 1_000

MAX_PATTERN_CHARS = 300
MAX_SEARCHED_CHARS = 2_000
"""Of a longer line, only so much is searched."""

MAX_STEPS = 20_000_000
"""Some tenths of a second of Python's own engine."""

_ESCAPED = re.compile(r"\\.", re.DOTALL)
_GROUP_IS_REPEATED = re.compile(r"\)[*+{]")
_REPEATS = re.compile(r"[*+{]")
_CHOICES = re.compile(r"[?|]")
_UNKNOWN = re.compile(r"\(\?(?!:|i\))|\\[1-9]")
_CLASSES = {"alpha": "A-Za-z", "digit": "0-9", "space": r"\s", "alnum": "A-Za-z0-9", "upper": "A-Z", "lower": "a-z"}


class WorldError(Exception):
    """What a tool or a command answers in place of a result."""


class Disk:
    """Files by absolute path, and a working folder. A folder is there as long as a file is in it, or it was made."""

    def __init__(self, files: Mapping[str, str], *, locked: Collection[str] = ()) -> None:
        """``files`` are named from ROOT; those in ``locked`` can't be written."""
        self.files = {join(ROOT, name): text for name, text in files.items()}
        self.folder = ROOT
        self._locked = {join(ROOT, name) for name in locked}
        self._made = {"/", ROOT}

    def path(self, name: str) -> str:
        """Return the absolute path; `..` ends at the root of this disk."""
        if len(name) > MAX_NAME_CHARS:
            raise WorldError(f"{name[:40]}…: File name too long")
        return normpath("/" + join(self.folder, name).lstrip("/"))

    def read(self, name: str) -> str:
        """Return the text of a file."""
        path = self.path(name)
        if path in self.files:
            return self.files[path]
        raise WorldError(f"{name}: Is a directory" if self.is_folder(path) else f"{name}: No such file or directory")

    def write(self, name: str, text: str) -> None:
        """Make or replace a file."""
        path = self.path(name)
        if path in self._locked:
            raise WorldError(f"{name}: Permission denied: the file is read-only")
        if self.is_folder(path):
            raise WorldError(f"{name}: Is a directory")
        others = [len(other) for file, other in self.files.items() if file != path]
        if len(text) > MAX_FILE_CHARS or len(text) + sum(others) > MAX_CHARS or len(others) >= MAX_FILES:
            raise WorldError(f"{name}: No space left on device")
        self.files[path] = text

    def make_folder(self, name: str) -> None:
        """Make a folder and those above it."""
        path = self.path(name)
        while path not in self._made and len(self._made) < MAX_FILES:
            self._made.add(path)
            path = dirname(path)

    def is_folder(self, name: str) -> bool:
        """Return whether there is such a folder."""
        path = self.path(name)
        return path in self._made or any(file.startswith(path.rstrip("/") + "/") for file in self.files)

    def below(self, name: str) -> list[str]:
        """Return the paths of all files in a folder and its folders, or of the file itself."""
        path = self.path(name)
        if path in self.files:
            return [path]
        if not self.is_folder(path):
            raise WorldError(f"{name}: No such file or directory")
        return sorted(file for file in self.files if file.startswith(path.rstrip("/") + "/"))

    def entries(self, name: str) -> list[str]:
        """Return the names in a folder; those of folders end in a slash."""
        path = self.path(name).rstrip("/") + "/"
        inside = [*self.below(name), *(f"{made}/" for made in self._made if made.startswith(path) and made != path)]
        names = [file.removeprefix(path).partition("/") for file in inside]
        return sorted({first + slash for first, slash, _ in names if first})

    def expand(self, word: str) -> list[str]:
        """Return the files that a word with wildcards means, else the word itself."""
        if not any(mark in word for mark in "*?["):
            return [word]
        folder = dirname(word)
        found = self.glob(basename(word), folder) if self.is_folder(folder) else []
        return [join(folder, basename(file)) for file in found] or [word]

    def glob(self, pattern: str, folder: str) -> list[str]:
        """Return the files in a folder that fit a pattern such as ``**/*.py``."""
        top = self.path(folder).rstrip("/") + "/"
        pattern = pattern.removeprefix(top)
        wanted = pattern.replace("**/", "")
        names = [(file, file.removeprefix(top)) for file in self.below(folder)]
        if wanted == pattern:
            return [file for file, name in names if fnmatchcase(name, wanted) and name.count("/") == wanted.count("/")]
        return [file for file, name in names if fnmatchcase(name, wanted) or fnmatchcase(name, f"*/{wanted}")]


# --- searches -------------------------------------------------------------------------------------------------------


def compiled(pattern: str, lines: list[str], *, is_fixed: bool = False, ignores_case: bool = False) -> re.Pattern[str]:
    """Return the pattern, if a search in all these lines ends soon; one that can't be read stands for itself.

    Raises:
        WorldError: the search could take long.
    """
    flags = re.IGNORECASE if ignores_case else 0
    literal = re.compile(re.escape(pattern[:MAX_PATTERN_CHARS]), flags)
    if is_fixed:
        return literal
    pattern = pattern.replace(r"\|", "|")  # as grep writes it
    for name, inside in _CLASSES.items():
        pattern = pattern.replace(f"[:{name}:]", inside)
    plain = _ESCAPED.sub("e", pattern)
    repeats, choices = len(_REPEATS.findall(plain)), len(_CHOICES.findall(plain))
    longest = min(max(map(len, lines), default=0), MAX_SEARCHED_CHARS)
    steps = (longest + 1.0) ** min(repeats + 1, 9) / factorial(min(repeats + 1, 9)) * 2.0**choices * len(lines)
    is_complex = _GROUP_IS_REPEATED.search(plain) or _UNKNOWN.search(pattern) or steps > MAX_STEPS
    if is_complex or len(pattern) > MAX_PATTERN_CHARS:
        raise WorldError("the pattern is too complex")
    try:
        return re.compile(pattern, flags)
    except (re.error, OverflowError, RecursionError):
        return literal


def matching(pattern: re.Pattern[str], line: str) -> bool:
    """Return whether the pattern is in the line, as far as it is searched."""
    return pattern.search(line, 0, MAX_SEARCHED_CHARS) is not None
