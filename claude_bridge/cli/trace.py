"""``bridge trace``: look at what `--trace FILE` has recorded, and send it again."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from claude_bridge.cli import terminal
from claude_bridge.cli.help import Command, Group
from claude_bridge.cli.loading import load_config
from claude_bridge.cli.options import ApiKey, BaseUrl, ConfigFile
from claude_bridge.errors import SetupError, disk_errors_as

if TYPE_CHECKING:
    from claude_bridge.trace.detail import Lines
    from claude_bridge.trace.summary import TracedExchange, TraceLine
    from claude_bridge.trace.trace_file import TraceFile

EXAMPLES = (
    "bridge serve ollama qwen3:1.7b --trace trace.jsonl",
    "bridge trace list trace.jsonl",
    "bridge trace show trace.jsonl 37",
    "bridge trace html trace.jsonl",
    "bridge trace replay trace.jsonl 37 --to openrouter/qwen/qwen3-coder",
)

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Look at recorded requests and answers, and send the requests again.\n\n"
    "`bridge serve` and `bridge run` record them with --trace FILE.",
    epilog="\n".join(EXAMPLES),
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The file that --trace has written.", show_default=False)]
ExchangeName = Annotated[
    str,
    typer.Argument(
        metavar="EXCHANGE", help="Its number in `bridge trace list`, its id, or the last characters of its id."
    ),
]


@app.command("list", cls=Command)
def list_(
    file: File, as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False
) -> None:
    """List sessions and exchanges: sizes, times, cache reuse, repairs, losses and errors."""
    from claude_bridge.cli.trace_views import render_list

    trace = _read(file)
    if as_json:
        terminal.print_json({"exchanges": list(trace.exchanges.values()), "notes": trace.notes})
        return
    terminal.print_renderable(render_list(trace.exchanges.values()))
    _print_notes(trace)


@app.command(cls=Command)
def show(
    file: File,
    exchange: ExchangeName,
    full: Annotated[bool, typer.Option("--full", help="Show every text whole.")] = False,
) -> None:
    """Show one exchange: the client's request beside what the engine got, and the answer.

    Parts that were changed, lost or added on the way are marked, with the reason.
    """
    from claude_bridge.cli.trace_views import render_exchange

    trace, found, lines = _read_exchange(file, exchange)
    terminal.print_renderable(render_exchange(found, lines, is_full=full))
    _print_notes(trace)


@app.command(cls=Command)
def html(
    file: File,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The page to write. Default: FILE with .html at its end.", metavar="OUT"),
    ] = None,
) -> None:
    """Write one HTML page with the whole trace, which needs no network and no bridge.

    The page holds whole conversations, so only you can read the file.
    """
    from claude_bridge.page.document import trace_page

    trace = _read(file)
    output = output or file.with_suffix(".html")
    hint = "Name another file: --output OUT"
    if output == file:
        raise SetupError("The page would replace the trace.", hint)
    with disk_errors_as(f"{output} can't be written", hint):
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as page:
            page.writelines(trace_page(trace))
    terminal.print_line(str(output))
    _print_notes(trace)


@app.command(cls=Command)
def replay(
    file: File,
    exchanges: Annotated[
        list[str] | None,
        typer.Argument(metavar="EXCHANGE", help="Numbers or ids, as in `bridge trace list`. Default: all of them."),
    ] = None,
    to: Annotated[str, typer.Option("--to", help="The model that gets the requests.", metavar="PROVIDER/MODEL")] = "",
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each request.")] = False,
    config_file: ConfigFile = None,
) -> None:
    """Send recorded requests again, and show both answers side by side: tool calls, time and tokens.

    Parts that are redacted in the trace stay redacted. The requests are sent one after the other. The exit code is 1 if
    none of them is answered.
    """
    from claude_bridge.app.build import build_plan
    from claude_bridge.app.options import Options
    from claude_bridge.app.replay import Recorded, Replayed
    from claude_bridge.app.replay import replay as run_replay
    from claude_bridge.cli.notices import TerminalNotices
    from claude_bridge.cli.trace_views import render_replay, replay_json
    from claude_bridge.errors import UsageError
    from claude_bridge.trace.detail import read_lines
    from claude_bridge.trace.parts import members

    if not to:
        raise UsageError("No model is given.", f"For example: `bridge trace replay {file} --to ollama/qwen3:1.7b`")
    trace = _read(file)
    chosen = [trace.find(name) for name in exchanges] if exchanges else list(trace.exchanges.values())
    requests = [Recorded(one, read_lines(trace.lines(one.exchange))) for one in chosen]
    whole = [one for one in requests if one.lines.received and members(one.lines.received.body_bytes)]
    if left := len(requests) - len(whole):
        terminal.warn(f"Left out: {left} without a request that can be read whole.")
    if not whole:
        raise SetupError("There is no request to send.", f"`bridge trace list {file}` shows what is in the trace.")

    failures = []

    def show(replayed: Replayed) -> None:
        failures.append(replayed.now.summary.failure)
        if as_json:
            terminal.print_json(replay_json(replayed))
        else:
            terminal.print_renderable(render_replay(replayed))

    notices = TerminalNotices()
    options = Options(provider=to, base_url=base_url, api_key=api_key, page=False)
    run_replay(build_plan(load_config(config_file), options, notices), whole, notices, show)
    _print_notes(trace)
    if all(failures):
        raise SetupError("None of the requests was answered.", "Each answer gives the reason.")


@app.command(cls=Command)
def curl(file: File, exchange: ExchangeName) -> None:
    """Print the request that the engine got as a command for curl, without secrets.

    A key is taken from the variable UPSTREAM_API_KEY.
    """
    from claude_bridge.trace.curl import curl_line

    _, found, lines = _read_exchange(file, exchange)
    sent = _sent(found, lines)
    terminal.print_line(curl_line(sent.method, sent.url, sent.headers, sent.body_bytes))


@app.command(cls=Command)
def golden(
    file: File,
    exchange: ExchangeName,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The folder to write. Default: golden-EXCHANGE in this folder.", metavar="FOLDER"
        ),
    ] = None,
) -> None:
    """Write one exchange as a folder for a bug report: both requests, what the engine sent, what the client got.

    Keys are redacted, but the conversation is in it: read it before you send it to anybody.
    """
    from claude_bridge.trace.golden import write_golden

    _, found, lines = _read_exchange(file, exchange)
    _sent(found, lines)
    folder = output or Path(f"golden-{found.exchange}")
    with disk_errors_as(f"{folder} can't be written", "Name another folder: --output FOLDER"):
        names = write_golden(folder, found, lines)
    terminal.print_line(str(folder))
    terminal.say(terminal.faint(f"It has {', '.join(names)}. Keys are redacted; the conversation is not."))


def _read(file: Path) -> TraceFile:
    from claude_bridge.trace.trace_file import TraceFile

    return TraceFile(file)


def _read_exchange(file: Path, name: str) -> tuple[TraceFile, TracedExchange, Lines]:
    from claude_bridge.trace.detail import read_lines

    trace = _read(file)
    found = trace.find(name)
    return trace, found, read_lines(trace.lines(found.exchange))


def _sent(found: TracedExchange, lines: Lines) -> TraceLine:
    if not lines.sent:
        why = f": {found.failure.message}" if found.failure else "."
        raise SetupError(f"Exchange {found.exchange} was not sent to any engine{why}", "Choose another exchange.")
    return lines.sent[-1]


def _print_notes(trace: TraceFile) -> None:
    sys.stdout.flush()
    for note in trace.notes:
        terminal.warn(f"{trace.path}: {note}")
