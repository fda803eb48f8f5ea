"""Opens the bridges to all upstreams but the main one, when a request goes there for the first time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack

from msgspec.structs import replace

from claude_bridge.app.keys import key_hint
from claude_bridge.app.plan import Plan
from claude_bridge.app.resolve import ask_engine, with_limits
from claude_bridge.bridge import ModelBridge
from claude_bridge.router import RoutedBridge
from claude_bridge.routing import Routing, Target
from claude_bridge.spending import Spending
from claude_bridge.upstream.client import client_for
from claude_bridge.upstream.engines.catalog import Place, list_models
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
        plan = self._plan_for(target)
        upstream = with_limits(await ask_engine(plan, plan.upstream), plan)
        client = client_for(upstream, plan.api_key, plan.ring)
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
        plan = self._plan
        if not plan.check and not plan.models:
            return ()  # the user wants no questions asked
        place = Place(
            provider=plan.routing.main.provider,
            upstream=plan.upstream,
            api_key=(await plan.ring.choose("")).value if plan.ring else plan.api_key,
            key_hint=plan.key_hint,
            models=plan.models,
        )
        return (await list_models(place)).models

    def _plan_for(self, target: Target) -> Plan:
        """Return the plan that would serve the target; limits that options give are of the main model."""
        plan, engine = self._plan, self._plan.engines.get(target.provider)
        is_listed = bool(plan.models if engine is None else engine.models)  # with limits that are weighed already
        plan = replace(
            plan,
            max_output_tokens=None if is_listed else plan.general_max_output_tokens,
            window_tokens=None if is_listed else plan.general_window_tokens,
        )
        if engine is None:
            return replace(plan, upstream=replace(plan.upstream, model=target.model))
        return replace(
            plan,
            upstream=replace(engine.upstream, model=target.model, think=plan.upstream.think),
            api_key=engine.api_key,
            ring=engine.ring,
            key_hint=key_hint(engine.row),
            models=engine.models,
            may_upgrade=True,
        )


def routed(main: ModelBridge, plan: Plan, stack: AsyncExitStack, spending: Spending | None) -> RoutedBridge:
    """Return the main bridge with the plan's routing to other models in front of it."""
    targets = Targets(plan, main, stack)
    target = Target(plan.routing.main.provider, main.upstream.model)
    routing: Routing = replace(plan.routing, main=target)
    return RoutedBridge(main, routing, open_target=targets.open, list_offered=targets.offered, spending=spending)
