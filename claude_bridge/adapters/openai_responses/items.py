"""Turns as items of the input: one for each block, in the order of the blocks, each turn by itself.

The services leave out earlier reasoning whose prefix is not what it was when the model thought so. So nothing here
depends on what comes after a turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct
from msgspec.structs import replace

from claude_bridge.conversion.deltas import HostedSearch
from claude_bridge.conversion.media_types import PDF
from claude_bridge.conversion.opaque_reasoning import hosted_call_id, unseal_block, usual_phase
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.reasoning import EFFORTS, nearest_effort
from claude_bridge.conversion.request.content import Media, NormalizedBlock, image_url, text_of
from claude_bridge.conversion.request.server_tool_history import call_text
from claude_bridge.conversion.request.turns import Turn
from claude_bridge.conversion.tool_json.text import as_object_json
from claude_bridge.conversion.tool_names import engine_name
from claude_bridge.wire import responses
from claude_bridge.wire.anthropic import (
    Base64Source,
    DocumentBlock,
    ImageBlock,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    UrlSource,
)

SEARCH = "web_search_call"


class TurnItems(Struct, frozen=True):
    """One turn's items, and whether reasoning is left out: of another maker, or behind another prompt than now."""

    items: list[responses.Item]
    has_foreign_reasoning: bool = False
    has_changed_prompt: bool = False


def assistant_items(
    turn: Turn, later_tools: Sequence[responses.Tool], profile: Profile, maker: str, before: str
) -> TurnItems:
    """Return the items of an assistant's turn, behind the tools that it adds.

    ``maker`` alone gets back what it sealed, and where it binds reasoning to its prompt, only behind the items with the
    digest ``before``: a client that compacts a conversation keeps its last turns.
    """
    items: list[responses.Item] = _more_tools(later_tools)
    texts: list[int] = []
    phases: dict[int, str] = {}
    has_foreign = has_changed = False
    last_call = max((at for at, block in enumerate(turn.blocks) if type(block) is ToolUseBlock), default=-1)
    for at, block in enumerate(turn.blocks):
        match block:
            case TextBlock():
                texts.append(len(items))
                phases[len(items)] = usual_phase(is_before_call=at < last_call)
                items.append(responses.MessageItem(role="assistant", content=block.text))
            case ToolUseBlock():
                arguments = as_object_json(block.input)
                items.append(responses.CallItem(call_id=block.id, name=engine_name(block.name), arguments=arguments))
            case ThinkingBlock() if block.thinking:
                items.append(responses.ReasoningItem(content=[responses.ReasoningText(block.thinking)]))
            case RedactedThinkingBlock():
                held = unseal_block(block)
                is_own = held.maker == maker
                is_behind = not profile.responses.binds_reasoning or held.behind in ("", before)
                for item in held.items:
                    if item.get("type") == SEARCH:
                        items += [{name: item[name] for name in item if name != "id"}] if is_own else _as_text(item)
                    elif is_own and is_behind and (thought := reasoning_item(item)):
                        items.append(thought)
                has_foreign = has_foreign or not is_own
                has_changed = has_changed or (is_own and not is_behind and bool(held.items))
                if is_own:
                    phases |= dict(zip(reversed(texts), reversed(held.phases), strict=False))
            case _ if isinstance(block, Media):
                omitted = f"[{block.__struct_config__.tag} omitted]"  # no assistant's message takes any
                items.append(responses.MessageItem(role="assistant", content=omitted))
    if profile.responses.reads_phases:
        for place, phase in phases.items():
            message = items[place]
            assert isinstance(message, responses.MessageItem), "its place is that of a text"
            items[place] = replace(message, phase=phase)
    return TurnItems(items, has_foreign, has_changed)


def reasoning_item(item: dict[str, Any]) -> dict[str, Any] | None:
    """Return a reasoning item as it goes back; None for one that nobody could read.

    Without its id, which would be looked up among stored responses, and not be found.
    """
    if item.get("type") != "reasoning" or not item.get("encrypted_content"):
        return None
    others = {name: value for name, value in item.items() if name not in ("type", "summary", "id", "status")}
    return {"type": "reasoning", "summary": item.get("summary") or [], **others}


def _as_text(item: dict[str, Any]) -> list[responses.Item]:
    """Return a search of another service as text; a page that was opened says nothing without its content."""
    search = read_search(item)
    if search is None:
        return []
    call = call_text("web_search", Raw(msgspec.json.encode({"query": search.query})))
    found = "\n".join(["Web search results:", *(f"- {url}" for url in search.urls or ())])
    return [responses.MessageItem(role="assistant", content=f"{call}\n\n{found}")]


def read_search(item: dict[str, Any]) -> HostedSearch | None:
    """Return what a ``web_search_call`` searched for and found; None: it opened a page, or looked through one."""
    action = item.get("action")
    if not isinstance(action, dict) or action.get("type") != "search":
        return None
    queries = action.get("queries")
    query = action.get("query") or ("; ".join(map(str, queries)) if isinstance(queries, list) else "")
    sources = action.get("sources")
    urls = [source.get("url") for source in sources if isinstance(source, dict)] if isinstance(sources, list) else []
    known = list(dict.fromkeys(url for url in urls if isinstance(url, str) and url))
    return HostedSearch(hosted_call_id(item), str(query), None if item.get("status") == "failed" else known)


def user_items(
    turn: Turn, later_tools: Sequence[responses.Tool], instructions: Sequence[str], profile: Profile
) -> TurnItems:
    """Return the results, the tools that the turn adds, and what the user says, with ``instructions`` at the end."""
    items: list[responses.Item] = []
    rest: list[NormalizedBlock] = []
    for block in turn.blocks:
        if type(block) is ToolResultBlock:
            items.append(responses.ResultItem(call_id=block.tool_use_id, output=_result(block)))
        else:
            rest.append(block)
    items += _more_tools(later_tools)
    if turn.effort in EFFORTS and profile.responses.reads_effort_changes and profile.chat.effort_levels:
        effort = nearest_effort(turn.effort, profile.chat.effort_levels)
        items.append(responses.ConfigurationItem(reasoning=responses.Effort(effort)))
    rest += map(TextBlock, instructions)
    if rest:
        items.append(responses.MessageItem(role="user", content=_content(rest)))
    return TurnItems(items)


def _more_tools(tools: Sequence[responses.Tool]) -> list[responses.Item]:
    return [responses.MoreToolsItem(tools=list(tools))] if tools else []


def _result(result: ToolResultBlock) -> responses.Content:
    if isinstance(result.content, str):
        return result.content
    return _content([block for block in result.content or () if isinstance(block, TextBlock | Media)])


def _content(blocks: Sequence[NormalizedBlock]) -> responses.Content:
    """Return a plain string where there is only text: Ollama glues parts together without a space."""
    if not any(isinstance(block, Media) for block in blocks):
        return text_of(blocks)
    parts: list[responses.ContentPart] = []
    for block in blocks:
        if isinstance(block, TextBlock):
            parts.append(responses.InputText(block.text))
        elif isinstance(block, ImageBlock):
            parts.append(responses.InputImage(image_url(block)))
        elif isinstance(block, DocumentBlock):
            parts += _file(block)
    return parts


def _file(document: DocumentBlock) -> list[responses.ContentPart]:
    source = document.source
    if isinstance(source, UrlSource):
        title = [responses.InputText(document.title)] if document.title else []
        return [*title, responses.InputFile(file_url=source.url)]
    assert isinstance(source, Base64Source), "normalization leaves no other document"
    name = document.title or "document"
    filename = name if name.lower().endswith(".pdf") else f"{name}.pdf"
    return [responses.InputFile(filename=filename, file_data=f"data:{PDF};base64,{source.data}")]


def system_item(text: str, profile: Profile) -> responses.Item:
    """Return the system prompt as the first item."""
    if profile.responses.system_place == "system":
        return responses.MessageItem(role="system", content=text)
    mark = responses.CacheMark() if profile.responses.marks_cache else UNSET
    return responses.MessageItem(role="developer", content=[responses.InputText(text, mark)])
