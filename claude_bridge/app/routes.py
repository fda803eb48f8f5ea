"""Which requests go where, as a command line and the configuration say it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, overload

import typer

from claude_bridge.app.engine import provider_row
from claude_bridge.errors import SetupError

if TYPE_CHECKING:
    from claude_bridge.config.schema import Config
    from claude_bridge.config.types import ModelName
    from claude_bridge.routing import Routing, Target

SmallModel = Annotated[
    str | None,
    typer.Option(
        help="What gets small and background requests: a model of the same engine, or PROVIDER/MODEL.",
        metavar="MODEL",
        show_default="MODEL",
    ),
]
Fallbacks = Annotated[
    list[str] | None,
    typer.Option(
        "--fallback",
        help="What is asked when the model can't be reached or is overloaded; may be given several times.",
        metavar="PROVIDER/MODEL",
    ),
]
Routes = Annotated[
    list[str] | None,
    typer.Option(
        "--route",
        help="Which model gets the requests that name another one, as in 'claude-opus-*=openrouter/openai/gpt-5'; "
        "may be given several times.",
        metavar="PATTERN=PROVIDER/MODEL",
    ),
]


def routing_of(
    config: Config,
    main: Target,
    small_model: str | None,
    fallbacks: Sequence[str] | None,
    routes: Sequence[str] | None,
) -> Routing:
    """Return which requests go where: what options say goes before the file, and their routes before its own.

    Raises:
        SetupError: something is no PROVIDER/MODEL, or there is no such provider.
    """
    from claude_bridge.providers import LOCAL
    from claude_bridge.routing import Routing

    defaults = config.defaults
    named = [_route(route) for route in routes or ()]
    given = {pattern for pattern, _ in named}
    configured = [(pattern, _target(name)) for pattern, name in config.routes.items() if pattern not in given]
    fallback = [_named("--fallback", name) for name in fallbacks or ()]
    routing = Routing(
        main=main,
        small=_small(config, main, small_model) if small_model else _target(defaults.small_model),
        subagents=_target(defaults.subagent_model),
        images=_target(defaults.image_model),
        routes=(*named, *configured),
        fallback=tuple(fallback or map(_target, defaults.fallback)),
    )
    for target in routing.others:
        if target.provider == LOCAL:
            raise SetupError("`local` can only be what is served first.", "As in: bridge serve local --fallback …")
        provider_row(config, target.provider)
    return routing


@overload
def _target(name: ModelName) -> Target: ...


@overload
def _target(name: None) -> None: ...


def _target(name: ModelName | None) -> Target | None:
    from claude_bridge.routing import Target

    return None if name is None else Target(name.provider, name.model)


def _route(route: str) -> tuple[str, Target]:
    pattern, equals, name = route.partition("=")
    if not equals or not pattern:
        example = "As in: --route 'claude-opus-*=ollama/qwen3:32b'"
        raise SetupError(f"--route {route!r} is no PATTERN=PROVIDER/MODEL.", example)
    return pattern, _named("--route", name)


def _small(config: Config, main: Target, name: str) -> Target:
    """Return the small model: one of the main engine, unless it begins with the name of another provider."""
    from claude_bridge.config.providers import configured_rows
    from claude_bridge.routing import Target

    provider, slash, model = name.partition("/")
    is_elsewhere = slash and model and provider in configured_rows(config)
    return Target(provider, model) if is_elsewhere else Target(main.provider, name)


def _named(option: str, name: str) -> Target:
    from claude_bridge.config.types import ModelName

    try:
        parsed = ModelName.parse(name)
    except ValueError:
        raise SetupError(f"{option} {name!r} is no PROVIDER/MODEL.", "As in: ollama/qwen3:1.7b") from None
    return _target(parsed)
