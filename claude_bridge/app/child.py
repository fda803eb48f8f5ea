"""A client that has the terminal while a bridge runs beside it: its signals, its terminal modes, its exit code."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

if sys.platform == "win32":
    from claude_bridge.app.child_windows import run_child
else:
    from claude_bridge.app.child_posix import run_child

_LEAVE_SCREEN = "\x1b[?1049l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1004l\x1b[?2004l\x1b[?25h\x1b[0m"
"""Back to the main screen; mouse, focus and paste reports off; the cursor visible: as a killed program leaves none."""


async def run_in_foreground(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a program that inherits our terminal, and return its exit code; 128 and the signal's number if one ended it.

    Raises:
        OSError: the program can't be started.
    """
    code = await run_child(command, environment)
    if code > 128 and sys.stdout.isatty():
        sys.stdout.write(_LEAVE_SCREEN)
        sys.stdout.flush()
    return code
