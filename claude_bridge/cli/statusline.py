"""``bridge statusline``: one line for Claude Code's status line: the true model, tokens, cache reuse, speed, cost."""

from __future__ import annotations

import json
import sys
from typing import Any

from claude_bridge.cli import terminal

SEPARATOR = " · "

EXAMPLES = ('"statusLine": {"type": "command", "command": "bridge statusline"}',)


def statusline() -> None:
    """Print one line on the session of which Claude Code tells on stdin.

    The figures are the bridge's: what Claude Code shows as the cost of a model that it does not know is invented.
    """
    from claude_bridge.cli.bridge_client import ask, place_of_client
    from claude_bridge.cli.format import session_words
    from claude_bridge.errors import SetupError
    from claude_bridge.wire.admin_api import STATS_PATH, parse_stats

    try:
        report = ask(place_of_client(), STATS_PATH, parse_stats)
    except SetupError:
        terminal.print_line("no bridge answers")
        return
    session = report.sessions.get(_session_id(sys.stdin.read()))
    if session is None:
        terminal.print_line(report.serves or "the bridge looks for its engine")
    else:
        terminal.print_line(SEPARATOR.join([session.model, *session_words(session.figures)]))


def _session_id(told_on_stdin: str) -> str:
    try:
        told: Any = json.loads(told_on_stdin)
    except ValueError:
        return ""
    session = told.get("session_id") if isinstance(told, dict) else None
    return session if isinstance(session, str) else ""
