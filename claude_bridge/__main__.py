"""``python -m claude_bridge`` is the same as ``bridge``."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback from the first import on."""
    try:
        from claude_bridge.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
