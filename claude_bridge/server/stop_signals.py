"""The signals that end the server, one code path for every system and event loop.

``loop.add_signal_handler`` does not exist on Windows. A plain handler does, and a socket wakes the loop up.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

import anyio

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
"""SIGHUP, where there is one: the terminal was closed. SIGBREAK, on Windows: Ctrl-Break, or the window was closed."""


@contextmanager
def open_stop_signals() -> Iterator[AsyncIterator[signal.Signals]]:
    """Yield the signals that come while the context lasts; they do not end the process by themselves.

    Those that were ignored at the start stay so, as ``nohup`` and background jobs of a shell want it. Only for the main
    thread.
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
        yield _Received(receiving)
    finally:
        for number in handled:
            signal.signal(number, before[number])
        receiving.close()
        sending.close()


class _Received:
    """Iterates over the signals whose numbers come out of a socket."""

    def __init__(self, receiving: socket.socket) -> None:
        self._receiving = receiving

    def __aiter__(self) -> _Received:
        return self

    async def __anext__(self) -> signal.Signals:
        await anyio.wait_readable(self._receiving)
        return signal.Signals(self._receiving.recv(1)[0])
