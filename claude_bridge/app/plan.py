"""What a command line asks to be served: the options that several commands take, and the plan that they make."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from claude_bridge.app.engine import key_hint, named_engine
from claude_bridge.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from claude_bridge.app.serve import Plan
    from claude_bridge.config.schema import Config
    from claude_bridge.providers import Upstream
    from claude_bridge.upstream.embedded.engine import EmbeddedEngine
    from claude_bridge.upstream.engines.catalog import OfferedModel


def complete_provider(incomplete: str) -> list[str]:
    """Return the providers whose names begin so, for the shell: ours and those of the configuration."""
    import os

    from claude_bridge.config.load import read_config
    from claude_bridge.config.providers import configured_rows
    from claude_bridge.providers import LOCAL

    names = [*configured_rows(read_config(None, os.environ).config), LOCAL]
    return [name for name in names if name.startswith(incomplete)]


ProviderName = Annotated[
    str,
    typer.Argument(
        autocompletion=complete_provider,
        help="Where the model runs: ollama, openai (any compatible engine), anthropic (any that speaks its API), "
        "local, one of the services and engines of docs/reference/providers.md, such as openrouter or vllm, or one of "
        "your configuration. Without it: your default model.",
    ),
]
ModelName = Annotated[str, typer.Argument(help="The engine's name of the model; may be left out if it has one.")]
MaxTokens = Annotated[int | None, typer.Option(help="The most tokens of an answer.", min=1, metavar="N")]
ContextWindow = Annotated[
    int | None, typer.Option(help="The context window in tokens, if the engine does not tell.", min=256, metavar="N")
]
ModelFile = Annotated[Path | None, typer.Option(help="With local: a GGUF file of your own.", metavar="FILE")]
Api = Annotated[
    str | None,
    typer.Option(
        help="Keep to this API, such as openai-chat, even where the engine turns out to be Ollama.", metavar="KIND"
    ),
]


class ThinkChoice(StrEnum):
    """What --think may be; the values are ThinkMode's."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


Think = Annotated[
    ThinkChoice | None, typer.Option(help="Whether the model thinks: as the client asks, always, or never.")
]
VisionModel = Annotated[
    str | None,
    typer.Option(help="A model of the same provider that describes images for one that sees none.", metavar="MODEL"),
]
TraceFile = Annotated[
    Path | None, typer.Option(help="Write the whole translated traffic to a file, as JSON lines.", metavar="FILE")
]


def plan_of(
    config: Config,
    provider: str,
    model: str,
    *,
    base_url: str | None,
    api_key: str | None,
    max_tokens: int | None,
    context_window: int | None,
    model_file: Path | None,
    api: str | None,
    trace: Path | None,
    vision_model: str | None = None,
    think: ThinkChoice | None = None,
    small_model: str | None = None,
    fallbacks: Sequence[str] | None = None,
    routes: Sequence[str] | None = None,
    check: bool = True,
    debug: bool = False,
) -> Plan:
    """Return what is to be served; the provider ``local`` is started by this.

    Without a provider it is the default model. What the configuration says of limits holds where no option does.

    Raises:
        SetupError: the options name nothing that can be served.
    """
    from msgspec.structs import replace

    from claude_bridge.app.routes import routing_of
    from claude_bridge.app.serve import Plan
    from claude_bridge.providers import LOCAL
    from claude_bridge.routing import Target

    embedded: EmbeddedEngine | None = None
    models: tuple[OfferedModel, ...] = ()
    if not provider:
        provider, model = default_model(config)
    if provider == LOCAL:
        from claude_bridge.app.local import start_embedded

        embedded = start_embedded(model_file, window_tokens=context_window or config.defaults.context_window)
        upstream, key, check, hint = embedded.upstream, None, False, ""
    else:
        engine = named_engine(config, provider, model, base_url, api_key)
        upstream, key, models, hint = engine.upstream, engine.api_key, engine.models, key_hint(engine.row)
        if api is not None:
            upstream = _with_api(upstream, api)
    routing = routing_of(config, Target(provider, model), small_model, fallbacks, routes)
    engines = {
        name: named_engine(config, name, "", None, None)
        for name in {target.provider for target in routing.others} - {provider}
    }
    if not models:  # what is configured of a model has been weighed against the defaults already
        max_tokens = max_tokens or config.defaults.max_tokens
        context_window = context_window or config.defaults.context_window
    return Plan(
        upstream=replace(upstream, think=think.value if think else config.defaults.think),
        api_key=key,
        key_hint=hint,
        check=check,
        models=models,
        may_upgrade=api is None,
        max_output_tokens=max_tokens,
        window_tokens=context_window,
        general_max_output_tokens=config.defaults.max_tokens,
        general_window_tokens=config.defaults.context_window,
        vision_model=vision_model or config.defaults.vision_model,
        debug=debug,
        trace_file=trace,
        embedded=embedded,
        routing=routing,
        engines=engines,
    )


def default_model(config: Config) -> tuple[str, str]:
    """Return the provider and the model that are meant where none is named; raises BadParameter if none is."""
    if config.defaults.model is None:
        hint = "Name one, such as ollama, or settle it: `bridge config init`, [defaults] model."
        raise typer.BadParameter(f"Missing argument 'PROVIDER'. {hint}")
    return config.defaults.model.provider, config.defaults.model.model


def _with_api(upstream: Upstream, api: str) -> Upstream:
    from msgspec.structs import replace

    from claude_bridge.adapters import ADAPTERS
    from claude_bridge.adapters.engine_profiles import UNKNOWN

    if api not in ADAPTERS:
        raise SetupError(f"There is no API {api!r}.", f"Known ones: {', '.join(ADAPTERS)}.")
    if api == upstream.adapter.kind:
        return upstream
    return replace(upstream, adapter=ADAPTERS[api], profile=UNKNOWN)  # a row is about an engine's own API
