"""Processes of the bridge that are forked from one that has imported the package: each starts in a tenth of the time.

Each is a real process with an environment, a folder, streams and signals of its own; only what Python does before the
program's first line is shared. ``python -m tests.cli.forked FD`` is the process that forks: it takes orders from a
socket, and has neither threads nor an event loop.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import pkgutil
import random
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from anyio import CancelScope
from anyio.abc import UNIXSocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

IS_POSSIBLE = sys.platform == "linux"
"""Elsewhere, what an interpreter has loaded may not survive a fork."""

_MAX_ORDER_BYTES = 100_000
_NO_IMPORT = ("claude_bridge.__main__", "claude_bridge.upstream.embedded.server")


class ForkedProcess:
    """A forked process: what is used here of an anyio ``Process``."""

    def __init__(self, stdout: UNIXSocketStream, stderr: UNIXSocketStream, life: UNIXSocketStream) -> None:
        self.stdout, self.stderr = stdout, stderr
        self.pid = 0
        self.returncode: int | None = None
        self._life = BufferedByteReceiveStream(life)

    @classmethod
    async def start(cls, arguments: Sequence[str], env: Mapping[str, str]) -> ForkedProcess:
        """Start ``bridge`` with these arguments in this folder, without a terminal."""
        pairs = [socket.socketpair() for _ in range(3)]
        order = json.dumps({"arguments": list(arguments), "env": dict(env), "folder": str(Path.cwd())}).encode()
        socket.send_fds(_origin(), [order], [theirs.fileno() for _, theirs in pairs])
        for _, theirs in pairs:
            theirs.close()
        process = cls(*[await UNIXSocketStream.from_socket(ours) for ours, _ in pairs])
        process.pid = await process._number()
        return process

    async def _number(self) -> int:
        return int(await self._life.receive_until(b"\n", 20))

    async def wait(self) -> int:
        """Return the exit code; -N where signal N ended it."""
        if self.returncode is None:
            self.returncode = await self._number()
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def aclose(self) -> None:
        """End it, if it still runs."""
        with CancelScope(shield=True):
            if self.returncode is None:
                self.kill()
                await self.wait()
            for stream in (self.stdout, self.stderr, self._life):
                await stream.aclose()


@cache
def _origin() -> socket.socket:
    """Return the socket for orders to the process that forks; it ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.forked", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C ends the tests, which then end it
        )

    @atexit.register
    def end() -> None:
        ours.close()
        process.wait()

    return ours


def _fork_by_orders(orders: socket.socket) -> dict[str, Any] | None:
    """Fork a process for each order. Return the order in that process, and None in this one when no more will come."""
    for module in pkgutil.walk_packages(import_module("claude_bridge").__path__, "claude_bridge."):
        if module.name not in _NO_IMPORT:
            import_module(module.name)
    gc.freeze()  # else the collector of each process would copy all of this
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait
    while True:
        order, files, _, _ = socket.recv_fds(orders, _MAX_ORDER_BYTES, 3)
        if not order:
            return None
        if os.fork() == 0:
            orders.close()
            return _forked(json.loads(order), *files)
        for file in files:
            os.close(file)


def _forked(order: dict[str, Any], stdout: int, stderr: int, life: int) -> dict[str, Any]:
    """Fork once more, and return in the new process; the one between writes its id and, at its end, its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid:
        os.close(stdout)
        os.close(stderr)
        os.write(life, b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        os.write(life, b"%d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    os.setsid()
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    # Those of the first process may be bound to files, in which one can seek.
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, "utf-8", "backslashreplace", closefd=False)
    os.closerange(3, max(stdout, stderr, life) + 1)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["env"])
    random.seed()
    sys.argv = ["bridge", *order["arguments"]]
    return order


if __name__ == "__main__" and _fork_by_orders(socket.socket(fileno=int(sys.argv[1]))):
    # At the top, so that the interpreter ends as it does after any program.
    runpy.run_module("claude_bridge", run_name="__main__", alter_sys=True)
