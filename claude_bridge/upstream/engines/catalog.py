"""OfferedModel: one model that an engine offers and what it can do, read from what the engine tells."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct
from msgspec.structs import replace

from claude_bridge.conversion.pricing import FREE, Prices, listed_prices
from claude_bridge.conversion.profile import Profile
from claude_bridge.upstream.engines.ollama_window import FALLBACK_TRAINED_TOKENS, trained_tokens
from claude_bridge.wire.model_list import DescribedModel, OldStudioModel, Props, StudioModel
from claude_bridge.wire.ollama import InstalledModel, ModelDescription

OUTPUT_WINDOWS = 10
"""Ollama cuts an answer at ten times its context window."""


class OfferedModel(Struct, frozen=True, kw_only=True):
    """A model as its engine tells of it; None always means that it does not tell.

    The windows are in tokens: what the model is loaded with where that is told, else the most that it can take.
    """

    id: str
    tools: bool | None = None
    thinking: bool | None = None
    images: bool | None = None
    context_window: int | None = None
    max_output_tokens: int | None = None
    size_bytes: int | None = None
    cost: Prices | None = None
    remote_host: str | None = None
    """Where an Ollama cloud model runs; None: on the engine itself."""
    loaded: bool | None = None


def offered_by_ollama(
    installed: InstalledModel, description: ModelDescription | None, loaded: Collection[str] | None
) -> OfferedModel:
    """Return a model of Ollama's; ``description`` is None where it could not be had, ``loaded`` where it is not told.

    The window is the trained one: the bridge sets the one in use itself.
    """
    shown = description.capabilities if description else None
    capabilities = installed.capabilities if shown is None else shown
    window = trained_tokens(description) if description else None
    remote_host = (description.remote_host if description else None) or installed.remote_host
    return OfferedModel(
        id=installed.name,
        tools=_among("tools", capabilities),
        thinking=_among("thinking", capabilities),
        images=_among("vision", capabilities),
        context_window=window,
        max_output_tokens=window * OUTPUT_WINDOWS if window else None,
        size_bytes=None if remote_host else _positive(installed.size),  # a cloud model's file is a stub
        cost=FREE,
        remote_host=remote_host or None,
        loaded=None if loaded is None else installed.name in loaded,
    )


def with_ollama_limits(model: OfferedModel) -> OfferedModel:
    """Return the model with what holds on an Ollama where nothing is told."""
    window = model.context_window or FALLBACK_TRAINED_TOKENS
    return replace(
        model,
        context_window=window,
        max_output_tokens=model.max_output_tokens or window * OUTPUT_WINDOWS,
        cost=model.cost or FREE,
    )


def offered_by_llama_cpp(model: DescribedModel, props: Props | None, cost: Prices | None) -> OfferedModel:
    """Return a model of llama.cpp's; ``props`` None: there are several models, and it tells of none in particular."""
    plain = offered_by_any(model, cost)
    status = model.status.value if model.status else None
    if props is None:
        return replace(plain, loaded=None if status is None else status == "loaded")
    abilities = props.chat_template_caps
    settings, modalities = props.default_generation_settings, props.modalities
    thinks = abilities and (abilities.supports_preserve_reasoning or abilities.supports_reasoning_effort)
    return replace(
        plain,
        tools=abilities.supports_tools if abilities else None,
        thinking=True if thinks else None,  # a template without a place for earlier thoughts proves nothing
        images=modalities.vision if modalities and modalities.vision is not None else plain.images,
        context_window=_positive(settings.n_ctx if settings else None) or plain.context_window,
        loaded=True,
    )


def offered_by_lm_studio(model: StudioModel, cost: Prices | None) -> OfferedModel:
    """Return a model of LM Studio's, as it tells since 0.4.0."""
    instances, abilities = model.loaded_instances, model.capabilities
    windows = [_positive(instance.config.context_length) for instance in instances or () if instance.config]
    embeds = model.type == "embedding"
    return OfferedModel(
        id=model.key,
        tools=False if embeds else abilities.trained_for_tool_use if abilities else None,
        thinking=False if embeds else _reasons(abilities.reasoning if abilities else None),
        images=False if embeds else abilities.vision if abilities else None,
        context_window=next((window for window in windows if window), None) or _positive(model.max_context_length),
        size_bytes=_positive(model.size_bytes),
        cost=cost,
        loaded=None if instances is None else bool(instances),
    )


def offered_by_old_lm_studio(model: OldStudioModel, cost: Prices | None) -> OfferedModel:
    """Return a model of LM Studio's, as it told before 0.4.0."""
    embeds = model.type == "embeddings"
    return OfferedModel(
        id=model.id,
        tools=False if embeds else _among("tool_use", model.capabilities),
        images=None if model.type is None else model.type == "vlm",
        context_window=_positive(model.loaded_context_length) or _positive(model.max_context_length),
        cost=cost,
        loaded=model.state == "loaded",
    )


def offered_by_any(model: DescribedModel, cost: Prices | None) -> OfferedModel:
    """Return a model from GET /models; ``cost`` is what it costs where the entry names no price."""
    meta, abilities = model.meta or {}, model.capabilities or {}
    windows = (
        _number(meta.get("n_ctx")),
        model.max_model_len,
        model.context_length,
        model.context_window,
        model.max_context_length,
    )
    ceilings = (model.top_provider.max_completion_tokens if model.top_provider else None, model.max_completion_tokens)
    modalities = model.architecture.input_modalities if model.architecture else None
    images = _among("image", modalities)
    tools = _among("tools", model.supported_parameters)
    return OfferedModel(
        id=model.id,
        tools=_truth(abilities.get("function_calling")) if tools is None else tools,
        thinking=_among("reasoning", model.supported_parameters),
        images=_truth(abilities.get("vision")) if images is None else images,
        context_window=next((tokens for tokens in windows if _positive(tokens)), None),
        max_output_tokens=next((tokens for tokens in ceilings if _positive(tokens)), None),
        size_bytes=_positive(_number(meta.get("size"))),
        cost=listed_prices(model.pricing) or cost,
    )


def what_it_can(model: OfferedModel) -> str:
    """Return what the model is told to be able to do, in words; that it can't call tools is another matter."""
    told = {
        "calls tools": model.tools,
        "thinks": model.thinking,
        "sees images": model.images,
        "sees no images": model.images is False,
    }
    return ", ".join(words for words, holds in told.items() if holds)


def profile_as_offered(profile: Profile, model: OfferedModel) -> Profile:
    """Return the profile without what the model is told not to be able to do."""
    if model.images is not None:
        profile = replace(profile, sees_images=model.images)
    if model.thinking is False:
        profile = profile.with_changes({"effort_levels": (), "thinking_switch": None, "budget_place": None})
    return profile


def tells_more_than_names(models: Collection[DescribedModel]) -> bool:
    """Return whether the list itself says what the models can do, so that no engine's own API need be looked for."""
    return any(model.supported_parameters or model.pricing or model.capabilities for model in models)


def _among(ability: str, told: Collection[str] | None) -> bool | None:
    return None if told is None else ability in told


def _reasons(told: object) -> bool | None:
    """Return whether a model thinks by LM Studio's word: false, or an object with the levels that can be chosen."""
    if isinstance(told, dict):
        options = told.get("allowed_options")
        return any(option != "off" for option in options) if isinstance(options, list) else True
    return _truth(told)


def _truth(told: object) -> bool | None:
    return told if isinstance(told, bool) else None


def _number(told: object) -> int | None:
    return int(told) if isinstance(told, int | float) and not isinstance(told, bool) else None


def _positive(number: int | None) -> int | None:
    return number if number and number > 0 else None
