"""RunningBridge: a bridge that listens; its engine may come later, and its plan may change."""

from __future__ import annotations

import gc
import sys
from contextlib import AsyncExitStack
from importlib import import_module
from typing import NamedTuple

import anyio
from anyio import to_thread

from claude_bridge.app.notices import Notices
from claude_bridge.app.plan import Listening, Plan
from claude_bridge.app.targets import describer_for, find_engine, routed
from claude_bridge.app.web import open_web_tools
from claude_bridge.attachments.prepare import Attachments
from claude_bridge.bridge import ModelBridge
from claude_bridge.config.locate import spending_folder
from claude_bridge.errors import SetupError, UpstreamError, UpstreamLoadingError, UpstreamUnreachableError
from claude_bridge.providers import Upstream
from claude_bridge.router import RoutedBridge
from claude_bridge.server.app import Service
from claude_bridge.spending import Spending

SWITCH_INTERVAL_S = 0.001
"""After how long the event loop gets its turn beside a thread that works, in place of 5 ms for each system call."""

GC_THRESHOLDS = (10_000, 20, 50)
"""In place of (700, 10, 10): a request makes some thousand objects, nearly all of which end with it, and to look for
cycles among them so often took a tenth of its CPU."""

CLOSED_WITHIN_S = 2.0
"""How long the connections to an engine may take to be closed."""


class WaitTimes(NamedTuple):
    """How long a running bridge waits for others."""

    retry_s: float = 2.0
    """The time between two requests to an engine that does not answer."""

    others_within_s: float = 90.0
    """The time limit of requests other than messages, such as token counts."""


WAIT_TIMES = WaitTimes()


class _Served(NamedTuple):
    """What serves at a time; it is closed when nothing uses it any more."""

    plan: Plan
    """Holds an engine that the bridge started."""
    stack: AsyncExitStack
    bridge: RoutedBridge


class RunningBridge:
    """A bridge that listens, and that knows its engine once there is one."""

    def __init__(
        self,
        plan: Plan,
        listening: Listening,
        notices: Notices,
        service: Service,
        stack: AsyncExitStack,
        *,
        wait_times: WaitTimes = WAIT_TIMES,
    ) -> None:
        """Connections to engines are closed with ``stack``."""
        self.plan = plan
        """By which it serves now."""
        self.listening = listening
        self.notices = notices
        self.service = service
        self.main: ModelBridge | None = None
        """The bridge to the main model, whatever model requests name; None until its engine is known."""
        self.wait_times = wait_times
        self.looking = anyio.CancelScope()
        """Around the search for the engine of the plan."""
        self._spending: Spending | None = None
        self._served: _Served | None = None
        self._before: list[tuple[_Served, float]] = []
        """What served before, and until when requests may use it that are no answers."""
        stack.push_async_callback(self.close)

    async def provide(self, upstream: Upstream, plan: Plan | None = None) -> RoutedBridge:
        """Serve this engine from now on, by ``plan`` (None: the one before); answers that run go on as they began.

        Raises:
            SetupError: something that the plan names is not there; what was served before still is.
        """
        from claude_bridge.upstream.client import client_for

        plan = plan or self.plan
        async with AsyncExitStack() as stack:
            client = client_for(upstream, plan.main.api_key, plan.main.ring)
            await stack.enter_async_context(client)
            attachments = Attachments(describer=await describer_for(plan, upstream, client))
            main = ModelBridge(
                upstream,
                client,
                bus=self.service.bus,
                attachments=attachments,
                queues=self.service.queues,
                web_tools=await open_web_tools(plan.web, stack),
            )
            kept = stack.pop_all()
        if self.main is None:
            sys.setswitchinterval(SWITCH_INTERVAL_S)
            gc.set_threshold(*GC_THRESHOLDS)
            gc.freeze()  # what is loaded by now stays; walking it again held up all streams for some 70 ms at a time
        if self._served is not None:
            self._before.append((self._served, anyio.current_time() + self.wait_times.others_within_s))
        self.service.queues.limit(plan.max_concurrent)
        self.service.web_search = str(plan.web.search)
        bridge = routed(main, plan, kept, self._limited(plan))
        self.plan, self.main, self._served = plan, main, _Served(plan, kept, bridge)
        self.service.provide(bridge, keeps_histories=plan.keeps_histories)
        return bridge

    async def close_unused(self) -> None:
        """Close what was served before, and is not used any more."""
        used = {answer.bridge for answer in self.service.answers}
        unused = [one for one in self._before if one[1] < anyio.current_time() and one[0].bridge not in used]
        for one in unused:
            await _close(one[0].stack)
            self._before.remove(one)

    async def close(self) -> None:
        """Close all connections to engines."""
        for served in (*([self._served] if self._served else []), *(one for one, _ in self._before)):
            await _close(served.stack)

    def _limited(self, plan: Plan) -> Spending | None:
        """Return what holds the budgets of a plan; None: there are none. What was spent before still counts."""
        if self._spending is not None:
            self._spending.limit(plan.budget, plan.budgets)
        elif any(budget.is_limited for budget in (plan.budget, *plan.budgets.values())):
            self._spending = Spending(plan.budget, plan.budgets, spending_folder(), warn=self.notices.warn)
            self.service.stats.listeners.append(self._spending.take)
        return self._spending


async def _close(stack: AsyncExitStack) -> None:
    with anyio.move_on_after(CLOSED_WITHIN_S, shield=True):
        await stack.aclose()


async def provide_when_found(bridge: RunningBridge) -> None:
    """Provide the engine as soon as possible; one that does not answer yet is tried again and again.

    Raises:
        SetupError: the engine is not what the user thinks, and none was served before.
    """
    plan, looking, notices = bridge.plan, bridge.looking, bridge.notices
    is_change = bridge.main is not None
    # In a thread, since these imports take 150 ms: clients are answered meanwhile.
    for module in ("upstream.client", "upstream.engines.discover"):
        await to_thread.run_sync(import_module, f"claude_bridge.{module}")
    from claude_bridge.upstream.engines.discover import assumed

    reported = ""
    with looking:
        while True:
            try:
                upstream = await find_engine(plan.main, Notices() if is_change else notices)
                provided = await bridge.provide(upstream, plan)
            except UpstreamError as error:
                what, hint = error.message, _what_to_do(error)
            except SetupError as error:
                if not is_change:
                    raise
                what, hint = error.what, error.hint
            else:
                notices.serving(plan, bridge.listening, provided.upstream)
                await warn_of_others(provided, notices)
                return
            if what != reported:
                reported = what
                notices.problem(what, hint)
            if bridge.main is None:
                await bridge.provide(assumed(plan.main))
            await anyio.sleep(bridge.wait_times.retry_s)


async def warn_of_others(bridge: RoutedBridge, notices: Notices) -> None:
    """Warn of targets that can't be used."""
    for problem in await bridge.problems():
        notices.warn(problem)


def _what_to_do(error: UpstreamError) -> str:
    from claude_bridge.upstream.client import advice_on

    is_about_the_engine = isinstance(error, UpstreamLoadingError | UpstreamUnreachableError)
    advice = f"{advice_on(error)} " if is_about_the_engine else ""
    return f"{advice}The bridge keeps running, and uses the engine as soon as it answers."
