"""What an engine with Anthropic's own API is found to be; requests are passed on to it, edited where it needs that."""

from __future__ import annotations

from msgspec.structs import replace

from claude_bridge.adapters.engine_profiles import OLLAMA
from claude_bridge.providers import Upstream
from claude_bridge.upstream.engines.openai_compatible import without_api_path
from claude_bridge.upstream.engines.report import EngineReport

MAX_NAMES = 10

_OLLAMA_NOTE = (
    "requests are passed through: on this route the bridge can't set an Ollama's context window, and Ollama cuts long "
    "prompts in silence. Set OLLAMA_CONTEXT_LENGTH for it, or use `bridge serve ollama`"
)


def anthropic_root(base_url: str) -> str:
    """Return the address without the path of the Messages API, which users give or leave out."""
    return without_api_path(base_url, ("/messages", "/v1"))


def passthrough_to_anthropic(upstream: Upstream, *, has_key: bool) -> Upstream:
    """Return the upstream for Anthropic itself, which gets no requests of the bridge's own."""
    whose = "your key" if has_key else "the client's own login" if upstream.forwards_client_auth else "no key"
    notes = (f"requests are passed through unchanged, with {whose}",)
    base_url = anthropic_root(upstream.base_url)
    return replace(upstream, base_url=base_url, notes=notes)


def passthrough_as_reported(upstream: Upstream, report: EngineReport) -> Upstream:
    """Return the upstream as its report describes it; an empty ``upstream.model`` keeps the client's model names."""
    profile = report.profile or upstream.profile
    is_ollama = profile.name == OLLAMA.name
    name = report.title if is_ollama else report.engine if report.is_known else upstream.name
    upstream = replace(upstream, name=name, profile=profile)
    if is_ollama:
        model = report.find(upstream.model) if upstream.model else None
        # What is loaded now may have been loaded for another client, with another window.
        window = model.ollama.modelfile_window if model and model.ollama else None
        return replace(upstream, window_tokens=window, rereads_window=True, notes=(_OLLAMA_NOTE,))
    model = report.find(upstream.model)
    if model is None and (profile.ignores_model_name or len(report.models) == 1):
        model = next(iter(report.models), None)
    notes = ["requests are passed through; what this engine can't handle in them is changed"]
    if not upstream.model and report.models and not profile.ignores_model_name:
        names = ", ".join(report.names[:MAX_NAMES])
        notes.append(f"each request uses the model that it names; available: {names}")
    window = model.window_in_use if model else None
    notes += [f"context window {window:,} tokens"] if window else []
    return replace(upstream, window_tokens=window, notes=tuple(notes))
