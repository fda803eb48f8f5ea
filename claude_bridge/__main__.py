"""``python -m claude_bridge`` is the same as ``bridge``."""

from claude_bridge.cli import main

if __name__ == "__main__":
    main()
