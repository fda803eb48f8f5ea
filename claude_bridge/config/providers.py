"""Providers and their models, with what is configured of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from msgspec.structs import replace

from claude_bridge.adapters import ADAPTERS
from claude_bridge.adapters.engine_profiles import UNKNOWN
from claude_bridge.config.schema import Config, ModelSettings, ProviderSettings
from claude_bridge.providers import PROVIDERS, Provider, profile_at, profile_in_other_api
from claude_bridge.request_settings import RequestSettings

if TYPE_CHECKING:
    from claude_bridge.upstream.engines.report import OfferedModel


SAMPLING = ("temperature", "top_p", "top_k")


def configured_rows(config: Config) -> dict[str, Provider]:
    """Return all provider rows by their names: ours, and then the user's own."""
    names = dict.fromkeys([*PROVIDERS, *config.providers])
    return {name: _row(name, config.providers.get(name, ProviderSettings())) for name in names}


def configured_models(config: Config, row: Provider) -> tuple[OfferedModel, ...]:
    """Return the models that the configuration lists; where there are some, the engine's list is not requested.

    The limits that are missing for a model of Ollama are those that the bridge assumes for any model of Ollama.
    """
    given = config.providers.get(row.name, ProviderSettings()).models
    if not given:
        return ()
    from claude_bridge.upstream.engines.report import OfferedModel, with_ollama_limits  # brings the profiles of engines

    models = tuple(
        OfferedModel(
            id=model.id,
            tools=model.tools,
            thinking=model.thinking,
            images=model.vision,
            context_window=_limit(config, "context_window", model.context_window),
            max_output_tokens=_limit(config, "max_tokens", model.max_tokens),
            cost=model.cost,
        )
        for model in given
    )
    return tuple(with_ollama_limits(model) for model in models) if row.kind == "ollama-chat" else models


def request_settings(config: Config, row: Provider, environment: Mapping[str, str]) -> Callable[[str], RequestSettings]:
    """Return what is configured of requests to a provider, by the model's name; a model's own goes before that.

    Raises:
        ValueError: a header's value can't be read; the words are a whole sentence.
    """
    given = config.providers.get(row.name, ProviderSettings())
    general = _additions(config, given, f"providers.{row.name}", environment)
    is_passthrough = ADAPTERS[row.kind].is_passthrough
    of_models = {}
    for number, model in enumerate(given.models):
        own = _additions(config, model, f"providers.{row.name}.models[{number}]", environment)
        sampling = {name: value for name in SAMPLING if (value := getattr(model, name)) is not None}
        of_models[model.id] = replace(
            own,
            headers={**general.headers, **own.headers},
            secrets=(*general.secrets, *own.secrets),
            body={**general.body, **(sampling if is_passthrough else {}), **own.body},
            sampling={} if is_passthrough else sampling,
            append_system_prompt=model.append_system_prompt,
            disallowed_tools=model.disallowed_tools,
        )
    return lambda model: of_models.get(model, general)


def _additions(
    config: Config, given: ProviderSettings | ModelSettings, path: str, environment: Mapping[str, str]
) -> RequestSettings:
    headers, secrets = {}, []
    for name, value in (given.headers or {}).items():
        try:
            headers[name] = value.read(environment, config.folder)
        except ValueError as error:
            raise ValueError(f"{path}.headers.{name} {error}.") from error
        if value.shown_unless_secret(name) != headers[name]:
            secrets.append(headers[name])
    return RequestSettings(headers=headers, secrets=tuple(secrets), body=given.body or {})


def _row(name: str, given: ProviderSettings) -> Provider:
    row = PROVIDERS.get(name)
    if row is None:
        assert given.kind is not None, "a provider of the user's own has a kind"
        assert given.base_url is not None, "and an address"
        service = profile_at(given.base_url, given.kind)
        row = Provider(
            name=name,
            display_name=name,
            kind=given.kind,
            base_url=given.base_url,
            key_variable=f"{re.sub('[^A-Z0-9]', '_', name.upper())}_API_KEY",
            needs_key=False,
            profile=service[1] if service else UNKNOWN,
        )
    if given.kind not in (None, row.kind):
        row = replace(
            row, kind=given.kind, kind_elsewhere=None, profile=profile_in_other_api(row.profile, row.kind, given.kind)
        )
    if given.profile is not None:
        like = PROVIDERS[given.profile]
        name = like.display_name if row.is_any_engine else row.display_name
        row = replace(row, profile=like.profile, display_name=name, is_any_engine=False)
    if given.keep_alive is not None:
        row = replace(row, profile=row.profile.with_changes({"keep_alive": given.keep_alive}))
    return row


def _limit(config: Config, name: str, of_model: int | None) -> int | None:
    """Return a limit of a model: a variable overrides the file, and there the model overrides the defaults."""
    general: int | None = getattr(config.defaults, name)
    return general if of_model is None or name in config.from_environment else of_model
