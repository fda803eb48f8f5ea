"""All settings: each key with its type and its default. ``example.toml`` says what each is for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct, inspect

from claude_bridge.adapters import ADAPTERS
from claude_bridge.config.locate import VARIABLES
from claude_bridge.config.types import Address, ApiKeys, BodyFields, Headers, ModelName, SearchChoice, Secret
from claude_bridge.conversion.pricing import Prices
from claude_bridge.conversion.reasoning import ThinkMode
from claude_bridge.routing import LONG_CONTEXT_TOKENS
from claude_bridge.spending import Budget

Port = Annotated[int, Meta(ge=0, le=65_535)]
Tokens = Annotated[int, Meta(ge=1)]
WindowTokens = Annotated[int, Meta(ge=256)]
Text = Annotated[str, Meta(min_length=1)]

FORMS = {
    r"^-?([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+\Z": 'a time, such as "30m"',
    r"^[A-Za-z]{2}\Z": 'two letters, such as "en"',
    r"^\S+\Z": 'a model name in which * and ? may stand for any letters, such as "claude-opus-*"',
    rf"^({'|'.join(ADAPTERS)})\Z": f"one of {', '.join(ADAPTERS)}",
}
"""What a text of each form is, as in "must be …"."""

_TIME, _LANGUAGE, _PATTERN, _KIND = FORMS
Duration = Annotated[str, Meta(pattern=_TIME)]
"""As the programs write it that are written in Go, Ollama among them: ``90s``, ``1h30m``."""
Language = Annotated[str, Meta(pattern=_LANGUAGE)]
"""By ISO 639."""
Pattern = Annotated[str, Meta(pattern=_PATTERN)]
"""Which requested names a route is for."""
ApiKind = Annotated[str, Meta(pattern=_KIND)]


class Server(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the bridge listens, and who may use it."""

    host: Text = "127.0.0.1"
    port: Port = 8765
    auth_token: Secret | None = None
    page: bool = True


class Defaults(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Defaults for options that are not given. None leaves it to what the engine reports."""

    model: ModelName | None = None
    small_model: ModelName | None = None
    subagent_model: ModelName | None = None
    image_model: ModelName | None = None
    plan_model: ModelName | None = None
    long_context_model: ModelName | None = None
    long_context_tokens: Tokens = LONG_CONTEXT_TOKENS
    fallback: tuple[ModelName, ...] = ()
    context_window: WindowTokens | None = None
    max_tokens: Tokens | None = None
    max_concurrent: Annotated[int, Meta(ge=1)] | None = None
    think: ThinkMode = "auto"
    memo: bool = True
    vision_model: Text | None = None
    ca_file: Text | None = None


class Web(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the bridge does on the web for models that call Anthropic's web tools."""

    search: SearchChoice | None = None
    search_key: Secret | None = None
    search_results: Annotated[int, Meta(ge=1, le=20)] = 10
    search_language: Language | None = None
    fetch: bool = True
    fetch_any_url: bool = False
    fetch_private_hosts: tuple[Text, ...] = ()


class ModelSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model that is used as described here. None in an ability or a limit: not known."""

    id: Text
    context_window: WindowTokens | None = None
    max_tokens: Tokens | None = None
    tools: bool | None = None
    thinking: bool | None = None
    vision: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Tokens | None = None
    append_system_prompt: Text | None = None
    disallowed_tools: tuple[Text, ...] = ()
    headers: Headers | None = None
    body: BodyFields | None = None
    cost: Prices | None = None


class ProviderSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a provider is. With a new name it is a provider of the user's own, and needs ``kind`` and ``base_url``."""

    kind: ApiKind | None = None
    base_url: Address | None = None
    api_key: ApiKeys | None = None
    key_lifetime: Duration | None = None
    profile: Text | None = None
    keep_alive: Duration | None = None
    headers: Headers | None = None
    body: BodyFields | None = None
    limits: Budget | None = None
    models: tuple[ModelSettings, ...] = ()


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that is configured, before the command line is read."""

    server: Server = Server()
    defaults: Defaults = Defaults()
    limits: Budget = Budget()
    web: Web = Web()
    providers: Mapping[str, ProviderSettings] = {}
    routes: Mapping[Pattern, ModelName] = {}
    folder: Path = Path()
    """Where the file is; paths in it are relative to it."""
    from_environment: frozenset[str] = frozenset()
    """Names of settings in ``server``, ``defaults`` and ``web`` that came from variables, which override the file."""


_NO_SETTINGS = ("folder", "from_environment")


@cache
def settings_of(table: type[Struct]) -> dict[str, inspect.Type]:
    """Return the keys of a table in their order, each with its type without None."""
    kind = inspect.type_info(table)
    assert isinstance(kind, inspect.StructType), "a table is a struct"
    return {field.name: without_none(field.type) for field in kind.fields if field.name not in _NO_SETTINGS}


def without_none(kind: inspect.Type) -> inspect.Type:
    """Return a type without its annotations and without None."""
    while isinstance(kind, inspect.Metadata | inspect.UnionType):
        if isinstance(kind, inspect.Metadata):
            kind = kind.type
        else:
            (kind,) = (one for one in kind.types if not isinstance(one, inspect.NoneType))
    return kind


def variable_of(name: str) -> str:
    """Return the environment variable that stands for a setting of ``[server]``, ``[defaults]`` or ``[web]``."""
    return f"{VARIABLES}{name.upper()}"
