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

from claude_bridge.adapters.openai_options import content_of, file_data, file_name, result_content
from claude_bridge.adapters.translating import split_user_turn
from claude_bridge.conversion.deltas import HostedSearch
from claude_bridge.conversion.opaque_reasoning import hosted_call_id, unseal_block, usual_phase
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.reasoning import EFFORTS, nearest_effort
from claude_bridge.conversion.request.content import Media, image_url
from claude_bridge.conversion.request.server_tool_history import call_text
from claude_bridge.conversion.request.turns import Turn
from claude_bridge.conversion.tool_json.text import as_object_json
from claude_bridge.conversion.tool_names import engine_name
from claude_bridge.wire import responses
from claude_bridge.wire.anthropic import (
    DocumentBlock,
    ImageBlock,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
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
    results, rest = split_user_turn(turn, instructions)
    items: list[responses.Item] = [
        responses.ResultItem(call_id=result.tool_use_id, output=result_content(result, _parts)) for result in results
    ]
    items += _more_tools(later_tools)
    if turn.effort in EFFORTS and profile.responses.reads_effort_changes and profile.chat.effort_levels:
        effort = nearest_effort(turn.effort, profile.chat.effort_levels)
        items.append(responses.ConfigurationItem(reasoning=responses.Effort(effort)))
    if rest:
        items.append(responses.MessageItem(role="user", content=content_of(rest, _parts)))
    return TurnItems(items)


def _more_tools(tools: Sequence[responses.Tool]) -> list[responses.Item]:
    return [responses.MoreToolsItem(tools=list(tools))] if tools else []


def _parts(block: TextBlock | Media) -> list[responses.ContentPart]:
    match block:
        case TextBlock(text):
            return [responses.InputText(text)]
        case ImageBlock():
            return [responses.InputImage(image_url(block))]
        case DocumentBlock(source=UrlSource(url), title=title):
            return [*([responses.InputText(title)] if title else []), responses.InputFile(file_url=url)]
        case DocumentBlock():
            return [responses.InputFile(filename=file_name(block), file_data=file_data(block))]


def system_item(text: str, profile: Profile) -> responses.Item:
    """Return the system prompt as the first item."""
    if profile.responses.system_place == "system":
        return responses.MessageItem(role="system", content=text)
    mark = responses.CacheMark() if profile.responses.marks_cache else UNSET
    return responses.MessageItem(role="developer", content=[responses.InputText(text, mark)])
