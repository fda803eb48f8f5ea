"""Short forms in which the tasks write what a model may do."""

from __future__ import annotations

from typing import Any

from claude_bridge.exam.task import Use, at


def read(name: str) -> Use:
    """Return a call that reads a file."""
    return Use("Read", {"file_path": at(name)})


def write(name: str, content: str) -> Use:
    """Return a call that writes a file."""
    return Use("Write", {"file_path": at(name), "content": content})


def edit(name: str, old: str, new: str, **more: Any) -> Use:  # noqa: ANN401 - any JSON
    """Return a call that edits a file."""
    return Use("Edit", {"file_path": at(name), "old_string": old, "new_string": new, **more})


def bash(command: str) -> Use:
    """Return a call that runs a command line."""
    return Use("Bash", {"command": command})


def todos(**by_status: list[str]) -> Use:
    """Return a call that gives a list of todos, by their status."""
    items = [
        {"content": content, "status": status, "activeForm": content}
        for status, contents in by_status.items()
        for content in contents
    ]
    return Use("TodoWrite", {"todos": items})
