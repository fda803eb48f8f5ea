"""``bridge models``: which models the engines offer, and what each can do."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from claude_bridge.app.options import Options
from claude_bridge.cli import terminal
from claude_bridge.cli.loading import load_config
from claude_bridge.cli.options import ConfigFile, takes_options
from claude_bridge.errors import SetupError, UpstreamError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from claude_bridge.config.schema import Config
    from claude_bridge.conversion.pricing import Prices
    from claude_bridge.exam.results import Exam
    from claude_bridge.providers import Provider
    from claude_bridge.upstream.engines.catalog import Listing
    from claude_bridge.upstream.engines.engine import Engine
    from claude_bridge.upstream.engines.report import OfferedModel


EXAMPLES = (
    "bridge models",
    "bridge models ollama --all",
    "bridge models openai --base-url http://localhost:8080",
    "bridge models --json",
)

ONLY_IF_NAMED = "anthropic"
"""A key for it may be meant for other programs: it is listed only where the user or the configuration names it."""

JSON_FIELDS = (
    *("id", "tools", "thinking", "images", "context_window", "max_output_tokens", "size_bytes", "cost", "remote_host"),
    "loaded",
)
"""What ``--json`` prints about a model, beside where it is."""

COLUMNS = (
    terminal.Column("model", narrowest=16),
    *(terminal.Column(name, rank=rank) for name, rank in (("tools", 1), ("thinking", 4), ("images", 3))),
    *terminal.numbers(context_window=0, max_output=6, size=5, cost=3),
)

EXAM = terminal.Column("exam", is_number=True, rank=2)
"""Shown where one of the models was examined."""


@partial(takes_options, names=("base_url", "api_key", "ca_file"))
def models(
    options: Options,
    provider: Annotated[
        str,
        typer.Argument(
            help="Whose models: a provider, such as ollama, openrouter, openai (any compatible engine) or one of your "
            "configuration. Without it: all that are configured, and the usual local ports."
        ),
    ] = "",
    every: Annotated[bool, typer.Option("--all", help="List models that can't call tools, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of objects, for programs.")] = False,
    scan: Annotated[
        bool,
        typer.Option("--scan", help="Also look for Ollama and LM Studio on the machines of your local network."),
    ] = False,
    config_file: ConfigFile = None,
) -> None:
    """List the models that engines offer, and what each can do.

    Without PROVIDER it asks each provider that is configured or whose key is set, the engine of the bridge that is
    running, and the usual local ports of Ollama, llama.cpp, LM Studio, vLLM, SGLang and LiteLLM. With --scan it also
    tries to connect to the ports of Ollama and LM Studio at the 253 nearest addresses of a private network.
    """
    config = load_config(config_file)
    from claude_bridge.app.build import trust_authorities

    trust_authorities(config, options.ca_file)
    if not provider and (options.base_url is not None or options.api_key is not None):
        if config.defaults.model is None:
            raise UsageError(
                "--base-url and --api-key need a PROVIDER.", "Name it first: `bridge models openai --base-url URL`"
            )
        provider = config.defaults.model.provider
    if provider and scan:
        raise UsageError("--scan looks everywhere, not at one provider.", "Leave out PROVIDER: `bridge models --scan`")
    listings = [_ask(config, provider, options)] if provider else _ask_everywhere(config, scans_network=scan)
    shown = [(listing, _shown(listing, every=every)) for listing in listings]
    exams = _newest_exams()
    if as_json:
        _print_json(shown, exams)
    else:
        shown.sort(key=lambda one: not one[1])  # what has no table goes to stderr, in one line each: at the end
        for number, (listing, offered) in enumerate(shown):
            if number and offered:
                terminal.print_line("")
            _print_table(listing, offered, [_exam_of(exams, listing, model) for model in offered])


def _ask(config: Config, provider: str, options: Options) -> Listing:
    import anyio

    from claude_bridge.upstream.client import advice_on
    from claude_bridge.upstream.engines.catalog import list_models

    engine = _engine(config, provider, options.base_url, options.api_key)
    try:
        return anyio.run(list_models, engine)
    except UpstreamError as error:
        raise SetupError(error.message, advice_on(error)) from error


def _ask_everywhere(config: Config, *, scans_network: bool) -> list[Listing]:
    import anyio
    from msgspec.structs import replace

    from claude_bridge.config.providers import configured_rows
    from claude_bridge.upstream.engines.catalog import LOCAL_ENGINES, list_everywhere, local_engines

    rows = configured_rows(config).values()
    configured = [
        replace(one := _engine(config, row.name, None, None), upstream=replace(one.upstream, name=row.display_name))
        for row in rows
        if row.name in config.providers
        or (_is_here(row) and row.display_name not in LOCAL_ENGINES)
        or (row.name != ONLY_IF_NAMED and os.environ.get(row.key_variable, "").strip() and _has_address(row))
    ]
    configured += _served_engines(config, configured)
    engines = [*configured, *local_engines(configured)]
    if scans_network:
        from claude_bridge.upstream.engines.catalog import neighbours, scan

        hosts = neighbours()
        terminal.say(terminal.faint(f"Looking for engines at {len(hosts)} addresses of the local network."))
        engines += anyio.run(scan, hosts)
    listings, silences = anyio.run(list_everywhere, engines)
    if not listings:
        tried = "\n".join(f"· {silence.reason}" for silence in silences)
        raise SetupError(
            f"No engine answers. Tried:\n{tried}",
            "Start one, or give the address of yours: `bridge models openai --base-url URL`. For a service on the "
            "internet set its key, such as OPENROUTER_API_KEY.",
        )
    for silence in silences:
        if silence.engine.is_wanted:  # at the other places nobody need be
            terminal.print_problem(silence.reason, silence.hint, is_warning=True)
    return listings


def _served_engines(config: Config, others: Sequence[Engine]) -> list[Engine]:
    """Return the engine of a running bridge, unless it is among the others."""
    from claude_bridge.cli.bridge_client import find_served, row_of_served

    served = find_served(config, config.server.port)
    if served is None:
        return []
    row, base_url = row_of_served(config, served)
    if base_url is None and any(other.provider == row.name for other in others):
        return []
    return [_engine(config, row.name, base_url, None)]


def _is_here(row: Provider) -> bool:
    """Return whether it is on this machine: others get no request unless the user means them."""
    from claude_bridge.wire.addresses import reaches_this_machine

    return reaches_this_machine(urlsplit(row.base_url).hostname or "")


def _has_address(row: Provider) -> bool:
    return bool(row.base_url or os.environ.get(row.base_url_variable or ""))


def _engine(config: Config, provider: str, base_url: str | None, api_key: str | None) -> Engine:
    from claude_bridge.app.build import named_engine, provider_and_model

    provider, _ = provider_and_model(config, provider, "")
    return named_engine(config, provider, "", base_url, api_key)


def _shown(listing: Listing, *, every: bool) -> tuple[OfferedModel, ...]:
    from claude_bridge.upstream.engines.catalog import with_tools

    return listing.models if every else with_tools(listing)


def _newest_exams() -> Mapping[tuple[str, str], Exam]:
    """Return the newest exam of each model, by the engine's address and the model's name."""
    from claude_bridge.config.locate import exams_folder

    if not exams_folder().is_dir():
        return {}
    from claude_bridge.exam.store import Store

    return Store().newest_by_model()


def _print_json(shown: Sequence[tuple[Listing, Sequence[OfferedModel]]], exams: Mapping[tuple[str, str], Exam]) -> None:
    rows = [
        {
            "provider": listing.provider,
            "engine": listing.engine,
            "base_url": listing.base_url,
            **{name: getattr(model, name) for name in JSON_FIELDS},
            **_exam_json(_exam_of(exams, listing, model)),
        }
        for listing, offered in shown
        for model in offered
    ]
    terminal.print_json(rows, is_pretty=True)


def _exam_of(exams: Mapping[tuple[str, str], Exam], listing: Listing, model: OfferedModel) -> Exam | None:
    """Return the newest exam of a model, by its name as it is listed, or without the tag that Ollama adds."""
    names = (model.id, model.id.removesuffix(":latest"))
    return next((exams[listing.base_url, name] for name in names if (listing.base_url, name) in exams), None)


def _exam_json(exam: Exam | None) -> dict[str, object]:
    if exam is None:
        return {}
    from claude_bridge.exam.verdict import judge

    return {"exam": {"verdict": judge(exam).verdict, "passed": exam.score.passed, "total": exam.score.total}}


def _print_table(listing: Listing, offered: Sequence[OfferedModel], exams: Sequence[Exam | None]) -> None:
    title = f"{listing.engine} at {listing.base_url}"
    if any(exams):
        scores = [f"{exam.score.passed}/{exam.score.total}" if exam else "" for exam in exams]
        rows = [(*_row(model), score) for model, score in zip(offered, scores, strict=True)]
        terminal.print_table(title, (*COLUMNS, EXAM), rows)
    elif offered:
        terminal.print_table(title, COLUMNS, [_row(model) for model in offered])
    else:
        terminal.say(f"{terminal.strong(title)}: {'no model that can call tools' if listing.models else 'no model'}.")
    for note in _notes(listing, offered):
        terminal.say(terminal.faint(note))


def _row(model: OfferedModel) -> tuple[str, ...]:
    from claude_bridge.trace.console.printable import one_line

    limits = [tokens for tokens in (model.max_output_tokens, model.context_window) if tokens is not None]
    return (
        one_line(model.id) + (" *" if model.loaded else ""),
        _word(model.tools),
        _word(model.thinking),
        _word(model.images),
        _number(model.context_window),
        _number(None if model.max_output_tokens is None else min(limits)),
        "cloud" if model.remote_host else _size(model.size_bytes),
        _price(model.cost),
    )


def _notes(listing: Listing, offered: Sequence[OfferedModel]) -> list[str]:
    """Return what explains the marks of a table, and what is not in it."""
    notes = []
    if any(model.loaded for model in offered):
        notes.append("* is loaded now")
    hosts = sorted({model.remote_host for model in offered if model.remote_host})
    if hosts:
        notes.append(f"cloud: runs at {', '.join(hosts)}, not on this machine")
    if any(model.cost and (model.cost.input or model.cost.output) for model in offered):
        notes.append("cost: US dollars for a million tokens, read / written")
    if any("?" in _row(model) for model in offered):
        notes.append("?: not in the configuration" if listing.is_configured else "?: the engine does not report it")
    hidden = len(listing.models) - len(offered)
    if hidden:
        notes.append(f"{hidden} more can't call tools, which Claude Code needs: --all lists them")
    elif not listing.models and listing.provider == "ollama":
        notes.append("Get one: `ollama pull qwen3`")
    return notes


def _word(reported: bool | None) -> str:
    return "?" if reported is None else "yes" if reported else "no"


def _number(tokens: int | None) -> str:
    return "?" if tokens is None else f"{tokens:,}"


def _size(n_bytes: int | None) -> str:
    return "?" if n_bytes is None else terminal.size(n_bytes)


def _price(cost: Prices | None) -> str:
    if cost is None:
        return "?"
    if not cost.input and not cost.output:
        return "0"
    return f"{cost.input:.4g} / {cost.output:.4g}"
