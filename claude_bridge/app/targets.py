"""Finds the engine of a plan, and opens the bridges to others: where a request goes there, or to describe images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

from msgspec.structs import replace

from claude_bridge.app.notices import Notices
from claude_bridge.app.plan import Plan
from claude_bridge.attachments.vision import Describer
from claude_bridge.bridge import ModelBridge
from claude_bridge.errors import BridgeError, SetupError, SeveralModelsError, UpstreamError
from claude_bridge.providers import Upstream
from claude_bridge.router import RoutedBridge
from claude_bridge.routing import Target
from claude_bridge.spending import Spending

if TYPE_CHECKING:
    from claude_bridge.upstream.client import UpstreamClient
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


def routed(main: ModelBridge, plan: Plan, stack: AsyncExitStack, spending: Spending | None) -> RoutedBridge:
    """Return the main bridge with the plan's routing to other models in front of it.

    A bridge to another model is opened when a request goes there; its connections are closed with ``stack``.
    """

    async def open_target(target: Target) -> ModelBridge:
        from claude_bridge.upstream.client import client_for
        from claude_bridge.upstream.engines.discover import discover

        engine = plan.engines[target.provider].with_model(target.model)
        upstream = await discover(engine)
        client = client_for(upstream, engine.api_key, engine.ring)
        await stack.enter_async_context(client)
        # What was read and described for one engine need not be for the next.
        return ModelBridge(
            upstream, client, bus=main.bus, attachments=main.attachments, queues=main.queues, web_tools=main.web_tools
        )

    async def list_offered() -> Sequence[OfferedModel]:
        from claude_bridge.upstream.engines.catalog import list_models

        engine = plan.main
        if not engine.check and not engine.models:
            return ()  # the user wants no questions asked
        if engine.ring:
            engine = replace(engine, api_key=(await engine.ring.choose("")).value)
        return (await list_models(engine)).models

    routing = replace(plan.routing, main=Target(plan.routing.main.provider, main.upstream.model))
    return RoutedBridge(main, routing, open_target=open_target, list_offered=list_offered, spending=spending)


# --- images --------------------------------------------------------------------------------------------------------


async def describer_for(plan: Plan, upstream: Upstream, client: UpstreamClient) -> Describer | None:
    """Return what describes images; None where no model is named for that, or the only one in use sees them itself.

    Raises:
        SetupError: there is no such model, or it can't see images either.
    """
    name = plan.vision_model
    sees = upstream.profile.sees_images and not upstream.adapter.is_passthrough
    if name is None or (sees and not plan.routing.others):
        return None
    if upstream.adapter.is_passthrough:
        raise SetupError(
            "Requests to an engine with Anthropic's API are passed through, images included.",
            "Leave out --vision-model, or use the engine's other API: --api openai-chat",
        )
    if upstream.profile.ignores_model_name and not sees:
        raise SetupError(
            f"{upstream.name} serves only one model, which can't see images.",
            "Leave out --vision-model, or start the engine with a model that sees images.",
        )
    describing = await _vision_upstream(plan, upstream, name)
    # Without a trace of its own: its descriptions are part of the trace of the exchange that needs them.
    return Describer(name, ModelBridge(describing, client).complete)


def image_note(plan: Plan, upstream: Upstream) -> str | None:
    """Return what happens to images; None where the model sees them, or nothing is known about that."""
    if upstream.profile.sees_images or upstream.adapter.is_passthrough:
        return None
    if plan.vision_model is not None:
        return f"images are described to the model by {plan.vision_model}"
    return "images are replaced by a note to the model; --vision-model MODEL would describe them"


async def _vision_upstream(plan: Plan, upstream: Upstream, name: str) -> Upstream:
    from claude_bridge.upstream.engines.discover import discover

    named = replace(plan.main.upstream, model=name, think="auto")
    try:
        found = await discover(replace(plan.main, upstream=named, window_tokens=None, max_output_tokens=None))
    except UpstreamError:  # it does not answer now: assume the same limits as those of the main model
        return replace(upstream, model=name, think="auto", profile=replace(upstream.profile, sees_images=True))
    if not found.profile.sees_images:
        raise SetupError(
            f"{name!r} on {found.name} can't see images either.", "`bridge models` shows which models can."
        )
    return found
