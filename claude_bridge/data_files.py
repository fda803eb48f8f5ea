"""The package's own files of data: rows that people write, in TOML."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any


def read_rows(name: str) -> dict[str, Any]:
    """Return what a TOML file of the package holds; ``name`` is its path in the package."""
    return tomllib.loads(resources.files("claude_bridge").joinpath(name).read_text("utf-8"))
