"""Tools that Anthropic's API knows by their type alone: how engines are offered them, and who runs them.

A request declares them without a schema. Those that the client itself runs (a shell, an editor, a screen, a memory)
become functions with their documented inputs, and so do those of the web, which run at the API: where the bridge
stands in for it, ``server_tools/`` runs the calls. What is left only Anthropic can run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, convert
from msgspec.structs import replace

from claude_bridge.conversion.tool_json.schema_reduce import EMPTY_SCHEMA
from claude_bridge.data_files import read_rows
from claude_bridge.wire.anthropic import Tool

WebTool = Literal["web_search", "web_fetch"]

_VERSION = re.compile(r"_\d{8}\Z")


_LEFT_OUT = {
    "advisor": "the advisor is left out: it is another model, which only Anthropic runs",
    "tool_search_tool_regex": "the model is offered all tools at once, and need not search for them",
    "tool_search_tool_bm25": "the model is offered all tools at once, and need not search for them",
}
"""Tools that a request can do without, by type, and what is lost (CLIProxyAPI#5281, agor#1483, llmgateway#3604)."""


def without_optional(tools: Sequence[Tool]) -> tuple[list[tuple[int, Tool]], list[tuple[int, str]]]:
    """Return the tools that stay, and the reason for each one left out, by its position.

    Without the API's tool search, no tool is deferred.
    """
    reasons = {place: _LEFT_OUT.get(_VERSION.sub("", tool.type or "")) for place, tool in enumerate(tools)}
    lost = [(place, reason) for place, reason in reasons.items() if reason]
    searches = any((tools[place].type or "").startswith("tool_search_") for place, _ in lost)
    kept = [
        (place, replace(tool, defer_loading=None) if searches and tool.defer_loading else tool)
        for place, tool in enumerate(tools)
        if not reasons[place]
    ]
    return kept, lost


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
    return _rows().get(tool.type.rpartition("_")[0])


def schema_of(tool: Tool) -> Raw:
    """Return the schema of a tool's input: the client's, or what is documented; an empty one where there is none."""
    if isinstance(tool.input_schema, Raw):
        return tool.input_schema
    known = api_tool(tool)
    return known.schema if known else Raw(EMPTY_SCHEMA)


@cache
def _rows() -> dict[str, ApiTool]:
    """Return the tools by type, without its date; read at the first of them, since few requests declare any."""
    return {name: _api_tool(name, **row) for name, row in read_rows("conversion/builtin_tools.toml").items()}


def _api_tool(
    name: str, description: str, required: list[str], properties: dict[str, Any], *, runs_at_api: bool = False
) -> ApiTool:
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    web_tool = convert(name, WebTool) if runs_at_api else None
    return ApiTool(description=description, schema=Raw(msgspec.json.encode(schema)), runs_at_api=web_tool)
