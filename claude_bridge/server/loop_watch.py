"""Watches the event loop: says what held it up, while everybody waited."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import anyio

HELD_S = 0.25
"""A loop that does nothing else for so long is reported."""

REPORT_EVERY_S = 10.0

_BEAT_S = 0.125
_PACKAGE = str(Path(__file__).parents[1])
_LOOP_FUNCTIONS = frozenset({"_run_once", "run_forever", "unrolled_run"})
"""Of asyncio and trio; what they call is what holds the loop. uvloop's own are not seen: it calls from C."""


async def watch_loop(say: Callable[[str], None]) -> None:
    """Report what holds the event loop for more than HELD_S; runs until it is cancelled."""
    sampler = _Sampler(threading.get_ident())
    sampler.start()
    reported_at = -REPORT_EVERY_S
    try:
        while True:
            sampler.beat()
            await anyio.sleep(_BEAT_S)
            held_s = time.monotonic() - sampler.beat_at - _BEAT_S
            where = sampler.where()
            if held_s > HELD_S and where is not None and time.monotonic() - reported_at > REPORT_EVERY_S:
                reported_at = time.monotonic()
                say(f"The event loop was held up for {held_s:.1f} s by {where}: all other requests waited.")
    finally:
        sampler.stop()


class _Sampler:
    """A thread that looks at what runs, as soon as the loop has missed a beat."""

    def __init__(self, loop_thread: int) -> None:
        self.beat_at = time.monotonic()
        self._loop_thread = loop_thread
        self._seen: Counter[str] = Counter()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bridge-loop-watch", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Let the thread end."""
        self._stopped.set()

    def beat(self) -> None:
        """Note that the loop runs."""
        self.beat_at = time.monotonic()
        self._seen = Counter()

    def where(self) -> str | None:
        """Return what ran most often since the last beat; None: nothing of the bridge, so the machine itself paused."""
        most = self._seen.most_common(1)
        return most[0][0] if most else None

    def _run(self) -> None:
        while not self._stopped.wait(_BEAT_S / 2):
            if time.monotonic() - self.beat_at > 2 * _BEAT_S:
                place = self._place()
                if place is not None:
                    self._seen[place] += 1

    def _place(self) -> str | None:
        """Return where in the bridge the loop is, or else another thread, which may keep it waiting."""
        frames = sys._current_frames()  # noqa: SLF001 - the documented way, underscore and all
        frames.pop(threading.get_ident(), None)
        place = _innermost(frames.pop(self._loop_thread, None))
        if place is not None:
            return place
        others = (place for place in map(_innermost, frames.values()) if place is not None)
        return next((f"{place} in a thread" for place in others), None)


def _innermost(frame: FrameType | None) -> str | None:
    """Return the innermost place of a stack that is in the bridge, above the event loop."""
    while frame is not None and frame.f_code.co_name not in _LOOP_FUNCTIONS:
        file = frame.f_code.co_filename
        if file.startswith(_PACKAGE):
            return f"{Path(file).relative_to(_PACKAGE).as_posix()}:{frame.f_lineno} ({frame.f_code.co_name})"
        if file.endswith(("anyio/_core/_eventloop.py", "asyncio/runners.py")):
            return None
        frame = frame.f_back
    return None
