"""The real ``bridge``: what serves in a process of its own, what only prints in this one, which takes a tenth of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from io import BytesIO, TextIOWrapper
from unittest import mock

import anyio
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.text import TextReceiveStream
from msgspec import Struct

from claude_bridge.cli import main
from tests.cli.forked import IS_POSSIBLE, ForkedProcess

LIMIT_S = 60.0
"""How long anything may take here; machines are busy."""


class Finished(Struct):
    """What became of a process."""

    code: int
    stdout: str
    stderr: str


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a clean environment: no keys, no colours, and lines that are not broken."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME", "TMPDIR") if name in os.environ}
    # An empty configuration, whatever the developer has.
    return {**kept, "COLUMNS": "300", "NO_COLOR": "1", "BRIDGE_CONFIG": os.devnull, **(extra or {})}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "claude_bridge", *arguments]


def bare_start_s() -> float:
    """Return how long Python alone takes to start and to end: a measure of how busy the machine is."""
    started_at = time.monotonic()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.monotonic() - started_at


async def run_bridge(*arguments: str, env: Mapping[str, str] | None = None, given: str = "") -> Finished:
    """Run a command to its end, as the program does, in a thread of this process; ``serve`` in a process of its own.

    ``given`` is what it can read on standard input.
    """
    if arguments[0] == "serve":  # its early port is served by a thread that only the end of the process ends
        return await run_process(*arguments, env=env)
    with anyio.fail_after(LIMIT_S):
        return await anyio.to_thread.run_sync(run_here, arguments, environment(env), given, abandon_on_cancel=True)


def run_here(arguments: Sequence[str], variables: Mapping[str, str], given: str = "") -> Finished:
    """Run a command to its end in this thread, with these variables and without a terminal."""
    stdin, stdout, stderr = (TextIOWrapper(BytesIO(data), encoding="utf-8") for data in (given.encode(), b"", b""))
    with (
        mock.patch.dict(os.environ, variables, clear=True),
        mock.patch.multiple(sys, argv=["bridge", *arguments], stdin=stdin, stdout=stdout, stderr=stderr),
    ):
        try:
            main()
            code: int | str | None = 0
        except SystemExit as end:
            code = end.code
    texts = []
    for stream in (stdout, stderr):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode())
    return Finished(code if isinstance(code, int) else int(code is not None), *texts)


async def run_process(*arguments: str, env: Mapping[str, str] | None = None) -> Finished:
    """Run a command to its end in a process of its own."""
    texts = ["", ""]

    async def read(at: int, stream: ByteReceiveStream) -> None:
        async for text in TextReceiveStream(stream):
            texts[at] += text

    process = await _start(arguments, environment(env))
    try:
        with anyio.fail_after(LIMIT_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read, 0, _given(process.stdout))
                tasks.start_soon(read, 1, _given(process.stderr))
            return Finished(await process.wait(), *texts)
    finally:
        await process.aclose()


async def _start(
    arguments: Sequence[str], env: Mapping[str, str], *, is_forked: bool = IS_POSSIBLE
) -> Process | ForkedProcess:
    """Start a command in a process of its own, without a terminal."""
    if is_forked:
        return await ForkedProcess.start(arguments, env)
    return await anyio.open_process(command(*arguments), env=env, stdin=subprocess.DEVNULL, start_new_session=True)


def _given(stream: ByteReceiveStream | None) -> ByteReceiveStream:
    assert stream is not None
    return stream


class Running:
    """A bridge that serves."""

    def __init__(self, process: Process | ForkedProcess, url: str, started_at: float) -> None:
        self.url = url
        self.pid = process.pid
        self.started_at = started_at
        self.reported = ""
        """What it has said on stderr."""
        self._process = process
        self._stderr = TextReceiveStream(_given(process.stderr))

    async def says(self, words: str) -> None:
        """Wait until the words are on stderr."""
        with anyio.fail_after(LIMIT_S):
            while words not in self.reported:
                self.reported += await self._stderr.receive()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def end(self) -> int:
        """Wait for the end of the process and return its exit code."""
        with anyio.fail_after(LIMIT_S):
            async for more in self._stderr:
                self.reported += more
            return await self._process.wait()


@asynccontextmanager
async def serving(
    *arguments: str, env: Mapping[str, str] | None = None, is_forked: bool = IS_POSSIBLE
) -> AsyncIterator[Running]:
    """Start ``bridge serve`` on a free port, and wait until it listens."""
    started_at = time.monotonic()
    # A folder without a configuration of the user's own.
    with tempfile.TemporaryDirectory() as home:
        variables = environment({"HOME": home, **(env or {})})
        process = await _start(["serve", *arguments, "--port", "0"], variables, is_forked=is_forked)
        try:
            yield Running(process, await _address(process), started_at)
        finally:
            if process.returncode is None:
                process.kill()
            with anyio.CancelScope(shield=True):
                await process.aclose()


async def _address(process: Process | ForkedProcess) -> str:
    line = ""
    with anyio.fail_after(LIMIT_S):
        async for more in TextReceiveStream(_given(process.stdout)):
            line += more
            if line.endswith("\n"):
                break
    assert line.startswith("listening on http://127.0.0.1:"), line
    return line.removeprefix("listening on ").strip()
