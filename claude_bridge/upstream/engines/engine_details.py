"""What llama.cpp and LM Studio tell of the model that is served, each by an API of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from claude_bridge.adapters.engine_profiles import LLAMA_CPP, LM_STUDIO
from claude_bridge.errors import UpstreamError
from claude_bridge.providers import Upstream
from claude_bridge.upstream.client import UpstreamClient
from claude_bridge.upstream.engines.catalog import (
    OfferedModel,
    offered_by_llama_cpp,
    offered_by_lm_studio,
    offered_by_old_lm_studio,
    profile_as_offered,
    what_it_can,
)
from claude_bridge.upstream.engines.ollama import CAN_ONLY_TALK
from claude_bridge.wire.model_list import (
    DescribedModel,
    parse_old_studio_models,
    parse_props,
    parse_studio_models,
)

ASK_TIMEOUT_S = 5.0


class Told(Struct, frozen=True, kw_only=True):
    """What the engine tells; the window is that of the model in memory (None: it is not there, or not told)."""

    model: OfferedModel
    window_tokens: int | None = None
    slots: int | None = None


async def with_own_words(upstream: Upstream, api_key: str | None) -> Upstream:
    """Return the upstream with what its engine tells beyond its list of models; as it is, where that can't be had."""
    ask = _ASK.get(upstream.name)
    if ask is None:
        return upstream
    root = upstream.base_url.removesuffix("/v1")
    async with UpstreamClient(root, api_key=api_key, name=upstream.name) as client:
        try:
            told = await ask(client, upstream.model)
        except (UpstreamError, msgspec.DecodeError):
            return upstream
    if told is None:
        return upstream
    abilities = what_it_can(told.model)
    notes = [abilities] * bool(abilities) + [CAN_ONLY_TALK] * (told.model.tools is False)
    return replace(
        upstream,
        profile=profile_as_offered(upstream.profile, told.model),
        window_tokens=told.window_tokens or upstream.window_tokens,
        slots=told.slots or upstream.slots,
        notes=(*upstream.notes, *notes),
    )


async def _ask_llama_cpp(client: UpstreamClient, model: str) -> Told | None:
    document = await client.fetch("/props", timeout_s=ASK_TIMEOUT_S)
    if document.status != 200:
        return None
    props = parse_props(document.body)
    offered = offered_by_llama_cpp(DescribedModel(id=model), props, None)
    return Told(model=offered, window_tokens=offered.context_window, slots=props.total_slots)


async def _ask_lm_studio(client: UpstreamClient, model: str) -> Told | None:
    document = await client.fetch("/api/v1/models", timeout_s=ASK_TIMEOUT_S)
    if document.status == 200:
        for new in parse_studio_models(document.body):
            if new.key == model:
                windows = [one.config.context_length for one in new.loaded_instances or () if one.config]
                return Told(model=offered_by_lm_studio(new, None), window_tokens=next(filter(None, windows), None))
        return None
    document = await client.fetch("/api/v0/models", timeout_s=ASK_TIMEOUT_S)
    if document.status == 200:
        for old in parse_old_studio_models(document.body):
            if old.id == model:
                return Told(model=offered_by_old_lm_studio(old, None), window_tokens=old.loaded_context_length)
    return None


_ASK: dict[str, Callable[[UpstreamClient, str], Awaitable[Told | None]]] = {
    LLAMA_CPP.name: _ask_llama_cpp,
    LM_STUDIO.name: _ask_lm_studio,
}
"""How each engine is asked, by the name of its profile."""
