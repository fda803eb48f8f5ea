"""Takes up a configuration that changes while the bridge serves: its file is watched, and a signal asks for it."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from claude_bridge.app.build import build_plan
from claude_bridge.app.notices import Notices
from claude_bridge.app.options import Options
from claude_bridge.app.plan import Plan
from claude_bridge.app.running import RunningBridge, provide_when_found
from claude_bridge.app.targets import find_engine
from claude_bridge.config.load import Reading, changed_keys, read_config
from claude_bridge.errors import SetupError, UpstreamError

WATCH_S = 1.0
"""How often the file is looked at; it is read once it has been the same for as long."""

_FIXED = ("server.", "defaults.ca_file")
"""How the settings begin that a bridge is started with: its socket, its token, and whom it has come to trust."""

_Mark = tuple[int, int, int]


class ConfigurationSource:
    """Where the configuration of a running bridge comes from: a file, and the options before it."""

    def __init__(self, reading: Reading, options: Options, *, watch_s: float = WATCH_S) -> None:
        """``reading`` is what the bridge was started with."""
        self._reading = reading
        self._options = options
        self._watch_s = watch_s
        self._requested = anyio.Event()

    def request(self) -> None:
        """Have the file, and keys with it, read again, whether it has changed or not."""
        self._requested.set()

    async def follow(self, bridge: RunningBridge, tasks: TaskGroup) -> None:
        """Serve by what the file says from now on, as often as that changes."""
        seen: _Mark | None = None
        taken: _Mark | None = None
        while True:
            with anyio.move_on_after(self._watch_s):
                await self._requested.wait()
            is_requested = self._requested.is_set()
            self._requested = anyio.Event()
            before, seen = seen, await _mark_of(self._reading.file)
            if is_requested or (seen is not None and seen == before and seen != taken):
                taken = seen
                try:
                    await self._take_up(bridge, tasks, is_requested=is_requested)
                except SetupError as error:
                    what = f"The changed configuration is not used; the one before stays in force. {error.what}"
                    bridge.notices.problem(what, error.hint)
            await bridge.close_unused()

    async def _take_up(self, bridge: RunningBridge, tasks: TaskGroup, *, is_requested: bool) -> None:
        """Read the file, and serve by it; raises SetupError where that can't be, and then nothing has changed."""
        reading = await to_thread.run_sync(read_config, self._reading.file, os.environ)
        keys = changed_keys(self._reading, reading.without_mistakes())
        fixed = [key for key in keys if key.startswith(_FIXED)]
        if is_requested or len(keys) > len(fixed):
            build = partial(build_plan, running=bridge.plan)
            plan = await to_thread.run_sync(build, reading.config, self._options, Notices())
            await _serve_by(plan, bridge, tasks)
            changed = f"Configuration changed: {', '.join(keys)}."
            what = changed if keys else "The configuration is read again, unchanged."
            bridge.notices.say(f"{what} New requests use it; running answers finish as they began.")
        if fixed:
            bridge.notices.warn(f"Restart the bridge to apply: {', '.join(fixed)}.")
        self._reading = reading


async def _serve_by(plan: Plan, bridge: RunningBridge, tasks: TaskGroup) -> None:
    """Serve by another plan from now on; raises SetupError where its engine is not as the plan says."""
    from claude_bridge.upstream.engines.discover import assumed

    for key in plan.keys:
        bridge.service.bus.hide(key)
    before = bridge.plan.rings
    for name, ring in plan.rings.items():
        ring.hide_by(bridge.service.bus.hide)
        if name in before:
            ring.continue_from(before[name])
    found = error = None
    try:
        found = await find_engine(plan.main, Notices())
    except UpstreamError as unreachable:
        error = unreachable
    bridge.looking.cancel()
    await bridge.provide(found or assumed(plan.main), plan)
    if error is not None:
        bridge.looking = anyio.CancelScope()
        tasks.start_soon(provide_when_found, bridge)


async def _mark_of(file: Path) -> _Mark | None:
    """Return what changes with a file; None: it is not there."""
    try:
        status = await anyio.Path(file).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
