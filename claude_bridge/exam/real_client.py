"""Runs tasks with the real Claude Code, in a throw-away home and folder. What the model writes does run here.

Claude Code's own permission rules hold its tools to the folder: without a rule that allows it, nothing may be done in
``-p``. The commands that a task prepares are small programs in a folder of their own.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread
from msgspec import DecodeError, json
from msgspec.structs import replace

from claude_bridge.app.claude_program import LITE_ENVIRONMENT, client_command, find_claude_code
from claude_bridge.app.client_environment import client_environment
from claude_bridge.app.running import RunningBridge
from claude_bridge.app.session import Session, decide_lite
from claude_bridge.exam.asking import AnswerFigures
from claude_bridge.exam.catalog import Kind
from claude_bridge.exam.disk import MAX_FILE_CHARS, MAX_FILES, ROOT
from claude_bridge.exam.results import Result, Settings, TranscriptLine, result_of
from claude_bridge.exam.shell_commands import COMMANDS
from claude_bridge.exam.task import Happened, Task
from claude_bridge.exam.world import AnsweredCall
from claude_bridge.providers import Upstream
from claude_bridge.wire.admin_api import Figures

LIMIT_S = 360.0
MAX_OUTPUT_BYTES = 20_000_000

_NOT_ALLOWED = frozenset({"tee", "sed", "find", "cp", "touch", "mkdir", "cd", ":", "[", "fgrep", "egrep"})
"""Commands that write files, or that start others: the edits of the tasks need none of them."""

_PREPARED = """#!{python}
import sys
files = {files!r}
def holds(name, text):
    try:
        return text in open(name, encoding="utf-8").read()
    except OSError:
        return False
is_passed = bool({passed!r}) and all(holds(name, text) for name, text in files)
print({passed!r} if is_passed else {failed!r})
sys.exit(0 if is_passed else 1)
"""


async def take_with_client(
    settings: Settings, bridge: RunningBridge, upstream: Upstream, *, done: Collection[tuple[str, int]] = ()
) -> AsyncGenerator[Result, None]:
    """Yield the result of each task that Claude Code can do and that is not ``done``.

    Raises:
        SetupError: it is not installed, or the window is too small for it.
    """
    program = find_claude_code()
    is_lite = decide_lite(Session(program=program), upstream.window_tokens)
    for kind, run in settings.left(done):
        with tempfile.TemporaryDirectory(prefix="bridge-exam-", ignore_cleanup_errors=True) as folder:
            place = _TaskFolders(folder, kind.task(settings.seed, run))
            await to_thread.run_sync(place.prepare)
            command, environment = place.command(program, bridge, upstream, is_lite=is_lite)
            yield await _run_task(kind, run, place, command, environment, bridge)


class _TaskFolders:
    """The folders of one task: a home, the project, and the prepared commands."""

    def __init__(self, named: str, task: Task) -> None:
        folder = Path(named).resolve()
        self.task = task
        self.project = folder / "project"
        self._home, self._programs, self._modules = folder / "home", folder / "bin", folder / "lib"
        self._settings = folder / "settings.json"

    def prepare(self) -> None:
        """Make the folders and what is in them."""
        for folder in (self.project, self._home, self._programs, self._modules):
            folder.mkdir()
        for name, text in self.task.files.items():
            path = self.project / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        for name, outcome in self.task.prepared.items():
            script = _PREPARED.format(
                python=sys.executable, files=outcome.needs, passed=outcome.passed, failed=outcome.failed
            )
            places = [self._programs / name, self._modules / f"{name}.py"]
            for path in places + [self.project / name] * name.endswith(".sh"):
                _write_program(path, script)
        for name in ("python", "python3"):  # by this one `python -m pytest` is the prepared command
            _write_program(self._programs / name, f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
        trusted = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
        known = {"theme": "dark", "hasCompletedOnboarding": True, "projects": {str(self.project): trusted}}
        (self._home / ".claude.json").write_bytes(json.encode(known))

    def command(
        self, program: str, bridge: RunningBridge, upstream: Upstream, *, is_lite: bool
    ) -> tuple[list[str], dict[str, str]]:
        """Return how to start Claude Code, and its whole environment: nothing of the user's own goes in."""
        served = replace(bridge.listening.served(upstream), outside={})
        ours = client_environment(served) | (LITE_ENVIRONMENT if is_lite else {})
        names = sorted({*COMMANDS, "python -m pytest", "python3 -m pytest"} - _NOT_ALLOWED)
        prepared = [*self.task.prepared, *(f"./{name}" for name in self.task.prepared)]
        permissions = {
            "allow": ["Read(./**)", "Edit(./**)", "Write(./**)", *(f"Bash({name}:*)" for name in [*names, *prepared])],
            "deny": ["WebFetch", "WebSearch", *(f"Edit(./{name})" for name in sorted(self.task.locked))],
        }
        rules = json.encode({"permissions": permissions}).decode()
        client = client_command(["--settings", rules], environment=ours, is_lite=is_lite, has_status_line=True)
        self._settings.write_bytes(json.encode(client.settings))
        command = [program, *client.options, "--settings", str(self._settings), *client.arguments]
        command += ["--append-system-prompt", self._real(self.task.system), "--output-format", "stream-json"]
        kept = {name: os.environ[name] for name in ("LANG", "SYSTEMROOT") if name in os.environ}
        search = os.pathsep.join((str(self._programs), os.environ.get("PATH", os.defpath)))
        own = {"HOME": str(self._home), "USERPROFILE": str(self._home), "TMPDIR": str(self._home), "PATH": search}
        own |= {"PYTHONPATH": str(self._modules), "TERM": "dumb", "IS_SANDBOX": "1"}
        return [*command, "--verbose", "-p", self._real(self.task.prompt)], {**kept, **own, **ours}

    def _real(self, text: str) -> str:
        return text.replace(ROOT, str(self.project))

    def plain(self, value: Any) -> Any:  # noqa: ANN401 - any JSON
        """Return a JSON value with the project's paths as the tasks have them."""
        if isinstance(value, str):
            return value.replace(str(self.project), ROOT)
        if isinstance(value, dict):
            return {key: self.plain(inner) for key, inner in value.items()}
        return [self.plain(inner) for inner in value] if isinstance(value, list) else value

    def files(self) -> dict[str, str]:
        """Return the project's files as they are now; links are not followed."""
        found: dict[str, str] = {}
        ours = {name for name in self.task.prepared if name not in self.task.files}
        for folder, _, names in os.walk(self.project):
            for name in names:
                path = Path(folder) / name
                if path.is_symlink() or name in ours or len(found) >= MAX_FILES:
                    continue
                with path.open(encoding="utf-8", errors="replace") as file:
                    found[f"{ROOT}/{path.relative_to(self.project).as_posix()}"] = file.read(MAX_FILE_CHARS)
        return found


def _write_program(path: Path, script: str) -> None:
    path.write_text(script, encoding="utf-8")
    path.chmod(0o700)


async def _run_task(
    kind: Kind, run: int, place: _TaskFolders, command: list[str], environment: Mapping[str, str], bridge: RunningBridge
) -> Result:
    started_at = time.monotonic()
    seen = _SeenEvents(place)
    fault: str | None = f"not done within {LIMIT_S:.0f} s"
    with anyio.move_on_after(LIMIT_S):
        async for event in _events(command, environment, place.project):
            seen.take(event)
        fault = None
    files = await to_thread.run_sync(place.files)
    before = {f"{ROOT}/{name}": text for name, text in place.task.files.items()}
    happened = Happened(calls=tuple(seen.calls), files=files, before=before, text=seen.words)
    fault = fault or seen.error or place.task.judge(happened)
    session = bridge.service.stats.report(running=0).sessions.get(seen.session)
    sums = session.figures if session is not None else Figures()
    figures = AnswerFigures(
        prompt_tokens=sums.prompt_tokens,
        cached_tokens=sums.cached_tokens if sums.cache_reported_prompt_tokens else None,
        output_tokens=sums.output_tokens,
        thinking_tokens=sums.thinking_tokens,
        output_s=sums.output_s or None,
        first_token_s=sums.first_token.total_s / sums.first_token.count if sums.first_token.count else None,
        cost_usd=None if sums.of_unknown_cost else sums.cost_usd,
        calls=len(seen.calls),
        repaired=sums.repairs,
    )
    seconds = time.monotonic() - started_at
    return result_of(
        kind,
        run,
        fault,
        seconds=seconds,
        answers=[figures],
        unknown_tools=sum(call.is_unknown for call in seen.calls),
        limits=int(seconds >= LIMIT_S),
        transcript=[TranscriptLine("user", place.task.prompt), *seen.lines],
    )


class _SeenEvents:
    """What Claude Code's stream of events has shown so far."""

    def __init__(self, place: _TaskFolders) -> None:
        self.calls: list[AnsweredCall] = []
        self.lines: list[TranscriptLine] = []
        self.words = ""
        self.error: str | None = "Claude Code ended without a result"
        self.session = ""
        self._place = place
        self._turns: dict[str, int] = {}
        self._open: dict[str, tuple[str, dict[str, Any], int]] = {}

    def take(self, event: Mapping[str, Any]) -> None:
        """Keep what is of interest in an event."""
        self.session = str(event.get("session_id") or self.session)
        message = event.get("message")
        if event.get("type") == "result":
            self.words = self._place.plain(str(event.get("result", "")))
            self.error = self.words[:300] if event.get("is_error") else None
        elif isinstance(message, dict) and isinstance(message.get("content"), list):
            turn = self._turns.setdefault(str(message.get("id")), len(self._turns))
            for block in message["content"]:
                self._take_block(self._place.plain(block), turn)

    def _take_block(self, block: Mapping[str, Any], turn: int) -> None:
        match block.get("type"):
            case "text" | "thinking" as kind:
                self.lines.append(TranscriptLine(kind, str(block.get(kind, ""))))
            case "tool_use":
                self._open[str(block["id"])] = (str(block["name"]), dict(block["input"]), turn)
                self.lines.append(TranscriptLine("call", f"{block['name']} {json.encode(block['input']).decode()}"))
            case "tool_result":
                name, arguments, turn = self._open.pop(str(block.get("tool_use_id")), ("?", {}, turn))
                content = block.get("content")
                parts = content if isinstance(content, list) else [{"text": content or ""}]
                text = "".join(str(part.get("text", "")) for part in parts)
                is_error, is_unknown = bool(block.get("is_error")), "No such tool available" in text
                is_refused = is_unknown or "InputValidationError" in text
                self.lines.append(TranscriptLine("error" if is_error else "result", text))
                call = AnsweredCall(name=name, input=arguments, result=text, is_error=is_error, turn=turn)
                self.calls.append(replace(call, is_unknown=is_unknown, is_refused=is_refused))


async def _events(command: list[str], environment: Mapping[str, str], folder: Path) -> AsyncIterator[dict[str, Any]]:
    """Yield the events that Claude Code prints; it ends with the context, and so does all that it started."""
    is_posix, silent = sys.platform != "win32", subprocess.DEVNULL
    process = await anyio.open_process(
        command, stdin=silent, stderr=silent, cwd=folder, env=environment, start_new_session=is_posix
    )
    try:
        assert process.stdout is not None, "it is a pipe"
        rest, count = b"", 0
        async for data in process.stdout:
            count += len(data)
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                with suppress(DecodeError):
                    yield json.decode(line, type=dict[str, Any])
            if count > MAX_OUTPUT_BYTES:
                break
    finally:
        with suppress(ProcessLookupError):
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
        with anyio.CancelScope(shield=True):
            await process.aclose()
