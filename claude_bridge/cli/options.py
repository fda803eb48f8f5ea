"""The options that several commands share, and how a command receives those of a bridge as one object."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, get_type_hints

import typer
from typer.models import ParameterInfo

from claude_bridge.app.options import Options

P = ParamSpec("P")

ENGINE, SERVER, CLAUDE_CODE, BRIDGE = "Engine", "Server", "Claude Code", "Bridge"
OPTIONS, DIAGNOSTICS, MODELS, TUNING = "Options", "Diagnostics", "Several models", "Fine tuning"
GROUPS = ("Arguments", ENGINE, SERVER, CLAUDE_CODE, BRIDGE, OPTIONS, DIAGNOSTICS, MODELS, TUNING)
"""The groups of the help in their order: what is common, then what is rare."""


def _complete_provider(incomplete: str) -> list[str]:
    """Return the providers whose names begin so, for the shell: ours and those of the configuration."""
    from claude_bridge.config.load import read_config
    from claude_bridge.config.providers import configured_rows
    from claude_bridge.providers import LOCAL

    names = [*configured_rows(read_config(None, os.environ).config), LOCAL]
    return [name for name in names if name.startswith(incomplete)]


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
    "base_url": typer.Option(
        "--base-url",
        rich_help_panel=ENGINE,
        help="The engine's address, with or without /v1.",
        metavar="URL",
        envvar="BRIDGE_BASE_URL",
        show_envvar=False,
    ),
    "api_key": typer.Option(
        "--api-key",
        rich_help_panel=ENGINE,
        help="The engine's API key. Default: the provider's variable, such as OPENAI_API_KEY.",
        metavar="KEY",
        envvar="BRIDGE_API_KEY",
        show_envvar=False,
    ),
    "ca_file": typer.Option(
        "--ca-file",
        rich_help_panel=TUNING,
        help="Certificate authorities to trust besides those of the system: a PEM file.",
        metavar="FILE",
    ),
    "context_window": typer.Option(
        rich_help_panel=ENGINE,
        help="The context window in tokens. Default: what the engine reports.",
        min=256,
        metavar="N",
    ),
    "max_tokens": typer.Option(rich_help_panel=TUNING, help="The longest answer in tokens.", min=1, metavar="N"),
    "max_concurrent": typer.Option(
        rich_help_panel=TUNING,
        help="How many requests an engine gets at a time; the others wait. Default: all at once.",
        min=1,
        metavar="N",
    ),
    "memo": typer.Option(
        "--memo/--no-memo",
        rich_help_panel=TUNING,
        help="Keep converted conversations in memory (32 MiB), so that only new messages are converted. Default: yes.",
        show_default=False,
    ),
    "think": typer.Option(
        rich_help_panel=TUNING,
        help="Whether the model thinks: auto (as the client asks), on, or off.",
        metavar="MODE",
    ),
    "small_model": typer.Option(
        rich_help_panel=MODELS,
        help="The model for small and background requests: one of the same engine, or PROVIDER/MODEL.",
        metavar="MODEL",
    ),
    "plan_model": typer.Option(
        rich_help_panel=MODELS,
        help="The model for Claude Code's plan mode: one of the same engine, or PROVIDER/MODEL.",
        metavar="MODEL",
    ),
    "fallback": typer.Option(
        rich_help_panel=MODELS,
        help="The model to use when the main one can't be reached or is overloaded. Can be given several times.",
        metavar="PROVIDER/MODEL",
    ),
    "route": typer.Option(
        rich_help_panel=MODELS,
        help="The model for requests whose model name matches, as in 'claude-opus-*=openrouter/openai/gpt-5'. Can be "
        "given several times.",
        metavar="PATTERN=PROVIDER/MODEL",
    ),
    "vision_model": typer.Option(
        rich_help_panel=MODELS,
        help="A model of the same provider that describes images for a model that can't see them.",
        metavar="MODEL",
    ),
    "web_search": typer.Option(
        rich_help_panel=TUNING,
        help="The service that searches the web for models, and gets their queries: off, duckduckgo, searxng:URL, "
        "brave, tavily, exa or ollama. Default: auto, which lets OpenAI and xAI search for their own models; for other "
        "models `bridge run` asks once.",
        metavar="SERVICE",
    ),
    "api": typer.Option(
        rich_help_panel=TUNING,
        help="Use this API of the engine, such as openai-chat. Default: the best one that it has.",
        metavar="KIND",
    ),
    "model_file": typer.Option(rich_help_panel=TUNING, help="With local: a GGUF file of your own.", metavar="FILE"),
    "check": typer.Option(
        "--check/--no-check",
        rich_help_panel=TUNING,
        help="Ask the engine for its models and its context window at the start. Default: yes.",
    ),
    "page": typer.Option(
        "--page/--no-page",
        rich_help_panel=DIAGNOSTICS,
        help="Show in a browser what happens; the address is printed. Default: yes.",
    ),
    "debug": typer.Option(
        "--debug", rich_help_panel=DIAGNOSTICS, help="Print every request and answer, and what was changed in them."
    ),
    "trace": typer.Option(
        rich_help_panel=DIAGNOSTICS,
        help="Write every request and answer to a file, for `bridge trace`.",
        metavar="FILE",
    ),
}
"""How each field of Options is written on the command line, in the order of the help."""

BaseUrl = Annotated[str | None, PARAMETERS["base_url"]]
ApiKey = Annotated[str | None, PARAMETERS["api_key"]]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        rich_help_panel=DIAGNOSTICS,
        help="The configuration file. Default: see `bridge config path`.",
        metavar="FILE",
    ),
]


def takes_options(
    command: Callable[Concatenate[Options, P], None], *, names: Collection[str] = PARAMETERS.keys()
) -> Callable[..., None]:
    """Make the first parameter of a command, which is an Options, one for each of these fields of it for Typer."""
    _, *own = inspect.signature(command, eval_str=True).parameters.values()
    kinds = get_type_hints(Options)
    shared = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=getattr(Options, name),
            annotation=Annotated[kinds[name], PARAMETERS[name]],
        )
        for name in PARAMETERS
        if name in names
    ]

    @wraps(command)
    def run(**given: Any) -> None:  # noqa: ANN401 - as Typer parsed them
        options = Options(**{name: given.pop(name) for name in names})
        command(options, **given)  # type: ignore[call-arg] # the rest of its parameters, which Typer has parsed

    keyword_only = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    run.__signature__ = inspect.Signature([*shared, *keyword_only])  # type: ignore[attr-defined] # what Typer reads
    return run
