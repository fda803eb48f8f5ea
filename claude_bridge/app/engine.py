"""Which engine is meant, by the command line and the configuration: its provider row, its address and its key."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from claude_bridge.app.config_option import read_secret
from claude_bridge.errors import SetupError

if TYPE_CHECKING:
    from claude_bridge.config.schema import Config
    from claude_bridge.providers import Provider, Upstream
    from claude_bridge.upstream.engines.catalog import OfferedModel

BASE_URL_VARIABLE, API_KEY_VARIABLE = "BRIDGE_BASE_URL", "BRIDGE_API_KEY"

BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        help="The engine's address, with or without /v1.",
        metavar="URL",
        envvar=BASE_URL_VARIABLE,
        show_envvar=False,
    ),
]
"""The option that says where an engine is."""

ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        help="The engine's key, if not in the provider's variable, such as OPENAI_API_KEY.",
        metavar="KEY",
        envvar=API_KEY_VARIABLE,
        show_envvar=False,
    ),
]
"""The option that gives an engine's key."""


class Engine(NamedTuple):
    """An engine as it is known before it is asked."""

    row: Provider
    upstream: Upstream
    api_key: str | None
    """None: there is none."""
    models: tuple[OfferedModel, ...]
    """Those that the configuration lists; where there are some, it is not asked for any."""


def named_engine(config: Config, provider: str, model: str, base_url: str | None, api_key: str | None) -> Engine:
    """Return the engine that is meant.

    Raises:
        SetupError: an unknown provider, an address that is none, or a key that is missing or can be none.
    """
    from claude_bridge.config.providers import configured_models
    from claude_bridge.providers import upstream_of

    row = provider_row(config, provider)
    address, key = address_of(config, row, base_url), key_of(config, row, api_key)
    if key is None and address is None and row.needs_key:
        raise SetupError(
            f"{row.display_name} at {row.base_url} asks for a key, and none was given.",
            f"{key_hint(row)} For an engine of your own, say where it is: --base-url URL",
        )
    upstream = upstream_of(row, base_url=address, model=model)
    return Engine(row, upstream, key, configured_models(config, row))


def provider_row(config: Config, provider: str) -> Provider:
    """Return the row of a provider; raises SetupError with the known ones."""
    from claude_bridge.config.providers import configured_rows
    from claude_bridge.providers import LOCAL

    rows = configured_rows(config)
    if provider not in rows:
        raise SetupError(f"There is no provider {provider!r}.", f"Known ones: {', '.join([*rows, LOCAL])}.")
    return rows[provider]


def address_of(config: Config, row: Provider, base_url: str | None) -> str | None:
    """Return the address that was given, by option, in the file or by the row's variable; None: the row's own."""
    from claude_bridge.providers import base_url_from, holds_login, is_address

    configured = config.providers.get(row.name)
    source, example = row.base_url_variable or "", "http://localhost:11434/v1"
    if base_url is not None:
        source = BASE_URL_VARIABLE if base_url == os.environ.get(BASE_URL_VARIABLE) else "--base-url"
        example = example if "://" in base_url else f"http://{base_url}"
    elif configured is not None and configured.base_url is not None:
        return None if configured.base_url == row.base_url else configured.base_url
    elif given := os.environ.get(source, "").strip():
        base_url = base_url_from(given)
    else:
        return None
    if holds_login(base_url):
        hint = f"Give the address alone, and the key by --api-key or {row.key_variable}."
        raise SetupError(f"{source} holds a password.", hint)
    if not is_address(base_url):
        raise SetupError(f"{source} {base_url!r} is no address.", f"Try: --base-url {example}")
    return base_url


def key_of(config: Config, row: Provider, api_key: str | None) -> str | None:
    """Return the key that was given, by option, in the file or by the row's variable; None: there is none."""
    configured = config.providers.get(row.name)
    if api_key is None and configured is not None and configured.api_key is not None:
        api_key = read_secret(config, configured.api_key, f"providers.{row.name}.api_key")
    key = (api_key or os.environ.get(row.key_variable, "")).strip() or None
    if key is not None and not (key.isascii() and key.isprintable()):
        raise SetupError("The key holds characters that no key can have.", f"Copy it again. {key_hint(row)}")
    return key


def key_hint(row: Provider) -> str:
    """Return how to give a key."""
    return f"Set {row.key_variable}, or give --api-key."
