"""Runs the bridge of a plan: until a signal comes, or beside a piece of work that uses it."""

from __future__ import annotations

import gc
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib import import_module
from typing import TypeVar

import anyio
from anyio import to_thread
from anyio.abc import SocketStream
from anyio.streams.stapled import MultiListener
from msgspec.structs import replace

from claude_bridge.app.notices import Notices
from claude_bridge.app.plan import Listening, Plan
from claude_bridge.app.resolve import find_engine, with_limits
from claude_bridge.app.vision import describer_for
from claude_bridge.app.web import open_web_tools
from claude_bridge.attachments.prepare import Attachments
from claude_bridge.bridge import BridgeProtocol, ModelBridge
from claude_bridge.config.locate import spending_folder
from claude_bridge.errors import BridgeError, SetupError, UpstreamError, UpstreamLoadingError, UpstreamUnreachableError
from claude_bridge.page.live import LivePage
from claude_bridge.providers import Upstream
from claude_bridge.router import RoutedBridge
from claude_bridge.server import listener as server
from claude_bridge.server.app import Service
from claude_bridge.server.http1 import Limits
from claude_bridge.server.loop_watch import watch_loop
from claude_bridge.server.stop_signals import open_stop_signals
from claude_bridge.spending import Budget, Spending
from claude_bridge.trace.bus import Bus
from claude_bridge.trace.sink import Sink
from claude_bridge.upstream.request_queue import RequestQueues

T = TypeVar("T")

RETRY_S = 2.0
"""How often an engine that does not answer is asked again."""


class RunningBridge:
    """A bridge that listens, and that knows its engine once there is one."""

    def __init__(
        self, plan: Plan, listening: Listening, notices: Notices, service: Service, stack: AsyncExitStack
    ) -> None:
        """Connections to engines are closed with ``stack``."""
        self.plan = plan
        self.listening = listening
        self.notices = notices
        self.service = service
        self.main: ModelBridge | None = None
        """The bridge to the main model, whatever model requests name; None until its engine is known."""
        self._stack = stack
        self._spending: Spending | None = None
        if any(budget != Budget() for budget in (plan.budget, *plan.budgets.values())):
            self._spending = Spending(plan.budget, plan.budgets, spending_folder(), warn=notices.warn)
            service.stats.listeners.append(self._spending.take)

    async def provide(self, upstream: Upstream) -> RoutedBridge:
        """Serve this engine from now on, with the limits that the user gave."""
        from claude_bridge.app.targets import routed
        from claude_bridge.upstream.client import client_for

        upstream = with_limits(upstream, self.plan)
        client = client_for(upstream, self.plan.api_key, self.plan.ring)
        await self._stack.enter_async_context(client)
        gc.freeze()  # what is loaded by now stays; walking it again held up all streams for some 70 ms at a time
        attachments = Attachments(describer=await describer_for(self.plan, upstream, client))
        service = self.service
        self.main = ModelBridge(
            upstream,
            client,
            bus=service.bus,
            attachments=attachments,
            queues=service.queues,
            web_tools=await open_web_tools(self.plan.web, self._stack),
        )
        bridge = routed(self.main, self.plan, self._stack, self._spending)
        self.service.provide(bridge)
        return bridge


def serve(plan: Plan, listening: Listening, notices: Notices, limits: Limits) -> None:
    """Serve until a signal comes. The engine is looked for meanwhile, and may appear later.

    Raises:
        SetupError: the address is taken, or the engine is not what the user thinks.
    """
    run(partial(_serve, plan, listening, notices, limits))


def serve_beside(
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
    return run(partial(_serve_beside, plan, work, notices, sinks, complete))


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


async def _serve(plan: Plan, listening: Listening, notices: Notices, limits: Limits) -> None:
    async with _open_bridge(plan, listening, notices) as (bridge, listener), anyio.create_task_group() as tasks:
        with open_stop_signals() as signals:
            notices.listening(bridge.listening)
            tasks.start_soon(_provide_when_found, bridge)
            tasks.start_soon(watch_loop, notices.warn)
            await server.serve(listener, bridge.service, signals, say=notices.say, limits=limits)
            tasks.cancel_scope.cancel()


async def _serve_beside(
    plan: Plan,
    work: Callable[[RunningBridge, Upstream], Awaitable[T]],
    notices: Notices,
    sinks: Sequence[Sink] = (),
    complete: Callable[[Plan, Upstream], Awaitable[Plan]] | None = None,
) -> T:
    upstream = await wait_for_engine(plan, notices)
    if complete is not None:
        plan = await complete(plan, with_limits(upstream, plan))
    async with (
        _open_bridge(plan, Listening(), notices, sinks) as (bridge, listener),
        anyio.create_task_group() as tasks,
    ):
        routed = await bridge.provide(upstream)
        tasks.start_soon(server.accept_connections, listener, bridge.service)
        tasks.start_soon(_warn_of_others, routed, notices)
        result = await work(bridge, routed.upstream)
        tasks.cancel_scope.cancel()
    return result


@asynccontextmanager
async def _open_bridge(
    plan: Plan, listening: Listening, notices: Notices, sinks: Sequence[Sink] = ()
) -> AsyncIterator[tuple[RunningBridge, MultiListener[SocketStream]]]:
    """Yield a bridge and its listener, which nobody accepts connections from yet."""
    listener, port = await server.open_listener(listening.host, listening.port)
    page = LivePage(key := secrets.token_urlsafe(24)) if plan.page else None
    listening = replace(listening, port=port, page_key=key if page else None)
    async with AsyncExitStack() as stack:
        hidden = [
            *plan.keys,
            *([listening.page_key] if listening.page_key else []),
            *([listening.auth_token] if listening.auth_token else []),
        ]
        # The debug log shows warnings by itself.
        warn = None if plan.debug else notices.warn
        bus = Bus([*sinks, *_open_sinks(plan, notices)], secrets=hidden, warn=warn, in_threads=True)
        stack.callback(bus.close)
        for ring in plan.rings:
            ring.hide_by(bus.hide)
        service = Service(
            bus,
            auth_token=listening.auth_token,
            loopback_only=listening.is_loopback,
            queues=RequestQueues(plan.max_concurrent),
            page=page,
            client_settings=partial(_client_settings, listening),
            keeps_histories=plan.keeps_histories,
            web_search=str(plan.web.search),
        )
        yield RunningBridge(plan, listening, notices, service, stack), listener


def _client_settings(listening: Listening, bridge: BridgeProtocol) -> dict[str, str]:
    """Return what `bridge env` prints, in every form."""
    from claude_bridge.app.client_environment import client_environment
    from claude_bridge.app.shells import SHELLS

    environment = client_environment(listening.served(bridge.upstream, small_model=bridge.small_model))
    return {form: render(environment, {}) for form, render in SHELLS.items()}


def _open_sinks(plan: Plan, notices: Notices) -> list[Sink]:
    """Return the sinks that the plan asks for; the debug log goes to stderr, or to a file.

    Raises:
        SetupError: a file can't be written.
    """
    sinks: list[Sink] = []
    if plan.debug:
        from claude_bridge.trace.console.sink import ConsoleSink, LogFileSink

        try:
            sinks.append(ConsoleSink() if plan.log_file is None else LogFileSink(plan.log_file))
        except OSError as error:
            raise SetupError(
                f"The debug log can't be written to {plan.log_file}: {error}", "Leave out --debug."
            ) from error
    if plan.trace_file is not None:
        from claude_bridge.trace.jsonl import JsonlSink

        try:
            trace = JsonlSink(plan.trace_file)
        except OSError as error:
            raise SetupError(f"The trace can't be written to {plan.trace_file}: {error}", "Check --trace.") from error
        sinks.append(trace)
        if trace.warning is not None:
            notices.warn(trace.warning)
    return sinks


async def _provide_when_found(bridge: RunningBridge) -> None:
    """Provide the engine as soon as possible; one that does not answer yet is asked again and again."""
    # In a thread, since these imports take 150 ms: clients are answered meanwhile.
    for module in ("upstream.client", "upstream.engines.configured", "upstream.engines.discover"):
        await to_thread.run_sync(import_module, f"claude_bridge.{module}")
    from claude_bridge.upstream.engines.discover import assumed

    plan, notices = bridge.plan, bridge.notices
    is_reported = False
    while True:
        try:
            upstream = await find_engine(plan, notices)
        except UpstreamError as error:
            if not is_reported:
                is_reported = True
                notices.problem(error.message, _what_to_do(error))
                await bridge.provide(assumed(plan.upstream))
            await anyio.sleep(RETRY_S)
        else:
            routed = await bridge.provide(upstream)
            notices.serving(plan, bridge.listening, routed.upstream)
            await _warn_of_others(routed, notices)
            return


async def wait_for_engine(plan: Plan, notices: Notices) -> Upstream:
    """Return the engine; one that is still loading its model is waited for."""
    while True:
        try:
            return await find_engine(plan, notices)
        except UpstreamLoadingError:
            with notices.waiting(f"{plan.upstream.name} is loading its model"):
                await anyio.sleep(RETRY_S)
        except UpstreamError as error:
            raise SetupError(error.message, "Start the engine, or find out what is wrong: `bridge doctor`") from error


async def _warn_of_others(bridge: RoutedBridge, notices: Notices) -> None:
    for problem in await bridge.problems():
        notices.warn(problem)


def _what_to_do(error: UpstreamError) -> str:
    continues = "The bridge keeps running, and uses the engine as soon as it answers."
    match error:
        case UpstreamLoadingError():
            return f"Wait a moment. {continues}"
        case UpstreamUnreachableError():
            return f"Start it, or check --base-url. {continues}"
        case _:
            return continues


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what the user can correct in a group, else the first error in it."""
    leaves = list(_leaves(group))
    return next((error for error in leaves if isinstance(error, SetupError)), leaves[0])


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def _has_uvloop() -> bool:
    """Return whether the faster event loop is installed (extra ``speed``)."""
    try:
        import_module("uvloop")
    except ImportError:
        return False
    return True
