"""ChildProcess: another Python beside this one, which talks over pipes and ends with the object that holds it."""

from __future__ import annotations

import subprocess
import sys
import weakref
from contextlib import suppress
from typing import Any

_STOP_WITHIN_S = 1.0


class ChildProcess:
    """A process of our own. Ctrl-C does not reach it: what the bridge does until its end may still need it.

    Whoever reads ``stdout`` closes it.
    """

    def __init__(self, *arguments: str, windows_flags: int = 0) -> None:
        """``arguments`` are those of Python; raises OSError where it can't be started."""
        apart: dict[str, Any] = {"process_group": 0}
        if sys.platform == "win32":
            apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | windows_flags}
        self.process = subprocess.Popen(  # noqa: S603 - our own code
            [sys.executable, "-P", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            **apart,
        )
        assert self.process.stdin is not None, "it is a pipe"
        assert self.process.stdout is not None, "it is a pipe"
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self._finalizer = weakref.finalize(self, _stop, self.process)

    def close(self) -> None:
        """Let it end, now or after what it is doing; kill it where that takes too long."""
        self._finalizer()


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None, "it is a pipe"
    with suppress(OSError):
        process.stdin.close()
    try:
        process.wait(_STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
