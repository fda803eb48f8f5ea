"""Processes that listen on a port: start them, pin them, watch their CPU time and memory, and end them by their id."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.buffered import BufferedByteReceiveStream
from msgspec import Struct

START_LIMIT_S = 30.0
END_LIMIT_S = 5.0
OPEN_FILES = 4096

HERE = Path(__file__).parent
UPSTREAM_COMMAND = (sys.executable, str(HERE / "scripted_upstream.py"))

_LISTENING = re.compile(rb"listening on http://127\.0\.0\.1:(\d+)")


def bridge_command(upstream_port: int, model: str) -> tuple[str, ...]:
    """Return the command of a real bridge before the upstream."""
    base_url = f"http://127.0.0.1:{upstream_port}/v1"
    return (sys.executable, "-m", "claude_bridge", "serve", "openai", model, "--base-url", base_url, "--port", "0")


class Pinning(Struct, frozen=True):
    """Which CPU each one runs on; None leaves it to the system."""

    client: int | None = None
    upstream: int | None = None
    bridge: int | None = None


def choose_pinning() -> Pinning:
    """Give the bridge a CPU of its own; client and upstream share one where there are only two."""
    if sys.platform != "linux":
        return Pinning()
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        return Pinning()
    return Pinning(client=cpus[0], upstream=cpus[0] if len(cpus) == 2 else cpus[1], bridge=cpus[-1])


def pin(pid: int, cpu: int | None) -> None:
    """Keep a process (0: this one) on one CPU, where the system can."""
    if sys.platform == "linux" and cpu is not None:
        os.sched_setaffinity(pid, {cpu})


def raise_open_files() -> None:
    """Let this process and its children have a connection for each of some hundred streams: macOS starts at 256."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Listening(Struct, frozen=True):
    """A process that said where it listens; ``started_s`` is the monotonic time just before it was started."""

    pid: int
    port: int
    started_s: float


@asynccontextmanager
async def open_process(command: Sequence[str], cpu: int | None) -> AsyncIterator[Listening]:
    """Start a process that prints ``listening on http://127.0.0.1:PORT``, and end it with the context.

    Raises:
        RuntimeError: it ended or said nothing; the text holds what it wrote to stderr.
    """
    with tempfile.TemporaryFile() as errors:
        started_s = time.monotonic()
        # A session of its own: Ctrl-C reaches only the benchmark, which ends its processes in order.
        process = await anyio.open_process(
            command, stdin=subprocess.DEVNULL, stderr=errors, env=_environment(), start_new_session=True
        )
        try:
            pin(process.pid, cpu)
            assert process.stdout is not None, "it is a pipe"
            port = await _read_port(process.stdout)
            if port is None:
                errors.seek(0)
                said = errors.read()[-2000:].decode(errors="replace")
                raise RuntimeError(f"{' '.join(command)} did not say where it listens. It said: {said}")
            yield Listening(pid=process.pid, port=port, started_s=started_s)
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process)


async def _read_port(output: ByteReceiveStream) -> int | None:
    lines = BufferedByteReceiveStream(output)
    with suppress(anyio.EndOfStream, anyio.IncompleteRead, TimeoutError), anyio.fail_after(START_LIMIT_S):
        while True:
            if found := _LISTENING.search(await lines.receive_until(b"\n", 10_000)):
                return int(found[1])
    return None


async def _end(process: Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    with anyio.move_on_after(END_LIMIT_S):
        await process.wait()
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.kill()
    await process.aclose()


def _environment() -> dict[str, str]:
    """Return ours without what could send the traffic elsewhere, or a key with it, or compile all at every start."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not (
            name.lower().endswith("_proxy")
            or name.endswith("_API_KEY")
            or name.startswith("BRIDGE_")
            or name == "PYTHONDONTWRITEBYTECODE"
        )
    }
    return {**kept, "BRIDGE_CONFIG": os.devnull}


def pin_children(pid: int, cpu: int | None) -> None:
    """Move the children of a process to another CPU, where the system can."""
    if sys.platform == "linux":
        for child in _family(pid)[1:]:
            pin(child, cpu)


def read_cpu_s(pid: int) -> tuple[float, float]:
    """Return the CPU seconds that a process has used, and those of its children."""
    if sys.platform == "linux":
        # The clock of another process (clock_getcpuclockid(3)) counts nanoseconds, /proc/PID/stat hundredths.
        own_s, *children_s = [time.clock_gettime(~one << 3 | 2) for one in _family(pid)]
    else:
        own_s, *children_s = [cpu_s for _, cpu_s in _ps(pid)]
    return own_s, sum(children_s)


def read_memory_mb(pid: int) -> float:
    """Return the resident memory of a process and its children, in 10^6 bytes."""
    if sys.platform == "linux":
        pages = sum(int(Path(f"/proc/{child}/statm").read_text().split()[1]) for child in _family(pid))
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    return sum(memory_mb for memory_mb, _ in _ps(pid))


def _family(pid: int) -> list[int]:
    family = [pid]
    for parent in family:  # grows while it is walked
        for thread in Path(f"/proc/{parent}/task").glob("*/children"):
            family += map(int, thread.read_text().split())
    return family


def _ps(pid: int) -> list[tuple[float, float]]:
    """Return (memory in MB, CPU seconds) of a process and then of its children, as ``ps`` tells them."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,rss=,time="], capture_output=True, text=True, check=True, timeout=10
    )
    rows = [line.split() for line in listed.stdout.splitlines()]
    family = [str(pid)]
    for parent in family:  # grows while it is walked
        family += [row[0] for row in rows if row[1] == parent]
    rows = sorted([row for row in rows if row[0] in family], key=lambda row: family.index(row[0]))
    return [(int(row[2]) * 1024 / 1e6, _clock_s(row[3])) for row in rows]


def _clock_s(text: str) -> float:
    """Return the seconds of ``[[days-]hours:]minutes:seconds``."""
    days, _, clock = text.rpartition("-")
    seconds = 0.0
    for part in clock.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds + int(days or 0) * 86_400
