"""Searches and fetches in a history, as text for an engine that can't take their blocks.

Engines other than Anthropic know none of them. Anthropic refuses results that it has not sealed itself: those that the
bridge found for another model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Raw

from claude_bridge.conversion.request.server_tool_history import (
    call_text,
    is_our_citation,
    search_results_in,
    search_results_text,
    unseal_content,
)
from claude_bridge.wire.anthropic import (
    Block,
    InputMessage,
    PlainTextSource,
    ServerToolUseBlock,
    TextBlock,
    WebFetchToolResultBlock,
    WebSearchToolResultBlock,
)


def web_texts(message: InputMessage, *, only_ours: bool) -> dict[int, str]:
    """Return the text of each block that must be replaced, by its place; ``only_ours`` leaves Anthropic's own."""
    if message.role != "assistant" or isinstance(message.content, str):
        return {}
    replaced = set(filter(None, (_replaced_call(block, only_ours=only_ours) for block in message.content)))
    texts: dict[int, str] = {}
    for place, block in enumerate(message.content):
        match block:
            case ServerToolUseBlock(call_id, name, tool_input) if call_id in replaced or (
                not only_ours and name in ("web_search", "web_fetch")
            ):
                texts[place] = call_text(name, tool_input)
            case WebSearchToolResultBlock(call_id, content) if call_id in replaced:
                texts[place] = search_results_text(content)
            case WebFetchToolResultBlock(call_id, fetched) if call_id in replaced:
                source = fetched.content.source if fetched.content else None
                text = source.data if isinstance(source, PlainTextSource) else f"[{fetched.error_code or 'a document'}]"
                texts[place] = f"Fetched from {fetched.url}:\n{text}" if fetched.url else text
            case TextBlock(text, Raw() as citations) if is_our_citation(citations) or not only_ours:
                texts[place] = text
            case _:
                pass
    return texts


def with_texts(blocks: Sequence[Raw], texts: dict[int, str]) -> Iterator[Raw]:
    """Yield the blocks of a message with texts in place of some; an empty one takes no place."""
    for place, block in enumerate(blocks):
        if place not in texts:
            yield block
        elif texts[place]:
            yield Raw(msgspec.json.encode({"type": "text", "text": texts[place]}))


def _replaced_call(block: Block, *, only_ours: bool) -> str | None:
    """Return which call the block gives the result of, if that must be replaced."""
    match block:
        case WebSearchToolResultBlock(call_id, content):
            found = search_results_in(content)
            is_ours = any(unseal_content(one.get("encrypted_content")) is not None for one in found)
            return call_id if is_ours or not only_ours else None
        case WebFetchToolResultBlock(call_id):
            return None if only_ours else call_id
        case _:
            return None
