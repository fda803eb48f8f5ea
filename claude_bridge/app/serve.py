"""A bridge that runs: listen first, find out about the engine meanwhile, and serve until told to stop."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import msgspec
from anyio import to_thread

from claude_bridge.app import terminal as output
from claude_bridge.app.client_environment import NO_TOKEN, Served
from claude_bridge.app.engine import Engine
from claude_bridge.app.resolve import find_engine
from claude_bridge.app.vision import describer_for
from claude_bridge.attachments.prepare import Attachments
from claude_bridge.bridge import Bridge
from claude_bridge.errors import SetupError, UpstreamError, UpstreamLoadingError, UpstreamUnreachableError
from claude_bridge.providers import Upstream
from claude_bridge.router import RoutedBridge
from claude_bridge.routing import Routing
from claude_bridge.server.app import Service
from claude_bridge.server.listener import open_listener, open_stop_signals, serve
from claude_bridge.trace.bus import Bus, Sink
from claude_bridge.wire.addresses import is_loopback

if TYPE_CHECKING:
    from rich.console import Console

    from claude_bridge.upstream.engines.catalog import OfferedModel  # brings the wire shapes of all engines

LOG_COLUMNS = 120
"""How wide a debug log in a file is."""

RETRY_S = 2.0
"""How often an engine that does not answer is asked again."""


class Listening(msgspec.Struct, frozen=True, kw_only=True):
    """Where the bridge listens, and what clients must send (None: nothing)."""

    host: str
    port: int
    auth_token: str | None = None

    @property
    def url(self) -> str:
        """The address that clients on this machine use."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(self.host, self.host)  # noqa: S104 - read, not bound
        return f"http://{host}:{self.port}"

    def served(self, upstream: Upstream, *, small_model: str | None = None) -> Served:
        """Return the bridge as its clients must know it; without a small model all get the same."""
        return Served(
            url=self.url,
            token=self.auth_token or NO_TOKEN,
            model=upstream.model or None,
            small_model=small_model,
            window_tokens=upstream.window_tokens,
            max_output_tokens=upstream.max_output_tokens,
            slots=upstream.slots,
            forwards_client_auth=upstream.forwards_client_auth,
        )


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be served, and how. None in a limit leaves it to what is found out."""

    upstream: Upstream
    api_key: str | None
    key_hint: str
    check: bool
    models: tuple[OfferedModel, ...] = ()
    """Those that the configuration lists; where there are some, the engine is not asked for any."""
    may_upgrade: bool = True
    max_output_tokens: int | None = None
    window_tokens: int | None = None
    general_max_output_tokens: int | None = None
    """What is configured for any model, as the next one is; the limits above may come from options for the first."""
    general_window_tokens: int | None = None
    vision_model: str | None = None
    """Which model of the same provider describes images for one that sees none."""
    debug: bool = False
    trace_file: Path | None = None
    routing: Routing
    engines: Mapping[str, Engine] = {}
    """Those of other providers that the routing names, by the providers' names."""
    embedded: object | None = None
    """An engine inside this process, which ends when nothing refers to it any more."""

    @property
    def keys(self) -> list[str]:
        """The keys of all engines: nobody may see them."""
        keys = (self.api_key, *(engine.api_key for engine in self.engines.values()))
        return [key for key in keys if key]


Tell = Callable[[Plan, Listening, Upstream], None]


def run_server(plan: Plan, listening: Listening, *, tell: Tell) -> None:
    """Serve until a signal comes; ``tell`` is called once the engine is known.

    Raises:
        SetupError: the address is taken, or the engine was found to be another than the user thinks.
    """
    try:
        anyio.run(partial(_run, plan, listening, tell), backend_options={"use_uvloop": has_uvloop()})
    except BaseExceptionGroup as group:
        mistake = mistake_in(group)
        if mistake is None:
            raise
        raise mistake from None


def mistake_in(group: BaseExceptionGroup[BaseException]) -> SetupError | None:
    """Return what of a group's errors a person can mend."""
    for error in group.exceptions:
        found = mistake_in(error) if isinstance(error, BaseExceptionGroup) else error
        if isinstance(found, SetupError):
            return found
    return None


def has_uvloop() -> bool:
    """Return whether the faster event loop is installed (extra ``speed``)."""
    try:
        import_module("uvloop")
    except ImportError:
        return False
    return True


async def _run(plan: Plan, listening: Listening, tell: Tell) -> None:
    listener, port = await open_listener(listening.host, listening.port)
    listening = msgspec.structs.replace(listening, port=port)
    secrets = [secret for secret in (*plan.keys, listening.auth_token) if secret]
    async with AsyncExitStack() as stack, anyio.create_task_group() as tasks:
        sinks = open_sinks(plan, stack)
        bus = Bus(sinks, secrets=secrets, warn=None if plan.debug else _warn)  # the debug log tells it by itself
        stack.callback(bus.close)
        service = Service(bus, auth_token=listening.auth_token, loopback_only=is_loopback(listening.host))
        signals = stack.enter_context(open_stop_signals())
        output.print_line(f"listening on {listening.url}")
        sys.stdout.flush()
        tasks.start_soon(_find_engine, plan, service, stack, partial(tell, plan, listening))
        await serve(listener, service, signals, say=output.say)
        tasks.cancel_scope.cancel()


def _warn(warning: str) -> None:
    output.say(output.warning(warning))


def open_sinks(plan: Plan, stack: AsyncExitStack, *, log_file: Path | None = None) -> list[Sink]:
    """Return the sinks that the plan asks for; the debug log goes to stderr, or to a file.

    Raises:
        SetupError: a file can't be written.
    """
    sinks: list[Sink] = []
    if plan.debug:
        from claude_bridge.trace.console.sink import ConsoleSink

        console = None if log_file is None else _log_console(log_file, stack)
        sinks.append(ConsoleSink(console))
    if plan.trace_file is not None:
        from claude_bridge.trace.jsonl import JsonlSink

        try:
            sinks.append(JsonlSink(plan.trace_file))
        except OSError as error:
            raise SetupError(f"The trace can't be written to {plan.trace_file}: {error}", "Check --trace.") from error
    return sinks


def _log_console(path: Path, stack: AsyncExitStack) -> Console:
    """Return a console that writes to a file, which holds what was said: nobody else may read it."""
    from rich.console import Console

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "w", encoding="utf-8")
    except OSError as error:
        raise SetupError(f"The debug log can't be written to {path}: {error}", "Leave out --debug.") from error
    stack.callback(file.close)
    return Console(file=file, width=LOG_COLUMNS, highlight=False)


async def _find_engine(plan: Plan, service: Service, stack: AsyncExitStack, tell: Callable[[Upstream], None]) -> None:
    """Provide the bridge as soon as possible; an engine that is not there yet is asked again and again."""
    # In a thread, since these imports take 150 ms: clients are answered meanwhile.
    await to_thread.run_sync(import_module, "claude_bridge.upstream.client")
    await to_thread.run_sync(import_module, "claude_bridge.upstream.engines.configured")
    discovery = await to_thread.run_sync(import_module, "claude_bridge.upstream.engines.detect")

    provide = partial(provide_bridge, plan, service, stack)
    told = False
    while True:
        try:
            found = await find_engine(plan)
        except UpstreamError as error:
            if not told:
                output.print_problem(error.message, _what_to_do(error), is_warning=True)
                await provide(discovery.assumed(plan.upstream))
                told = True
            await anyio.sleep(RETRY_S)
        else:
            bridge = await provide(found)
            tell(bridge.upstream)
            for problem in await bridge.problems():
                output.say(output.warning(problem))
            return


async def provide_bridge(plan: Plan, service: Service, stack: AsyncExitStack, upstream: Upstream) -> RoutedBridge:
    """Give the service a bridge whose main engine is ``upstream``, with the limits that the user gave."""
    from claude_bridge.app.targets import routed
    from claude_bridge.upstream.client import client_for

    upstream = with_limits(upstream, plan)
    client = client_for(upstream, plan.api_key)
    await stack.enter_async_context(client)
    gc.freeze()  # what is loaded by now stays; walking it again held up all streams for some 70 ms at a time
    attachments = Attachments(describer=await describer_for(plan, upstream, client))
    bridge = routed(Bridge(upstream, client, bus=service.bus, attachments=attachments), plan, stack)
    service.provide(bridge)
    return bridge


def _what_to_do(error: UpstreamError) -> str:
    goes_on = "The bridge goes on, and uses it as soon as it answers."
    match error:
        case UpstreamLoadingError():
            return f"Wait a moment. {goes_on}"
        case UpstreamUnreachableError():
            return f"Start it, or check --base-url. {goes_on}"
        case _:
            return goes_on


def with_limits(upstream: Upstream, plan: Plan) -> Upstream:
    """Return the upstream with the limits that the user gave."""
    return msgspec.structs.replace(
        upstream,
        max_output_tokens=plan.max_output_tokens or upstream.max_output_tokens,
        window_tokens=plan.window_tokens or upstream.window_tokens,
    )
