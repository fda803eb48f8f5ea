"""Finds the engine of a plan, and opens the bridges to others when a request goes there for the first time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

from msgspec.structs import replace

from claude_bridge.app.notices import Notices
from claude_bridge.app.plan import Plan
from claude_bridge.bridge import ModelBridge
from claude_bridge.errors import BridgeError, SetupError, SeveralModelsError
from claude_bridge.providers import Upstream
from claude_bridge.router import RoutedBridge
from claude_bridge.routing import Target
from claude_bridge.spending import Spending

if TYPE_CHECKING:
    from claude_bridge.upstream.engines.engine import Engine
    from claude_bridge.upstream.engines.report import OfferedModel  # brings the wire shapes of all engines


async def find_engine(engine: Engine, notices: Notices) -> Upstream:
    """Return the engine, with the model that was named, the only one that it has, or the one that the user chooses.

    Raises:
        SetupError: as ``discover`` does; SeveralModelsError where nobody can be asked.
        UpstreamError: the engine does not answer, or not yet.
    """
    from claude_bridge.upstream.engines.discover import discover

    try:
        return await discover(engine)
    except SeveralModelsError as several:
        offered = await _offered(engine, several)
        model = offered[0].id if len(offered) == 1 else await notices.choose_model(offered, several)
    return await discover(engine.with_model(model))


async def _offered(engine: Engine, several: SeveralModelsError) -> list[OfferedModel]:
    """Return the models to choose from, with what the engine reports of each; only their names if it reports nothing.

    Models that are known not to call tools, such as embedding models, are left out.
    """
    from claude_bridge.upstream.engines.catalog import list_models
    from claude_bridge.upstream.engines.report import OfferedModel

    known: dict[str, OfferedModel] = {}
    with suppress(BridgeError, SetupError):  # it has just named its models; what else it could report is not needed
        known = {model.id: model for model in (await list_models(engine)).models}
    models = [known.get(name) or OfferedModel(id=name) for name in several.models]
    return [model for model in models if model.tools is not False] or models


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
        from claude_bridge.upstream.client import client_for
        from claude_bridge.upstream.engines.discover import discover

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
        from claude_bridge.upstream.engines.catalog import list_models

        engine = self._plan.main
        if not engine.check and not engine.models:
            return ()  # the user wants no questions asked
        if engine.ring:
            engine = replace(engine, api_key=(await engine.ring.choose("")).value)
        return (await list_models(engine)).models


def routed(main: ModelBridge, plan: Plan, stack: AsyncExitStack, spending: Spending | None) -> RoutedBridge:
    """Return the main bridge with the plan's routing to other models in front of it."""
    targets = Targets(plan, main, stack)
    routing = replace(plan.routing, main=Target(plan.routing.main.provider, main.upstream.model))
    return RoutedBridge(main, routing, open_target=targets.open, list_offered=targets.offered, spending=spending)
