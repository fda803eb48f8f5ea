"""The model that describes images for one that sees none: of the same provider, and found out about beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from claude_bridge.app.resolve import ask_engine
from claude_bridge.attachments.vision import Describer
from claude_bridge.bridge import Bridge
from claude_bridge.errors import SetupError, UpstreamError

if TYPE_CHECKING:
    from claude_bridge.app.serve import Plan
    from claude_bridge.providers import Upstream
    from claude_bridge.upstream.client import UpstreamClient


async def describer_for(plan: Plan, upstream: Upstream, client: UpstreamClient) -> Describer | None:
    """Return what describes images, or None where no model is named for that, or the only one that is used sees.

    Raises:
        SetupError: there is no such model, or it sees no images either.
    """
    name = plan.vision_model
    sees = upstream.profile.sees_images and not upstream.adapter.is_passthrough
    if name is None or (sees and not plan.routing.others):
        return None
    if upstream.adapter.is_passthrough:
        raise SetupError(
            "What goes to an engine that speaks Anthropic's API is passed through, images too.",
            "Leave out --vision-model, or name the engine's other API: --api openai-chat.",
        )
    if upstream.profile.ignores_model_name and not sees:
        raise SetupError(
            f"{upstream.name} serves one model only, which sees no images.",
            "Leave out --vision-model, or start the engine with a model that sees.",
        )
    seer = await _seer(plan, upstream, name)
    # It tells no trace of its own: what it says is told in the trace of the exchange that it is said for.
    return Describer(name, Bridge(seer, client).complete)


def told_of_images(plan: Plan, upstream: Upstream) -> str | None:
    """Return what becomes of images where the model sees none; None where it sees, or nothing is known of that."""
    if upstream.profile.sees_images or upstream.adapter.is_passthrough:
        return None
    if plan.vision_model is not None:
        return f"the model sees no images: {plan.vision_model} describes them"
    return "the model sees no images: they are left out, and the model is told (--vision-model MODEL describes them)"


async def _seer(plan: Plan, upstream: Upstream, name: str) -> Upstream:
    wanted = replace(plan.upstream, model=name, think="auto")
    try:
        seer = await ask_engine(replace(plan, window_tokens=None, max_output_tokens=None), wanted)
    except UpstreamError:  # it does not answer now; what is known of the model that is used must do
        return replace(upstream, model=name, think="auto", profile=replace(upstream.profile, sees_images=True))
    if not seer.profile.sees_images:
        raise SetupError(f"{name!r} on {seer.name} sees no images either.", "bridge models tells which models do.")
    return seer
