"""``bridge statusline``: one line for Claude Code's status line: the true model, tokens, cache use, speed, cost."""

from __future__ import annotations

import sys
import time

from claude_bridge.cli import terminal

SEPARATOR = " · "

EXAMPLES = ('"statusLine": {"type": "command", "command": "bridge statusline"}',)


def statusline() -> None:
    """Print one line about a session, for Claude Code's status line.

    Claude Code describes the session on stdin. The figures are the bridge's own; the cost that Claude Code shows for a
    model that it does not know is made up. `bridge run` sets this status line, unless your settings have one.
    """
    from claude_bridge.cli.bridge_client import ask, place_of_client
    from claude_bridge.cli.stats import reading_words, session_words
    from claude_bridge.errors import SetupError
    from claude_bridge.wire.admin_api import STATS_PATH, parse_stats
    from claude_bridge.wire.lenient_json import parse_object, text_in

    try:
        report = ask(place_of_client(), STATS_PATH, parse_stats)
    except SetupError:
        terminal.print_line("no bridge is running")
        return
    description = b"" if sys.stdin.isatty() else sys.stdin.buffer.read()  # a person has typed the command
    session_id = text_in(parse_object(description), "session_id")
    session = report.sessions.get(session_id)
    reading = next((prompt for prompt in report.reading if session_id and prompt.session == session_id), None)
    if reading is not None:
        terminal.print_line(SEPARATOR.join([reading.model, reading_words(reading, time.time())]))
    elif session is None:
        terminal.print_line(report.serves or "the bridge is looking for its engine")
    else:
        terminal.print_line(SEPARATOR.join([session.model, *session_words(session.figures)]))
