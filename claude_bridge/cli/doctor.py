"""``bridge doctor``: what is wrong between Claude Code and a model, and the command that fixes it."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from claude_bridge.app.options import Options
from claude_bridge.cli import terminal
from claude_bridge.cli.bridge_client import find_served, row_of_served
from claude_bridge.cli.options import ConfigFile, checked, takes_options
from claude_bridge.cli.plain_serve import DEFAULT_PORT, MAX_PORT
from claude_bridge.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from claude_bridge.config.schema import Config
    from claude_bridge.doctor.finding import CheckStep, Finding, Subject
    from claude_bridge.providers import Provider
    from claude_bridge.wire.admin_api import Readiness

EXAMPLES = (
    "bridge doctor",
    "bridge doctor ollama qwen3:1.7b --probe",
    "bridge doctor openai --base-url http://localhost:8080/v1 --json",
)


@partial(takes_options, names=("base_url", "api_key", "ca_file", "web_search"))
def doctor(
    given: Options,
    provider: Annotated[
        str,
        typer.Argument(
            help="ollama, openai (any compatible engine) or one of your configuration. Without it: the engine of the "
            "bridge that is running, else your default model, else Ollama."
        ),
    ] = "",
    model: Annotated[
        str, typer.Argument(help="The engine's name for the model. Not needed if the engine has only one.")
    ] = "",
    port: Annotated[
        int | None,
        typer.Option(
            help=f"The port that the bridge listens on. Default: {DEFAULT_PORT}.",
            parser=checked(int, low=1, high=MAX_PORT),
            metavar="N",
        ),
    ] = None,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Ask the model too: speed, a tool call, a long prompt, the prompt cache, an image, a stop. Takes up "
            "to six minutes.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    config_file: ConfigFile = None,
) -> None:
    """Check everything between Claude Code and a model, and say how to fix each problem.

    Without PROVIDER it checks the engine of the bridge that is running, if there is one. It changes nothing. Exit code
    1 if something will not work.
    """
    import anyio

    from claude_bridge.config.load import read_config

    reading = read_config(config_file, os.environ)
    config = reading.config
    from claude_bridge.app.build import trust_authorities, web_plan
    from claude_bridge.app.plan import WebPlan
    from claude_bridge.doctor.examine import examine
    from claude_bridge.doctor.machine import check_configuration, check_served, untried_search

    trust_authorities(config, given.ca_file)
    port = port or config.server.port
    options = ([f"--port {port}"] if port != config.server.port else []) + ["--probe"] * probe
    mistakes, doubts = ([str(problem) for problem in found] for found in (reading.mistakes, reading.doubts))
    findings = [
        check_configuration(
            str(reading.file), is_there=reading.is_there, mistakes=mistakes, doubts=doubts, look=reading.check_command
        )
    ]
    served = None if provider or given.base_url is not None else find_served(config, port)
    try:
        if served is not None:
            findings.append(check_served(served))
            subject = _served_subject(config, served, given.api_key, options)
        else:
            subject = _named_subject(config, provider, model, given, options)
    except SetupError:
        reading.without_mistakes()  # where there are some, they may be the cause
        raise
    choice = None if served is None else served.web_search
    try:
        web = web_plan(config, given.web_search or choice)
    except SetupError as error:  # the running bridge may have a key that is not known here
        if given.web_search or choice is None:
            raise
        findings.append(untried_search(choice, error))
        web = WebPlan()
    show = (lambda _: None) if as_json else _print_finding
    for finding in findings:
        show(finding)
    findings += anyio.run(_show_each, examine(subject, web, port=port, probe=probe), show)
    is_well = all(finding.severity != "bad" for finding in findings)
    if as_json:
        terminal.print_json({"checks": findings, "ok": is_well})
    else:
        terminal.print_verdict([finding.severity.value for finding in findings])
    if not is_well:
        raise typer.Exit(1)


async def _show_each(
    items: AsyncGenerator[CheckStep | Finding, None], show: Callable[[Finding], None]
) -> list[Finding]:
    """Return the findings; each is shown as soon as it is known."""
    from contextlib import aclosing

    from claude_bridge.doctor.finding import CheckStep

    found: list[Finding] = []
    with terminal.stopwatch() as (begin, away):
        async with aclosing(items):
            async for item in items:
                if isinstance(item, CheckStep):
                    begin(item.what, item.limit_s)
                else:
                    found.append(item)
                    with away():
                        show(item)
    return found


def _print_finding(finding: Finding) -> None:
    terminal.print_finding(finding.severity.value, finding.name, finding.seen, finding.remedy)


def _named_subject(config: Config, provider: str, model: str, given: Options, options: Sequence[str]) -> Subject:
    """Return what the command line and the configuration name."""
    from claude_bridge.app.build import provider_and_model, provider_row
    from claude_bridge.providers import LOCAL

    usual = config.defaults.model
    if not provider and usual is not None and usual.provider != LOCAL:
        provider, model = usual.provider, usual.model
    known_provider, model = provider_and_model(config, provider or "ollama", model)
    row = provider_row(config, known_provider)
    return _subject(config, row, known_provider if provider else "", model, given, options)


def _served_subject(config: Config, served: Readiness, api_key: str | None, options: Sequence[str]) -> Subject:
    """Return what the running bridge serves, as if it had been named on the command line."""
    from msgspec.structs import replace

    from claude_bridge.providers import PROVIDERS

    row, base_url = row_of_served(config, served)
    given = Options(base_url=base_url, api_key=api_key)
    subject = _subject(config, row, row.name, served.model or "", given, options)
    if row.kind != PROVIDERS["ollama"].kind:  # there the model is loaded with it
        subject = replace(subject, engine=replace(subject.engine, window_tokens=served.window_tokens))
    return subject


def _subject(
    config: Config, row: Provider, provider: str, model: str, given: Options, options: Sequence[str]
) -> Subject:
    from msgspec.structs import replace

    from claude_bridge.app.build import named_engine
    from claude_bridge.doctor.finding import Subject

    engine = named_engine(config, row.name, model, given.base_url, given.api_key, needs_key=False)
    if not model and len(engine.models) == 1:
        engine = engine.with_model(engine.models[0].id)
    engine = replace(engine, window_tokens=config.defaults.context_window)
    return Subject(
        provider=provider,
        engine=engine,
        is_usual_url=given.base_url is None,  # or a variable's, or the file's: both hold for the next command too
        options=tuple(options),
    )
