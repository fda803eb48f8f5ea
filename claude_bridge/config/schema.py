"""All settings: each key with its type, its default, and what it is for. A new setting is a new line here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from claude_bridge.config.locate import VARIABLES
from claude_bridge.config.types import Address, ApiKind, ModelName, Pattern, Secret
from claude_bridge.conversion.reasoning import ThinkMode


class About(NamedTuple):
    """What a setting is for, and a value as an example, in TOML."""

    text: str
    example: str


Port = Annotated[int, Meta(ge=0, le=65_535)]
Tokens = Annotated[int, Meta(ge=1)]
WindowTokens = Annotated[int, Meta(ge=256)]
Price = Annotated[float, Meta(ge=0)]
Text = Annotated[str, Meta(min_length=1)]
Duration = Annotated[str, Meta(pattern=r"^-?([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$")]
"""As the programs write it that are written in Go, Ollama among them: ``90s``, ``1h30m``."""


class Server(Struct, frozen=True, kw_only=True):
    """Where the bridge listens, and who may ask."""

    host: Annotated[Text, About("The address to listen on.", '"127.0.0.1"')] = "127.0.0.1"
    port: Annotated[Port, About("The port to listen on; 0 takes a free one.", "8765")] = 8765
    auth_token: Annotated[
        Secret | None,
        About("What clients must send. Without it: on loopback nothing, else a random one.", '"env:BRIDGE_TOKEN"'),
    ] = None


class Defaults(Struct, frozen=True, kw_only=True):
    """What holds where the command line says nothing else. None leaves it to what the engine tells."""

    model: Annotated[
        ModelName | None, About("What `bridge serve` serves when no PROVIDER is named.", '"ollama/qwen3:1.7b"')
    ] = None
    small_model: Annotated[
        ModelName | None,
        About("What gets small and background requests, such as titles.", '"ollama/llama3.2:3b"'),
    ] = None
    subagent_model: Annotated[
        ModelName | None, About("What gets the requests of Claude Code's sub-agents.", '"ollama/qwen3:8b"')
    ] = None
    image_model: Annotated[
        ModelName | None, About("What gets the conversations that hold images.", '"ollama/qwen2.5vl:7b"')
    ] = None
    fallback: Annotated[
        tuple[ModelName, ...],
        About("What is asked, in order, when a model can't be reached or is overloaded.", '["ollama/qwen3:8b"]'),
    ] = ()
    context_window: Annotated[WindowTokens | None, About("The context window in tokens.", "32768")] = None
    max_tokens: Annotated[Tokens | None, About("The most tokens of an answer.", "8192")] = None
    think: Annotated[ThinkMode, About("Whether the model thinks: as the client asks, always, or never.", '"auto"')] = (
        "auto"
    )
    vision_model: Annotated[
        Text | None,
        About("A model of the same provider that describes images for one that sees none.", '"llava"'),
    ] = None


class ModelCost(Struct, frozen=True, kw_only=True):
    """US dollars for a million tokens."""

    input: Annotated[Price, About("Of a prompt.", "1.25")]
    output: Annotated[Price, About("Of an answer.", "10.0")]
    cached: Annotated[Price | None, About("Of a prompt that the engine has read before.", "0.125")] = None


class ModelSettings(Struct, frozen=True, kw_only=True):
    """A model that is taken as it is written here. None in an ability or a limit: not known."""

    id: Annotated[Text, About("The engine's name of the model.", '"llama3.3"')]
    context_window: Annotated[WindowTokens | None, About("Its context window in tokens.", "8192")] = None
    max_tokens: Annotated[Tokens | None, About("The most tokens of an answer.", "81920")] = None
    tools: Annotated[bool | None, About("Whether it can call tools.", "true")] = None
    thinking: Annotated[bool | None, About("Whether it thinks before it answers.", "false")] = None
    vision: Annotated[bool | None, About("Whether it sees images.", "false")] = None
    cost: Annotated[
        ModelCost | None,
        About("US dollars for a million tokens.", "{ input = 1.25, output = 10.0, cached = 0.125 }"),
    ] = None


class ProviderSettings(Struct, frozen=True, kw_only=True):
    """Where a provider is. With a new name it is a provider of the user's own, and needs ``kind`` and ``base_url``."""

    kind: Annotated[ApiKind | None, About("Which API it speaks.", '"ollama-chat"')] = None
    base_url: Annotated[Address | None, About("Where it is, with or without /v1.", '"http://ollama-host:11434"')] = None
    api_key: Annotated[
        Secret | None, About("Its key: env:NAME, file:PATH, or the key itself.", '"env:OLLAMA_API_KEY"')
    ] = None
    profile: Annotated[
        Text | None, About("The known provider that its engine behaves like, where asking can't tell.", '"ollama"')
    ] = None
    keep_alive: Annotated[
        Duration | None, About("How long an Ollama keeps a model in memory after an answer.", '"1h"')
    ] = None
    models: Annotated[
        tuple[ModelSettings, ...], About("Its models. Where some are given, the provider is not asked for any.", "")
    ] = ()


class Config(Struct, frozen=True, kw_only=True):
    """Everything that is settled before the command line is read."""

    server: Annotated[Server, About("Where the bridge listens, and who may ask.", "")] = Server()
    defaults: Annotated[Defaults, About("What holds where the command line says nothing else.", "")] = Defaults()
    providers: Annotated[
        Mapping[str, ProviderSettings],
        About("Where a provider is. A new name makes one of your own, which needs kind and base_url.", ""),
    ] = {}
    routes: Annotated[
        Mapping[Pattern, ModelName],
        About(
            "Which model gets the requests that name another one, by patterns with * and ?, in order.",
            '{ "claude-opus-*" = "openai/gpt-5", "*haiku*" = "ollama/llama3.2:3b" }',
        ),
    ] = {}
    folder: Path = Path()
    """Where the file is: paths in it are meant from there."""
    from_environment: frozenset[str] = frozenset()
    """Names of settings in ``server`` and ``defaults`` that variables gave: they go before all that is in the file."""


class Setting(NamedTuple):
    """One key of a table."""

    name: str
    kind: Any
    """Its type, without None."""
    about: About
    default: Any
    is_required: bool


@cache
def settings_of(table: type[Struct]) -> dict[str, Setting]:
    """Return the keys of a table by their names, in order: the fields that say what they are for."""
    settings = {}
    for field in msgspec.structs.fields(table):
        if get_origin(field.type) is not Annotated:
            continue
        kind, *notes = get_args(field.type)
        about = next(note for note in notes if isinstance(note, About))
        if get_origin(kind) in (Union, UnionType):
            kind = next(one for one in get_args(kind) if one is not type(None))
        for bounds in (note for note in notes if isinstance(note, Meta)):  # typing has merged both Annotated
            kind = Annotated[kind, bounds]
        settings[field.name] = Setting(field.name, kind, about, field.default, field.required)
    return settings


def variable_of(name: str) -> str:
    """Return the environment variable that stands for a setting of ``[server]`` or ``[defaults]``."""
    return f"{VARIABLES}{name.upper()}"
