"""Prompted options: what an engine has no field for is requested in words, at the end of the prompt.

Anywhere else it would change what the engine has in its cache.
"""

from __future__ import annotations

from msgspec import Raw

from claude_bridge.conversion.request.normalize import NormalizedTool
from claude_bridge.conversion.tool_json.text import compact_json
from claude_bridge.conversion.tool_names import engine_name
from claude_bridge.wire.anthropic import ToolChoice

CALL_ANY_TOOL = "Answer by calling one of your tools, not with text alone."
CALL_THIS_TOOL = "Answer by calling the tool {name}, not with text alone."
ANSWER_IN_JSON = (
    "Answer with one JSON object and nothing else: no text around it, no code fence. It must match this JSON Schema:\n"
    "{schema}"
)


def prompted_tool_choice(
    choice: ToolChoice | None, tools: list[NormalizedTool]
) -> tuple[list[NormalizedTool], str | None]:
    """Return the tools to send, and the instruction in place of a ``tool_choice`` that the engine lacks."""
    if choice is None or not tools:
        return tools, None
    if choice.type == "tool" and choice.name:
        forced = [tool for tool in tools if tool.name == choice.name]
        return forced, CALL_THIS_TOOL.format(name=engine_name(choice.name))
    return tools, CALL_ANY_TOOL if choice.type in ("any", "tool") else None


def prompted_schema(schema: Raw) -> str:
    """Return the instruction in place of a ``response_format`` that the engine lacks."""
    return ANSWER_IN_JSON.format(schema=compact_json(schema))
