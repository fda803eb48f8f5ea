"""Where the configuration, the logs and what the bridge itself keeps are, and whether anything is configured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from platformdirs import user_config_path, user_data_path, user_log_path

VARIABLES = "BRIDGE_"
"""How the names of our variables begin."""

CONFIG_VARIABLE = "BRIDGE_CONFIG"
"""Names another file than the usual one."""


def config_file(named: Path | None, environment: Mapping[str, str]) -> tuple[Path, bool]:
    """Return the file that an option or BRIDGE_CONFIG names, else the usual one; and whether it was named."""
    by_variable = environment.get(CONFIG_VARIABLE, "").strip()
    given = named or (Path(by_variable).expanduser() if by_variable else None)
    return given or user_config_path("claude-bridge", appauthor=False) / "config.toml", given is not None


def is_nothing_configured(named: Path | None, environment: Mapping[str, str]) -> bool:
    """Return whether there is nothing to read, so that the reader need not be loaded."""
    file, is_named = config_file(named, environment)
    return not (is_named or file.exists() or any(name.startswith(VARIABLES) for name in environment))


def exams_folder() -> Path:
    """Return the folder where the results of ``bridge exam`` are kept."""
    return _data_folder() / "exams"


def spending_folder() -> Path:
    """Return the folder where what is spent is kept."""
    return _data_folder() / "spending"


def search_answer_file() -> Path:
    """Return the file that keeps what the user answered when ``bridge run`` asked whether to search the web."""
    return _data_folder() / "web-search"


def _data_folder() -> Path:
    return user_data_path("claude-bridge", appauthor=False)


def trusted_projects_file() -> Path:
    """Return the file that holds which projects' settings the user trusts."""
    return _data_folder() / "projects.json"


def log_folder() -> Path:
    """Return the folder for logs: those of ``bridge run --debug``, and the service's."""
    return user_log_path("claude-bridge", appauthor=False)
