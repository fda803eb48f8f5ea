"""The options that several commands share, and how a command receives those of a bridge as objects."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection
from dataclasses import fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer
from typer.models import ParameterInfo

from claude_bridge.cli.plain_serve import DEFAULT_PORT, MAX_PORT

ENGINE, SERVER, CLAUDE_CODE, BRIDGE = "Engine", "Server", "Claude Code", "Bridge"
OPTIONS, DIAGNOSTICS, MODELS, TUNING = "Options", "Diagnostics", "Several models", "Rarely needed"
GROUPS = ("Arguments", ENGINE, SERVER, CLAUDE_CODE, BRIDGE, OPTIONS, DIAGNOSTICS, MODELS, TUNING)
"""The groups of the help in their order: what is common, then what is rare."""


def _complete_provider(incomplete: str) -> list[str]:
    """Return the providers whose names begin so, for the shell: ours and those of the configuration."""
    from claude_bridge.config.load import read_config
    from claude_bridge.config.providers import configured_rows
    from claude_bridge.providers import LOCAL

    names = [*configured_rows(read_config(None, os.environ).config), LOCAL]
    return [name for name in names if name.startswith(incomplete)]


def _option(group: str, metavar: str | None, text: str, *names: str, **more: Any) -> ParameterInfo:  # noqa: ANN401 - Typer's
    """Return an option; without ``names`` it is called like its field, and without a ``metavar`` it is a flag."""
    option: ParameterInfo = typer.Option(*names, rich_help_panel=group, metavar=metavar, help=text, **more)
    return option


def checked(kind: Any, *, low: float | None = None, high: float | None = None) -> Callable[[object], Any]:  # noqa: ANN401 - a type
    """Return a parser for an option's value, with errors in the words of the configuration file."""

    def parse(given: object) -> Any:  # noqa: ANN401 - of that type
        import msgspec

        from claude_bridge.config.decode import expected

        wanted = kind if low is None else Annotated[kind, msgspec.Meta(ge=low, le=high)]
        try:
            return msgspec.convert(given, wanted, strict=False)
        except msgspec.ValidationError:
            raise typer.BadParameter(f"{given!r} is not {expected(msgspec.inspect.type_info(wanted))}.") from None

    return parse


PARAMETERS: dict[str, ParameterInfo] = {
    "provider": typer.Argument(
        metavar="PROVIDER",
        autocompletion=_complete_provider,
        help="Where the model runs: ollama, openai (any OpenAI-compatible engine), anthropic (any engine with "
        "Anthropic's API), local (a small model on this machine), a service such as openrouter, or one from your "
        "configuration. Default: the default model.",
    ),
    "model": typer.Argument(
        metavar="MODEL", help="The engine's name for the model. Not needed if the engine has only one."
    ),
    "base_url": _option(ENGINE, "URL", "The engine's address, with or without /v1.", envvar="BRIDGE_BASE_URL"),
    "api_key": _option(
        ENGINE,
        "KEY",
        "The engine's API key. Default: the provider's variable, such as OPENAI_API_KEY.",
        envvar="BRIDGE_API_KEY",
    ),
    "context_window": _option(
        ENGINE, "N", "The context window in tokens. Default: what the engine reports.", parser=checked(int, low=256)
    ),
    "host": _option(SERVER, "ADDRESS", "The address to listen on. Default: 127.0.0.1; 0.0.0.0 means all."),
    "port": _option(
        SERVER,
        "N",
        f"The port to listen on. Default: {DEFAULT_PORT}; 0 means any free port.",
        parser=checked(int, low=0, high=MAX_PORT),
    ),
    "auth_token": _option(SERVER, "TOKEN", "The token that clients must send. Default: on loopback none, else random."),
    "max_memory": _option(
        SERVER,
        "N",
        "Memory for the bodies of all requests, in MB. Default: a quarter of what is free.",
        parser=checked(int, low=64),
    ),
    "page": _option(
        DIAGNOSTICS,
        None,
        "Show the traffic on a page in the browser; its address is printed. Default: yes.",
        "--page/--no-page",
    ),
    "debug": _option(DIAGNOSTICS, None, "Print every request and answer, and what was changed in them.", "--debug"),
    "trace": _option(DIAGNOSTICS, "FILE", "Write every request and answer to a file, for `bridge trace`."),
    "config_file": _option(
        DIAGNOSTICS, "FILE", "The configuration file. Default: see `bridge config path`.", "--config"
    ),
    "small_model": _option(
        MODELS, "MODEL", "The model for small and background requests: one of the same engine, or PROVIDER/MODEL."
    ),
    "plan_model": _option(
        MODELS, "MODEL", "The model for Claude Code's plan mode: one of the same engine, or PROVIDER/MODEL."
    ),
    "fallback": _option(
        MODELS,
        "PROVIDER/MODEL",
        "The model to use when the main one can't be reached or is overloaded. Can be given several times.",
    ),
    "route": _option(
        MODELS,
        "PATTERN=PROVIDER/MODEL",
        "The model for requests whose model name matches, as in 'claude-opus-*=openrouter/openai/gpt-5'. Can be "
        "given several times.",
    ),
    "vision_model": _option(
        MODELS, "MODEL", "A model of the same provider that describes images for a model that can't see them."
    ),
    "ca_file": _option(TUNING, "FILE", "Certificate authorities to trust besides those of the system: a PEM file."),
    "max_tokens": _option(TUNING, "N", "The longest answer in tokens.", parser=checked(int, low=1)),
    "max_concurrent": _option(
        TUNING,
        "N",
        "How many requests an engine gets at a time; the others wait. Default: all at once.",
        parser=checked(int, low=1),
    ),
    "memo": _option(
        TUNING,
        None,
        "Keep converted conversations in memory (32 MiB), so that only new messages are converted. Default: yes.",
        "--memo/--no-memo",
    ),
    "think": _option(
        TUNING,
        "MODE",
        "Whether the model thinks: auto (as the client asks), on, or off.",
        parser=checked(Literal["auto", "on", "off"]),
    ),
    "web_search": _option(
        TUNING,
        "SERVICE",
        "The service that searches the web for models, and gets their queries: off, duckduckgo, searxng:URL, "
        "brave, tavily, exa or ollama. Default: auto, which lets OpenAI and xAI search for their own models; for other "
        "models `bridge run` asks once.",
    ),
    "api": _option(
        TUNING, "KIND", "Use this API of the engine, such as openai-chat. Default: the best one that it has."
    ),
    "model_file": _option(TUNING, "FILE", "With local: a GGUF file of your own."),
    "check": _option(
        TUNING,
        None,
        "Ask the engine for its models and its context window at the start. Default: yes.",
        "--check/--no-check",
    ),
}
"""How each field of Options and ServerOptions is written on the command line, in the order of the help."""

BaseUrl = Annotated[str | None, PARAMETERS["base_url"]]
ApiKey = Annotated[str | None, PARAMETERS["api_key"]]
ConfigFile = Annotated[Path | None, PARAMETERS["config_file"]]
Traffic = Annotated[
    bool,
    _option(
        CLAUDE_CODE, None, "Let Claude Code talk to Anthropic too: telemetry, error reports, updates.", "--traffic"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def takes_options(command: Callable[..., None], *, names: Collection[str] = PARAMETERS.keys()) -> Callable[..., None]:
    """Make each parameter of a command that is a dataclass of options one parameter for each of these fields."""
    parameters = inspect.signature(command, eval_str=True).parameters.values()
    objects: dict[str, Any] = {one.name: one.annotation for one in parameters if is_dataclass(one.annotation)}
    own = [one for one in parameters if one.name not in objects]
    shared = {
        field.name: inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=Annotated[get_type_hints(kind)[field.name], PARAMETERS[field.name]],
        )
        for kind in objects.values()
        for field in fields(kind)
        if field.name in names
    }
    ordered = [shared[name] for name in PARAMETERS if name in shared]

    @wraps(command)
    def run(**given: Any) -> None:  # noqa: ANN401 - as Typer parsed them
        for name, kind in objects.items():
            given[name] = kind(**{one.name: given.pop(one.name) for one in fields(kind) if one.name in shared})
        command(**given)

    keyword_only = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    run.__signature__ = inspect.Signature([*ordered, *keyword_only])  # type: ignore[attr-defined] # what Typer reads
    return run
