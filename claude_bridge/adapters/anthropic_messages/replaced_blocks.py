"""Replacement of content blocks that an engine can't take: some become text, others are left out.

Engines other than Anthropic know few types of blocks, and lose or refuse the others. Anthropic refuses search results
that it has not encrypted itself, and thinking that it has not signed, such as another model's.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from msgspec import Raw

from claude_bridge.conversion.opaque_reasoning import is_ours
from claude_bridge.conversion.profile import MessagesProfile, Profile
from claude_bridge.conversion.request.content import BlockNormalizer, text_of
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
    RedactedThinkingBlock,
    ServerToolUseBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    WebFetchToolResultBlock,
    WebSearchToolResultBlock,
    block_type,
)

_SHORTEST_SIGNATURE = 64
"""Anthropic's signatures have hundreds of characters; engines send none, a word or 32 digits."""

_AS_TEXT = Profile(name="", evidence="", sees_images=False)

Texts = dict[int, Any]
"""The texts that replace some blocks, by the blocks' positions. An empty text leaves the block out; for a tool result,
the value holds the replacements inside its content."""


def replaced_texts(message: InputMessage, profile: MessagesProfile) -> tuple[Texts, bool]:
    """Return the replacements of a message's blocks, and whether any of these is another model's thinking."""
    checks = profile.is_anthropic or profile.checks_signatures
    thoughts = _foreign_thoughts(message) if checks else {}
    blank = _blank_texts(message.content) if profile.refuses_blank_text else {}
    unread = _unread_texts(message.content, profile.block_types) if profile.block_types else {}
    return blank | unread | _web_texts(message, only_ours=profile.is_anthropic) | thoughts, bool(thoughts)


def _blank_texts(content: str | list[Block]) -> Texts:
    blocks = () if isinstance(content, str) else content
    return {place: "" for place, block in enumerate(blocks) if isinstance(block, TextBlock) and not block.text.strip()}


def _foreign_thoughts(message: InputMessage) -> Texts:
    """Return an empty text for each thinking block that is not Anthropic's."""
    thoughts: Texts = {}
    for place, block in enumerate(() if isinstance(message.content, str) else message.content):
        match block:
            case ThinkingBlock(signature=signature) if len(signature) < _SHORTEST_SIGNATURE:
                thoughts[place] = ""
            case RedactedThinkingBlock() if is_ours(block):
                thoughts[place] = ""
            case _:
                pass
    return thoughts


def _unread_texts(content: str | list[Block] | None, types: Collection[str]) -> Texts:
    """Return the text for each block of another type, the same text as in the adapters that translate."""
    texts: Texts = {}
    for place, block in enumerate(() if isinstance(content, str) else content or ()):
        if block_type(block) not in types:
            texts[place] = text_of(BlockNormalizer(_AS_TEXT).blocks([block], "$"))
        elif isinstance(block, ToolResultBlock) and (inside := _unread_texts(block.content, types)):
            texts[place] = inside
    return texts


def _web_texts(message: InputMessage, *, only_ours: bool) -> Texts:
    """Return the text of each block that must be replaced, by its place; ``only_ours`` leaves Anthropic's own."""
    if message.role != "assistant" or isinstance(message.content, str):
        return {}
    replaced = set(filter(None, (_replaced_call(block, only_ours=only_ours) for block in message.content)))
    texts: Texts = {}
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


def _replaced_call(block: Block, *, only_ours: bool) -> str | None:
    """Return the id of the call whose result the block is, if that must be replaced."""
    match block:
        case WebSearchToolResultBlock(call_id, content):
            found = search_results_in(content)
            is_ours = any(unseal_content(one.get("encrypted_content")) is not None for one in found)
            return call_id if is_ours or not only_ours else None
        case WebFetchToolResultBlock(call_id):
            return None if only_ours else call_id
        case _:
            return None
