"""``bridge serve`` as Typer reads it."""

from __future__ import annotations

from typing import Annotated

import typer

from claude_bridge.app.options import Options
from claude_bridge.cli import serving
from claude_bridge.cli.options import SERVER, ConfigFile, takes_options
from claude_bridge.cli.plain_serve import DEFAULT_PORT, MAX_PORT

EXAMPLES = (
    "bridge serve ollama qwen3:1.7b",
    "bridge serve openai --base-url http://localhost:8080/v1 --debug",
    "bridge serve openrouter qwen/qwen3-coder",
    "bridge serve local",
)


@takes_options
def serve(
    options: Options,
    host: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=SERVER,
            help="The address to listen on. Default: 127.0.0.1; 0.0.0.0 means all.",
            metavar="ADDRESS",
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=SERVER,
            help=f"The port to listen on. Default: {DEFAULT_PORT}; 0 means any free port.",
            min=0,
            max=MAX_PORT,
            metavar="N",
        ),
    ] = None,
    auth_token: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=SERVER,
            help="The token that clients must send. Default: on loopback none, else random.",
            metavar="TOKEN",
        ),
    ] = None,
    max_memory: Annotated[
        int | None,
        typer.Option(
            rich_help_panel=SERVER,
            help="Memory for the bodies of all requests, in MB. Default: a quarter of what is free.",
            min=64,
            metavar="N",
        ),
    ] = None,
    config_file: ConfigFile = None,
) -> None:
    """Serve Anthropic's Messages API in front of an engine, in the foreground.

    Point a client at the address that is printed. A changed configuration file is used without a restart. Ctrl-C lets
    running answers finish.
    """
    serving.serve(options, host=host, port=port, auth_token=auth_token, max_memory=max_memory, config_file=config_file)
