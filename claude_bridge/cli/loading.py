"""How commands get the configuration."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from claude_bridge.cli import terminal

if TYPE_CHECKING:
    from pathlib import Path

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

    return None if project is None and is_nothing_configured(file, os.environ) else load_reading(file, project)


def load_reading(file: Path | None, project: Project | None = None) -> Reading:
    """Return the configuration with everything that is wrong with it."""
    from claude_bridge.config.load import read_config

    return read_config(file, os.environ, project)
