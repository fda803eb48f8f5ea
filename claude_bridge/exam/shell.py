"""What ``Bash`` is in the exam: lists and pipes of some commands on files in memory. Nothing runs on the machine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from posixpath import basename
from typing import NamedTuple

from claude_bridge.exam.disk import ROOT, Disk, WorldError
from claude_bridge.exam.shell_commands import MAX_OUTPUT_CHARS, CommandOutput, run_command

MAX_COMMAND_CHARS = 20_000
MAX_COMMANDS = 30
"""In one call, pipes included."""

MAX_HEREDOCS = 10

_HEREDOC = re.compile(r"<<-?[ \t]*(['\"]?)(\w+)\1([^\n]*)\n(.*?)\n?^[ \t]*\2[ \t]*$", re.DOTALL | re.MULTILINE)
_NO_STDERR = re.compile(r"[ \t]*(?:2>&1|2>[ \t]*/dev/null|<[ \t]*/dev/null)")
_OPERATORS = "|&;<>\n"
_LISTS, _PIPES = ("&&", "||", ";", "&"), ("|", "|&")
_SEPARATORS = (*_LISTS, *_PIPES)


class Outcome(NamedTuple):
    """What a prepared command prints: ``passed`` (empty: never) once the files in ``needs`` hold these texts."""

    passed: str = ""
    failed: str = ""
    needs: tuple[tuple[str, str], ...] = ()

    def of(self, disk: Disk) -> CommandOutput:
        """Return what it prints now."""
        found = [text in disk.files.get(f"{ROOT}/{name}", "") for name, text in self.needs]
        is_passed = bool(self.passed) and all(found)
        return CommandOutput(self.passed) if is_passed else CommandOutput(self.failed, 1)


class MemoryShell:
    """Runs command lines on a disk."""

    def __init__(self, disk: Disk, prepared: Mapping[str, Outcome]) -> None:
        """``prepared`` are more commands, by name; ``pytest`` stands for ``python -m pytest`` too."""
        self.disk = disk
        self._prepared = prepared

    def run(self, line: str) -> CommandOutput:
        """Return what a command line prints, with the exit code of its last command."""
        if len(line) > MAX_COMMAND_CHARS:
            return CommandOutput("bash: the command is too long", 2)
        here: list[str] = []
        if line.count("<<") > MAX_HEREDOCS:
            return CommandOutput("bash: too many here-documents", 2)
        line = _HEREDOC.sub(lambda found: f"<<{_kept(here, found[4])} {found[3]}", line)
        try:
            words = _words(_NO_STDERR.sub("", line))
        except ValueError as error:
            return CommandOutput(f"bash: syntax error: {error}", 2)
        if sum(word in _SEPARATORS for word in words) >= MAX_COMMANDS:
            return CommandOutput("bash: too many commands", 2)
        printed: list[str] = []
        last, before = CommandOutput(), ";"
        for operator, pipeline in _split(words, _LISTS):
            if pipeline and (before not in ("&&", "||") or (before == "&&") == (last.code == 0)):
                last = self._pipeline(pipeline, here)
                printed.append(last.text if last.text.endswith("\n") or not last.text else f"{last.text}\n")
            before = operator
        return CommandOutput("".join(printed)[:MAX_OUTPUT_CHARS].rstrip("\n"), last.code)

    def _pipeline(self, words: Sequence[str], here: Sequence[str]) -> CommandOutput:
        last = CommandOutput()
        for _, command in _split(words, _PIPES):
            last = self._command(command, last.text, here)
        return last

    def _command(self, words: Sequence[str], stdin: str, here: Sequence[str]) -> CommandOutput:
        """Run one command with what it reads, and put what it prints where its redirections say."""
        plain: list[str] = []
        target, appends = "", False
        items = iter(words)
        try:
            for word in items:
                if word.strip("0123456789&") in (">", ">>"):
                    target, appends = next(items, ""), ">>" in word
                elif word == "<":
                    stdin = self.disk.read(next(items, ""))
                elif word == "<<":
                    stdin = here[int(next(items))]
                else:
                    plain.append(word)
            output = self._run(plain, stdin)
            if target and target != "/dev/null":
                old = self.disk.files.get(self.disk.path(target), "") if appends else ""
                self.disk.write(target, old + output.text)
        except WorldError as error:
            return CommandOutput(f"{plain[0] if plain else 'bash'}: {error}\n", 1)
        except (ValueError, IndexError, OverflowError):
            return CommandOutput(f"{plain[0] if plain else 'bash'}: invalid arguments\n", 2)
        return CommandOutput("", output.code) if target else output

    def _run(self, words: Sequence[str], stdin: str) -> CommandOutput:
        name, *arguments = words or ("true",)
        program = basename(name)
        if program in ("python", "python3") and arguments[:1] == ["-m"]:
            program, *arguments = arguments[1:] or [""]
        if program in self._prepared:
            return self._prepared[program].of(self.disk)
        output = run_command(self.disk, program, arguments, stdin)
        return CommandOutput(f"bash: {name[:200]}: command not found\n", 127) if output is None else output


def _kept(here: list[str], text: str) -> int:
    here.append(f"{text}\n")
    return len(here) - 1


def _words(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=_OPERATORS)
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True
    lexer.commenters = ""
    return [word.strip("\n") or ";" if set(word) <= set(_OPERATORS) and word else word for word in lexer]


def _split(words: Sequence[str], operators: Sequence[str]) -> Iterable[tuple[str, list[str]]]:
    """Yield (operator behind it, words) of each command."""
    command: list[str] = []
    for word in words:
        if word in operators:
            yield word, command
            command = []
        else:
            command.append(word)
    yield "", command
