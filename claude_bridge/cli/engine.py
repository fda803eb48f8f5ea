"""Which engine a command line names: its provider row, its address and its key."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from claude_bridge.errors import SetupError

if TYPE_CHECKING:
    from claude_bridge.providers import Provider, Upstream

BaseUrl = Annotated[
    str | None, typer.Option("--base-url", help="The engine's address, with or without /v1.", metavar="URL")
]
"""The option that says where an engine is."""

ApiKey = Annotated[
    str | None,
    typer.Option("--api-key", help="The engine's key, if not in OPENAI_API_KEY or OLLAMA_API_KEY.", metavar="KEY"),
]
"""The option that gives an engine's key."""

LOCAL = "local"
"""The provider that is no place on the network: llama.cpp inside the process."""


def named_upstream(provider: str, model: str, base_url: str | None, api_key: str | None) -> tuple[Upstream, str | None]:
    """Return the upstream that is meant, and the key (None: there is none).

    Raises:
        SetupError: an unknown provider, an address that is none, or a key that is missing or can be none.
    """
    from claude_bridge.providers import upstream_of

    row = provider_row(provider)
    address, key = address_of(row, base_url), key_of(row, api_key)
    if key is None and address is None and row.needs_key:
        raise SetupError(
            f"{row.display_name} at {row.base_url} asks for a key, and none was given.",
            f"{key_hint(row)} For an engine of your own, say where it is: --base-url URL",
        )
    return upstream_of(row, base_url=address, model=model), key


def provider_row(provider: str) -> Provider:
    """Return the row of a provider; raises SetupError with the known ones."""
    from claude_bridge.providers import PROVIDERS

    row = PROVIDERS.get(provider)
    if row is None:
        raise SetupError(f"There is no provider {provider!r}.", f"Known ones: {', '.join([*PROVIDERS, LOCAL])}.")
    return row


def address_of(row: Provider, base_url: str | None) -> str | None:
    """Return the address that was given, by option or by the row's variable; None: the row's own."""
    from claude_bridge.providers import base_url_from

    source, example = "--base-url", "http://localhost:11434/v1"
    if base_url is None:
        given = os.environ.get(row.base_url_variable, "").strip() if row.base_url_variable else ""
        if not given:
            return None
        source, base_url = str(row.base_url_variable), base_url_from(given)
    elif "://" not in base_url:
        example = f"http://{base_url}"
    if "@" in base_url.partition("://")[2].partition("/")[0]:
        # It would stand in every error text, table and log.
        raise SetupError(
            f"{source} holds a password.", f"Give the address alone, and the key by --api-key or {row.key_variable}."
        )
    if not _is_address(base_url):
        raise SetupError(f"{source} {base_url!r} is no address.", f"Try: --base-url {example}")
    return base_url


def key_of(row: Provider, api_key: str | None) -> str | None:
    """Return the key that was given, by option or by the row's variable; None: there is none."""
    key = (api_key or os.environ.get(row.key_variable, "")).strip() or None
    if key is not None and not (key.isascii() and key.isprintable()):
        raise SetupError("The key holds characters that no key can have.", f"Copy it again. {key_hint(row)}")
    return key


def key_hint(row: Provider) -> str:
    """Return how to give a key."""
    return f"Set {row.key_variable}, or give --api-key."


def _is_address(base_url: str) -> bool:
    try:
        parts = urlsplit(base_url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, or half an IPv6 address
        return False
