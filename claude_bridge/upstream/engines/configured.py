"""A model as the configuration describes it: its engine gets no requests about its models."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from msgspec.structs import replace

from claude_bridge.adapters.engine_profiles import ollama_profile, profile_for
from claude_bridge.conversion.profile import Profile
from claude_bridge.errors import SetupError, SeveralModelsError
from claude_bridge.providers import Upstream
from claude_bridge.upstream.engines.discover import assumed
from claude_bridge.upstream.engines.ollama import with_tag
from claude_bridge.upstream.engines.openai_compatible import usual_prices
from claude_bridge.upstream.engines.report import CAN_ONLY_CHAT, OfferedModel, profile_as_reported


def upstream_as_configured(upstream: Upstream, models: Sequence[OfferedModel]) -> Upstream:
    """Return the upstream with what the configuration says about its model; an empty name means the only one.

    Where requests are passed through, each may name another of several models.

    Raises:
        SetupError: the configuration lists no such model.
    """
    notes = ["as configured: the engine was not asked"]
    is_passthrough = upstream.adapter.is_passthrough
    model = configured_model(upstream.model, models, is_ollama=upstream.adapter.kind == "ollama-chat")
    if model is None and is_passthrough and not upstream.model:
        return replace(assumed(upstream), notes=tuple(notes))
    if model is None:
        raise _unlisted(upstream.model, models)
    upstream = assumed(replace(upstream, model=model.id))
    notes += [f"context window {model.context_window:,} tokens"] if model.context_window else []
    return replace(
        upstream,
        profile=_profile(upstream, model),
        max_output_tokens=model.max_output_tokens,
        window_tokens=model.context_window,
        window_is_given=model.context_window is not None,
        slots=1 if upstream.adapter.kind == "ollama-chat" else None,  # as for one that was inspected
        prices=model.cost or usual_prices(upstream.name, upstream.base_url),
        notes=tuple(notes + [CAN_ONLY_CHAT] * (model.tools is False)),
    )


def configured_model(name: str, models: Sequence[OfferedModel], *, is_ollama: bool) -> OfferedModel | None:
    """Return the model of this name, or the only one where the name is empty; None: there is no such model."""
    if not name:
        return models[0] if len(models) == 1 else None
    written = with_tag if is_ollama else str
    return next((model for model in models if written(model.id) == written(name)), None)


def _profile(upstream: Upstream, model: OfferedModel) -> Profile:
    if upstream.adapter.kind != "ollama-chat":
        return profile_as_reported(upstream.profile, model)
    abilities = {"thinking": model.thinking, "vision": model.images is not False}
    is_described = model.thinking is not None or model.images is not None
    capabilities = [name for name, able in abilities.items() if able] if is_described else None
    family = model.id.rpartition("/")[2].partition(":")[0]
    row = profile_for(ollama_profile(capabilities, family), model.id)
    return row.with_changes({"keep_alive": upstream.profile.ollama.keep_alive})


def _unlisted(name: str, models: Sequence[OfferedModel]) -> SetupError:
    names = [model.id for model in models]
    if not name:
        hint = f"The configuration lists: {', '.join(names)}. Add one behind the provider."
        return SeveralModelsError("No model was given.", hint, engine="The configuration", models=names)
    near = get_close_matches(name, names, n=3, cutoff=0.4)
    hint = f"Nearest: {', '.join(near)}." if near else f"It lists: {', '.join(names[:10])}."
    return SetupError(f"The configuration lists no model {name!r} of this provider.", hint)
