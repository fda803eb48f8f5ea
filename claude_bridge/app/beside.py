"""A bridge that serves one program: the engine is found first, then the program runs, and the bridge ends with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import anyio

from claude_bridge.app import terminal as output
from claude_bridge.app.child import run_in_foreground
from claude_bridge.app.resolve import find_engine
from claude_bridge.app.serve import RETRY_S, Listening, Plan, has_uvloop, mistake_in, open_sinks, provide_bridge
from claude_bridge.errors import SetupError, UpstreamError, UpstreamLoadingError
from claude_bridge.providers import Upstream
from claude_bridge.router import RoutedBridge
from claude_bridge.server.app import Service
from claude_bridge.server.listener import accept_connections, open_listener
from claude_bridge.trace.bus import Bus


class Program(NamedTuple):
    """What to start."""

    command: Sequence[str]
    environment: Mapping[str, str]


class Ended(NamedTuple):
    """How it ended; the bridge's warnings could not be shown while the program had the terminal."""

    code: int
    warnings: list[str]


def run_beside(plan: Plan, program: Callable[[Listening, Upstream], Program], *, log_file: Path | None) -> Ended:
    """Run a program with a bridge on a free loopback port beside it.

    ``program`` is called once the engine is known. The debug log goes to ``log_file``.

    Raises:
        SetupError: there is no such engine, or the program can't be started.
    """
    try:
        return anyio.run(partial(_run, plan, program, log_file), backend_options={"use_uvloop": has_uvloop()})
    except BaseExceptionGroup as group:
        mistake = mistake_in(group)
        if mistake is None:
            raise
        raise mistake from None


async def _run(plan: Plan, program: Callable[[Listening, Upstream], Program], log_file: Path | None) -> Ended:
    warnings: list[str] = []
    async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
        bus = Bus(open_sinks(plan, stack, log_file=log_file), secrets=plan.keys, warn=warnings.append)
        stack.callback(bus.close)
        service = Service(bus, auth_token=None, loopback_only=True)
        bridge = await provide_bridge(plan, service, stack, await _find(plan))
        listener, port = await open_listener("127.0.0.1", 0)
        tasks.start_soon(accept_connections, listener, service)
        command, environment = program(Listening(host="127.0.0.1", port=port), bridge.upstream)
        tasks.start_soon(_look_for_others, bridge, warnings)
        try:
            code = await run_in_foreground(command, environment)
        except OSError as error:
            raise SetupError(f"{command[0]} can't be started: {error}", "Is it whole? Install it again.") from error
        tasks.cancel_scope.cancel()
    return Ended(code, warnings)


async def _look_for_others(bridge: RoutedBridge, warnings: list[str]) -> None:
    warnings += await bridge.problems()


async def _find(plan: Plan) -> Upstream:
    """Return the engine; one that still loads its model is waited for."""
    while True:
        try:
            return await find_engine(plan)
        except UpstreamLoadingError:
            with output.spinner(f"{plan.upstream.name} loads its model"):
                await anyio.sleep(RETRY_S)
        except UpstreamError as error:
            raise SetupError(error.message, "Start the engine, or see what is wrong: bridge doctor") from error
