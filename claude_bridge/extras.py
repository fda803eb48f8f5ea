"""How to add optional packages to the Python that runs the bridge."""

import sys
from importlib.util import find_spec
from pathlib import Path


def how_to_install(*packages: str) -> str:
    """Return the command for a terminal that installs packages where this program finds them."""
    names = " ".join(packages)
    python = f'"{sys.executable}"' if " " in sys.executable else sys.executable
    if "pipx" in Path(sys.prefix).parts:
        return f"`pipx inject claude-bridge-cli {names}`"
    if find_spec("pip") is None:  # made by uv
        return f"`uv pip install -p {python} {names}`"
    return f"`{python} -m pip install {names}`"
