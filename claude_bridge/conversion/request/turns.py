"""Conversation repair: roles, order of results, orphans, empties, system turns.

Strict chat templates want alternating turns, a system text only at the front, and each tool result right after its
call. Clients send none of this reliably. Everything here is a pure function of the conversation, so that the same
history gives the same prompt at every turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import UnionType
from typing import NamedTuple

from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.request.content import FitBlock, Media, as_blocks, fit_blocks, text_of
from claude_bridge.conversion.request.image_limit import limit_images
from claude_bridge.conversion.request.tool_ids import ToolIds
from claude_bridge.conversion.tool_json.text import compact_json
from claude_bridge.wire.anthropic import (
    Block,
    DocumentBlock,
    ImageBlock,
    InputMessage,
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
)

BILLING_HEADER = "x-anthropic-billing-header:"
"""How Claude Code's first system block begins. It changes between requests, and no model needs it."""

INTERRUPTED = "(interrupted: no result)"
_NOT_SAID = frozenset({ImageBlock, DocumentBlock, ToolResultBlock})
"""What an assistant can't say, or what may hold it."""

NO_CONTENT = "(no content)"
"""What Claude Code writes for an assistant that said nothing; a model that reads it says it too."""

BEGINNING = "(beginning of the conversation)"
"""What stands before an assistant who speaks first: strict templates want the user to."""

SEE_IMAGES = "(see the images in the next message)"
SEE_DOCUMENTS = "(see the documents in the next message)"


class Turn:
    """One turn of the repaired conversation; turns alternate between user and assistant."""

    __slots__ = ("blocks", "is_user")

    def __init__(self, *, is_user: bool, blocks: list[FitBlock]) -> None:
        self.is_user = is_user
        self.blocks = blocks


class Spoken(NamedTuple):
    """What an assistant's turn holds, each kind together."""

    text: str
    thinking: str
    calls: list[ToolUseBlock]


class _Called(NamedTuple):
    """A call by the id that the client knows, and the one that the engine gets."""

    id: str
    fit_id: str


def split_assistant_turn(turn: Turn) -> Spoken:
    """Return what an assistant said, thought and called, as messages of engines have a field for each."""
    calls: list[ToolUseBlock] = []
    texts: list[str] = []
    thoughts: list[str] = []
    for block in turn.blocks:
        match block:
            case TextBlock(text):
                texts.append(text)
            case ToolUseBlock():
                calls.append(block)
            case ThinkingBlock(thinking) if thinking:
                thoughts.append(thinking)
            case ImageBlock() | DocumentBlock():
                kind = str(block.__struct_config__.tag)
                texts.append(f"[{kind} omitted]")  # no engine takes any in an assistant's turn
            case _:
                pass  # empty thoughts; tool results are never left in an assistant's turn
    return Spoken("\n\n".join(texts), "\n\n".join(thoughts), calls)


def system_text(system: str | list[Block] | None, losses: list[Loss]) -> str:
    """Return the system prompt as one text, without the billing header."""
    blocks = as_blocks(system)
    if blocks and isinstance(blocks[0], TextBlock) and blocks[0].text.startswith(BILLING_HEADER):
        blocks = blocks[1:]
    others = [str(block.__struct_config__.tag) for block in blocks if not isinstance(block, TextBlock)]
    losses += [Loss("$.system", f"a system prompt can hold no {kind} block") for kind in others]
    return text_of(blocks)


def repair_turns(messages: Sequence[InputMessage], profile: Profile, losses: list[Loss]) -> list[Turn]:
    """Return the conversation as alternating turns that strict engines accept, the user's first.

    In a user turn tool results come first, in the order of the calls that they answer; every call has its result, and
    an id of its own.
    """
    turns = _without_mere_thoughts(_alternating(messages, profile, losses), losses)
    turns = _begun_by_user(_without_prefill(_pair_tool_results(turns, profile), profile, losses))
    few = limit_images([turn.blocks for turn in turns], profile.max_images, losses)
    return [Turn(is_user=turn.is_user, blocks=blocks) for turn, blocks in zip(turns, few, strict=True)]


def _alternating(messages: Sequence[InputMessage], profile: Profile, losses: list[Loss]) -> list[Turn]:
    turns: list[Turn] = []
    first_lost_thought: str | None = None
    for index, message in enumerate(messages):
        path = f"$.messages[{index}].content"
        blocks = fit_blocks(as_blocks(message.content), profile, path, losses)
        keeps_thoughts = profile.reasoning_field is not None and message.role == "assistant"
        if not keeps_thoughts and ThinkingBlock in map(type, blocks):
            # Gone before turns are merged: a turn that was only thought is no turn for this engine.
            first_lost_thought = first_lost_thought or path
            blocks = [block for block in blocks if not isinstance(block, ThinkingBlock)]
        if message.role == "assistant" and not _NOT_SAID.isdisjoint(map(type, blocks)) and _holds_media(blocks):
            losses.append(Loss(path, "an assistant's message can hold no images or files"))
        if message.role not in ("user", "assistant"):
            blocks = _as_reminder(blocks)
        if not blocks or (message.role == "assistant" and _says_nothing(blocks)):
            continue
        _add(turns, Turn(is_user=message.role != "assistant", blocks=blocks))
    if first_lost_thought is not None:
        losses.append(Loss(first_lost_thought, "earlier thinking has no place in this engine's messages"))
    return turns


def _holds_media(blocks: list[FitBlock]) -> bool:
    in_results = (_media_of(block, Media) for block in blocks if isinstance(block, ToolResultBlock))
    return any(in_results) or any(isinstance(block, Media) for block in blocks)


def _add(turns: list[Turn], turn: Turn) -> None:
    if turns and turns[-1].is_user == turn.is_user:
        turns[-1].blocks += turn.blocks
    else:
        turns.append(turn)


def _says_nothing(blocks: list[FitBlock]) -> bool:
    return len(blocks) == 1 and type(blocks[0]) is TextBlock and blocks[0].text.strip() == NO_CONTENT


def _without_mere_thoughts(turns: list[Turn], losses: list[Loss]) -> list[Turn]:
    """Return the turns without those in which the assistant only thought: engines refuse a message with no content."""
    if not any(_is_mere_thought(turn) for turn in turns):
        return turns
    losses.append(Loss("$.messages", "a turn in which the assistant only thought is no message"))
    kept: list[Turn] = []
    for turn in turns:
        if not _is_mere_thought(turn):
            _add(kept, turn)
    return kept


def _is_mere_thought(turn: Turn) -> bool:
    return not turn.is_user and all(isinstance(block, ThinkingBlock | RedactedThinkingBlock) for block in turn.blocks)


def _begun_by_user(turns: list[Turn]) -> list[Turn]:
    if not turns or turns[0].is_user:
        return turns
    return [Turn(is_user=True, blocks=[TextBlock(BEGINNING)]), *turns]


def as_reminder_text(texts: Sequence[str]) -> str:
    """Return what a system turn says as one text that a user may say; empty if it says nothing."""
    text = "\n\n".join(texts)
    if not text or text.startswith("<system-reminder>"):
        return text
    return f"<system-reminder>\n{text}\n</system-reminder>"


def _as_reminder(blocks: list[FitBlock]) -> list[FitBlock]:
    """Return a system turn as user text, in its place: at the front it would change the prefix at every turn."""
    text = as_reminder_text([block.text for block in blocks if isinstance(block, TextBlock)])
    others: list[FitBlock] = [block for block in blocks if not isinstance(block, TextBlock)]
    return [TextBlock(text), *others] if text else others


def _pair_tool_results(turns: list[Turn], profile: Profile) -> list[Turn]:
    paired: list[Turn] = []
    ids = ToolIds(profile)
    calls: list[_Called] = []
    for turn in turns:
        blocks = turn.blocks
        kinds = set(map(type, blocks))
        if turn.is_user:
            if calls or ToolResultBlock in kinds or ToolUseBlock in kinds:
                blocks = _results_first(blocks, calls, profile)
            calls = []
        else:
            if ToolResultBlock in kinds:
                blocks = _without_results(blocks)
            if ToolUseBlock in kinds:
                blocks, calls = _with_ids(blocks, ids)
            else:
                calls = []
        paired.append(Turn(is_user=turn.is_user, blocks=blocks))
    if calls:
        paired.append(Turn(is_user=True, blocks=_results_first([], calls, profile)))
    return paired


def _with_ids(blocks: list[FitBlock], ids: ToolIds) -> tuple[list[FitBlock], list[_Called]]:
    """Return an assistant's blocks with the ids that the engine gets, and which call had which."""
    renamed: list[FitBlock] = []
    calls: list[_Called] = []
    for block in blocks:
        if type(block) is not ToolUseBlock:
            renamed.append(block)
            continue
        fit = ids.of(block)
        calls.append(_Called(block.id, fit))
        renamed.append(block if fit == block.id else ToolUseBlock(fit, block.name, block.input))
    return renamed, calls


def _without_results(blocks: list[FitBlock]) -> list[FitBlock]:
    """Return an assistant turn without the results that belong to a user."""
    return [part for block in blocks for part in (_orphan(block) if isinstance(block, ToolResultBlock) else (block,))]


def _results_first(blocks: list[FitBlock], calls: Sequence[_Called], profile: Profile) -> list[FitBlock]:
    """Return the results in the order of the calls, and then all else; of equal ids the first call gets the first."""
    open_calls: dict[str, list[int]] = {}
    for place, call in enumerate(calls):
        open_calls.setdefault(call.id, []).append(place)
    in_order = [ToolResultBlock(call.fit_id, INTERRUPTED) for call in calls]
    others: list[FitBlock] = []
    for block in blocks:
        if type(block) is ToolUseBlock:
            others.append(TextBlock(f"[tool use {block.name} {compact_json(block.input)}]"))
        elif type(block) is not ToolResultBlock:
            others.append(block)
        elif places := open_calls.get(block.tool_use_id):
            place = places.pop(0)
            in_order[place] = _with_id(block, calls[place].fit_id)
        else:
            others += _orphan(block)
    moved = Media if not profile.images_in_tool_results else DocumentBlock
    media = [block for result in in_order for block in _media_of(result, moved)]
    if not media:
        return [*in_order, *others]
    return [*(_without(result, moved) for result in in_order), *media, *others]


def _with_id(result: ToolResultBlock, tool_id: str) -> ToolResultBlock:
    return result if result.tool_use_id == tool_id else ToolResultBlock(tool_id, result.content, result.is_error)


def _orphan(result: ToolResultBlock) -> list[FitBlock]:
    """Return a result whose call is missing as what a user may say."""
    return [TextBlock(f"Result of {result.tool_use_id}: {_result_text(result)}"), *_media_of(result, Media)]


def _result_text(result: ToolResultBlock) -> str:
    return result.content if isinstance(result.content, str) else text_of(result.content or (), "\n")


def _media_of(result: ToolResultBlock, kinds: type | UnionType) -> list[FitBlock]:
    content = result.content if isinstance(result.content, list) else ()
    return [block for block in content if isinstance(block, Media) and isinstance(block, kinds)]


def _without(result: ToolResultBlock, kinds: type | UnionType) -> ToolResultBlock:
    """Return a result without the media that follow in the user's message, and with words that point to them."""
    if isinstance(result.content, str) or not _media_of(result, kinds):
        return result
    kept = [block for block in result.content or () if not isinstance(block, kinds)]
    if not text_of(kept):
        holds_documents = any(isinstance(block, DocumentBlock) for block in result.content or ())
        kept.insert(0, TextBlock(SEE_DOCUMENTS if holds_documents else SEE_IMAGES))
    is_text = all(isinstance(block, TextBlock) for block in kept)
    return ToolResultBlock(result.tool_use_id, text_of(kept, "\n") if is_text else kept, result.is_error)


def _without_prefill(turns: list[Turn], profile: Profile, losses: list[Loss]) -> list[Turn]:
    """Return the conversation with a last assistant turn as an instruction, unless the engine continues it."""
    if not turns or turns[-1].is_user or profile.continues_prefill:
        return turns
    text = text_of(turns[-1].blocks)
    if not text:
        return turns[:-1]
    losses.append(Loss("$.messages[-1]", "the engine can't continue an answer; it was asked to in words"))
    if any(type(block) is ThinkingBlock for block in turns[-1].blocks):
        losses.append(Loss("$.messages[-1]", "what was thought before an answer can't be part of these words"))
    wish = TextBlock(f"Begin your answer with exactly this text, and continue from there:\n{text}")
    if len(turns) == 1:
        return [Turn(is_user=True, blocks=[wish])]
    last_user = turns[-2]
    return [*turns[:-2], Turn(is_user=True, blocks=[*last_user.blocks, wish])]
