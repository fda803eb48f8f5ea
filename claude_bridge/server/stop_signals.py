"""The signals that end the server, one code path for every system and event loop.

``loop.add_signal_handler`` does not exist on Windows. A plain handler does, and a socket wakes the loop up.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress

import anyio

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""SIGHUP, where there is one: the terminal was closed, if there is one. SIGBREAK, on Windows: Ctrl-Break, or the
window was closed."""


@contextmanager
def open_stop_signals(hangup: Callable[[], None] | None = None) -> Iterator[AsyncIterator[signal.Signals]]:
    """Yield the signals that come while the context lasts; they do not end the process by themselves.

    For SIGHUP ``hangup`` is called in place of that, while somebody waits for a signal (None: it is one like the
    others). Signals that were ignored at the start stay so, as ``nohup`` and background jobs of a shell want it. Only
    for the main thread.
    """
    receiving, sending = socket.socketpair()
    receiving.setblocking(False)
    sending.setblocking(False)

    def handle(number: int, _frame: object) -> None:
        with suppress(BlockingIOError):  # so many have come that one more says nothing
            sending.send(bytes([number]))

    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    handled = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    for number in handled:
        signal.signal(number, handle)
    try:
        yield _Received(receiving, hangup)
    finally:
        for number in handled:
            signal.signal(number, before[number])
        receiving.close()
        sending.close()


class _Received:
    """Iterates over the signals whose numbers come out of a socket."""

    def __init__(self, receiving: socket.socket, hangup: Callable[[], None] | None) -> None:
        self._receiving = receiving
        self._hangup = hangup

    def __aiter__(self) -> _Received:
        return self

    async def __anext__(self) -> signal.Signals:
        while True:
            await anyio.wait_readable(self._receiving)
            received = signal.Signals(self._receiving.recv(1)[0])
            if self._hangup is None or received.name != "SIGHUP":
                return received
            self._hangup()


def has_terminal() -> bool:
    """Return whether this process belongs to a terminal, whose end SIGHUP would report."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY))
    except OSError:
        return False
    return True
