"""What a command line asks to be served: the options that several commands take, and the plan that they make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from claude_bridge.cli.engine import LOCAL, key_hint, named_upstream, provider_row
from claude_bridge.errors import SetupError

if TYPE_CHECKING:
    from claude_bridge.cli.running import Plan
    from claude_bridge.providers import Upstream
    from claude_bridge.upstream.embedded import EmbeddedEngine

ProviderName = Annotated[
    str,
    typer.Argument(
        help="Where the model runs: ollama, openai (any compatible engine), anthropic (any that speaks its API), local."
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
TraceFile = Annotated[
    Path | None, typer.Option(help="Write the whole translated traffic to a file, as JSON lines.", metavar="FILE")
]


def plan_of(
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
    check: bool = True,
    debug: bool = False,
) -> Plan:
    """Return what is to be served; the provider ``local`` is started by this.

    Raises:
        SetupError: the options name nothing that can be served.
    """
    from claude_bridge.cli.running import Plan

    embedded: EmbeddedEngine | None = None
    if provider == LOCAL:
        from claude_bridge.cli.local import start_embedded

        embedded = start_embedded(model_file, window_tokens=context_window)
        upstream, key, check, hint = embedded.upstream, None, False, ""
    else:
        upstream, key = named_upstream(provider, model, base_url, api_key)
        hint = key_hint(provider_row(provider))
        if api is not None:
            upstream = _with_api(upstream, api)
    return Plan(
        upstream=upstream,
        api_key=key,
        key_hint=hint,
        check=check,
        may_upgrade=api is None,
        max_output_tokens=max_tokens,
        window_tokens=context_window,
        debug=debug,
        trace_file=trace,
        embedded=embedded,
    )


def _with_api(upstream: Upstream, api: str) -> Upstream:
    from msgspec.structs import replace

    from claude_bridge.adapters import KINDS
    from claude_bridge.adapters.profiles import UNKNOWN

    if api not in KINDS:
        raise SetupError(f"There is no API {api!r}.", f"Known ones: {', '.join(KINDS)}.")
    if api == upstream.adapter.kind:
        return upstream
    return replace(upstream, adapter=KINDS[api], profile=UNKNOWN)  # a row is about an engine's own API
