"""Which models an engine offers: asked of one engine, or of all usual places side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

import anyio
import msgspec
from msgspec import Struct

from claude_bridge.adapters.engine_profiles import LLAMA_CPP, LM_STUDIO, UNKNOWN, engine_by_owner
from claude_bridge.errors import BridgeError, SetupError, UpstreamBrokenError, UpstreamError
from claude_bridge.providers import PROVIDERS, Upstream, upstream_of
from claude_bridge.upstream.client import FetchedDocument, UpstreamClient
from claude_bridge.upstream.engines.catalog import (
    OfferedModel,
    offered_by_any,
    offered_by_llama_cpp,
    offered_by_lm_studio,
    offered_by_old_lm_studio,
    offered_by_ollama,
    tells_more_than_names,
)
from claude_bridge.upstream.engines.detect import (
    MODELS_PATH,
    PROBE_TIMEOUT_S,
    assumed,
    base_url_candidates,
    discover,
    usual_prices,
)
from claude_bridge.upstream.engines.ollama import (
    describe_models,
    installed_models,
    probe_version,
    root_url,
    with_tag,
)
from claude_bridge.wire.addresses import reaches_this_machine
from claude_bridge.wire.model_list import (
    DescribedModel,
    Props,
    parse_described_models,
    parse_old_studio_models,
    parse_props,
    parse_studio_models,
)
from claude_bridge.wire.ollama import parse_ps

UNINVITED_LIMIT_S = 4.0
"""How long a place that the user did not name may take to tell all."""

LOCAL_ENGINES: Mapping[str, str] = {
    row.display_name: row.base_url
    for row in PROVIDERS.values()
    if row.kind == "openai-chat" and urlsplit(row.base_url).scheme == "http"
}
"""Where OpenAI-compatible engines listen on the user's own machine: whichever it is, it may be another one."""

_OLLAMA_KIND = "ollama-chat"


class Place(Struct, frozen=True, kw_only=True):
    """Where to ask. ``key_hint`` says how the user gives a key."""

    provider: str
    upstream: Upstream
    api_key: str | None = None
    key_hint: str = ""
    models: tuple[OfferedModel, ...] = ()
    """Those that the configuration lists; where there are some, the engine is not asked."""
    is_wanted: bool = False
    """Whether the user means to use it, so that its silence is worth a word."""


class Listing(Struct, frozen=True, kw_only=True):
    """What one engine offers; ``provider`` and ``base_url`` are what ``bridge serve`` takes for it."""

    provider: str
    engine: str
    base_url: str
    models: tuple[OfferedModel, ...]
    is_configured: bool = False
    """Whether the models are those that the user lists, and not what the engine tells."""


def with_tools(listing: Listing) -> tuple[OfferedModel, ...]:
    """Return the models that can be of use to Claude Code.

    An Ollama tells of each model whether it takes tools, so that silence means no. Few other engines tell: theirs are
    left out only where the engine says no.
    """
    tells = listing.provider == "ollama" and not listing.is_configured
    return tuple(model for model in listing.models if model.tools or (model.tools is None and not tells))


class UnreachableEngine(Struct, frozen=True, kw_only=True):
    """A place where no models were found, and why: a sentence that names the place."""

    place: Place
    reason: str
    hint: str = "Start it or check its address; it may only be busy."


def local_places(taken: Sequence[Place]) -> list[Place]:
    """Return the usual places of local engines that are not among those ``taken``."""
    addresses = {_address(place.upstream.base_url) for place in taken}
    return [
        Place(
            provider="openai",
            upstream=msgspec.structs.replace(
                upstream_of(PROVIDERS["openai"], base_url=base_url, model=""), name=engine
            ),
        )
        for engine, base_url in LOCAL_ENGINES.items()
        if _address(base_url) not in addresses
    ]


async def list_everywhere(
    places: Sequence[Place], *, limit_s: float = UNINVITED_LIMIT_S
) -> tuple[list[Listing], list[UnreachableEngine]]:
    """Return what the places offer, asked side by side, and those that told nothing; both in the order given.

    Each may take ``limit_s`` seconds.
    """
    found: dict[int, Listing | UnreachableEngine] = {}

    async def ask(number: int, place: Place) -> None:
        where = f"{place.upstream.name} at {place.upstream.base_url}"
        found[number] = UnreachableEngine(place=place, reason=f"{where} did not answer within {limit_s:g} seconds.")
        with anyio.move_on_after(limit_s):
            try:
                found[number] = await list_models(place)
            except SetupError as error:
                found[number] = UnreachableEngine(place=place, reason=error.what, hint=error.hint)
            except BridgeError as error:
                found[number] = UnreachableEngine(place=place, reason=error.message)

    async with anyio.create_task_group() as tasks:
        for number, place in enumerate(places):
            tasks.start_soon(ask, number, place)
    results = [found[number] for number in range(len(places))]
    listings = [result for result in results if isinstance(result, Listing)]
    return listings, [result for result in results if isinstance(result, UnreachableEngine)]


async def list_models(place: Place) -> Listing:
    """Return all models of one engine, with what it tells of each.

    An Ollama is asked through its own API, at whichever address it is found. Nobody is asked where the configuration
    lists the models.

    Raises:
        SetupError: a wrong base URL or a wrong key.
        UpstreamError: the engine does not answer, or not yet.
    """
    upstream = place.upstream
    if place.models:
        base_url = assumed(upstream).base_url
        return Listing(
            provider=place.provider, engine=upstream.name, base_url=base_url, models=place.models, is_configured=True
        )
    if upstream.adapter.kind == _OLLAMA_KIND:
        listing = await _list_ollama(place)
    else:
        listing = None
        for base_url in base_url_candidates(upstream.base_url):
            async with UpstreamClient(base_url, api_key=place.api_key, name=upstream.name) as client:
                models = _read_models(await client.fetch(MODELS_PATH, timeout_s=PROBE_TIMEOUT_S))
            if models is not None:
                listing = await _list_engine(place, base_url, models)
                break
    if listing is not None:
        return listing
    # Asks once more, and tells what is wrong in the words of `bridge serve`.
    await discover(upstream, place.api_key, key_hint=place.key_hint)
    raise UpstreamBrokenError(f"{upstream.name} at {upstream.base_url} gave no list of its models.")


async def _list_ollama(place: Place) -> Listing | None:
    """Return the models of an Ollama, or None if it is another engine."""
    root = root_url(place.upstream.base_url)
    async with UpstreamClient(root, api_key=place.api_key, name=place.upstream.name) as client:
        version = await probe_version(client)
        if version is None:
            return None
        installed = await installed_models(client)
        loaded = await _loaded_names(client)
        descriptions = await describe_models(client, [model.name for model in installed])
    models = [
        offered_by_ollama(model, descriptions[model.name], loaded) for model in installed if model.name in descriptions
    ]
    return Listing(provider="ollama", engine=f"Ollama {version}", base_url=root, models=tuple(models))


async def _loaded_names(client: UpstreamClient) -> set[str] | None:
    document = await client.fetch("/api/ps", timeout_s=PROBE_TIMEOUT_S)
    try:
        loaded = parse_ps(document.body) if document.status == 200 else None
    except msgspec.DecodeError:
        return None
    return None if loaded is None else {with_tag(model.name) for model in loaded} | {model.name for model in loaded}


async def _list_engine(place: Place, base_url: str, models: Sequence[DescribedModel]) -> Listing | None:
    """Return the models of an OpenAI-compatible engine, asking it in its own way once it is known."""
    upstream = place.upstream
    profile = engine_by_owner(model.owned_by for model in models) or upstream.profile
    root = base_url.removesuffix("/v1")
    if profile in (UNKNOWN, LM_STUDIO) and not tells_more_than_names(models):
        if profile is UNKNOWN and await _is_ollama(place):
            return await _list_ollama(place)
        studio = await _list_lm_studio(place, root)
        if studio is not None:
            return Listing(provider=place.provider, engine="LM Studio", base_url=base_url, models=studio)
    engine = upstream.name if profile is UNKNOWN else profile.name
    cost = usual_prices(engine, base_url)
    if profile is LLAMA_CPP:
        async with UpstreamClient(root, api_key=place.api_key, name=engine) as client:
            props = _read_props(await client.fetch("/props", timeout_s=PROBE_TIMEOUT_S)) if len(models) == 1 else None
        offered = tuple(offered_by_llama_cpp(model, props, cost) for model in models)
    else:
        offered = tuple(offered_by_any(model, cost) for model in models)
    if upstream.name in LOCAL_ENGINES and profile is UNKNOWN:
        engine = "The engine"  # something else listens at the usual place of this one
    return Listing(provider=place.provider, engine=engine, base_url=base_url, models=offered)


async def _is_ollama(place: Place) -> bool:
    root = root_url(place.upstream.base_url)
    async with UpstreamClient(root, api_key=place.api_key, name=place.upstream.name) as client:
        with suppress(UpstreamError):  # an engine that does not like the question is none
            return await probe_version(client) is not None
    return False


async def _list_lm_studio(place: Place, root: str) -> tuple[OfferedModel, ...] | None:
    """Return the models of an LM Studio, or None if it is another engine."""
    cost = usual_prices("LM Studio", root)
    async with UpstreamClient(root, api_key=place.api_key, name=place.upstream.name) as client:
        with suppress(UpstreamError, msgspec.DecodeError):  # another engine's answer
            new = await client.fetch("/api/v1/models", timeout_s=PROBE_TIMEOUT_S)
            if new.status == 200:
                return tuple(offered_by_lm_studio(model, cost) for model in parse_studio_models(new.body))
        with suppress(UpstreamError, msgspec.DecodeError):
            old = await client.fetch("/api/v0/models", timeout_s=PROBE_TIMEOUT_S)
            if old.status == 200:
                models = parse_old_studio_models(old.body)
                return tuple(offered_by_old_lm_studio(model, cost) for model in models) or None
    return None


def _read_models(document: FetchedDocument) -> list[DescribedModel] | None:
    try:
        return parse_described_models(document.body) if document.status == 200 else None
    except msgspec.DecodeError:
        return None


def _read_props(document: FetchedDocument) -> Props:
    try:
        return parse_props(document.body) if document.status == 200 else Props()
    except msgspec.DecodeError:
        return Props()


def _address(base_url: str) -> tuple[str, int | None]:
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    return "localhost" if reaches_this_machine(host) else host, parts.port
