"""``bridge config``: find, create, show and check the configuration file, and trust a project's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from claude_bridge.cli import terminal
from claude_bridge.cli.help import Command, Group
from claude_bridge.cli.loading import ask_for_trust, keep_decision, project_here, show_changes, trusted_project
from claude_bridge.cli.options import AsJson, ConfigFile
from claude_bridge.errors import SetupError, disk_errors_as

if TYPE_CHECKING:
    from claude_bridge.config.load import Problem

EXAMPLES = ("bridge config init", "bridge config check", "bridge config show --json", "bridge config trust")

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
        terminal.say(
            terminal.faint(terminal.with_program("It does not exist yet; `bridge config init` writes an example."))
        )


@app.command(cls=Command)
def init(config: ConfigFile = None) -> None:
    """Write an example file with every setting, commented out.

    An existing file is never changed.
    """
    from claude_bridge.config.locate import config_file
    from claude_bridge.data_files import read_text

    file, _ = config_file(config, os.environ)
    if file.exists():
        raise SetupError(f"There is a configuration file already: {file}", "`bridge config show` shows what is in it.")
    with disk_errors_as(f"{file} can't be written", "Choose another file: --config FILE"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600, exist_ok=False)  # keys may be written into it
        file.write_text(read_text("config/example.toml"), "utf-8")
    terminal.print_line(str(file))
    terminal.say("It contains every setting, commented out. Remove the # before those that you want to set.")


@app.command(cls=Command)
def show(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Print every setting in effect, and where it comes from.

    The settings of a project that you trust are included. Keys are not shown.
    """
    from claude_bridge.app.build import describe_routing
    from claude_bridge.config.load import effective_settings, read_config
    from claude_bridge.config.types import shown

    project, unused = trusted_project()
    reading = read_config(config, os.environ, project).without_mistakes()
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
    """Find all mistakes, each with its file, line and key.

    The settings of a project that you trust are checked too. Exit code 1 if there are mistakes.
    """
    from claude_bridge.config.load import check_secrets, read_config

    project, unused = trusted_project()
    reading = read_config(config, os.environ, project)
    doubts = [*reading.doubts, *check_secrets(reading, os.environ)]
    if as_json:
        found = {"file": str(reading.file), "mistakes": reading.mistakes, "doubts": doubts, "ok": not reading.mistakes}
        terminal.print_json(found)
    else:
        seen = "no mistakes" if reading.is_there else "does not exist, and need not"
        findings = [
            *(("bad", *_place_and_words(problem)) for problem in reading.mistakes),
            *(("warn", *_place_and_words(problem)) for problem in doubts),
        ] or [("ok", reading.file.name, seen)]
        terminal.print_line(str(reading.file))
        for mark, place, words in findings:
            terminal.print_finding(mark, place, words, None, width=max(len(place) for _, place, _ in findings))
        terminal.print_verdict([mark for mark, _, _ in findings])
    if unused:
        terminal.warn(unused)
    if reading.mistakes:
        raise typer.Exit(1)


@app.command(cls=Command)
def trust(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Trust it without a question.")] = False,
    revoke: Annotated[bool, typer.Option("--revoke", help="Do not trust it any more.")] = False,
) -> None:
    """Show the settings of the project around this folder, and ask whether to trust them.

    They are in a file .claude-bridge.toml, and `bridge run` uses them once you trust them. A file that changes must be
    trusted again.
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


def _place_and_words(problem: Problem) -> tuple[str, str]:
    place = problem.place if problem.key == problem.place else Path(problem.place).name
    words = problem.what if problem.key in ("", problem.place) else f"{problem.key} {problem.what}"
    return f"{place}:{problem.line}" if problem.line else place, words
