"""All settings: each key with its type, its default, and what it is for. A new setting is one new line here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from msgspec import Meta, Struct, inspect

from claude_bridge.config.locate import VARIABLES
from claude_bridge.config.types import (
    Address,
    ApiKeys,
    ApiKind,
    BodyFields,
    Headers,
    Language,
    ModelName,
    Pattern,
    SearchChoice,
    Secret,
)
from claude_bridge.conversion.reasoning import ThinkMode
from claude_bridge.routing import LONG_CONTEXT_TOKENS
from claude_bridge.spending import Budget


def about(text: str, example: str = "") -> Meta:
    """Return what a setting is for, and an example of its value in TOML; a table has none of its own."""
    return Meta(description=text, examples=[example])


Port = Annotated[int, Meta(ge=0, le=65_535)]
Tokens = Annotated[int, Meta(ge=1)]
WindowTokens = Annotated[int, Meta(ge=256)]
Price = Annotated[float, Meta(ge=0)]
Text = Annotated[str, Meta(min_length=1)]
Duration = Annotated[str, Meta(pattern=r"^-?([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$")]
"""As the programs write it that are written in Go, Ollama among them: ``90s``, ``1h30m``."""


class Server(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the bridge listens, and who may use it."""

    host: Annotated[Text, about("The address to listen on; 0.0.0.0 means all.", '"127.0.0.1"')] = "127.0.0.1"
    port: Annotated[Port, about("The port to listen on; 0 means any free port.", "8765")] = 8765
    auth_token: Annotated[
        Secret | None,
        about("The token that clients must send. Default: none on loopback, else a random one.", '"env:BRIDGE_TOKEN"'),
    ] = None
    page: Annotated[bool, about("Whether a browser can look at the bridge, with the key that is printed.", "true")] = (
        True
    )


class Defaults(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Defaults for options that are not given. None leaves it to what the engine reports."""

    model: Annotated[
        ModelName | None, about("The default model: the one to use when no PROVIDER is given.", '"ollama/qwen3:1.7b"')
    ] = None
    small_model: Annotated[
        ModelName | None,
        about("The model for small and background requests, such as titles.", '"ollama/llama3.2:3b"'),
    ] = None
    subagent_model: Annotated[
        ModelName | None, about("The model for the requests of Claude Code's sub-agents.", '"ollama/qwen3:8b"')
    ] = None
    image_model: Annotated[
        ModelName | None, about("The model for conversations that contain images.", '"ollama/qwen2.5vl:7b"')
    ] = None
    plan_model: Annotated[
        ModelName | None, about("The model for Claude Code's plan mode.", '"openrouter/openai/gpt-5"')
    ] = None
    long_context_model: Annotated[ModelName | None, about("The model for long prompts.", '"gemini/gemini-2.5-pro"')] = (
        None
    )
    long_context_tokens: Annotated[Tokens, about("How many tokens make a prompt long.", str(LONG_CONTEXT_TOKENS))] = (
        LONG_CONTEXT_TOKENS
    )
    fallback: Annotated[
        tuple[ModelName, ...],
        about("The models to use, in order, when a model can't be reached or is overloaded.", '["ollama/qwen3:8b"]'),
    ] = ()
    context_window: Annotated[WindowTokens | None, about("The context window in tokens.", "32768")] = None
    max_tokens: Annotated[Tokens | None, about("The longest answer in tokens.", "8192")] = None
    max_concurrent: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        about("The number of requests that an engine gets at a time; others wait for their turn.", "4"),
    ] = None
    think: Annotated[ThinkMode, about("Whether the model thinks: auto (as the client asks), on, or off.", '"auto"')] = (
        "auto"
    )
    memo: Annotated[
        bool,
        about("Whether to keep converted conversations in memory, so that only new messages are converted.", "true"),
    ] = True
    vision_model: Annotated[
        Text | None,
        about("A model of the same provider that describes images for a model that can't see them.", '"llava"'),
    ] = None
    ca_file: Annotated[
        Text | None,
        about("Certificate authorities to trust besides those of the system: a PEM file.", '"company.pem"'),
    ] = None


class Web(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the bridge does on the web for models that call Anthropic's web tools."""

    search: Annotated[
        SearchChoice | None,
        about(
            f"Who searches: {SearchChoice.WANTED}. Queries go there. Default: auto, the search of OpenAI and xAI for "
            "their own models; for others `bridge run` asks once.",
            '"searxng:http://localhost:8888"',
        ),
    ] = None
    search_key: Annotated[
        Secret | None,
        about("The key of the search service. Default: its variable, such as BRAVE_API_KEY.", '"env:BRAVE_API_KEY"'),
    ] = None
    search_results: Annotated[Annotated[int, Meta(ge=1, le=20)], about("How many results a search gives.", "10")] = 10
    search_language: Annotated[Language | None, about("The language of results, by two letters.", '"en"')] = None
    fetch: Annotated[bool, about("Whether pages are fetched.", "true")] = True
    fetch_any_url: Annotated[
        bool, about("Whether a model may fetch addresses that nothing in its conversation names.", "false")
    ] = False
    fetch_private_hosts: Annotated[
        tuple[Text, ...],
        about("Hosts that may be fetched from though they are not on the public internet.", '["wiki.example:8080"]'),
    ] = ()


class ModelCost(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Its price: US dollars for a million tokens."""

    input: Annotated[Price, about("For the prompt.", "1.25")]
    output: Annotated[Price, about("For the answer.", "10.0")]
    cached: Annotated[Price | None, about("For the part of a prompt that came from the engine's cache.", "0.125")] = (
        None
    )
    cache_write: Annotated[
        Price | None, about("For the part of a prompt that is written to the cache at a price of its own.", "1.5625")
    ] = None


Temperature = Annotated[float, Meta(ge=0, le=2)]
Share = Annotated[float, Meta(gt=0, le=1)]
HEADERS = about("Headers to send with every request.", '{ "x-team" = "search", "x-gateway-key" = "env:GATEWAY_KEY" }')
BODY = about("Fields to send in the body of every request.", "{ min_p = 0.05, repetition_penalty = 1.05 }")


class ModelSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model that is used as described here. None in an ability or a limit: not known."""

    id: Annotated[Text, about("The engine's name for the model.", '"llama3.3"')]
    context_window: Annotated[WindowTokens | None, about("Its context window in tokens.", "8192")] = None
    max_tokens: Annotated[Tokens | None, about("The longest answer in tokens.", "81920")] = None
    tools: Annotated[bool | None, about("Whether it can call tools.", "true")] = None
    thinking: Annotated[bool | None, about("Whether it thinks before it answers.", "false")] = None
    vision: Annotated[bool | None, about("Whether it sees images.", "false")] = None
    temperature: Annotated[Temperature | None, about("The temperature, whatever clients send.", "0.6")] = None
    top_p: Annotated[Share | None, about("Nucleus sampling, whatever clients send.", "0.95")] = None
    top_k: Annotated[Tokens | None, about("Top-k sampling, whatever clients send.", "20")] = None
    append_system_prompt: Annotated[
        Text | None, about("Text to add to the end of the system prompt.", '"Call a tool in every turn."')
    ] = None
    disallowed_tools: Annotated[
        tuple[Text, ...], about("Names of tools that the model is not offered.", '["WebSearch", "NotebookEdit"]')
    ] = ()
    headers: Annotated[Headers | None, HEADERS] = None
    body: Annotated[BodyFields | None, BODY] = None
    cost: Annotated[
        ModelCost | None,
        about(
            "Its price: US dollars for a million tokens.",
            "{ input = 1.25, output = 10.0, cached = 0.125, cache_write = 1.5625 }",
        ),
    ] = None


class Limits(Budget, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much may be spent, as the bridge counts it; None: any amount."""

    session_usd: Annotated[Price | None, about("US dollars for each session.", "2.0")] = None
    day_usd: Annotated[Price | None, about("US dollars for each day.", "10.0")] = None
    session_tokens: Annotated[Tokens | None, about("Tokens of prompts and answers for each session.", "5000000")] = None
    day_tokens: Annotated[Tokens | None, about("Tokens of prompts and answers for each day.", "50000000")] = None


class ProviderSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a provider is. With a new name it is a provider of the user's own, and needs ``kind`` and ``base_url``."""

    kind: Annotated[ApiKind | None, about("The API that it speaks.", '"ollama-chat"')] = None
    base_url: Annotated[Address | None, about("Its address, with or without /v1.", '"http://ollama-host:11434"')] = None
    api_key: Annotated[
        ApiKeys | None, about("Its API key, or where it is; a list of several takes turns.", '"env:OLLAMA_API_KEY"')
    ] = None
    key_lifetime: Annotated[
        Duration | None,
        about("How long a key that a command printed is used before the command runs again. Default: 5m.", '"30m"'),
    ] = None
    profile: Annotated[
        Text | None, about("The known provider whose engine it is like, if the engine can't say so itself.", '"ollama"')
    ] = None
    keep_alive: Annotated[
        Duration | None, about("How long Ollama keeps a model in memory after an answer.", '"1h"')
    ] = None
    headers: Annotated[Headers | None, HEADERS] = None
    body: Annotated[BodyFields | None, BODY] = None
    limits: Annotated[
        Limits | None, about("How much may be spent at this provider.", "{ day_usd = 5.0, session_tokens = 2000000 }")
    ] = None
    models: Annotated[
        tuple[ModelSettings, ...], about("Its models. If any are listed, the provider is not asked for its models.", "")
    ] = ()


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that is configured, before the command line is read."""

    server: Annotated[Server, about("Where the bridge listens, and who may use it.", "")] = Server()
    defaults: Annotated[Defaults, about("Defaults for options that are not given.", "")] = Defaults()
    limits: Annotated[Limits, about("How much may be spent.", "")] = Limits()
    web: Annotated[Web, about("What the bridge does on the web for models.", "")] = Web()
    providers: Annotated[
        Mapping[str, ProviderSettings],
        about("Where a provider is. A new name makes a provider of your own, which needs kind and base_url.", ""),
    ] = {}
    routes: Annotated[
        Mapping[Pattern, ModelName],
        about(
            "The model for requests that name another one, by patterns with * and ?, in order.",
            '{ "claude-opus-*" = "openai/gpt-5", "*haiku*" = "ollama/llama3.2:3b" }',
        ),
    ] = {}
    folder: Path = Path()
    """Where the file is; paths in it are relative to it."""
    from_environment: frozenset[str] = frozenset()
    """Names of settings in ``server``, ``defaults`` and ``web`` that came from variables, which override the file."""


class Setting(NamedTuple):
    """One key of a table."""

    name: str
    kind: inspect.Type
    """Its type, without None."""
    text: str
    example: str
    default: Any
    is_required: bool


@cache
def settings_of(table: type[Struct]) -> dict[str, Setting]:
    """Return the keys of a table by their names, in order: the fields that say what they are for."""
    kind = inspect.type_info(table)
    assert isinstance(kind, inspect.StructType), "a table is a struct"
    settings = {}
    for field in kind.fields:
        if isinstance(field.type, inspect.Metadata) and (notes := field.type.extra_json_schema):
            plain = without_none(field.type.type)
            settings[field.name] = Setting(
                field.name, plain, notes["description"], notes["examples"][0], field.default, field.required
            )
    return settings


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
