"""``bridge config``: where the configuration is, an example of one, what holds, and what is wrong with it."""

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

AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON, for programs.")]

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Settle beforehand what the command line need not say.",
    epilog="\n".join(EXAMPLES),
)


@app.command(cls=Command)
def path(config: ConfigFile = None) -> None:
    """Print where the configuration is, or would be."""
    from claude_bridge.config.locate import config_file

    file, _ = config_file(config, os.environ)
    terminal.print_line(str(file))
    if not file.exists():
        terminal.say(terminal.faint("It is not there yet: bridge config init writes an example."))


@app.command(cls=Command)
def init(config: ConfigFile = None) -> None:
    """Write an example with every setting in it, commented out. What is there already stays as it is."""
    from claude_bridge.config.example import example_text
    from claude_bridge.config.locate import config_file

    file, _ = config_file(config, os.environ)
    if file.exists():
        raise SetupError(f"There is a configuration already: {file}", "bridge config show says what is in it.")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600, exist_ok=False)  # keys may be written into it
        file.write_text(example_text(), "utf-8")
    except OSError as error:
        raise SetupError(f"{file} can't be written: {error.strerror}.", "Name another one: --config FILE") from error
    terminal.print_line(str(file))
    terminal.say("Each setting is in it, commented out. Take away the # of those that you want to settle.")


@app.command(cls=Command)
def show(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Print each setting as it holds, and where it comes from. Keys are not shown."""
    import msgspec

    from claude_bridge.config.effective import effective_settings
    from claude_bridge.config.format import shown

    reading = load_reading(config).without_mistakes()
    settings = list(effective_settings(reading, os.environ))
    if as_json:
        found = {"file": str(reading.file), "is_there": reading.is_there, "settings": settings}
        terminal.print_line(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        title = str(reading.file) if reading.is_there else f"{reading.file} (not there: nothing is settled in a file)"
        columns = (terminal.Column("setting"), terminal.Column("value"), terminal.Column("from"))
        terminal.print_table(title, columns, [(one.key, shown(one.value), one.origin) for one in settings])


@app.command(cls=Command)
def check(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Find all mistakes, with file, line and key. Exit code 1 if there are any."""
    import msgspec

    from claude_bridge.config.load import check_secrets

    reading = load_reading(config)
    doubts = [*reading.doubts, *check_secrets(reading, os.environ)]
    if as_json:
        told = {"file": str(reading.file), "mistakes": reading.mistakes, "doubts": doubts, "ok": not reading.mistakes}
        terminal.print_line(msgspec.json.encode(told).decode())
    else:
        found = [_finding("bad", problem) for problem in reading.mistakes] + [_finding("warn", one) for one in doubts]
        seen = "no mistakes" if reading.is_there else "is not there, and need not be"
        terminal.print_line(str(reading.file))
        terminal.print_findings(found or [("ok", reading.file.name, seen, None)])
    if reading.mistakes:
        raise typer.Exit(1)


def _finding(mark: str, problem: Problem) -> tuple[str, str, str, None]:
    place = problem.place if problem.key == problem.place else Path(problem.place).name
    name = f"{place}:{problem.line}" if problem.line else place
    return mark, name, problem.what if problem.key in ("", problem.place) else f"{problem.key} {problem.what}", None
