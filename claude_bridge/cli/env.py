"""``bridge env``: the environment that points a client at a bridge."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from claude_bridge.cli import terminal
from claude_bridge.cli.bridge_client import BridgeToken, BridgeUrl, NoBridgeError, Place, ask, place_of_bridge
from claude_bridge.cli.options import ConfigFile
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
            help="bash, zsh, fish, powershell, cmd; docker (flags of docker run), settings (Claude Code's settings "
            "file) or json. Left out: the shell that you use.",
            metavar="FORM",
        ),
    ] = None,
    url: BridgeUrl = None,
    auth_token: BridgeToken = None,
    traffic: Annotated[
        bool, typer.Option(help="Let Claude Code talk to its maker too: telemetry, error reports, updates.")
    ] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say of each variable why it is set.")] = False,
    config_file: ConfigFile = None,
) -> None:
    """Print the environment that points Claude Code at the running bridge.

    The bridge is asked for its model and window. While none runs, what does not depend on them is printed.
    """
    from claude_bridge.app.client_environment import NO_TOKEN, Served, client_environment, reasons
    from claude_bridge.cli.shells import SHELLS, this_shell_name

    form = shell or this_shell_name()
    if form not in SHELLS:
        raise SetupError(f"There is no form {form!r}.", f"Known ones: {', '.join(SHELLS)}.")
    place = place_of_bridge(url, auth_token, config_file)
    told = _ask(place)
    served = Served(
        url=place.url,
        token=place.token or NO_TOKEN,
        model=told.model if told else None,
        small_model=told.small_model if told else None,
        window_tokens=told.window_tokens if told else None,
        max_output_tokens=told.max_output_tokens if told else None,
        slots=told.slots if told else None,
        forwards_client_auth=told.forwards_client_auth if told else False,
        allows_traffic=traffic,
        outside=os.environ,
    )
    terminal.print_line(SHELLS[form](client_environment(served), reasons() if explain else {}))
    if form == "docker":
        terminal.say(
            "host.docker.internal is this machine, seen from a container; api.anthropic.com leads nowhere, so that "
            "nothing goes around the bridge."
        )
        if place.url.startswith(("http://127.", "http://localhost")):
            terminal.say(
                terminal.warning(
                    "A bridge on 127.0.0.1 can't be reached from a container: bridge serve … --host 0.0.0.0"
                )
            )


def _ask(place: Place) -> Readiness | None:
    """Return what the bridge tells of itself, or None where there is none yet; that is told too."""
    from claude_bridge.wire.admin_api import READY_PATH, parse_readiness

    try:
        return ask(place, READY_PATH, parse_readiness)
    except NoBridgeError:
        terminal.say(terminal.warning(f"No bridge answers at {place.url} yet: the model and its window are left out."))
        return None
