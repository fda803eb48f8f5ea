"""What an LM Studio reports by its own API: which models are loaded, with which window, and what they can do."""

from __future__ import annotations

from claude_bridge.conversion.pricing import Prices
from claude_bridge.upstream.client import UpstreamClient
from claude_bridge.upstream.engines.report import OfferedModel, among, positive, probe
from claude_bridge.wire.model_list import OldStudioModel, StudioModel, parse_old_studio_models, parse_studio_models

NEW_PATH, OLD_PATH = "/api/v1/models", "/api/v0/models"


async def read_lm_studio(client: UpstreamClient, cost: Prices | None) -> tuple[OfferedModel, ...] | None:
    """Return the models of an LM Studio, or None if it is another engine."""
    new = (await probe(client, NEW_PATH)).parsed(parse_studio_models)
    if new is not None:
        return tuple(_offered(model, cost) for model in new)
    old = (await probe(client, OLD_PATH)).parsed(parse_old_studio_models)
    return tuple(_offered_before_0_4(model, cost) for model in old) if old else None


def _offered(model: StudioModel, cost: Prices | None) -> OfferedModel:
    instances, abilities = model.loaded_instances, model.capabilities
    windows = [positive(instance.config.context_length) for instance in instances or () if instance.config]
    embeds = model.type == "embedding"
    most = positive(model.max_context_length)
    return OfferedModel(
        id=model.key,
        tools=False if embeds else abilities.trained_for_tool_use if abilities else None,
        thinking=False if embeds else _reasons(abilities.reasoning if abilities else None),
        images=False if embeds else abilities.vision if abilities else None,
        context_window=next((window for window in windows if window), most),
        size_bytes=positive(model.size_bytes),
        cost=cost,
        loaded=None if instances is None else bool(instances),
        chats=None if model.type is None else not embeds,
        trained_window=most,
    )


def _offered_before_0_4(model: OldStudioModel, cost: Prices | None) -> OfferedModel:
    embeds = model.type == "embeddings"
    most = positive(model.max_context_length)
    return OfferedModel(
        id=model.id,
        tools=False if embeds else among("tool_use", model.capabilities),
        images=None if model.type is None else model.type == "vlm",
        context_window=positive(model.loaded_context_length) or most,
        cost=cost,
        loaded=model.state == "loaded",
        chats=None if model.type is None else not embeds,
        trained_window=most,
    )


def _reasons(reported: object) -> bool | None:
    """Return whether a model thinks: false, or an object with the levels that can be chosen."""
    if isinstance(reported, dict):
        options = reported.get("allowed_options")
        return any(option != "off" for option in options) if isinstance(options, list) else True
    return reported if isinstance(reported, bool) else None
