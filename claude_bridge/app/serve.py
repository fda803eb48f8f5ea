"""Runs the bridge of a plan: until a signal comes, or beside a piece of work that uses it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from importlib import import_module
from socket import socket
from typing import TYPE_CHECKING, TypeVar

import anyio
from msgspec.structs import replace

from claude_bridge.app.notices import Notices
from claude_bridge.app.plan import Listening, Plan
from claude_bridge.app.running import WAIT_TIMES, RunningBridge, WaitTimes, provide_when_found, warn_of_others
from claude_bridge.app.targets import find_engine
from claude_bridge.errors import BridgeError, SetupError, UpstreamError, UpstreamLoadingError, disk_errors_as
from claude_bridge.page.live import LivePage
from claude_bridge.providers import Upstream
from claude_bridge.router import AnyBridge
from claude_bridge.server import listener as server
from claude_bridge.server.app import Service
from claude_bridge.server.early_port import EarlyPort
from claude_bridge.server.http1 import ServerLimits
from claude_bridge.server.loop_watch import watch_loop
from claude_bridge.server.stop_signals import has_terminal, open_stop_signals
from claude_bridge.trace.bus import Bus
from claude_bridge.trace.delivery import Delivery, Sink
from claude_bridge.upstream.request_queue import RequestQueues
from claude_bridge.wire.addresses import comparable_place

if TYPE_CHECKING:
    from claude_bridge.app.reload import ConfigurationSource

T = TypeVar("T")


def serve(
    plan: Plan,
    listening: Listening,
    notices: Notices,
    limits: ServerLimits,
    source: ConfigurationSource | None = None,
    early: EarlyPort | None = None,
) -> None:
    """Serve until a signal comes. The engine is looked for meanwhile, and may appear later.

    ``source`` is followed as it changes (None: nothing can). ``early`` is the port, where it is open already.

    Raises:
        SetupError: the address is taken, or the engine is not what the user thinks.
    """
    for engine in plan.engines.values():
        address = engine.upstream.base_url
        if comparable_place(address) == comparable_place(listening.url):
            hint = "Give the engine's address by --base-url, or let the bridge listen elsewhere: --port N"
            raise SetupError(f"{address} is the address of the bridge itself, not of an engine.", hint)

    async def main() -> None:
        # The hangup of its own terminal ends a bridge. One that has none is asked to read its configuration again.
        hangup = None if source is None or has_terminal() else source.request
        async with (
            _open_bridge(plan, listening, notices, early=early) as (bridge, sockets, waiting),
            anyio.create_task_group() as tasks,
        ):
            with open_stop_signals(hangup) as signals:
                notices.listening(bridge.listening)
                tasks.start_soon(provide_when_found, bridge)
                tasks.start_soon(watch_loop, notices.warn)
                if source is not None:
                    tasks.start_soon(source.follow, bridge, tasks)
                await server.serve(sockets, bridge.service, signals, say=notices.say, limits=limits, waiting=waiting)
                tasks.cancel_scope.cancel()

    run(main)


def run(main: Callable[[], Awaitable[T]]) -> T:
    """Run an event loop, the faster one where it is installed; what task groups collect comes out as one error.

    Raises:
        SetupError: raised by ``main``, or made of an error of the bridge or the engine.
    """
    try:
        return anyio.run(main, backend_options={"use_uvloop": _has_uvloop()})
    except BaseExceptionGroup as group:
        error = _cause(group)
        if isinstance(error, BridgeError):
            raise SetupError(error.message, "Find out what is wrong: `bridge doctor`") from group
        raise error from (None if isinstance(error, SetupError) else group)


async def serve_beside(
    plan: Plan,
    work: Callable[[RunningBridge, Upstream], Awaitable[T]],
    notices: Notices,
    *,
    sinks: Sequence[Sink] = (),
    complete: Callable[[Plan, Upstream], Awaitable[Plan]] | None = None,
) -> T:
    """Return what ``work`` does with a bridge on a free loopback port; the engine is found first.

    ``complete`` returns the plan with what can only be decided when the engine is known (None: that is nothing).

    Raises:
        SetupError: there is no such engine, it does not answer, or the work raised it.
    """
    upstream = await wait_for_engine(plan, notices)
    if complete is not None:
        plan = await complete(plan, upstream)
    async with (
        _open_bridge(plan, Listening(), notices, sinks) as (bridge, sockets, _),
        anyio.create_task_group() as tasks,
    ):
        routed = await bridge.provide(upstream)
        tasks.start_soon(server.accept_connections, sockets, bridge.service)
        tasks.start_soon(warn_of_others, routed, notices)
        result = await work(bridge, routed.upstream)
        tasks.cancel_scope.cancel()
    return result


@asynccontextmanager
async def _open_bridge(
    plan: Plan,
    listening: Listening,
    notices: Notices,
    sinks: Sequence[Sink] = (),
    early: EarlyPort | None = None,
    *,
    wait_times: WaitTimes = WAIT_TIMES,
) -> AsyncIterator[tuple[RunningBridge, Sequence[socket], Sequence[socket]]]:
    """Yield a bridge, its listening sockets, which accept nothing yet, and the connections that came before."""
    waiting: Sequence[socket] = ()
    if early is not None:
        early_socket, waiting = early.hand_over()
        sockets, port = [early_socket], early.port
    else:
        sockets, port = await server.open_listener(listening.host, listening.port)
    page = LivePage(key := secrets.token_urlsafe(24), trace_file=plan.trace_file) if plan.page else None
    listening = replace(listening, port=port, page_key=key if page else None)
    async with AsyncExitStack() as stack:
        hidden = [*plan.keys, *filter(None, (listening.page_key, listening.auth_token))]
        warn = None if plan.debug else notices.warn  # the debug log shows warnings by itself
        bus = Bus([*sinks, *_open_sinks(plan, notices)], secrets=hidden, warn=warn, in_threads=True)
        stack.callback(bus.close)
        for ring in plan.rings.values():
            ring.hide_by(bus.hide)
        service = Service(
            bus,
            auth_token=listening.auth_token,
            loopback_only=listening.is_loopback,
            queues=RequestQueues(plan.max_concurrent),
            page=page,
            client_settings=partial(_client_settings, listening),
        )
        yield RunningBridge(plan, listening, notices, service, stack, wait_times=wait_times), sockets, waiting


def _client_settings(listening: Listening, bridge: AnyBridge) -> dict[str, str]:
    """Return what `bridge env` prints, in every form."""
    from claude_bridge.app.client_environment import client_environment
    from claude_bridge.app.shells import SHELLS

    environment = client_environment(listening.served(bridge.upstream, small_model=bridge.small_model))
    return {form: render(environment, {}) for form, render in SHELLS.items()}


def _open_sinks(plan: Plan, notices: Notices) -> list[Sink | Delivery]:
    """Return the sinks that the plan asks for; the debug log goes to stderr, or to a file.

    Raises:
        SetupError: a file can't be written.
    """
    sinks: list[Sink | Delivery] = []
    if plan.debug:
        from claude_bridge.trace.console.sink import ConsoleSink, LogFileSink

        with disk_errors_as(f"The debug log can't be written to {plan.log_file}", "Leave out --debug."):
            sinks.append(ConsoleSink() if plan.log_file is None else LogFileSink(plan.log_file))
    if plan.trace_file is not None:
        from claude_bridge.trace.writer import TraceWriter

        hint = "Give --trace a file in a folder that exists, and that you can write to."
        with disk_errors_as(f"The trace can't be written to {plan.trace_file}", hint):
            sinks.append(trace := TraceWriter(plan.trace_file))
        if trace.warning is not None:
            notices.warn(trace.warning)
    return sinks


async def wait_for_engine(plan: Plan, notices: Notices) -> Upstream:
    """Return the engine; one that is still loading its model is waited for."""
    while True:
        try:
            return await find_engine(plan.main, notices)
        except UpstreamLoadingError:
            with notices.waiting(f"{plan.main.upstream.name} is loading its model"):
                await anyio.sleep(WAIT_TIMES.retry_s)
        except UpstreamError as error:
            from claude_bridge.upstream.client import advice_on

            raise SetupError(error.message, f"{advice_on(error)} `bridge doctor` finds out more.") from error


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what the user can correct in a group, else the first error in it."""
    cause: BaseException = group.subgroup(SetupError) or group
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    return cause


def _has_uvloop() -> bool:
    """Return whether the faster event loop is installed (extra ``speed``)."""
    with suppress(ImportError):
        return bool(import_module("uvloop"))
    return False
