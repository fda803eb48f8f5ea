"""Tools that Anthropic's API knows by their type alone: how engines are offered them, and who runs them.

A request declares them without a schema. Those that the client itself runs (a shell, an editor, a screen, a memory)
become functions with their documented inputs, and so do those of the web, which run at the API: where the bridge
stands in for it, ``server_tools/`` runs the calls. What is left only Anthropic can run.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, Struct

from claude_bridge.conversion.tool_json.schema_reduce import EMPTY_SCHEMA
from claude_bridge.wire.anthropic import Tool

WebTool = Literal["web_search", "web_fetch"]


class ApiTool(Struct, frozen=True, kw_only=True):
    """A tool as an engine is offered it. ``runs_at_api`` None: the client runs it."""

    description: str
    schema: Raw
    runs_at_api: WebTool | None = None


def api_tool(tool: Tool) -> ApiTool | None:
    """Return how engines are offered a tool without a schema; None: it is no such tool, or only Anthropic runs it.

    Types end in the date of their version: ``web_search_20250305``.
    """
    if tool.input_schema is not UNSET or tool.type is None:
        return None
    return _TOOLS.get(tool.type.rpartition("_")[0])


def schema_of(tool: Tool) -> Raw:
    """Return the schema of a tool's input: the client's, or what is documented; an empty one where there is none."""
    if isinstance(tool.input_schema, Raw):
        return tool.input_schema
    known = api_tool(tool)
    return known.schema if known else Raw(EMPTY_SCHEMA)


def _schema(required: list[str], **properties: dict[str, Any]) -> Raw:
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return Raw(msgspec.json.encode(schema))


def _text(description: str) -> dict[str, Any]:
    return {"type": "string", "description": description}


def _point(description: str) -> dict[str, Any]:
    return {**_NUMBERS, "description": f"{description} Pixels from the left and from the top."}


_NUMBERS: dict[str, Any] = {"type": "array", "items": {"type": "integer"}}
_COMPUTER_ACTIONS = [
    *("screenshot", "zoom", "cursor_position", "mouse_move", "left_click", "right_click", "middle_click"),
    *("double_click", "triple_click", "left_click_drag", "left_mouse_down", "left_mouse_up", "scroll"),
    *("type", "key", "hold_key", "wait"),
]
_LINES = {
    **_NUMBERS,
    "description": "The first and the last line to show, counted from 1; -1 is the end.",
}
_EDITS = {
    "path": _text("The path of the file or folder."),
    "file_text": _text("With create: the whole text."),
    "old_str": _text("With str_replace: the text to replace, which stands there once."),
    "new_str": _text("With str_replace: what to put in its place."),
    "insert_line": {"type": "integer", "description": "With insert: the line to insert behind; 0 is the beginning."},
    "insert_text": _text("With insert: the text."),
    "view_range": _LINES,
}

_TOOLS: dict[str, ApiTool] = {
    "web_search": ApiTool(
        description="Searches the web. Each result has a number, a title, an address and a passage of the page.",
        schema=_schema(["query"], query=_text("What to search for.")),
        runs_at_api="web_search",
    ),
    "web_fetch": ApiTool(
        description="Fetches a page from the web. Only addresses that the conversation or a search has named.",
        schema=_schema(["url"], url=_text("The page's address, in full.")),
        runs_at_api="web_fetch",
    ),
    "bash": ApiTool(
        description="Runs a command in a shell that keeps its state from one call to the next.",
        schema=_schema(
            [],
            command=_text("The command; needed unless the shell is restarted."),
            restart={"type": "boolean", "description": "True to start the shell anew."},
        ),
    ),
    "text_editor": ApiTool(
        description="Shows and edits text files.",
        schema=_schema(
            ["command", "path"],
            command={"type": "string", "enum": ["view", "create", "str_replace", "insert", "undo_edit"]},
            **_EDITS,
        ),
    ),
    "computer": ApiTool(
        description="Looks at a screen, and uses its mouse and keyboard. A screenshot tells how large the screen is.",
        schema=_schema(
            ["action"],
            action={"type": "string", "enum": _COMPUTER_ACTIONS},
            coordinate=_point("Where to act."),
            start_coordinate=_point("With left_click_drag: where to begin."),
            text=_text("With type: what to type. With key and hold_key: the key, such as Return or ctrl+s."),
            scroll_direction={"type": "string", "enum": ["up", "down", "left", "right"]},
            scroll_amount={"type": "integer", "description": "With scroll: how many steps of the wheel."},
            duration={"type": "number", "description": "With wait and hold_key: how many seconds."},
            region={**_NUMBERS, "description": "With zoom: left, top, right and bottom edge, in pixels."},
        ),
    ),
    "memory": ApiTool(
        description="Keeps notes in files below /memories, for later conversations.",
        schema=_schema(
            ["command"],
            command={"type": "string", "enum": ["view", "create", "str_replace", "insert", "delete", "rename"]},
            **_EDITS,
            old_path=_text("With rename: the path as it is."),
            new_path=_text("With rename: the path to be."),
        ),
    ),
}
"""By type, without its date. Inputs after Anthropic's documentation of each tool (docs.claude.com, Tool use)."""
