"""Asks the running bridge: where it is, and what it reports about itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar
from urllib.parse import urlsplit

import typer

from claude_bridge.cli.plain_serve import DEFAULT_PORT
from claude_bridge.errors import SetupError

if TYPE_CHECKING:
    from claude_bridge.config.schema import Config
    from claude_bridge.providers import Provider
    from claude_bridge.wire.admin_api import Readiness

TIMEOUT_S = 5.0
MAX_ANSWER_BYTES = 16 * 1024 * 1024
DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_PORT}"

BridgeUrl = Annotated[
    str | None,
    typer.Option("--url", help=f"Where the bridge is. Default: {DEFAULT_URL}.", metavar="URL"),
]
"""The option that says where a bridge is."""

BridgeToken = Annotated[
    str | None, typer.Option("--auth-token", help="The token that the bridge needs, if any.", metavar="TOKEN")
]
"""The option that gives a bridge's token."""

_ANY_ENGINE = {
    "openai-chat": "openai",
    "openai-responses": "openai",
    "ollama-chat": "ollama",
    "anthropic-messages": "anthropic",
}
"""The provider that stands for any engine, by the API that a bridge uses."""

T = TypeVar("T")


class BridgeLocation(NamedTuple):
    """Where a bridge is, and the token that it needs (None: none)."""

    url: str
    token: str | None


class NoBridgeError(SetupError):
    """Nothing listens where the bridge should be."""


def place_of_bridge(url: str | None, token: str | None, config_file: Path | None) -> BridgeLocation:
    """Return where the bridge is: as the options say, else as configured.

    Raises:
        SetupError: the configuration has mistakes, or does not say.
    """
    from claude_bridge.app.keys import configured_token
    from claude_bridge.app.plan import Listening
    from claude_bridge.cli.loading import load_config

    config = load_config(config_file)
    if url is None and config.server.port == 0:
        raise SetupError(
            "The configured port is 0, so the bridge listens on another port each time.", "Give the address: --url URL"
        )
    url = url or Listening(host=config.server.host, port=config.server.port).url
    return BridgeLocation(url.rstrip("/"), token or configured_token(config))


def place_of_client(environment: Mapping[str, str] = os.environ) -> BridgeLocation:
    """Return where the bridge is, from the environment of its client."""
    url = environment.get("ANTHROPIC_BASE_URL") or DEFAULT_URL
    return BridgeLocation(url.rstrip("/"), environment.get("ANTHROPIC_AUTH_TOKEN") or None)


def find_served(config: Config, port: int) -> Readiness | None:
    """Return what the bridge at this port serves, or None if none runs there or it does not know yet."""
    from claude_bridge.app.keys import configured_token
    from claude_bridge.app.plan import Listening
    from claude_bridge.wire.admin_api import READY_PATH, parse_readiness

    try:
        place = BridgeLocation(Listening(host=config.server.host, port=port).url, configured_token(config))
        served = ask(place, READY_PATH, parse_readiness)
    except SetupError:  # nothing listens there, it is something else, or it asks for a token that is not configured
        return None
    return served if served.base_url and served.kind in _ANY_ENGINE else None


def row_of_served(config: Config, served: Readiness) -> tuple[Provider, str | None]:
    """Return the provider that the bridge asks, and its address, unless that is the provider's own."""
    from claude_bridge.app.build import address_of
    from claude_bridge.config.providers import configured_rows

    rows = configured_rows(config)
    address = _comparable(served.base_url or "")
    for row in rows.values():
        if row.kind == served.kind and _comparable(address_of(config, row, None) or row.base_url) == address:
            return row, None
    return rows[_ANY_ENGINE[served.kind or ""]], served.base_url


def _comparable(base_url: str) -> tuple[str, int | None, str]:
    """Return what two spellings of the same address have in common."""
    from claude_bridge.wire.addresses import comparable_place

    return (*comparable_place(base_url), urlsplit(base_url).path.rstrip("/").removesuffix("/v1"))


def ask(place: BridgeLocation, path: str, parse: Callable[[bytes], T]) -> T:
    """Return the bridge's answer at ``path``, with any status; no proxy is used.

    Raises:
        NoBridgeError: nothing listens there.
        SetupError: the address is invalid, something else listens there, or it needs another token.
    """
    import msgspec

    status, body = _get(place.url, path, {"authorization": f"Bearer {place.token}"} if place.token else {})
    if status in (401, 403):
        raise SetupError(f"The bridge at {place.url} needs a token.", "Give it: --auth-token TOKEN")
    try:
        return parse(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise SetupError(
            f"The server at {place.url} is not a bridge.", "Give the address of the bridge: --url URL"
        ) from None


def _get(url: str, path: str, headers: Mapping[str, str]) -> tuple[int, bytes]:
    import http.client  # the status line asks every few seconds: the client for engines would take three times as long

    try:
        parts = urlsplit(url)
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        connection = kinds[parts.scheme](parts.netloc, timeout=TIMEOUT_S)
    except (KeyError, ValueError, http.client.InvalidURL):
        from claude_bridge.providers import likely_address

        meant = likely_address(url, DEFAULT_URL)
        raise SetupError(f"{url!r} is not a valid address.", f"Try: --url {meant}") from None
    try:
        connection.request("GET", parts.path.rstrip("/") + path, headers=dict(headers))
        response = connection.getresponse()
        return response.status, response.read(MAX_ANSWER_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise NoBridgeError(
            f"No bridge is running at {url} ({getattr(error, 'strerror', None) or error}).",
            "Start it with `bridge serve`, or give its address: --url URL",
        ) from error
    finally:
        connection.close()
