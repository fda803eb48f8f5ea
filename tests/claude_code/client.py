"""Claude Code as the tests run it: a clean home, nothing but loopback, an end that is sure to come."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import ByteReceiveStream
from msgspec import Struct

NOWHERE = "http://127.0.0.1:9"
"""A port at which nobody listens: what is not loopback ends here."""


class ClaudeCode(Struct, frozen=True, kw_only=True):
    """One installation with a home and a project that no other test has."""

    binary: Path
    home: Path
    project: Path

    def environment(self, base_url: str, **more: str) -> dict[str, str]:
        """Return the whole environment: nothing of the developer's own goes in."""
        return {
            "HOME": str(self.home),
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "TERM": "xterm-256color",
            "LANG": "C.UTF-8",
            "ANTHROPIC_BASE_URL": base_url,
            "ANTHROPIC_AUTH_TOKEN": "test",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "DISABLE_AUTOUPDATER": "1",
            "HTTP_PROXY": NOWHERE,
            "HTTPS_PROXY": NOWHERE,
            "NO_PROXY": "127.0.0.1,localhost",
            "IS_SANDBOX": "1",  # root may skip the permission questions then, as in a container
            **more,
        }

    async def ask(
        self,
        base_url: str,
        prompt: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        within_s: float = 60.0,
    ) -> Session:
        """Run one prompt to its end, with all tools allowed; raises TimeoutError."""
        return await self._run(base_url, ["-p", prompt, *arguments], [], environment or {}, within_s)

    async def converse(
        self,
        base_url: str,
        prompts: Sequence[list[dict[str, Any]]],
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        within_s: float = 60.0,
    ) -> Session:
        """Run a session of several prompts, each a list of content blocks, said when the one before it is answered."""
        user_messages = [{"type": "user", "message": {"role": "user", "content": content}} for content in prompts]
        command = ["-p", "--input-format", "stream-json", *arguments]
        return await self._run(base_url, command, user_messages, environment or {}, within_s)

    async def _run(
        self,
        base_url: str,
        arguments: Sequence[str],
        user_messages: Sequence[dict[str, Any]],
        environment: Mapping[str, str],
        within_s: float,
    ) -> Session:
        options = ["--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions"]
        async with await anyio.open_process(
            [str(self.binary), *options, *arguments],
            stdin=subprocess.PIPE if user_messages else subprocess.DEVNULL,
            cwd=self.project,
            env=self.environment(base_url, **environment),
            start_new_session=True,
        ) as process:
            events: list[dict[str, Any]] = []
            stderr: list[bytes] = []

            async def say(messages: Iterator[dict[str, Any]]) -> None:
                if process.stdin is not None:
                    message = next(messages, None)
                    if message is None:
                        await process.stdin.aclose()
                    else:
                        await process.stdin.send(json.dumps(message).encode() + b"\n")

            async def listen(messages: Iterator[dict[str, Any]]) -> None:
                await say(messages)
                async for line in _lines(process.stdout):
                    events.append(json.loads(line))
                    if events[-1]["type"] == "result":
                        await say(messages)

            async def gather() -> None:
                assert process.stderr is not None
                stderr.extend([data async for data in process.stderr])

            try:
                with anyio.fail_after(within_s):
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(listen, iter(user_messages))
                        tasks.start_soon(gather)
                    code = await process.wait()
            finally:
                end_group(process.pid)
        return Session(code=code, events=events, stderr=b"".join(stderr).decode("utf-8", "replace"))


async def _lines(stream: ByteReceiveStream | None) -> AsyncIterator[bytes]:
    """Yield the lines that are not blank."""
    assert stream is not None
    rest = b""
    async for data in stream:
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
    if rest.strip():
        yield rest


def new_installation(binary: Path, folder: Path) -> ClaudeCode:
    """Return a Claude Code with a home and a project in a folder that is not there yet or is empty."""
    home, project = folder / "home", folder / "project"
    home.mkdir(parents=True)
    project.mkdir()
    # What a user has answered once: the theme, the security notes, and that this folder is trusted.
    trusted = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
    settings = {"theme": "dark", "hasCompletedOnboarding": True, "projects": {str(project): trusted}}
    (home / ".claude.json").write_text(json.dumps(settings), encoding="utf-8")
    return ClaudeCode(binary=binary, home=home, project=project)


class Session(Struct, frozen=True, kw_only=True):
    """What Claude Code said, as its stream-json output tells it."""

    code: int
    events: list[dict[str, Any]]
    stderr: str

    @property
    def result(self) -> dict[str, Any]:
        """The last event: how it ended, the answer's text and the usage of the whole session."""
        results = [event for event in self.events if event["type"] == "result"]
        assert results, f"no result; exit code {self.code}; stderr: {self.stderr[-2000:]}"
        return results[-1]

    def blocks(self, role: str, kind: str) -> list[dict[str, Any]]:
        """Return the content blocks of one type that went by in ``assistant`` or ``user`` messages."""
        return list(_blocks(self.events, role, kind))

    def notices(self, subtype: str) -> list[dict[str, Any]]:
        """Return the system events of one subtype, such as ``api_retry``."""
        return [event for event in self.events if event["type"] == "system" and event.get("subtype") == subtype]


def _blocks(events: list[dict[str, Any]], role: str, kind: str) -> Iterator[dict[str, Any]]:
    for event in events:
        content = event["message"]["content"] if event["type"] == role else []
        for block in content if isinstance(content, list) else []:
            if block["type"] == kind:
                yield block


def end_group(pid: int) -> None:
    """End what is left of the process group that a process of ours leads."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
