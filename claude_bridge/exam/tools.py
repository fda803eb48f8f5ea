"""The tools that a model is offered in the exam, read from ``tools.toml``."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any

from msgspec import Raw, json

from claude_bridge.wire.anthropic import Tool


def _tool(name: str, row: dict[str, Any]) -> Tool:
    fields = {"properties": row["properties"], "required": row["required"]}
    schema = {"type": "object", **fields, "additionalProperties": False}
    return Tool(name=name, description=row["description"], input_schema=Raw(json.encode(schema)))


_TEXT = resources.files(__package__).joinpath("tools.toml").read_text("utf-8")
TOOLS = {name: _tool(name, row) for name, row in tomllib.loads(_TEXT).items()}
ALL = tuple(TOOLS)
CORE = ("Read", "Write", "Edit", "Bash", "Glob", "Grep", "TodoWrite")
"""What most tasks offer."""
