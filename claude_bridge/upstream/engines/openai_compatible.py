"""What any OpenAI-compatible engine reports: where its API is, and what its list of models says about each."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit, urlunsplit

from claude_bridge.conversion.pricing import FREE, Prices, listed_prices
from claude_bridge.upstream.engines.report import OfferedModel, among, positive
from claude_bridge.wire.addresses import reaches_this_machine
from claude_bridge.wire.model_list import ListedModel

MODELS_PATH = "/models"

_RUN_BY_THE_USER = ("llama.cpp", "LM Studio", "vLLM", "SGLang")


def base_url_candidates(base_url: str) -> list[str]:
    """Return the base URLs that a user may mean: with or without ``/v1``, the likeliest first. A query stays."""
    base_url = without_api_path(base_url, ("/chat/completions", "/responses", "/models", "/messages"))
    while urlsplit(base_url).path.endswith("/v1/v1"):
        base_url = without_api_path(base_url, ("/v1",))
    path = urlsplit(base_url).path
    if path.endswith("/v1"):
        return [base_url, without_api_path(base_url, ("/v1",))]
    with_v1 = urlunsplit(urlsplit(base_url)._replace(path=f"{path}/v1"))
    return [base_url, with_v1] if path else [with_v1, base_url]


def without_api_path(base_url: str, endings: Sequence[str]) -> str:
    """Return the URL without these endings of its path, each taken off once and in this order."""
    parts = urlsplit(base_url)
    path = parts.path.rstrip("/")
    for ending in endings:
        path = path.removesuffix(ending)
    return urlunsplit(parts._replace(path=path))


def usual_prices(engine: str, base_url: str) -> Prices | None:
    """Return that an engine on the user's own machine costs nothing; None for any other, which may cost money."""
    return FREE if engine in _RUN_BY_THE_USER and reaches_this_machine(urlsplit(base_url).hostname or "") else None


def offered_by_any(model: ListedModel, cost: Prices | None) -> OfferedModel:
    """Return a model from GET /models; ``cost`` is what it costs where the entry names no price."""
    meta, abilities = model.meta or {}, model.capabilities or {}
    windows = (
        meta.get("n_ctx"),
        model.max_model_len,
        model.context_length,
        model.context_window,
        model.max_context_length,
    )
    ceilings = (model.top_provider.max_completion_tokens if model.top_provider else None, model.max_completion_tokens)
    modalities = model.architecture.input_modalities if model.architecture else None
    images = among("image", modalities)
    tools = among("tools", model.supported_parameters)
    return OfferedModel(
        id=model.id,
        tools=_truth(abilities.get("function_calling")) if tools is None else tools,
        thinking=among("reasoning", model.supported_parameters),
        images=_truth(abilities.get("vision")) if images is None else images,
        context_window=next((tokens for tokens in map(positive, windows) if tokens), None),
        max_output_tokens=next((tokens for tokens in map(positive, ceilings) if tokens), None),
        size_bytes=positive(meta.get("size")),
        cost=listed_prices(model.pricing) or cost,
        trained_window=positive(meta.get("n_ctx_train")),
        reasoning=model.reasoning,
    )


def describes_abilities(models: Sequence[ListedModel]) -> bool:
    """Return whether the list itself says what the models can do, so that no engine's own API need be tried."""
    return any(model.supported_parameters or model.pricing or model.capabilities for model in models)


def _truth(reported: object) -> bool | None:
    return reported if isinstance(reported, bool) else None
