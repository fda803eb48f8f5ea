"""``bridge config``: find, create, show and check the configuration file, and trust a project's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from claude_bridge.cli import terminal
from claude_bridge.cli.help import Command, Group
from claude_bridge.cli.loading import load_reading
from claude_bridge.cli.options import ConfigFile
from claude_bridge.cli.project import ask_for_trust, keep_decision, project_here, show_changes, trusted_project
from claude_bridge.errors import SetupError

if TYPE_CHECKING:
    from claude_bridge.config.load import Problem

EXAMPLES = ("bridge config init", "bridge config check", "bridge config show --json", "bridge config trust")

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
    from claude_bridge.config.locate import config_file
    from claude_bridge.data_files import read_text

    file, _ = config_file(config, os.environ)
    if file.exists():
        raise SetupError(f"There is a configuration file already: {file}", "`bridge config show` shows what is in it.")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600, exist_ok=False)  # keys may be written into it
        file.write_text(read_text("config/example.toml"), "utf-8")
    except OSError as error:
        raise SetupError(f"{file} can't be written: {error.strerror}.", "Choose another file: --config FILE") from error
    terminal.print_line(str(file))
    terminal.say("It contains every setting, commented out. Remove the # before those that you want to set.")


@app.command(cls=Command)
def show(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Print every setting in effect, the project's included, and where it comes from. Keys are not shown."""
    from claude_bridge.app.build import describe_routing
    from claude_bridge.config.effective import effective_settings
    from claude_bridge.config.format import shown

    project, unused = trusted_project()
    reading = load_reading(config, project).without_mistakes()
    settings = list(effective_settings(reading, os.environ))
    routes = describe_routing(reading.config)
    if as_json:
        routing = [{"request": request, "model": model} for request, model in routes]
        found = {
            "file": str(reading.file),
            "is_there": reading.is_there,
            "project": None if project is None else str(project.file),
            "settings": settings,
            "routing": routing,
        }
        terminal.print_json(found, is_pretty=True)
    else:
        title = str(reading.file) if reading.is_there else f"{reading.file} (does not exist: nothing is set in a file)"
        if project is not None:
            title += f", with those of this project: {project.file}"
        columns = (terminal.Column("setting"), terminal.Column("value"), terminal.Column("from", rank=1))
        terminal.print_table(title, columns, [(one.key, shown(one.value), one.origin) for one in settings])
        title = "Which request goes where: the first line that fits"
        terminal.print_table(title, (terminal.Column("request"), terminal.Column("model")), routes)
    if unused:
        terminal.warn(unused)


@app.command(cls=Command)
def check(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Find all mistakes, in the project's settings too, with file, line and key. Exit code 1 if there are any."""
    from claude_bridge.config.load import check_secrets

    project, unused = trusted_project()
    reading = load_reading(config, project)
    doubts = [*reading.doubts, *check_secrets(reading, os.environ)]
    if as_json:
        found = {"file": str(reading.file), "mistakes": reading.mistakes, "doubts": doubts, "ok": not reading.mistakes}
        terminal.print_json(found)
    else:
        findings = [_finding("bad", problem) for problem in reading.mistakes] + [
            _finding("warn", one) for one in doubts
        ]
        seen = "no mistakes" if reading.is_there else "does not exist, and need not"
        terminal.print_line(str(reading.file))
        terminal.print_findings(findings or [("ok", reading.file.name, seen, None)])
    if unused:
        terminal.warn(unused)
    if reading.mistakes:
        raise typer.Exit(1)


@app.command(cls=Command)
def trust(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Trust it without a question.")] = False,
    revoke: Annotated[bool, typer.Option("--revoke", help="Do not trust it any more.")] = False,
) -> None:
    """Show what the settings of the project around this folder would change, and trust them if you want to.

    They are in a file .claude-bridge.toml, and `bridge run` uses them. A file that changes must be trusted again.
    """
    project = project_here()
    if project is None:
        raise SetupError("There is no .claude-bridge.toml in this folder, nor above it.", "Go to the project's folder.")
    if project.problem:
        raise SetupError(f"{project.file} can't be trusted: it {project.problem}.", "Correct that first.")
    if revoke:
        keep_decision(project, trusted=False)
        terminal.say("`bridge run` does not use it any more.")
        return
    if yes:
        show_changes(project)
        keep_decision(project, trusted=True)
    elif not terminal.can_ask():
        show_changes(project)
        raise SetupError("There is no terminal to ask you in.", "If you trust it: `bridge config trust --yes`")
    elif not ask_for_trust(project):
        raise typer.Exit(1)
    terminal.say("`bridge run` uses it from now on, until it changes.")


def _finding(mark: str, problem: Problem) -> tuple[str, str, str, None]:
    place = problem.place if problem.key == problem.place else Path(problem.place).name
    name = f"{place}:{problem.line}" if problem.line else place
    return mark, name, problem.what if problem.key in ("", problem.place) else f"{problem.key} {problem.what}", None
