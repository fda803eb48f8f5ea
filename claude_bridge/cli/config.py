"""``bridge config``: find, create, show and check the configuration file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from claude_bridge.cli import terminal
from claude_bridge.cli.help import Command, Group
from claude_bridge.cli.options import ConfigFile, load_reading
from claude_bridge.errors import SetupError

if TYPE_CHECKING:
    from claude_bridge.config.load import Problem

EXAMPLES = ("bridge config init", "bridge config check", "bridge config show --json")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Manage the configuration file.",
    epilog="\n".join(EXAMPLES),
)


@app.command(cls=Command)
def path(config: ConfigFile = None) -> None:
    """Print where the configuration file is, or would be."""
    from claude_bridge.config.locate import config_file

    file, _ = config_file(config, os.environ)
    terminal.print_line(str(file))
    if not file.exists():
        terminal.say(terminal.faint("It does not exist yet; `bridge config init` writes an example."))


@app.command(cls=Command)
def init(config: ConfigFile = None) -> None:
    """Write an example with every setting, commented out. An existing file is never changed."""
    from claude_bridge.config.example import example_text
    from claude_bridge.config.locate import config_file

    file, _ = config_file(config, os.environ)
    if file.exists():
        raise SetupError(f"There is a configuration file already: {file}", "`bridge config show` shows what is in it.")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600, exist_ok=False)  # keys may be written into it
        file.write_text(example_text(), "utf-8")
    except OSError as error:
        raise SetupError(f"{file} can't be written: {error.strerror}.", "Choose another file: --config FILE") from error
    terminal.print_line(str(file))
    terminal.say("It contains every setting, commented out. Remove the # before those that you want to set.")


@app.command(cls=Command)
def show(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Print every setting in effect, and where it comes from. Keys are not shown."""
    import msgspec

    from claude_bridge.app.build import describe_routing
    from claude_bridge.config.effective import effective_settings
    from claude_bridge.config.format import shown

    reading = load_reading(config).without_mistakes()
    settings = list(effective_settings(reading, os.environ))
    routes = describe_routing(reading.config)
    if as_json:
        routing = [{"request": request, "model": model} for request, model in routes]
        found = {"file": str(reading.file), "is_there": reading.is_there, "settings": settings, "routing": routing}
        terminal.print_line(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        title = str(reading.file) if reading.is_there else f"{reading.file} (does not exist: nothing is set in a file)"
        columns = (terminal.Column("setting"), terminal.Column("value"), terminal.Column("from", rank=1))
        terminal.print_table(title, columns, [(one.key, shown(one.value), one.origin) for one in settings])
        title = "Which request goes where: the first line that fits"
        terminal.print_table(title, (terminal.Column("request"), terminal.Column("model")), routes)


@app.command(cls=Command)
def check(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Find all mistakes, with file, line and key. Exit code 1 if there are any."""
    import msgspec

    from claude_bridge.config.load import check_secrets

    reading = load_reading(config)
    doubts = [*reading.doubts, *check_secrets(reading, os.environ)]
    if as_json:
        found = {"file": str(reading.file), "mistakes": reading.mistakes, "doubts": doubts, "ok": not reading.mistakes}
        terminal.print_line(msgspec.json.encode(found).decode())
    else:
        findings = [_finding("bad", problem) for problem in reading.mistakes] + [
            _finding("warn", one) for one in doubts
        ]
        seen = "no mistakes" if reading.is_there else "does not exist, and need not"
        terminal.print_line(str(reading.file))
        terminal.print_findings(findings or [("ok", reading.file.name, seen, None)])
    if reading.mistakes:
        raise typer.Exit(1)


def _finding(mark: str, problem: Problem) -> tuple[str, str, str, None]:
    place = problem.place if problem.key == problem.place else Path(problem.place).name
    name = f"{place}:{problem.line}" if problem.line else place
    return mark, name, problem.what if problem.key in ("", problem.place) else f"{problem.key} {problem.what}", None
