"""What can be found out about an engine: which it is, which models it offers, how long its window is."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from urllib.parse import urlsplit

import msgspec

from claude_bridge.adapters.engine_profiles import BY_OWNER, UNKNOWN, engine_by_owner, profile_as_told, profile_for
from claude_bridge.conversion.pricing import FREE, Prices, listed_prices
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.upstream_errors.translate import explain_refusal
from claude_bridge.errors import SetupError, SeveralModelsError, UpstreamError
from claude_bridge.providers import Upstream
from claude_bridge.upstream.client import FetchedDocument, UpstreamClient
from claude_bridge.upstream.engines.anthropic import discover_relayed, relay_root
from claude_bridge.upstream.engines.catalog import OfferedModel, profile_as_offered
from claude_bridge.upstream.engines.engine_details import with_own_words
from claude_bridge.upstream.engines.ollama import discover_ollama, probe_version, root_url
from claude_bridge.wire.addresses import reaches_this_machine
from claude_bridge.wire.openai import ListedModel, parse_models

PROBE_TIMEOUT_S = 5.0
MODELS_PATH = "/models"

_RUN_BY_THE_USER = ("llama.cpp", "LM Studio", "vLLM", "SGLang")

_USUAL_LOCAL_URLS = (
    "Usual ones: http://localhost:11434/v1 for Ollama, http://localhost:8080/v1 for llama.cpp, "
    "http://localhost:1234/v1 for LM Studio, http://localhost:8000/v1 for vLLM."
)


async def discover(
    upstream: Upstream,
    api_key: str | None,
    *,
    key_hint: str,
    window_tokens: int | None = None,
    may_upgrade: bool = True,
) -> Upstream:
    """Return the upstream with what the engine tells: the true base URL, the engine, the model, its window.

    An empty ``upstream.model`` stands for the only model that the engine offers. ``key_hint`` says how the user
    gives a key, ``window_tokens`` which window is wished for (None: no wish). An engine that turns out to be Ollama
    is asked through its own API, the only one where the window can be set, if it ``may_upgrade``.

    Raises:
        SetupError: a wrong base URL, a wrong key or an unknown model: nothing that waiting would cure.
        UpstreamError: the engine does not answer, or not yet.
    """
    if upstream.adapter.kind == "ollama-chat":
        return await discover_ollama(upstream, api_key, window_tokens=window_tokens)
    if upstream.adapter.is_passthrough:
        return await discover_relayed(upstream, api_key, key_hint=key_hint)
    seen: list[tuple[str, FetchedDocument]] = []
    for base_url in base_url_candidates(upstream.base_url):
        async with UpstreamClient(base_url, api_key=api_key, name=upstream.name) as client:
            document = await client.fetch(MODELS_PATH, timeout_s=PROBE_TIMEOUT_S)
        if document.status in (401, 403):
            raise _key_error(upstream, base_url, document, api_key, key_hint)
        if document.status >= 500 or document.status == 429:
            error = explain_refusal(document.status, document.headers, document.body, f"{upstream.name} at {base_url}")
            raise error if isinstance(error, UpstreamError) else UpstreamError(error.message)
        models = _models_in(document)
        if models is not None:
            found = _with_engine(msgspec.structs.replace(upstream, base_url=base_url), models)
            if may_upgrade and found.profile is UNKNOWN and await _is_ollama(upstream, api_key):
                ollama = await discover_ollama(upstream, api_key, window_tokens=window_tokens)
                notice = "it is an Ollama, and asked through its own API (--api openai-chat keeps the other)"
                return msgspec.structs.replace(ollama, notes=(notice, *ollama.notes))
            return await with_own_words(_with_model(found, models), api_key)
        seen.append((base_url, document))
    raise _no_api(upstream, seen)


def assumed(upstream: Upstream) -> Upstream:
    """Return the upstream as it is to be used as long as the engine can't be asked."""
    if upstream.adapter.is_passthrough:
        return msgspec.structs.replace(upstream, base_url=relay_root(upstream.base_url))
    is_ollama = upstream.adapter.kind == "ollama-chat"
    base_url = root_url(upstream.base_url) if is_ollama else base_url_candidates(upstream.base_url)[0]
    return _of_model(msgspec.structs.replace(upstream, base_url=base_url), upstream.model)


def usual_prices(engine: str, base_url: str) -> Prices | None:
    """Return that an engine on the user's own machine costs nothing; elsewhere somebody may ask for money."""
    return FREE if engine in _RUN_BY_THE_USER and reaches_this_machine(urlsplit(base_url).hostname or "") else None


async def _is_ollama(upstream: Upstream, api_key: str | None) -> bool:
    async with UpstreamClient(root_url(upstream.base_url), api_key=api_key, name=upstream.name) as client:
        return await probe_version(client) is not None


def base_url_candidates(base_url: str) -> list[str]:
    """Return the base URLs that a user may have meant: with or without ``/v1``, or given twice."""
    base_url = base_url.rstrip("/")
    for suffix in ("/chat/completions", "/models", "/messages"):
        base_url = base_url.removesuffix(suffix)
    while base_url.endswith("/v1/v1"):
        base_url = base_url.removesuffix("/v1")
    if base_url.endswith("/v1"):
        return [base_url]
    has_path = "/" in base_url.partition("://")[2]
    return [base_url, f"{base_url}/v1"] if has_path else [f"{base_url}/v1", base_url]


def _models_in(document: FetchedDocument) -> list[ListedModel] | None:
    if document.status != 200:
        return None
    try:
        return parse_models(document.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _with_engine(upstream: Upstream, models: Sequence[ListedModel]) -> Upstream:
    profile = engine_by_owner(model.owned_by for model in models)
    if profile is None or upstream.profile not in (UNKNOWN, *BY_OWNER.values()):  # a service may list others' words
        return upstream
    return msgspec.structs.replace(upstream, name=profile.name, profile=profile)


def _with_model(upstream: Upstream, models: Sequence[ListedModel]) -> Upstream:
    names = [model.id for model in models]
    if not upstream.model and len(names) == 1:
        upstream = msgspec.structs.replace(upstream, model=names[0])
    if not upstream.model:
        raise _no_model_named(upstream, names)
    listed_model = _listed(upstream.model, models)
    if listed_model is None and upstream.profile.ignores_model_name and models:
        listed_model = models[0]
    if listed_model is None and names:
        raise _unknown_model(upstream, names)
    if listed_model is None:
        return msgspec.structs.replace(
            _of_model(upstream, upstream.model), prices=usual_prices(upstream.name, upstream.base_url)
        )
    upstream = _of_model(upstream, listed_model.id)
    return msgspec.structs.replace(
        upstream,
        profile=_as_listed(upstream.profile, listed_model),
        window_tokens=listed_model.window_tokens,
        max_output_tokens=listed_model.answer_tokens,
        prices=listed_prices(listed_model.pricing) or usual_prices(upstream.name, upstream.base_url),
    )


def _as_listed(profile: Profile, listed: ListedModel) -> Profile:
    told = OfferedModel(id=listed.id, images=listed.sees_images, thinking=listed.thinks)
    return profile_as_offered(profile_as_told(profile, listed.reasoning), told)


def _some(names: Sequence[str]) -> str:
    listed = ", ".join(names[:20]) or "none"
    return f"{listed} and {len(names) - 20} more (bridge models lists all)" if len(names) > 20 else listed


def _of_model(upstream: Upstream, model: str) -> Upstream:
    """Return the upstream of an engine with what is known of a model by its name."""
    return msgspec.structs.replace(upstream, profile=profile_for(upstream.profile, model))


def _no_model_named(upstream: Upstream, names: Sequence[str]) -> SetupError:
    what = "No model was given."
    hint = f"{upstream.name} offers: {_some(names)}. Add one behind the provider."
    if not names:
        return SetupError(what, hint)
    return SeveralModelsError(what, hint, engine=f"{upstream.name} at {upstream.base_url}", models=names)


def _listed(name: str, models: Sequence[ListedModel]) -> ListedModel | None:
    """Return the entry of a model; Gemini lists its names behind ``models/``, OpenRouter its variants not at all."""
    names = [name, f"models/{name}"]
    if "/" in name:
        names.append(name.partition(":")[0])
    return next((model for wanted in names for model in models if model.id == wanted), None)


def _unknown_model(upstream: Upstream, names: Sequence[str]) -> SetupError:
    near = get_close_matches(upstream.model, names, n=3, cutoff=0.4)
    hint = f"Nearest: {', '.join(near)}." if near else f"It offers: {', '.join(names[:10])}."
    return SetupError(
        f"{upstream.name} at {upstream.base_url} has no model {upstream.model!r}.",
        f"{hint} If the list is not complete, add --no-check.",
    )


def _key_error(
    upstream: Upstream, base_url: str, document: FetchedDocument, api_key: str | None, key_hint: str
) -> SetupError:
    error = explain_refusal(document.status, document.headers, document.body, f"{upstream.name} at {base_url}")
    what = "does not accept the key" if api_key else "asks for a key, and none was given"
    return SetupError(f"{upstream.name} at {base_url} {what}: {error.message}", key_hint)


def _no_api(upstream: Upstream, seen: Sequence[tuple[str, FetchedDocument]]) -> SetupError:
    base_url, document = next((answer for answer in seen if answer[1].status == 200), seen[-1])
    url = base_url + MODELS_PATH
    if 300 <= document.status < 400:
        what = f"{url} redirects to {document.headers.get('location', 'elsewhere')}."
    elif b"<html" in document.body[:2000].lower() or "html" in document.headers.get("content-type", ""):
        what = f"{url} answers with a web page, not with a model list."
    elif document.status == 200:
        what = f"{url} answers with something that is no model list."
    else:
        what = f"{url} answers {document.status}: there is no OpenAI-compatible API."
    host = upstream.base_url.partition("://")[2].partition("/")[0].partition(":")[0]
    hint = _USUAL_LOCAL_URLS if reaches_this_machine(host) else "It usually ends in /v1."
    return SetupError(what, f"Check --base-url. {hint}")
