"""The tools that a model is offered in the exam, read from ``tools.toml``."""

from __future__ import annotations

from typing import Any

from msgspec import Raw, json

from claude_bridge.data_files import read_rows
from claude_bridge.wire.anthropic import Tool


def _tool(name: str, row: dict[str, Any]) -> Tool:
    fields = {"properties": row["properties"], "required": row["required"]}
    schema = {"type": "object", **fields, "additionalProperties": False}
    return Tool(name=name, description=row["description"], input_schema=Raw(json.encode(schema)))


TOOLS = {name: _tool(name, row) for name, row in read_rows("exam/tools.toml").items()}
ALL = tuple(TOOLS)
CORE = ("Read", "Write", "Edit", "Bash", "Glob", "Grep", "TodoWrite")
"""What most tasks offer."""
