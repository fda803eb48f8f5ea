"""Which models engines offer: those of one engine, or of all usual places side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import anyio
from msgspec import Struct
from msgspec.structs import replace

from claude_bridge.adapters.engine_profiles import OLLAMA, UNKNOWN
from claude_bridge.errors import BridgeError, SetupError, UpstreamBrokenError
from claude_bridge.providers import PROVIDERS, UNNAMED, Upstream, upstream_of
from claude_bridge.upstream.engines.detect import inspect_engine
from claude_bridge.upstream.engines.discover import assumed, require_engine
from claude_bridge.upstream.engines.report import OfferedModel
from claude_bridge.wire.addresses import reaches_this_machine

UNINVITED_LIMIT_S = 4.0
"""How long a place that the user did not name may take for everything."""

LOCAL_ENGINES: Mapping[str, str] = {
    row.display_name: row.base_url
    for row in PROVIDERS.values()
    if row.kind == "openai-chat" and urlsplit(row.base_url).scheme == "http"
}
"""Where OpenAI-compatible engines usually listen on the user's own machine; another one may listen there, too."""


class Place(Struct, frozen=True, kw_only=True):
    """Where to ask. ``key_hint`` says how the user gives a key."""

    provider: str
    upstream: Upstream
    api_key: str | None = None
    key_hint: str = ""
    models: tuple[OfferedModel, ...] = ()
    """Those that the configuration lists; where there are some, the engine gets no request."""
    is_wanted: bool = False
    """Whether the user means to use it, so that a failure is worth a message."""


class Listing(Struct, frozen=True, kw_only=True):
    """What one engine offers; ``provider`` and ``base_url`` are what ``bridge serve`` takes for it."""

    provider: str
    engine: str
    base_url: str
    models: tuple[OfferedModel, ...]
    is_configured: bool = False
    """Whether the models are those that the user lists, and not what the engine reports."""


class UnreachableEngine(Struct, frozen=True, kw_only=True):
    """A place where no models were found, and why: a sentence that names the place."""

    place: Place
    reason: str
    hint: str = "Start it or check its address; it may only be busy."


def with_tools(listing: Listing) -> tuple[OfferedModel, ...]:
    """Return the models that can be of use to Claude Code.

    An Ollama reports for each model whether it takes tools, so that silence means no. Few other engines do: theirs
    are left out only where the engine says no.
    """
    reports_tools = listing.provider == "ollama" and not listing.is_configured
    return tuple(model for model in listing.models if model.tools or (model.tools is None and not reports_tools))


def local_places(taken: Sequence[Place]) -> list[Place]:
    """Return the usual places of local engines that are not among those ``taken``."""
    addresses = {_address(place.upstream.base_url) for place in taken}
    row = PROVIDERS["openai"]
    return [
        Place(
            provider=row.name,
            upstream=replace(upstream_of(row, base_url=base_url, model=""), name=engine),
        )
        for engine, base_url in LOCAL_ENGINES.items()
        if _address(base_url) not in addresses
    ]


async def list_everywhere(
    places: Sequence[Place], *, limit_s: float = UNINVITED_LIMIT_S
) -> tuple[list[Listing], list[UnreachableEngine]]:
    """Return what the places offer, requested side by side, and those without an answer; both in their order.

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
    """Return all models of one engine, with what it reports about each.

    An Ollama is inspected through its own API, at whichever address it is found. No engine gets a request where the
    configuration lists the models.

    Raises:
        SetupError: a wrong base URL or a wrong key.
        UpstreamError: the engine does not answer, or not yet.
    """
    upstream = place.upstream
    listing = Listing(
        provider=place.provider, engine=upstream.name, base_url=assumed(upstream).base_url, models=place.models
    )
    if place.models:
        return replace(listing, is_configured=True)
    report = await inspect_engine(replace(upstream, model=""), place.api_key, every_model=True)
    require_engine(report, upstream, has_key=place.api_key is not None, key_hint=place.key_hint)
    if report.models_error is not None:
        raise UpstreamBrokenError(f"{report.title}'s list of models can't be read: {report.models_error}")
    if report.engine == OLLAMA.name:
        listing = replace(listing, provider="ollama", engine=report.title)
    elif report.is_known:
        listing = replace(listing, engine=report.engine)
    elif upstream.name in LOCAL_ENGINES and upstream.profile is UNKNOWN:
        listing = replace(listing, engine=UNNAMED)  # something else listens at the usual place of this one
    return replace(listing, base_url=report.base_url or listing.base_url, models=report.models)


def _address(base_url: str) -> tuple[str, int | None]:
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    return "localhost" if reaches_this_machine(host) else host, parts.port
