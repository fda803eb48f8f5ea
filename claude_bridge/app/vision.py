"""The model that describes images for one that can't see them: of the same provider, and checked at the start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from claude_bridge.attachments.vision import Describer
from claude_bridge.bridge import ModelBridge
from claude_bridge.errors import SetupError, UpstreamError

if TYPE_CHECKING:
    from claude_bridge.app.plan import Plan
    from claude_bridge.providers import Upstream
    from claude_bridge.upstream.client import UpstreamClient


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
