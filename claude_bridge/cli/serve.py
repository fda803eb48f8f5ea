"""``bridge serve``: a bridge in the foreground, before one engine."""

from __future__ import annotations

import secrets
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from claude_bridge.app import terminal as output
from claude_bridge.app.claude_code import PROMPT_TOKENS
from claude_bridge.app.config_option import ConfigFile, configured_token, load_config
from claude_bridge.app.engine import ApiKey, BaseUrl
from claude_bridge.app.plan import (
    Api,
    ContextWindow,
    MaxTokens,
    ModelFile,
    ModelName,
    ProviderName,
    Think,
    TraceFile,
    VisionModel,
    plan_of,
)
from claude_bridge.app.routes import Fallbacks, Routes, SmallModel
from claude_bridge.wire.addresses import is_loopback

if TYPE_CHECKING:
    from claude_bridge.app.serve import Listening, Plan
    from claude_bridge.config.schema import Config
    from claude_bridge.providers import Upstream

COMFORTABLE_TOKENS = 49_152
"""Below this the files that Claude Code reads again after it compacted may fill the window at once."""

DEFAULT_PORT = 8765

EXAMPLES = (
    "Examples:  bridge serve openai qwen3:1.7b --base-url http://localhost:11434/v1 --debug  ·  "
    "bridge serve ollama  ·  bridge serve openai gpt-5  ·  bridge serve local"
)


def serve(
    provider: ProviderName = "",
    model: ModelName = "",
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    host: Annotated[
        str | None, typer.Option(help="The address to listen on: 127.0.0.1 if nothing is said.", metavar="ADDRESS")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            help=f"The port to listen on: {DEFAULT_PORT} if nothing is said; 0 takes a free one.",
            min=0,
            max=65535,
            metavar="N",
        ),
    ] = None,
    auth_token: Annotated[
        str | None,
        typer.Option(help="What clients must send. On loopback nothing, else a random one is made.", metavar="TOKEN"),
    ] = None,
    max_tokens: MaxTokens = None,
    context_window: ContextWindow = None,
    model_file: ModelFile = None,
    api: Api = None,
    vision_model: VisionModel = None,
    think: Think = None,
    small_model: SmallModel = None,
    fallback: Fallbacks = None,
    route: Routes = None,
    check: Annotated[bool, typer.Option(help="Ask the engine at the start whether all is well.")] = True,
    debug: Annotated[bool, typer.Option("--debug", help="Show the translated traffic.")] = False,
    trace: TraceFile = None,
    config_file: ConfigFile = None,
) -> None:
    """Serve the Messages API of Anthropic before an engine that speaks another one, or that speaks it badly.

    Point a client at the address that is printed. Ctrl-C lets running answers finish.
    """
    from claude_bridge.app.serve import run_server

    config = load_config(config_file)
    plan = plan_of(
        config,
        provider,
        model,
        base_url=base_url,
        api_key=api_key,
        max_tokens=max_tokens,
        context_window=context_window,
        model_file=model_file,
        api=api,
        vision_model=vision_model,
        trace=trace,
        think=think,
        small_model=small_model,
        fallbacks=fallback,
        routes=route,
        check=check,
        debug=debug,
    )
    run_server(plan, listening_of(config, host, port, auth_token), tell=_emit)


def listening_of(config: Config, host: str | None, port: int | None, auth_token: str | None) -> Listening:
    """Return where to listen, and what clients must send: as the options say, or else the configuration."""
    from claude_bridge.app.serve import Listening

    host = host or config.server.host
    return Listening(
        host=host,
        port=config.server.port if port is None else port,
        auth_token=auth_token or configured_token(config) or _token_for(host),
    )


def _token_for(host: str) -> str | None:
    """Return no token where only this machine can ask, else a new one."""
    if is_loopback(host):
        return None
    return secrets.token_urlsafe(24)


def _emit(plan: Plan, listening: Listening, upstream: Upstream) -> None:
    """Say what was found, and what to paste."""
    from claude_bridge.app.client_environment import client_environment
    from claude_bridge.app.vision import told_of_images

    model = upstream.model or "The models that clients ask for"
    output.say(f"{output.strong(model)} on {upstream.name} at {upstream.base_url}")
    window = f"context window {upstream.window_tokens or 0:,} tokens"
    if upstream.window_tokens and not any(note.startswith(window) for note in upstream.notes):
        output.say(f"  · {window}")
    about_images = told_of_images(plan, upstream)
    for note in (*upstream.notes, about_images) if about_images else upstream.notes:
        output.say(f"  · {note}")
    if upstream.window_tokens and upstream.window_tokens < PROMPT_TOKENS * 1.2:
        output.say(
            output.warning(
                f"Claude Code's first request alone takes about {PROMPT_TOKENS:,} tokens: give the engine "
                "a larger window, or start claude with fewer tools: --tools Bash,Read,Edit,Write"
            )
        )
    elif upstream.window_tokens and upstream.window_tokens < COMFORTABLE_TOKENS:
        output.say(
            "  · a small window for Claude Code: if it stops with “Autocompact is thrashing”, give a larger one, "
            "or start claude with fewer tools: --tools Bash,Read,Edit,Write"
        )
    pasted = client_environment(listening.served(upstream, small_model=plan.routing.small_model), only_essential=True)
    for variable, value in pasted.items():
        output.say(f"  export {variable}={shlex.quote(value) if value else ''}")
    output.say(f"  claude --model {shlex.quote(upstream.model)}" if upstream.model else "  claude")
    if plan.trace_file is not None:
        output.say(output.faint(f"The whole traffic goes to {plan.trace_file}."))
