"""Tool results in a user's turn: in the order of their calls, one for each, with what they can't hold behind them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.request.content import Media, NormalizedBlock, text_of
from claude_bridge.conversion.request.tool_ids import ToolIds
from claude_bridge.conversion.tool_json.text import compact_json
from claude_bridge.wire.anthropic import Block, DocumentBlock, ImageBlock, TextBlock, ToolResultBlock, ToolUseBlock

INTERRUPTED = "(interrupted: no result)"
SEE_IMAGES = "(see the images in the next message)"
SEE_DOCUMENTS = "(see the documents in the next message)"


class Call(NamedTuple):
    """A call by the id that the client knows, and the one that the engine gets."""

    client_id: str
    engine_id: str


def media_in(block: Block) -> int:
    """Return how many images and documents a block holds; a tool result may hold some too."""
    if isinstance(block, Media):
        return 1
    if type(block) is ToolResultBlock and isinstance(block.content, list):
        return sum(isinstance(part, Media) for part in block.content)
    return 0


def with_engine_ids(blocks: list[NormalizedBlock], ids: ToolIds) -> tuple[list[NormalizedBlock], list[Call]]:
    """Return an assistant's blocks with the ids that the engine gets, and which call had which."""
    renamed: list[NormalizedBlock] = []
    calls: list[Call] = []
    for block in blocks:
        if type(block) is not ToolUseBlock:
            renamed.append(block)
            continue
        engine_id = ids.of(block)
        calls.append(Call(block.id, engine_id))
        renamed.append(block if engine_id == block.id else ToolUseBlock(engine_id, block.name, block.input))
    return renamed, calls


def without_results(blocks: list[NormalizedBlock]) -> list[NormalizedBlock]:
    """Return an assistant turn without the results that belong to a user."""
    return [part for block in blocks for part in (_orphan(block) if isinstance(block, ToolResultBlock) else (block,))]


def results_first(blocks: list[NormalizedBlock], calls: Sequence[Call], profile: Profile) -> list[NormalizedBlock]:
    """Return the results in the order of the calls, and then all else; of equal ids the first call gets the first."""
    if _is_in_order(blocks, calls):
        return blocks
    open_calls: dict[str, list[int]] = {}
    for place, call in enumerate(reversed(calls)):
        open_calls.setdefault(call.client_id, []).append(len(calls) - 1 - place)
    in_order = [ToolResultBlock(call.engine_id, INTERRUPTED) for call in calls]
    others: list[NormalizedBlock] = []
    for block in blocks:
        if type(block) is ToolUseBlock:
            others.append(TextBlock(f"[tool use {block.name} {compact_json(block.input)}]"))
        elif type(block) is not ToolResultBlock:
            others.append(block)
        elif places := open_calls.get(block.tool_use_id):
            place = places.pop()
            in_order[place] = ToolResultBlock(calls[place].engine_id, block.content, block.is_error)
        else:
            others += _orphan(block)
    moved = _MOVED_MEDIA[profile.images_in_tool_results, profile.files_in_tool_results]
    media = [block for result in in_order for block in _media_of(result, moved)]
    return [*(_without(result, moved) for result in in_order), *media, *others] if media else [*in_order, *others]


_MOVED_MEDIA: dict[tuple[bool, bool], tuple[type, ...]] = {
    (True, True): (),
    (True, False): (DocumentBlock,),
    (False, True): (ImageBlock,),
    (False, False): (ImageBlock, DocumentBlock),
}
"""Which media can't stay in a tool's result, by whether it may hold images, and whether it may hold files."""


def _is_in_order(blocks: list[NormalizedBlock], calls: Sequence[Call]) -> bool:
    """Return whether results of all calls come first, in their order, and then only text, as in nearly all turns."""
    if len(blocks) < len(calls):
        return False
    for block, call in zip(blocks, calls, strict=False):
        if type(block) is not ToolResultBlock or type(block.content) is not str:
            return False
        if not block.tool_use_id == call.client_id == call.engine_id:
            return False
    return all(type(block) is TextBlock for block in blocks[len(calls) :])


def _orphan(result: ToolResultBlock) -> list[NormalizedBlock]:
    """Return a result whose call is missing as text of a user's turn, with its media."""
    text = result.content if isinstance(result.content, str) else text_of(result.content or (), "\n")
    return [TextBlock(f"Result of {result.tool_use_id}: {text}"), *_media_of(result, (ImageBlock, DocumentBlock))]


def _media_of(result: ToolResultBlock, kinds: tuple[type, ...]) -> list[NormalizedBlock]:
    content = result.content if isinstance(result.content, list) else ()
    return [block for block in content if isinstance(block, Media) and isinstance(block, kinds)]


def _without(result: ToolResultBlock, kinds: tuple[type, ...]) -> ToolResultBlock:
    """Return a result without the media that follow in the user's message, and with words that point to them."""
    if isinstance(result.content, str) or not _media_of(result, kinds):
        return result
    kept = [block for block in result.content or () if not isinstance(block, kinds)]
    if not text_of(kept):
        holds_documents = any(isinstance(block, DocumentBlock) for block in result.content or ())
        kept.insert(0, TextBlock(SEE_DOCUMENTS if holds_documents else SEE_IMAGES))
    is_text = all(isinstance(block, TextBlock) for block in kept)
    return ToolResultBlock(result.tool_use_id, text_of(kept, "\n") if is_text else kept, result.is_error)
