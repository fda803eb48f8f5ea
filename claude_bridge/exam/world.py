"""The world of a task: what each tool call does there, and what came of all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from msgspec import Raw, Struct, json
from msgspec.structs import replace

from claude_bridge.conversion.tool_calls.arguments import accepts
from claude_bridge.conversion.tool_json.schema_check import WorkBudget
from claude_bridge.data_files import read_rows
from claude_bridge.exam.disk import ROOT, Disk, WorldError, compiled, matching
from claude_bridge.exam.shell import MemoryShell, Outcome
from claude_bridge.wire.anthropic import Tool
from claude_bridge.wire.lenient_json import read_or_none

MAX_EDITED_CHARS = 400_000
MAX_RESULT_CHARS = 30_000
"""As Claude Code cuts what a command prints."""


def _tool(name: str, row: dict[str, Any]) -> Tool:
    fields = {"properties": row["properties"], "required": row["required"]}
    schema = {"type": "object", **fields, "additionalProperties": False}
    return Tool(name=name, description=row["description"], input_schema=Raw(json.encode(schema)))


TOOLS = {name: _tool(name, row) for name, row in read_rows("exam/tools.toml").items()}
"""All tools that a task may offer."""


class AnsweredCall(Struct, frozen=True, kw_only=True):
    """A tool call and its result.

    ``is_unknown``: there is no such tool; ``is_refused``: that, or its schema refuses the inputs, so nothing was tried.
    """

    name: str
    input: dict[str, Any]
    result: str = ""
    is_error: bool = False
    is_unknown: bool = False
    is_refused: bool = False
    turn: int = 0


class Answered(NamedTuple):
    """What a tool answers."""

    text: str
    is_error: bool = False


class World:
    """Files, a shell and a todo list, which the tools of one task work on."""

    def __init__(
        self,
        files: Mapping[str, str],
        *,
        offered: Collection[str],
        prepared: Mapping[str, Outcome] | None = None,
        results: Mapping[str, str] | None = None,
        locked: Collection[str] = (),
    ) -> None:
        """``results`` is what tools answer that do nothing here, by name; ``locked`` files can't be written."""
        self.disk = Disk(files, locked=locked)
        self.before = dict(self.disk.files)
        self._shell = MemoryShell(self.disk, prepared or {})
        self._offered = offered
        self._results = results or {}
        self._read: set[str] = set()
        self._tools: dict[str, Callable[..., Answered]] = {
            "Read": self._read_file,
            "Write": self._write,
            "Edit": self._edit,
            "Bash": self._bash,
            "Glob": self._glob,
            "Grep": self._grep,
            "TodoWrite": self._todo,
        }

    def use(self, name: str, arguments: bytes, *, turn: int = 0) -> AnsweredCall:
        """Return the call with what it answered; wrong names and arguments are refused as Claude Code does."""
        inputs = read_or_none(_decode_inputs, arguments)
        call = AnsweredCall(name=name, input=inputs or {}, is_error=True, is_refused=True, turn=turn)
        if name not in self._offered:
            result = f"<tool_use_error>Error: No such tool available: {name}</tool_use_error>"
            return replace(call, result=result, is_unknown=True)
        schema = bytes(TOOLS[name].input_schema or b"")
        if inputs is None or not accepts(arguments.decode(), schema, WorkBudget()):
            needed = f"The input does not fit the schema of {name}: {schema.decode()}"
            return replace(call, result=f"<tool_use_error>InputValidationError: {needed}</tool_use_error>")
        try:
            answered = self._tools[name](**inputs) if name in self._tools else Answered(self._results.get(name, "OK"))
        except WorldError as error:
            answered = Answered(f"<tool_use_error>{error}</tool_use_error>", is_error=True)
        text = answered.text
        if len(text) > MAX_RESULT_CHARS:
            text = f"{text[:MAX_RESULT_CHARS]}\n… [{len(text) - MAX_RESULT_CHARS} characters were cut off]"
        return replace(call, result=text, is_error=answered.is_error, is_refused=False)

    def _read_file(self, file_path: str, offset: int = 1, limit: int = 2_000) -> Answered:
        try:
            text = self.disk.read(file_path)
        except WorldError:
            name = file_path.rpartition("/")[2]
            near = [file for file in self.disk.files if file.rpartition("/")[2] == name]
            hint = f" Did you mean {near[0]}?" if near else f" The working folder is {ROOT}."
            return Answered(f"File does not exist.{hint}", is_error=True)
        self._read.add(self.disk.path(file_path))
        first = max(int(offset), 1)
        lines = text.splitlines()[first - 1 : first - 1 + int(limit)]
        return Answered("\n".join(f"{number:6}\t{line}" for number, line in enumerate(lines, first)) or "(empty)")

    def _write(self, file_path: str, content: str) -> Answered:
        is_there = self.disk.path(file_path) in self.disk.files
        self._require_read(file_path, is_there=is_there)
        self.disk.write(file_path, content)
        self._read.add(self.disk.path(file_path))
        return Answered(f"File {'updated' if is_there else 'created'} successfully at: {file_path}")

    def _edit(self, file_path: str, old_string: str, new_string: str, *, replace_all: bool = False) -> Answered:
        text = self.disk.read(file_path)
        self._require_read(file_path, is_there=True)
        count = text.count(old_string) if old_string else 0
        if not count:
            raise WorldError(f"String to replace not found in file.\nString: {old_string[:500]}")
        if count > 1 and not replace_all:
            raise WorldError(f"Found {count} matches of the string to replace, but replace_all is false.")
        if old_string == new_string:
            raise WorldError("No changes to make: old_string and new_string are exactly the same.")
        if len(text) + count * len(new_string) > MAX_EDITED_CHARS:
            raise WorldError(f"{file_path}: No space left on device")
        self.disk.write(file_path, text.replace(old_string, new_string))
        return Answered(f"The file {file_path} has been updated.")

    def _require_read(self, file_path: str, *, is_there: bool) -> None:
        if is_there and self.disk.path(file_path) not in self._read:
            raise WorldError("File has not been read yet. Read it first before writing to it.")

    def _bash(self, command: str, **_: object) -> Answered:
        output = self._shell.run(command)
        for path in self.disk.files:
            if path.rpartition("/")[2] in command:
                self._read.add(path)  # `cat` has shown it too
        is_error = output.code != 0 and not (output.code == 1 and not output.text)
        text = f"Exit code {output.code}\n{output.text}" if is_error else output.text
        return Answered(text or "(No output)", is_error=is_error)

    def _glob(self, pattern: str, path: str = "") -> Answered:
        return Answered("\n".join(self.disk.glob(pattern, path or self.disk.folder)) or "No files found")

    def _grep(self, pattern: str, path: str = "", output_mode: str = "files_with_matches") -> Answered:
        files = self.disk.below(path or self.disk.folder)
        lines = [(file, line) for file in files for line in self.disk.files[file].splitlines()]
        wanted = compiled(pattern, [line for _, line in lines])
        hits = [(file, line) for file, line in lines if matching(wanted, line)]
        if output_mode == "content":
            return Answered("\n".join(f"{file}:{line}" for file, line in hits) or "No matches found")
        if output_mode == "count":
            return Answered(str(len(hits)))
        return Answered("\n".join(dict.fromkeys(file for file, _ in hits)) or "No files found")

    def _todo(self, todos: list[object]) -> Answered:
        return Answered(f"The list has {len(todos)} todos now. Go on with the next one.")


_decode_inputs = json.Decoder(dict[str, Any]).decode
