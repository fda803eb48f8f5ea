"""What can be found out about an engine that is asked in Anthropic's own words: which it is, its model, its window."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from claude_bridge.adapters.engine_profiles import OLLAMA, engine_by_owner
from claude_bridge.conversion.upstream_errors.translate import explain_refusal
from claude_bridge.errors import SetupError, UpstreamError
from claude_bridge.providers import Upstream
from claude_bridge.upstream.client import FetchedDocument, UpstreamClient, client_for
from claude_bridge.upstream.engines.ollama import loaded_model, probe_version
from claude_bridge.wire.openai import ListedModel, parse_models

PROBE_TIMEOUT_S = 5.0
MODELS_PATH = "/v1/models"
MAX_NAMES = 10

_OLLAMA_NOTE = (
    "passed on in Anthropic's own words: there an Ollama can't be told its context window, and cuts long prompts in "
    "silence. Set OLLAMA_CONTEXT_LENGTH for it, or use `bridge serve ollama`"
)


async def discover_relayed(upstream: Upstream, api_key: str | None, *, key_hint: str) -> Upstream:
    """Return the upstream with what the engine tells of itself.

    An empty ``upstream.model`` stays empty: the client's own names go on. Anthropic itself is not asked anything: who
    may ask what is between it and the client.

    Raises:
        SetupError: a wrong key: nothing that waiting would cure.
        UpstreamError: the engine does not answer, or not yet.
    """
    upstream = msgspec.structs.replace(upstream, base_url=relay_root(upstream.base_url))
    if upstream.profile.messages.is_anthropic:
        whose = "your key" if api_key else "the client's own login"
        notes = (f"passed on byte for byte, with {whose}",)
        return msgspec.structs.replace(upstream, forwards_client_auth=not api_key, notes=notes)
    async with client_for(upstream, api_key) as client:
        version = await probe_version(client)
        if version is not None:
            return await _ollama(upstream, client, version)
        document = await client.fetch(MODELS_PATH, timeout_s=PROBE_TIMEOUT_S)
    where = f"{upstream.name} at {upstream.base_url}"
    if document.status in (401, 403):
        error = explain_refusal(document.status, document.headers, document.body, where)
        what = "does not accept the key" if api_key else "asks for a key, and none was given"
        raise SetupError(f"{where} {what}: {error.message}", key_hint)
    if document.status >= 500 or document.status == 429:
        error = explain_refusal(document.status, document.headers, document.body, where)
        raise error if isinstance(error, UpstreamError) else UpstreamError(error.message)
    return _with_models(upstream, _models_in(document))


def relay_root(base_url: str) -> str:
    """Return the address of an engine without the path of the Messages API, which users give or leave out."""
    base_url = base_url.rstrip("/")
    for suffix in ("/messages", "/v1"):
        base_url = base_url.removesuffix(suffix)
    return base_url


async def _ollama(upstream: Upstream, client: UpstreamClient, version: str) -> Upstream:
    loaded = await loaded_model(client, upstream.model) if upstream.model else None
    return msgspec.structs.replace(
        upstream,
        name=f"Ollama {version}",
        profile=OLLAMA,
        window_tokens=loaded.context_length if loaded else None,
        notes=(_OLLAMA_NOTE,),
    )


def _with_models(upstream: Upstream, models: Sequence[ListedModel]) -> Upstream:
    profile = engine_by_owner(model.owned_by for model in models)
    if profile is not None:
        upstream = msgspec.structs.replace(upstream, name=profile.name, profile=profile)
    named = next((model for model in models if model.id == upstream.model), None)
    if named is None and (upstream.profile.ignores_model_name or len(models) == 1):
        named = next(iter(models), None)
    notes = ["passed on in Anthropic's own words, edited and mended where this engine needs it"]
    if not upstream.model and models and not upstream.profile.ignores_model_name:
        names = ", ".join(model.id for model in models[:MAX_NAMES])
        notes.append(f"each request goes on with the model that it names; here are: {names}")
    window = named.window_tokens if named else None
    if window:
        notes.append(f"context window {window:,} tokens")
    return msgspec.structs.replace(upstream, window_tokens=window, notes=tuple(notes))


def _models_in(document: FetchedDocument) -> list[ListedModel]:
    if document.status != 200:
        return []
    try:
        return parse_models(document.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []
