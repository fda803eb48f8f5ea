"""Schemas of which an engine could make no grammar: they are sent in few keywords from then on.

llama.cpp and what is built on it make one grammar of all tools, and refuse the whole request without saying which of
them they can't take (llama.cpp#21943, lmstudio-bug-tracker#2236). So all that can be said more plainly is.
"""

from __future__ import annotations

from hashlib import sha256

import msgspec
from msgspec import UNSET, Raw
from msgspec.structs import replace

from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.tool_json.schema_reduce import compact_schema, narrow_schema, plain_schema
from claude_bridge.wire.anthropic import CountTokensRequest, OutputConfig, Tool

_REASON = "the engine could make no grammar of it; sent in few keywords, the rest in words"


class RejectedSchemas:
    """What one engine has refused so far; of the same schemas it always gets the same bytes afterwards."""

    def __init__(self) -> None:
        self._refused: set[bytes] = set()

    def learn(self, request: CountTokensRequest) -> bool:
        """Note that the engine could make no grammar of a request; return whether it can be put more plainly."""
        known = len(self._refused)
        output = request.output_config.format if request.output_config else None
        schemas = [tool.input_schema for tool in request.tools or ()] + [output.schema if output else UNSET]
        self._refused |= {_digest(schema) for schema in schemas if schema is not UNSET and _can_be_plainer(schema)}
        return len(self._refused) > known

    def put_plainly(self, request: CountTokensRequest, losses: list[Loss]) -> CountTokensRequest:
        """Return the request with what was refused in few keywords; that is added to ``losses``."""
        if not self._refused:
            return request
        tools = [self._plain_tool(tool, index, losses) for index, tool in enumerate(request.tools or ())]
        output = self._plain_output(request.output_config, losses)
        return replace(request, tools=tools or request.tools, output_config=output)

    def _plain_tool(self, tool: Tool, index: int, losses: list[Loss]) -> Tool:
        if tool.input_schema is UNSET or _digest(tool.input_schema) not in self._refused:
            return tool
        losses.append(Loss(f"$.tools[{index}].input_schema", _REASON))
        narrow = narrow_schema(bytes(tool.input_schema))
        description = "\n\n".join(part for part in (tool.description, narrow.notes) if part)
        return replace(tool, description=description, input_schema=Raw(narrow.schema))

    def _plain_output(self, config: OutputConfig | None, losses: list[Loss]) -> OutputConfig | None:
        if config is None or config.format is None or config.format.schema is UNSET:
            return config
        if _digest(config.format.schema) not in self._refused:
            return config
        losses.append(Loss("$.output_config.format.schema", _REASON))
        return replace(config, format=replace(config.format, schema=Raw(plain_schema(bytes(config.format.schema)))))


def _can_be_plainer(schema: Raw) -> bool:
    try:
        return plain_schema(bytes(schema)) != compact_schema(bytes(schema))
    except (msgspec.DecodeError, RecursionError):
        return False


def _digest(schema: Raw) -> bytes:
    return sha256(bytes(schema)).digest()
