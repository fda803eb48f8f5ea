"""``bridge run``: Claude Code on a model of one's own, with one command."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from claude_bridge.app import terminal as output
from claude_bridge.app.config_option import ConfigFile, load_config
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

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from claude_bridge.app.beside import Program
    from claude_bridge.app.client_environment import Served
    from claude_bridge.app.serve import Listening
    from claude_bridge.providers import Upstream

EXAMPLES = (
    "Examples:  bridge run ollama qwen3:1.7b  ·  bridge run ollama qwen3:1.7b --lite  ·  "
    'bridge run openai MODEL --base-url http://localhost:8080/v1 -- -p "What is in this folder?"'
)

_BEHIND = "claude_arguments"


class RunCommand(TyperCommand):
    """Keeps what stands behind ``--`` for Claude Code: it must not be taken for a provider or a model."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - click's context, which typer hides
        """Parse what stands before ``--``."""
        at = args.index("--") if "--" in args else len(args)
        ctx.meta[_BEHIND] = args[at + 1 :]
        return super().parse_args(ctx, args[:at])


def run(
    ctx: typer.Context,
    provider: ProviderName = "",
    model: ModelName = "",
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    max_tokens: MaxTokens = None,
    context_window: ContextWindow = None,
    model_file: ModelFile = None,
    api: Api = None,
    vision_model: VisionModel = None,
    think: Think = None,
    small_model: SmallModel = None,
    fallback: Fallbacks = None,
    route: Routes = None,
    lite: Annotated[
        bool, typer.Option("--lite", help="For a small model or window: fewer tools, a shorter prompt.")
    ] = False,
    traffic: Annotated[
        bool, typer.Option(help="Let Claude Code talk to its maker too: telemetry, error reports, updates.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Write the translated traffic to a file, which is told.")] = (
        False
    ),
    trace: TraceFile = None,
    config_file: ConfigFile = None,
) -> None:
    """Start Claude Code on a model, with a bridge that ends with it.

    What stands behind -- goes to Claude Code: bridge run ollama -- --continue. Its exit code is handed through, and
    none of the user's files is changed.
    """
    from msgspec.structs import replace

    from claude_bridge.app.beside import run_beside
    from claude_bridge.app.claude_code import find_claude_code

    program = find_claude_code()
    arguments: list[str] = ctx.meta[_BEHIND]
    plan = plan_of(
        load_config(config_file),
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
        debug=debug,
    )
    log_file = _new_log_file() if debug else None

    def start(listening: Listening, upstream: Upstream) -> Program:
        served = replace(
            listening.served(upstream, small_model=plan.routing.small_model), allows_traffic=traffic, outside=os.environ
        )
        return _claude_code(program, arguments, served, upstream, is_lite=lite, log_file=log_file)

    ended = run_beside(plan, start, log_file=log_file)
    for warning in ended.warnings:
        output.say(output.warning(warning))
    if log_file is not None:
        output.say(output.faint(f"The debug log: {log_file}"))
    sys.exit(ended.code)


def _claude_code(
    program: str,
    arguments: Sequence[str],
    served: Served,
    upstream: Upstream,
    *,
    is_lite: bool,
    log_file: Path | None,
) -> Program:
    """Say what is started, and return it."""
    from claude_bridge.app.beside import Program
    from claude_bridge.app.claude_code import LITE_ENVIRONMENT, client_command, has_own_status_line
    from claude_bridge.app.client_environment import client_environment

    environment = client_environment(served) | (LITE_ENVIRONMENT if is_lite else {})
    started = client_command(
        program, arguments, environment=environment, is_lite=is_lite, has_status_line=has_own_status_line()
    )
    output.say(f"{output.strong(upstream.model)} on {upstream.name}, through {served.url}")
    for note in (*upstream.notes, *started.notes, *_window_notes(upstream, is_lite=is_lite)):
        output.say(output.faint(f"  · {note}"))
    if log_file is not None:
        output.say(output.faint(f"  · the debug log: {log_file}"))
    return Program(started.command, _inherited(environment))


def _inherited(environment: Mapping[str, str]) -> dict[str, str]:
    return {**os.environ, **environment}


def _window_notes(upstream: Upstream, *, is_lite: bool) -> list[str]:
    from claude_bridge.app.claude_code import LITE_PROMPT_TOKENS, PROMPT_TOKENS

    window = upstream.window_tokens
    if window is None or is_lite or window >= PROMPT_TOKENS * 1.2:
        return []
    small = f"the window of {window:,} tokens is too small for Claude Code's first prompt of {PROMPT_TOKENS:,}"
    return [f"{small}: give the engine a larger one, or add --lite, which takes {LITE_PROMPT_TOKENS:,}"]


def _new_log_file() -> Path:
    from platformdirs import user_log_path

    return user_log_path("claude-bridge") / time.strftime("run-%Y%m%d-%H%M%S.log")
