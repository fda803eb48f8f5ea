"""How to add an extra's packages to the Python that runs the bridge."""

import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = {
    "local": "xllamacpp",
    "metrics": "prometheus-client",
    "pdf": "pypdf pypdfium2 pillow",
    "web": "ddgs html-to-markdown",
}
"""Of each extra in pyproject.toml that somebody may miss."""


def how_to_install(extra: str) -> str:
    """Return the command for a terminal that installs an extra where this program finds it."""
    names = PACKAGES[extra]
    python = f'"{sys.executable}"' if " " in sys.executable else sys.executable
    if "pipx" in Path(sys.prefix).parts:
        return f"`pipx inject claude-bridge-cli {names}`"
    if find_spec("pip") is None:  # made by uv
        return f"`uv pip install -p {python} {names}`"
    return f"`{python} -m pip install {names}`"
