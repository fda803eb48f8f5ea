"""``bridge env``: the environment variables that point a client at a bridge."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from claude_bridge.cli import terminal
from claude_bridge.cli.bridge_client import BridgeLocation, BridgeToken, BridgeUrl, NoBridgeError, ask, place_of_bridge
from claude_bridge.cli.options import ConfigFile, Traffic
from claude_bridge.errors import SetupError

if TYPE_CHECKING:
    from claude_bridge.wire.admin_api import Readiness

EXAMPLES = (
    'eval "$(bridge env)"',
    "bridge env --shell fish | source",
    "bridge env --shell powershell | Out-String | Invoke-Expression",
    "docker run $(bridge env --shell docker) IMAGE",
)


def env(
    shell: Annotated[
        str | None,
        typer.Option(
            help="The format: bash, zsh, fish, powershell, cmd, docker (options of docker run), settings (for Claude "
            "Code's settings file) or json. Default: your shell.",
            metavar="FORM",
        ),
    ] = None,
    url: BridgeUrl = None,
    auth_token: BridgeToken = None,
    traffic: Traffic = False,
    explain: Annotated[bool, typer.Option("--explain", help="Explain why each variable is set.")] = False,
    config_file: ConfigFile = None,
) -> None:
    """Print the environment variables that point Claude Code at the running bridge.

    The bridge reports its model and context window. If no bridge is running, only what does not depend on them is
    printed.
    """
    from claude_bridge.app.client_environment import NO_TOKEN, Served, client_environment, reasons
    from claude_bridge.app.shells import SHELLS, this_shell_name

    form = shell or this_shell_name()
    if form not in SHELLS:
        raise SetupError(f"There is no format {form!r}.", f"Known formats: {', '.join(SHELLS)}.")
    place = place_of_bridge(url, auth_token, config_file)
    served = Served(
        url=place.url,
        token=place.token or NO_TOKEN,
        bridge=_ask(place),
        allows_traffic=traffic,
        outside=os.environ,
    )
    terminal.print_line(SHELLS[form](client_environment(served), reasons() if explain else {}))
    if form == "docker":
        terminal.say(
            "host.docker.internal is this machine, seen from a container. api.anthropic.com leads nowhere, so that "
            "nothing bypasses the bridge."
        )
        if place.url.startswith(("http://127.", "http://localhost")):
            advice = "A container can't reach a bridge on 127.0.0.1; start it with `bridge serve … --host 0.0.0.0`"
            terminal.warn(advice)


def _ask(place: BridgeLocation) -> Readiness:
    """Return what the bridge reports about itself; where none is running, that is shown, and nothing is known."""
    from claude_bridge.wire.admin_api import READY_PATH, Readiness, parse_readiness

    try:
        return ask(place, READY_PATH, parse_readiness)
    except NoBridgeError:
        left_out = f"No bridge is running at {place.url}, so the model and its context window are left out."
        terminal.warn(f"{left_out} Start one first: `bridge serve`")
        return Readiness(ready=False, version="")
