"""A program that has the terminal while a bridge runs beside it: its signals, stops, terminal modes and exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager

import anyio
from anyio import to_thread

END_WITHIN_S = 5.0
"""How long the program has to end once it was told to."""

STOP_PAUSE_S = 0.05
"""After a stop: a signal to the whole group needs a moment to reach all of it."""

_PASSED_ON = (signal.SIGTERM, signal.SIGHUP)
_FROM_KEYS = (signal.SIGINT, signal.SIGQUIT)
"""Keys send these to all programs of the terminal's foreground group, ours and the other."""

_LEAVE_SCREEN = "\x1b[?1049l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1004l\x1b[?2004l\x1b[?25h\x1b[0m"
"""Back to the main screen; mouse, focus and paste reports off; the cursor visible: as a killed program leaves none."""


async def run_in_foreground(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a program that inherits our terminal, and return its exit code; 128 and the signal's number if one ended it.

    The program stays in our process group: keys that send signals reach it as if we were not there. SIGTERM and
    SIGHUP are passed on. Where it stops itself, as editors and Claude Code do at Ctrl-Z, we stop too, so that the
    shell comes back; ``fg`` continues both.

    Raises:
        OSError: the program can't be started.
    """
    with _kept_terminal_modes(), anyio.open_signal_receiver(*_PASSED_ON, *_FROM_KEYS) as signals:
        process = subprocess.Popen(list(command), env=dict(environment))  # noqa: ASYNC220, S603 - it returns at once; run_process can't tell of stops
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_pass_on, signals, process.pid)
            try:
                code = await to_thread.run_sync(_wait, process.pid, abandon_on_cancel=True)
            except BaseException:
                process.kill()
                raise
            process.returncode = code  # it has been waited for; Popen would do it again, and warn
            tasks.cancel_scope.cancel()
    if code > 128 and sys.stdout.isatty():
        sys.stdout.write(_LEAVE_SCREEN)
        sys.stdout.flush()
    return code


async def _pass_on(signals: AsyncIterator[signal.Signals], pid: int) -> None:
    was_told = False
    async with anyio.create_task_group() as tasks:
        async for number in signals:
            if number in _FROM_KEYS and _is_in_foreground():
                continue  # the terminal has sent it to the program too
            os.kill(pid, number)
            if number in _PASSED_ON and not was_told:
                was_told = True
                tasks.start_soon(_kill_later, pid)


async def _kill_later(pid: int) -> None:
    await anyio.sleep(END_WITHIN_S)
    os.kill(pid, signal.SIGKILL)


def _is_in_foreground() -> bool:
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):  # no terminal
        return False


def _wait(pid: int) -> int:
    """Wait for the end of a child of ours, and return its exit code; stop where it stops."""
    _, status = os.waitpid(pid, os.WUNTRACED)
    while not (os.WIFEXITED(status) or os.WIFSIGNALED(status)):
        if os.WIFSTOPPED(status):
            time.sleep(STOP_PAUSE_S)
            changed, status = os.waitpid(pid, os.WCONTINUED | os.WNOHANG)
            if changed:  # we were stopped along with it, and `fg` has continued both by now
                continue
            os.kill(os.getpid(), signal.SIGSTOP)
            os.kill(pid, signal.SIGCONT)
        _, status = os.waitpid(pid, os.WUNTRACED)
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


@contextmanager
def _kept_terminal_modes() -> Iterator[None]:
    """Put the terminal back as it was: a program that is killed leaves it without echo and line ends."""
    if not sys.stdin.isatty():
        yield
        return
    import termios

    before = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
