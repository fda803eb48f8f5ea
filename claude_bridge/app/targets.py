"""Opens the bridges to all upstreams but the main one, when a request goes there for the first time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

from msgspec.structs import replace

from claude_bridge.app.plan import Plan
from claude_bridge.bridge import ModelBridge
from claude_bridge.router import RoutedBridge
from claude_bridge.routing import Routing, Target
from claude_bridge.spending import Spending
from claude_bridge.upstream.client import client_for
from claude_bridge.upstream.engines.catalog import list_models
from claude_bridge.upstream.engines.discover import discover
from claude_bridge.upstream.engines.report import OfferedModel


class Targets:
    """The engines that a plan names beside the main one, and the other models of that one."""

    def __init__(self, plan: Plan, main: ModelBridge, stack: AsyncExitStack) -> None:
        """Connections are closed with ``stack``."""
        self._plan = plan
        self._main = main
        self._stack = stack

    async def open(self, target: Target) -> ModelBridge:
        """Return a bridge to a target.

        Raises:
            SetupError: there is no such model, or the key is wrong.
            UpstreamError: the engine does not answer.
        """
        engine = self._plan.engines[target.provider].with_model(target.model)
        upstream = await discover(engine)
        client = client_for(upstream, engine.api_key, engine.ring)
        await self._stack.enter_async_context(client)
        # What was read and described for one engine need not be for the next.
        main = self._main
        return ModelBridge(
            upstream, client, bus=main.bus, attachments=main.attachments, queues=main.queues, web_tools=main.web_tools
        )

    async def offered(self) -> Sequence[OfferedModel]:
        """Return what the main provider offers.

        Raises:
            SetupError, UpstreamError: it can't be asked.
        """
        engine = self._plan.main
        if not engine.check and not engine.models:
            return ()  # the user wants no questions asked
        if engine.ring:
            engine = replace(engine, api_key=(await engine.ring.choose("")).value)
        return (await list_models(engine)).models


def routed(main: ModelBridge, plan: Plan, stack: AsyncExitStack, spending: Spending | None) -> RoutedBridge:
    """Return the main bridge with the plan's routing to other models in front of it."""
    targets = Targets(plan, main, stack)
    target = Target(plan.routing.main.provider, main.upstream.model)
    routing: Routing = replace(plan.routing, main=target)
    return RoutedBridge(main, routing, open_target=targets.open, list_offered=targets.offered, spending=spending)
