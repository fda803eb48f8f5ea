"""Which models engines offer: those of one engine, of all usual places side by side, or of the local network."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from urllib.parse import urlsplit

import anyio
from msgspec import Struct
from msgspec.structs import replace

from claude_bridge.adapters.engine_profiles import UNKNOWN
from claude_bridge.errors import BridgeError, SetupError, UpstreamBrokenError
from claude_bridge.providers import PROVIDERS, UNNAMED, upstream_of
from claude_bridge.upstream.engines.detect import inspect_engine
from claude_bridge.upstream.engines.discover import assumed, require_engine
from claude_bridge.upstream.engines.engine import Engine
from claude_bridge.upstream.engines.report import OfferedModel, side_by_side
from claude_bridge.wire.addresses import comparable_place

UNINVITED_LIMIT_S = 4.0
"""How long a place that the user did not name may take for everything."""

LOCAL_ENGINES: Mapping[str, str] = {
    row.display_name: row.base_url
    for row in PROVIDERS.values()
    if row.kind == "openai-chat" and urlsplit(row.base_url).scheme == "http"
}
"""Where OpenAI-compatible engines usually listen on the user's own machine; another one may listen there, too."""


class Listing(Struct, frozen=True, kw_only=True):
    """What one engine offers; ``provider`` and ``base_url`` are what ``bridge serve`` takes for it."""

    provider: str
    engine: str
    base_url: str
    models: tuple[OfferedModel, ...]
    is_configured: bool = False
    """Whether the models are those that the user lists, and not what the engine reports."""


class UnreachableEngine(Struct, frozen=True, kw_only=True):
    """An engine of which no models were found, and why: a sentence that names the place."""

    engine: Engine
    reason: str
    hint: str = "Check its address; it may only be busy."


def with_tools(listing: Listing) -> tuple[OfferedModel, ...]:
    """Return the models that can be of use to Claude Code.

    An Ollama reports for each model whether it takes tools, so that silence means no. Few other engines do: theirs
    are left out only where the engine says no.
    """
    reports_tools = listing.provider == "ollama" and not listing.is_configured
    return tuple(model for model in listing.models if model.tools or (model.tools is None and not reports_tools))


def local_engines(taken: Sequence[Engine]) -> list[Engine]:
    """Return those at the usual places of local engines that are not among those ``taken``."""
    addresses = {comparable_place(engine.upstream.base_url) for engine in taken}
    row = PROVIDERS["openai"]
    return [
        Engine(provider=row.name, upstream=replace(upstream_of(row, base_url=base_url, model=""), name=name))
        for name, base_url in LOCAL_ENGINES.items()
        if comparable_place(base_url) not in addresses
    ]


async def list_everywhere(
    engines: Sequence[Engine], *, limit_s: float = UNINVITED_LIMIT_S
) -> tuple[list[Listing], list[UnreachableEngine]]:
    """Return what the engines offer, requested side by side, and those without an answer; both in their order.

    Each may take ``limit_s`` seconds.
    """

    async def ask(engine: Engine) -> Listing | UnreachableEngine:
        with anyio.move_on_after(limit_s):
            try:
                return await list_models(engine)
            except SetupError as error:
                return UnreachableEngine(engine=engine, reason=error.what, hint=error.hint)
            except BridgeError as error:
                return UnreachableEngine(engine=engine, reason=error.message)
        where = f"{engine.upstream.name} at {engine.upstream.base_url}"
        return UnreachableEngine(engine=engine, reason=f"{where} did not answer within {limit_s:g} seconds.")

    results = await side_by_side([partial(ask, engine) for engine in engines])
    listings = [result for result in results if isinstance(result, Listing)]
    return listings, [result for result in results if isinstance(result, UnreachableEngine)]


async def list_models(engine: Engine) -> Listing:
    """Return all models of one engine, with what it reports about each.

    An Ollama is inspected through its own API, at whichever address it is found. No engine gets a request where the
    configuration lists the models.

    Raises:
        SetupError: a wrong base URL or a wrong key.
        UpstreamError: the engine does not answer, or not yet.
    """
    upstream = engine.upstream
    listing = Listing(
        provider=engine.provider, engine=upstream.name, base_url=assumed(engine).base_url, models=engine.models
    )
    if engine.models:
        return replace(listing, is_configured=True)
    report = await inspect_engine(replace(upstream, model=""), engine.api_key, every_model=True)
    require_engine(report, engine)
    if report.models_error is not None:
        raise UpstreamBrokenError(f"{report.title}'s list of models can't be read: {report.models_error}")
    if report.is_ollama:
        listing = replace(listing, provider="ollama", engine=report.title)
    elif report.is_known:
        listing = replace(listing, engine=report.engine)
    elif upstream.name in LOCAL_ENGINES and upstream.profile is UNKNOWN:
        listing = replace(listing, engine=UNNAMED)  # something else listens at the usual place of this one
    return replace(listing, base_url=report.base_url or listing.base_url, models=report.models)


# --- the local network --------------------------------------------------------------------------------------------

SHARED_PORTS: Mapping[int, str] = {11434: "ollama", 1234: "lmstudio"}
"""The ports of engines that people share in a network, and their providers."""

CONNECT_LIMIT_S = 1.0
MAX_CONNECTING = 128


def neighbours() -> list[str]:
    """Return the addresses that differ from this machine's own in the last number; none outside a private network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # chooses the way out; nothing is sent
        except OSError:
            return []
        own = IPv4Address(probe.getsockname()[0])
    if not own.is_private or own.is_loopback:
        return []
    return [str(host) for host in IPv4Network(f"{own}/24", strict=False).hosts() if host != own]


async def scan(
    hosts: Iterable[str], *, ports: Mapping[int, str] = SHARED_PORTS, limit_s: float = CONNECT_LIMIT_S
) -> list[Engine]:
    """Return where something listens at these ports, each tried once for ``limit_s`` seconds; no byte is sent.

    ``ports`` says whose engine is expected at which port.
    """
    found: list[tuple[str, int]] = []

    async def try_to_connect(host: str, port: int) -> None:
        with anyio.move_on_after(limit_s), suppress(OSError):
            stream = await anyio.connect_tcp(host, port)
            found.append((host, port))
            await stream.aclose()

    tries = [partial(try_to_connect, host, port) for host in hosts for port in ports]
    await side_by_side(tries, at_once=MAX_CONNECTING)
    return [_engine(host, port, ports[port]) for host, port in sorted(found)]


def _engine(host: str, port: int, provider: str) -> Engine:
    row = PROVIDERS[provider]
    path = "" if row.kind == "ollama-chat" else "/v1"
    upstream = upstream_of(row, base_url=f"http://{host}:{port}{path}", model="")
    return Engine(provider=row.name, upstream=replace(upstream, name=row.display_name))
