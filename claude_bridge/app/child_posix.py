"""Job control on POSIX: keys reach the client as if the bridge were not there; stops and signals go through both."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import anyio
from anyio import to_thread

assert sys.platform != "win32"  # so that type checkers skip this module there

END_WITHIN_S = 5.0
"""How long the program has to end after SIGTERM or SIGHUP."""

STOP_PAUSE_S = 0.05
"""After a stop: a signal to the whole group needs a moment to reach all of it."""

_PR_SET_PDEATHSIG = 1
"""From Linux's <linux/prctl.h>."""


async def run_child(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run the program to its end, and return its exit code; 128 and the signal's number if one ended it.

    The program stays in our process group. SIGTERM and SIGHUP are passed on. Where it stops itself, as editors and
    Claude Code do at Ctrl-Z, we stop too, so that the shell comes back; ``fg`` continues both. On Linux it gets
    SIGTERM when we are killed.

    Raises:
        OSError: the program can't be started.
    """
    passed_on = (signal.SIGTERM, signal.SIGHUP)
    from_keys = (signal.SIGINT, signal.SIGQUIT)  # keys send these to the terminal's foreground group: us and it
    with _kept_terminal_modes(), anyio.open_signal_receiver(*passed_on, *from_keys) as signals:
        process = subprocess.Popen(  # noqa: ASYNC220, S603 - it returns at once; run_process can't report stops
            list(command),
            env=dict(environment),
            preexec_fn=_ending_with_parent(),  # noqa: PLW1509 - it calls two functions of C, and takes no lock
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_pass_on, signals, process.pid, from_keys)
            try:
                code = await to_thread.run_sync(_wait, process.pid, abandon_on_cancel=True)
            except BaseException:
                process.kill()
                raise
            process.returncode = code  # it has been waited for; Popen would do it again, and warn
            tasks.cancel_scope.cancel()
    return code


def _ending_with_parent() -> Callable[[], None] | None:
    """Return what makes a new process get SIGTERM when we end without a word; None: this system can't."""
    if sys.platform != "linux":
        return None
    import ctypes

    prctl, getppid, parent = ctypes.CDLL(None).prctl, os.getppid, os.getpid()

    def ask_for_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if getppid() != parent:  # killed in the meantime
            os._exit(128 + signal.SIGTERM)

    return ask_for_signal


async def _pass_on(signals: AsyncIterator[signal.Signals], pid: int, from_keys: tuple[signal.Signals, ...]) -> None:
    is_ending = False
    async with anyio.create_task_group() as tasks:
        async for number in signals:
            if number in from_keys and _is_in_foreground():
                continue  # the terminal has sent it to the program too
            os.kill(pid, number)
            if number not in from_keys and not is_ending:
                is_ending = True
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
