"""``bridge doctor``: what is wrong between Claude Code and a model, and the command that mends it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from claude_bridge.cli import terminal
from claude_bridge.cli.options import ApiKey, BaseUrl, ConfigFile, load_reading
from claude_bridge.cli.serve import DEFAULT_PORT
from claude_bridge.errors import SetupError

if TYPE_CHECKING:
    from claude_bridge.config.load import Reading
    from claude_bridge.config.schema import Config
    from claude_bridge.doctor.engine import Asked
    from claude_bridge.doctor.finding import Finding
    from claude_bridge.providers import Provider

EXAMPLES = (
    "bridge doctor",
    "bridge doctor ollama qwen3:1.7b --probe",
    "bridge doctor openai --base-url http://localhost:8080/v1 --json",
)


def doctor(
    provider: Annotated[
        str,
        typer.Argument(
            help="ollama, openai (any compatible engine) or one of your configuration. Without it: your default "
            "model, else an Ollama, or what is there."
        ),
    ] = "",
    model: Annotated[str, typer.Argument(help="The engine's name of the model; may be left out if it has one.")] = "",
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    port: Annotated[
        int | None,
        typer.Option(
            help=f"The port that the bridge listens on. Default: {DEFAULT_PORT}.",
            min=1,
            max=65535,
            metavar="N",
        ),
    ] = None,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe", help="Ask the model too: speed, a tool call, a long prompt, the prompt cache, a picture, a stop."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    config_file: ConfigFile = None,
) -> None:
    """Check the way from Claude Code to a model, and say how to mend what is wrong.

    Changes nothing. Exit code 1 if something will not work.
    """
    import anyio

    reading = load_reading(config_file)
    config = reading.config
    try:
        asked, row, key = _asked(config, provider, model, base_url, api_key)
    except SetupError:
        reading.without_mistakes()  # where there are some, they may be the cause
        raise
    findings = [_check_configuration(reading)]
    findings += anyio.run(partial(_examine, asked, row, key, port=port or config.server.port, probe=probe))
    is_well = all(finding.mark != "bad" for finding in findings)
    if as_json:
        import msgspec

        terminal.print_line(msgspec.json.encode({"checks": findings, "ok": is_well}).decode())
    else:
        terminal.print_findings([(finding.mark, finding.name, finding.seen, finding.remedy) for finding in findings])
    if not is_well:
        raise typer.Exit(1)


def _asked(
    config: Config, provider: str, model: str, base_url: str | None, api_key: str | None
) -> tuple[Asked, Provider, str | None]:
    """Return what is asked about, its provider's row, and the key (None: there is none)."""
    from claude_bridge.app.build import address_of, key_of, provider_and_model, provider_row
    from claude_bridge.config.providers import configured_models
    from claude_bridge.doctor.engine import Asked
    from claude_bridge.providers import LOCAL

    usual = config.defaults.model
    if not provider and usual is not None and usual.provider != LOCAL:
        provider, model = usual.provider, usual.model
    provider, model = provider_and_model(config, provider or "ollama", model)
    row = provider_row(config, provider)
    models = configured_models(config, row)
    asked = Asked(
        provider=provider,
        model=model or (models[0].id if len(models) == 1 else ""),
        base_url=(address_of(config, row, base_url) or row.base_url).rstrip("/"),
        is_usual_url=base_url is None,  # or a variable's, or the file's: both hold for the next command too
        has_key=(key := key_of(config, row, api_key)) is not None,
        key_variable=row.key_variable,
        models=models,
        window_tokens=config.defaults.context_window,
    )
    return asked, row, key


def _check_configuration(reading: Reading) -> Finding:
    from claude_bridge.doctor.configuration import check_configuration

    mistakes, doubts = ([str(problem) for problem in found] for found in (reading.mistakes, reading.doubts))
    return check_configuration(str(reading.file), is_there=reading.is_there, mistakes=mistakes, doubts=doubts)


async def _examine(asked: Asked, row: Provider, key: str | None, *, port: int, probe: bool) -> list[Finding]:
    from claude_bridge.doctor import inspect_machine as machine
    from claude_bridge.doctor.engine import check_engine_answers
    from claude_bridge.doctor.gather import gather_answers
    from claude_bridge.server.port_owner import describe_port_owner
    from claude_bridge.wire.addresses import reaches_this_machine

    with terminal.spinner("Asking the engine"):
        answers = await gather_answers(asked.base_url, model=asked.model, api_key=key)
        address = urlsplit(answers.root)
        owner = describe_port_owner(address.port or 80) if reaches_this_machine(address.hostname or "") else ""
        findings = check_engine_answers(asked, answers, owner=owner)
        findings += await machine.examine(port, engine_host=address.hostname or "")
    if probe:
        from claude_bridge.doctor.probing import probe_model

        with terminal.spinner("Asking the model"):
            findings += await probe_model(asked, answers, row, key)
    return findings
