"""Keys: where the user put them, which of them an engine gets, and how to give one."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from claude_bridge.app.web import search_key_variables
from claude_bridge.config.providers import configured_rows
from claude_bridge.config.schema import Config
from claude_bridge.config.types import Secret, seconds_of
from claude_bridge.errors import SetupError
from claude_bridge.providers import Provider, is_home_of_logins
from claude_bridge.upstream.key_ring import ApiKey, KeyRing

API_KEY_VARIABLE = "BRIDGE_API_KEY"


def key_of(config: Config, row: Provider, api_key: str | None, address: str | None) -> str | None:
    """Return the key that was given, by option, in the file or by the row's variable; None: there is none.

    ``address`` is another one than the row's own (None: that). What a user's variable holds for the service that
    clients log in to, is for that service only.
    """
    configured = config.providers.get(row.name)
    if api_key is None and configured is not None and configured.api_key is not None:
        api_key = read_secret(config, configured.api_key[0], f"providers.{row.name}.api_key")
    is_elsewhere = row.has_client_login and address is not None and not is_home_of_logins(address)
    key = (api_key or ("" if is_elsewhere else os.environ.get(row.key_variable, ""))).strip() or None
    if key is not None and not (key.isascii() and key.isprintable() and key == key.strip("\"'")):
        hint = f"Copy it again, without quotation marks. {key_hint(row)}"
        raise SetupError("The API key contains characters that no key can have.", hint)
    return key


def key_ring_of(config: Config, row: Provider) -> KeyRing | None:
    """Return the configured keys of a provider, if there are several or if a command gives one."""
    configured = config.providers.get(row.name)
    if configured is None or configured.api_key is None:
        return None
    secrets = configured.api_key
    if len(secrets) == 1 and not secrets[0].can_change:
        return None
    return KeyRing(
        [
            ApiKey(
                name=f"key {number}" if secret.is_literal else secret.shown,
                read=partial(secret.read, os.environ, config.folder),
                lifetime_s=seconds_of(configured.key_lifetime or "5m") if secret.can_change else None,
            )
            for number, secret in enumerate(secrets, 1)
        ]
    )


def key_variables(config: Config, providers: set[str]) -> frozenset[str]:
    """Return the environment variables that may hold keys of these providers."""
    rows = [row for name, row in configured_rows(config).items() if name in providers]
    keys = [config.providers[row.name].api_key or () for row in rows if row.name in config.providers]
    search = (config.web.search_key,) if config.web.search_key else ()
    named = [secret.variable for secrets in (*keys, search) for secret in secrets if secret.variable is not None]
    return frozenset({API_KEY_VARIABLE, *search_key_variables().values(), *(row.key_variable for row in rows), *named})


def key_hint(row: Provider) -> str:
    """Return how to give a key."""
    return f"Set {row.key_variable}, or give --api-key."


def configured_token(config: Config) -> str | None:
    """Return the configured token that clients must send; None: none is configured."""
    token = config.server.auth_token
    return None if token is None else read_secret(config, token, "server.auth_token")


def read_secret(config: Config, secret: Secret, setting: str) -> str:
    """Return the value of a setting; raises SetupError, which names the setting, where it can't be read."""
    return _as_set_up(setting, partial(secret.read, os.environ, config.folder))


def first_key(ring: KeyRing, row: Provider) -> str:
    """Return the first key of a ring; raises SetupError, which names the setting, where it can't be read."""
    return _as_set_up(f"providers.{row.name}.api_key", ring.read_first)


def _as_set_up(setting: str, read: Callable[[], str]) -> str:
    try:
        return read()
    except ValueError as error:
        raise SetupError(f"{setting} {error}.", "Put the key there, or change the configuration.") from error
