"""``bridge env``: the environment that points a client at a bridge."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from claude_bridge.cli import output
from claude_bridge.cli.configuration import ConfigFile, configured_token, load_config
from claude_bridge.errors import SetupError

if TYPE_CHECKING:
    from claude_bridge.wire.bridge import Readiness

ASK_TIMEOUT_S = 5.0

EXAMPLES = (
    'Examples:  eval "$(bridge env)"  ·  bridge env --shell fish | source  ·  '
    "docker run $(bridge env --shell docker) IMAGE  ·  bridge env --shell settings"
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
    url: Annotated[
        str | None, typer.Option(help="Where the bridge is.", metavar="URL", show_default="http://127.0.0.1:8765")
    ] = None,
    auth_token: Annotated[
        str | None, typer.Option(help="The token that the bridge asks for, if it does.", metavar="TOKEN")
    ] = None,
    traffic: Annotated[
        bool, typer.Option(help="Let Claude Code talk to its maker too: telemetry, error reports, updates.")
    ] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Say of each variable why it is set.")] = False,
    config_file: ConfigFile = None,
) -> None:
    """Print the environment that points Claude Code at the running bridge.

    The bridge is asked for its model and window. While none runs, what does not depend on them is printed.
    """
    from claude_bridge.cli.client_environment import NO_TOKEN, Served, client_environment, reasons
    from claude_bridge.cli.running import Listening
    from claude_bridge.cli.shells import SHELLS, shell_named

    form = shell or shell_named(os.environ.get("SHELL", "powershell" if os.name == "nt" else ""))
    if form not in SHELLS:
        raise SetupError(f"There is no form {form!r}.", f"Known ones: {', '.join(SHELLS)}.")
    config = load_config(config_file)
    if url is None and config.server.port == 0:
        raise SetupError("The port is configured as 0, which is another one each time.", "Give it: --url URL")
    url = (url or Listening(host=config.server.host, port=config.server.port).url).rstrip("/")
    auth_token = auth_token or configured_token(config)
    told = _ask(url, auth_token)
    served = Served(
        url=url,
        token=auth_token or NO_TOKEN,
        model=told.model if told else None,
        window_tokens=told.window_tokens if told else None,
        max_output_tokens=told.max_output_tokens if told else None,
        slots=told.slots if told else None,
        passes_credentials=told.passes_credentials if told else False,
        allows_traffic=traffic,
        outside=os.environ,
    )
    output.print_line(SHELLS[form](client_environment(served), reasons() if explain else {}))
    if form == "docker":
        output.say(
            "host.docker.internal is this machine, seen from a container; api.anthropic.com leads nowhere, so that "
            "nothing goes around the bridge."
        )
        if url.startswith(("http://127.", "http://localhost")):
            output.say(
                output.warning("A bridge on 127.0.0.1 can't be reached from a container: bridge serve … --host 0.0.0.0")
            )


def _ask(url: str, token: str | None) -> Readiness | None:
    """Return what the bridge tells of itself, or None where there is none yet; that is told too.

    Raises:
        SetupError: there is something else, or it asks for another token.
    """
    import anyio
    import msgspec

    from claude_bridge.errors import UpstreamError
    from claude_bridge.upstream.client import FetchedDocument, UpstreamClient
    from claude_bridge.wire.bridge import READY_PATH, parse_readiness

    async def fetch() -> FetchedDocument:
        async with UpstreamClient(url, api_key=token, name="The bridge") as client:
            return await client.fetch(READY_PATH, timeout_s=ASK_TIMEOUT_S)

    try:
        answer = anyio.run(fetch)
    except UpstreamError:
        output.say(output.warning(f"No bridge answers at {url} yet: the model and its window are left out."))
        return None
    if answer.status in (401, 403):
        raise SetupError(f"The bridge at {url} asks for its token.", "Give it: --auth-token TOKEN")
    try:
        return parse_readiness(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise SetupError(
            f"At {url} there is something else than a bridge.", "Say where the bridge is: --url URL"
        ) from None
