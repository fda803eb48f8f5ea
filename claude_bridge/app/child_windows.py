"""A client on Windows: Ctrl-C reaches it through the console, and only it decides what that means."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from anyio import to_thread


async def run_child(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the program to its end, and return its exit code.

    Windows has no job control and no signal from outside that a program could handle: a bridge that is ended by
    the task manager leaves the program running.

    Raises:
        OSError: the program can't be started.
    """
    with _ignored_keys():
        process = subprocess.Popen(list(command), env=dict(environment))  # noqa: ASYNC220, S603 - it returns at once
        try:
            return await to_thread.run_sync(process.wait, abandon_on_cancel=True)
        except BaseException:
            process.kill()
            raise


@contextmanager
def _ignored_keys() -> Iterator[None]:
    """Let Ctrl-C and Ctrl-Break go to the program alone; both reach all programs of a console."""
    keys = [signal.SIGINT]
    if sys.platform == "win32":
        keys.append(signal.SIGBREAK)
    before = [signal.signal(key, _ignore) for key in keys]
    try:
        yield
    finally:
        for key, handler in zip(keys, before, strict=True):
            signal.signal(key, handler)


def _ignore(_number: int, _frame: object) -> None:
    """Do nothing; SIG_IGN would be inherited."""
