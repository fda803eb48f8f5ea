"""What tools that run at Anthropic left in a history, as text that any model can read."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from claude_bridge.conversion.tool_json.text import compact_json, decode_exactly, encode_exactly
from claude_bridge.wire.anthropic import ToolAdditionBlock, ToolRemovalBlock, UnknownBlock
from claude_bridge.wire.lenient_json import as_object, list_in, object_in


class _Compaction(Struct):
    tool_changes: list[ToolAdditionBlock | ToolRemovalBlock] | None = None


_OUR_CONTENT = "claude-bridge:"

NO_RESULTS = "Nothing was found."


def seal_content(text: str) -> str:
    """Return a passage as the ``encrypted_content`` of a search result: clients give it back as it is."""
    return _OUR_CONTENT + base64.b64encode(text.encode()).decode("ascii")


def unseal_content(sealed: object) -> str | None:
    """Return the passage in the ``encrypted_content`` of a result that the bridge found; None for Anthropic's own."""
    if not isinstance(sealed, str) or not sealed.startswith(_OUR_CONTENT):
        return None
    try:
        return base64.b64decode(sealed.removeprefix(_OUR_CONTENT), validate=True).decode()
    except ValueError:
        return None


def is_our_citation(citations: Raw) -> bool:
    """Return whether any of a text's citations is of a result that the bridge found."""
    return f'"{_OUR_CONTENT}'.encode() in bytes(citations)


def search_results_text(content: Raw, first_number: int | None = None) -> str:
    """Return what was found, or why nothing was; results are numbered from ``first_number`` (None: not numbered)."""
    found = msgspec.json.decode(content)
    if isinstance(found, dict):
        return f"[web search failed: {found.get('error_code', 'unknown')}]"
    results = search_results_in(content)
    if first_number is None:
        return "\n".join(["Web search results:", *(f"- {_search_result(result)}" for result in results)])
    texts = [f"[{number}] {_search_result(result)}" for number, result in enumerate(results, first_number)]
    return "\n\n".join(texts) or NO_RESULTS


def search_results_in(content: Raw) -> list[dict[str, Any]]:
    """Return the results in the content of a block; none in that of an error."""
    found = msgspec.json.decode(content)
    return [result for result in found if isinstance(result, dict)] if isinstance(found, list) else []


def _search_result(result: dict[str, Any]) -> str:
    head = f"{result.get('title') or ''} {result.get('url') or ''}".strip()
    age = f" ({result['page_age']})" if result.get("page_age") else ""
    passage = unseal_content(result.get("encrypted_content"))
    return f"{head}{age}\n{passage}" if passage else head + age


def call_text(name: str, tool_input: Raw) -> str:
    """Return a call of a tool that the engine has no part in."""
    return f"[{name} was called with {compact_json(tool_input)}]"


def text_of_block(block: UnknownBlock) -> str | None:
    """Return the text of a block of a kind that only Anthropic's own tools leave behind; None for any other kind.

    "" means that the block says nothing to a model.
    """
    render = _RENDERERS.get(block.block_type)
    if render is None:
        return None
    fields: dict[str, Any] = decode_exactly(block.raw)
    return render(fields)


def tool_changes_in(block: UnknownBlock) -> list[ToolAdditionBlock | ToolRemovalBlock]:
    """Return how the tools changed in the part of a conversation that a summary stands for.

    Raises:
        msgspec.DecodeError: that can't be read.
    """
    if block.block_type != "compaction":
        return []
    return msgspec.json.decode(block.raw, type=_Compaction).tool_changes or []


def _mcp_call(fields: dict[str, Any]) -> str:
    tool_input = Raw(encode_exactly(fields.get("input") or {}))
    return call_text(f"{fields.get('name')} of the MCP server {fields.get('server_name')}", tool_input)


def _mcp_result(fields: dict[str, Any]) -> str:
    word = "Error of the MCP tool" if fields.get("is_error") else "Result of the MCP tool"
    return f"{word}: {_joined(fields.get('content'))}"


def _command_result(fields: dict[str, Any]) -> str:
    """Return what code_execution and bash_code_execution gave."""
    content = object_in(fields, "content")
    if "error_code" in content:
        return f"[the code did not run: {content['error_code']}]"
    lines = [f"Result of the code (return code {content.get('return_code')}):"]
    lines += [str(content[stream]) for stream in ("stdout", "stderr") if content.get(stream)]
    if content.get("encrypted_stdout"):
        lines.append("[output that only Anthropic can read]")
    lines += [f"[file {as_object(file).get('file_id')}]" for file in list_in(content, "content") if file]
    return "\n".join(lines)


def _edit_result(fields: dict[str, Any]) -> str:
    """Return what text_editor_code_execution gave."""
    content = object_in(fields, "content")
    if "error_code" in content:
        return f"[the text editor failed: {content.get('error_message') or content['error_code']}]"
    if isinstance(content.get("content"), str):
        return f"Content of the file:\n{content['content']}"
    if isinstance(content.get("lines"), list):
        return "The file was changed:\n" + "\n".join(map(str, content["lines"]))
    return "The file was written."


def _advice(fields: dict[str, Any]) -> str:
    content = object_in(fields, "content")
    if content.get("text"):
        return f"Advice:\n{content['text']}"
    return f"[no advice that can be read: {content.get('error_code') or content.get('type')}]"


def _summary(fields: dict[str, Any]) -> str:
    """Return a summary in which the API put the conversation before it; null is one that failed."""
    return f"Summary of the conversation before:\n{fields['content']}" if fields.get("content") else ""


def _browser_state(fields: dict[str, Any]) -> str:
    lines = ["Open tabs:"]
    for tab in map(as_object, list_in(fields, "tabs")):
        active = " (active)" if tab.get("active") else ""
        lines.append(f"- {tab.get('tab_id')}: {tab.get('title') or ''} {tab.get('url') or ''}".rstrip() + active)
    changes = fields.get("state_changes")
    lines += [f"[{compact_json(Raw(encode_exactly(change)))}]" for change in changes or ()]
    return "\n".join(lines)


_RENDERERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "advisor_tool_result": _advice,
    "bash_code_execution_tool_result": _command_result,
    "browser_state": _browser_state,
    "code_execution_tool_result": _command_result,
    "compaction": _summary,
    "fallback": lambda _: "",  # marks where another model took over; the API shows it to no model either
    "mcp_tool_result": _mcp_result,
    "mcp_tool_use": _mcp_call,
    "text_editor_code_execution_tool_result": _edit_result,
}
"""By block type, as the types of the anthropic SDK 2.12 have them."""


def _joined(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = map(as_object, content if isinstance(content, list) else ())
    return "\n".join(str(part["text"]) for part in parts if part.get("text"))
