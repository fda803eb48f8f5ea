"""The package's own files of data: texts, and rows that people write, in TOML."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parent


def read_text(name: str) -> str:
    """Return the text of a file of the package; ``name`` is its path in the package."""
    # Not by importlib.resources, which takes longer to load than all rows take to read.
    return (_PACKAGE / name).read_text("utf-8")


def read_rows(name: str) -> dict[str, Any]:
    """Return what a TOML file of the package holds."""
    return tomllib.loads(read_text(name))
