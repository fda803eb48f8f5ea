"""``bridge doctor``: what is wrong between Claude Code and a model, and the command that mends it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from claude_bridge.cli import output
from claude_bridge.cli.engine import ApiKey, BaseUrl, address_of, key_of, provider_row

if TYPE_CHECKING:
    from claude_bridge.upstream.checks.engine import Asked
    from claude_bridge.upstream.checks.finding import Finding

DEFAULT_PORT = 8765

EXAMPLES = (
    "Examples:  bridge doctor  ·  bridge doctor ollama qwen3:1.7b --probe  ·  "
    "bridge doctor openai --base-url http://localhost:8080/v1 --json"
)


def doctor(
    provider: Annotated[
        str, typer.Argument(help="ollama, or openai (any compatible engine). Without it: an Ollama, or what is there.")
    ] = "",
    model: Annotated[str, typer.Argument(help="The engine's name of the model; may be left out if it has one.")] = "",
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    port: Annotated[
        int, typer.Option(help="The port that the bridge is to listen on.", min=1, max=65535, metavar="N")
    ] = (DEFAULT_PORT),
    probe: Annotated[
        bool, typer.Option("--probe", help="Ask the model too: speed, a tool call, a long prompt, the prompt cache.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check the way from Claude Code to a model, and say how to mend what is wrong.

    Changes nothing. Exit code 1 if something will not work.
    """
    import anyio

    asked, key = _asked(provider, model, base_url, api_key)
    findings = anyio.run(partial(_examine, asked, key, port=port, probe=probe))
    is_well = all(finding.mark != "bad" for finding in findings)
    if as_json:
        import msgspec

        output.print_line(msgspec.json.encode({"checks": findings, "ok": is_well}).decode())
    else:
        output.print_findings([(finding.mark, finding.name, finding.seen, finding.remedy) for finding in findings])
    if not is_well:
        raise typer.Exit(1)


def _asked(provider: str, model: str, base_url: str | None, api_key: str | None) -> tuple[Asked, str | None]:
    """Return what is asked about, and the key (None: there is none)."""
    from claude_bridge.upstream.checks.engine import Asked

    row = provider_row(provider or "ollama")
    is_usual_url = base_url is None  # or a variable's, which is set for the next command too
    url = (address_of(row, base_url) or row.base_url).rstrip("/")
    key = key_of(row, api_key)
    asked = Asked(
        provider=provider,
        model=model,
        base_url=url,
        is_usual_url=is_usual_url,
        has_key=key is not None,
        key_variable=row.key_variable,
    )
    return asked, key


async def _examine(asked: Asked, key: str | None, *, port: int, probe: bool) -> list[Finding]:
    from claude_bridge.cli import machine
    from claude_bridge.server.port_owner import describe_port_owner
    from claude_bridge.upstream.checks.engine import check_engine_answers
    from claude_bridge.upstream.checks.gather import gather_answers
    from claude_bridge.upstream.client import is_loopback

    with output.spinner("Asking the engine"):
        answers = await gather_answers(asked.base_url, model=asked.model, api_key=key)
        address = urlsplit(answers.root)
        owner = describe_port_owner(address.port or 80) if is_loopback(address.hostname or "") else ""
        findings = check_engine_answers(asked, answers, owner=owner)
        findings += await machine.examine(port, engine_host=address.hostname or "")
    if probe:
        from claude_bridge.cli.probing import probe_model

        with output.spinner("Asking the model"):
            findings += await probe_model(asked, answers, key)
    return findings
