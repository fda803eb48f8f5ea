"""How commands get the configuration, and a project's own settings, which the user is asked whether to trust."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from claude_bridge.cli import terminal
from claude_bridge.errors import disk_errors_as

if TYPE_CHECKING:
    from claude_bridge.config.load import Reading
    from claude_bridge.config.project import Project
    from claude_bridge.config.schema import Config


def load_config(file: Path | None, project: Project | None = None) -> Config:
    """Return the configuration, with a project's where there is one, and show what is doubtful in it.

    Raises:
        SetupError: there are mistakes in it.
    """
    return config_of(load_reading_if_any(file, project))


def config_of(reading: Reading | None) -> Config:
    """Return the configuration that was read (None: there is none), and show what is doubtful in it.

    Raises:
        SetupError: there are mistakes in it.
    """
    if reading is None:
        from claude_bridge.config.schema import Config

        return Config()
    config = reading.without_mistakes().config
    for doubt in reading.doubts:
        terminal.print_problem(f"{doubt}.", "`bridge config check` checks it again.", is_warning=True)
    return config


def load_reading_if_any(file: Path | None, project: Project | None = None) -> Reading | None:
    """Return the configuration with everything that is wrong with it; None: nothing is configured."""
    from claude_bridge.config.locate import is_nothing_configured

    if project is None and is_nothing_configured(file, os.environ):
        return None
    from claude_bridge.config.load import read_config

    return read_config(file, os.environ, project)


# --- a project's own settings ---------------------------------------------------------------------------------------

WARNING = "They can send your conversations and keys to other hosts, and run commands."


def project_here() -> Project | None:
    """Return the settings of the project around the working directory; None: there are none."""
    try:
        folder = Path.cwd()
    except OSError:  # it is gone
        return None
    from claude_bridge.config.project import find_project

    return find_project(folder)


def trusted_project(*, may_ask: bool = False) -> tuple[Project | None, str | None]:
    """Return the project's settings if they may be used, and why there are some that may not.

    ``may_ask`` asks the user about those that are new, if there is a terminal.
    """
    project = project_here()
    if project is None:
        return None, None
    if project.problem:
        return None, f"{project.file} is not used: it {project.problem}."
    from claude_bridge.config.project import decision_on

    decision = decision_on(project)
    if decision is None and may_ask and terminal.can_ask():
        decision = ask_for_trust(project)
    if decision:
        return project, None
    why = "it is new or changed, and you have not trusted it yet" if decision is None else "you chose not to trust it"
    return None, f"{project.file} is not used: {why}. `bridge config trust` shows what it sets, and asks you."


def ask_for_trust(project: Project) -> bool:
    """Show what a project's settings would change, and return and keep what the user decides."""
    show_changes(project)
    terminal.warn(WARNING)
    import typer

    decision = typer.confirm("Use these settings here?", default=False, err=True)
    keep_decision(project, trusted=decision)
    return decision


def show_changes(project: Project) -> None:
    """Show on stderr what a project's file sets, what is dangerous first."""
    from claude_bridge.config.project import changes_of
    from claude_bridge.trace.console.printable import one_line, printable

    terminal.say(terminal.strong(f"This project has settings of its own: {printable(str(project.file))}"))
    for key, value, note in changes_of(project):
        line = one_line(printable(f"{key} = {value}"))
        terminal.say(f"  {line}" + (terminal.warning(f"  ({note})") if note else ""))


def keep_decision(project: Project, *, trusted: bool) -> None:
    """Keep what the user decided; raises SetupError where it can't be."""
    from claude_bridge.config.locate import trusted_projects_file
    from claude_bridge.config.project import remember

    with disk_errors_as(f"The decision can't be kept in {trusted_projects_file()}", "Make the data folder writable."):
        remember(project, trusted=trusted)
