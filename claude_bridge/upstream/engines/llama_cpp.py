"""What a llama.cpp reports beside its list of models: GET /props, about the one model that it has loaded."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from claude_bridge.upstream.client import UpstreamClient
from claude_bridge.upstream.engines.report import EngineReport, OfferedModel, positive, probe
from claude_bridge.wire.model_list import ListedModel, Props, parse_props

PROPS_PATH = "/props"


def is_llama_cpp(props: Props | None) -> bool:
    """Return whether only a llama.cpp reports these properties; old versions do not name themselves in their list."""
    return props is not None and props.default_generation_settings is not None


async def read_llama_cpp(client: UpstreamClient, report: EngineReport, listed: Sequence[ListedModel]) -> EngineReport:
    """Return the report with what /props adds; a router with several models describes none of them there."""
    models = tuple(map(_with_status, report.models, listed))
    props = (await probe(client, PROPS_PATH)).parsed(parse_props)
    if props is None:
        return replace(report, models=models)
    if len(models) == 1:
        models = (_with_props(models[0], props),)
    return replace(report, version=props.build_info, slots=positive(props.total_slots), models=models)


def _with_status(model: OfferedModel, listed: ListedModel) -> OfferedModel:
    status = listed.status.value if listed.status else None
    return replace(model, loaded=None if status is None else status == "loaded")


def _with_props(model: OfferedModel, props: Props) -> OfferedModel:
    abilities, settings, modalities = props.chat_template_caps, props.default_generation_settings, props.modalities
    thinks = abilities and (abilities.supports_preserve_reasoning or abilities.supports_reasoning_effort)
    return replace(
        model,
        tools=abilities.supports_tools if abilities else model.tools,
        thinking=True if thinks else model.thinking,  # a template without a place for thoughts proves nothing
        images=modalities.vision if modalities and modalities.vision is not None else model.images,
        context_window=positive(settings.n_ctx if settings else None) or model.context_window,
        loaded=True,
    )
