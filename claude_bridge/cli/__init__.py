"""The command line."""

from __future__ import annotations

import errno
import os
import sys

from claude_bridge.cli import terminal
from claude_bridge.cli.plain_serve import open_port, plain_arguments
from claude_bridge.errors import SetupError, UsageError

_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


def main() -> None:
    """Run the command line. What the user can correct is one message and exit code 1, or 2 for a wrong command line."""
    terminal.open_closed_streams()
    terminal.use_utf8()
    try:
        _run(sys.argv[1:])
    except SetupError as error:
        terminal.print_problem(error.what, error.hint)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as error:
        if getattr(error, "errno", None) == errno.ENOSPC:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the rest of the output, which Python writes at its end
            terminal.print_problem("No space is left where this writes.", "Make room on the disk, and try again.")
            sys.exit(1)
        if isinstance(error, OSError) and error.errno in _NOT_ALLOWED and error.filename is not None:
            hint = "Check the owner and the mode of the file and of its folder."
            terminal.print_problem(f"{error.filename} can't be used: {error.strerror}.", hint)
            sys.exit(1)
        if "--debug" in sys.argv:
            raise
        terminal.print_problem(
            f"Internal error: {type(error).__name__}: {error}",
            "This is a bug. Run the same command with --debug to see where it happens, and report it.",
        )
        sys.exit(1)


def _run(words: list[str]) -> None:
    """Run a command: by Typer, which takes 150 ms to load, or a plain ``bridge serve`` without it."""
    plain = plain_arguments(words)
    if plain is not None:
        early = open_port(plain)
        from claude_bridge.app.options import Options, ServerOptions
        from claude_bridge.cli.serve import serve

        serve(Options(**plain.options), ServerOptions(**plain.server), early=early)
        return
    from claude_bridge.cli.commands import app

    app()
