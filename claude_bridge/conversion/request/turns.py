"""Conversation repair: roles, order of results, orphans, empties, system turns.

Strict chat templates want alternating turns, a system text only at the front, and each tool result right after its
call. Clients send none of this reliably. The result is a function of the conversation alone, so that the same history
gives the same prompt at every turn.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from msgspec import Struct

from claude_bridge.clients.claude_code import BILLING_HEADER, NO_CONTENT, REMINDER_TAG
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.prompt.context_budget import PromptFacts, asks_for_summary
from claude_bridge.conversion.request.content import BlockNormalizer, Media, NormalizedBlock, as_blocks, text_of
from claude_bridge.conversion.request.image_limit import limit_images
from claude_bridge.conversion.request.offered_tools import ToolChange
from claude_bridge.conversion.request.tool_ids import ToolIds
from claude_bridge.conversion.request.tool_results import (
    Call,
    media_in,
    results_first,
    with_engine_ids,
    without_results,
)
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

BEGINNING = "(beginning of the conversation)"
"""What stands before an assistant who speaks first: strict templates want the user to."""

_TEXT, _CALL, _RESULT, _THINKING, _REDACTED, _MEDIA = (1 << bit for bit in range(6))
_PLAIN = _TEXT | _CALL
_FLAGS: dict[type, int] = {
    TextBlock: _TEXT,
    ToolUseBlock: _CALL,
    ToolResultBlock: _RESULT,
    ThinkingBlock: _THINKING,
    RedactedThinkingBlock: _REDACTED,
    ImageBlock: _MEDIA,
    DocumentBlock: _MEDIA,
}


class Turn:
    """One turn of the repaired conversation; turns alternate between user and assistant.

    ``tool_changes`` are what it does to the tools that the model is offered, ``effort`` how hard the model is to think
    from here on (None: as before).
    """

    __slots__ = ("blocks", "effort", "is_user", "tool_changes")

    def __init__(
        self,
        *,
        is_user: bool,
        blocks: list[NormalizedBlock],
        tool_changes: Sequence[ToolChange] = (),
        effort: str | None = None,
    ) -> None:
        self.is_user = is_user
        self.blocks = blocks
        self.tool_changes = tool_changes
        self.effort = effort

    def with_blocks(self, blocks: list[NormalizedBlock]) -> Turn:
        """Return the turn with other blocks."""
        return Turn(is_user=self.is_user, blocks=blocks, tool_changes=self.tool_changes, effort=self.effort)


class AssistantTurn(NamedTuple):
    """What an assistant's turn holds, each kind together."""

    text: str
    thinking: str
    calls: list[ToolUseBlock]


class RepairedHistory(Struct, frozen=True, kw_only=True):
    """A conversation that strict engines accept, and what of it was lost."""

    turns: list[Turn]
    losses: list[Loss]
    facts: PromptFacts
    tool_changes: list[ToolChange]
    """What the history does to the tools that the model is offered."""
    seam: HistorySeam | None
    """Where a longer history can be taken up; None: at no other place than this one was."""
    closed_turns: int
    """How many of the turns stand before the seam."""
    is_taken_up: bool
    """Whether the turns are only those behind the seam that was given."""


class HistorySeam(Struct, frozen=True, kw_only=True):
    """A place before an assistant's turn that is no longer the last: nothing that follows changes what is before it.

    A history that begins with the same ``needs`` messages can be taken up here. The fields are what is known of the
    messages before ``index``.
    """

    index: int
    """Of the first message of that turn."""
    needs: int
    losses: tuple[Loss, ...]
    tool_changes: tuple[ToolChange, ...]
    ids: ToolIds
    images: int
    assistant_turns: int


class _Mark(NamedTuple):
    """What was known when the first message of a turn came: its place, and how many losses, changes and images."""

    place: int
    losses: int
    tool_changes: int
    images: int


def split_assistant_turn(turn: Turn) -> AssistantTurn:
    """Return an assistant's text, thinking and calls, since engines' messages have a field for each."""
    calls: list[ToolUseBlock] = []
    texts: list[str] = []
    thoughts: list[str] = []
    for block in turn.blocks:
        if type(block) is TextBlock:
            texts.append(block.text)
        elif type(block) is ToolUseBlock:
            calls.append(block)
        elif type(block) is ThinkingBlock:
            thoughts += [block.thinking] if block.thinking else []
        elif isinstance(block, Media):
            texts.append(f"[{block.__struct_config__.tag} omitted]")  # no engine takes any in an assistant's turn
    return AssistantTurn("\n\n".join(texts), "\n\n".join(thoughts), calls)


def system_text(system: str | list[Block] | None) -> tuple[str, list[Loss]]:
    """Return the system prompt as one text without the billing header, and what it can't hold."""
    blocks = system_blocks(system)
    others = [str(block.__struct_config__.tag) for block in blocks if not isinstance(block, TextBlock)]
    return text_of(blocks), [Loss("$.system", f"a system prompt can hold no {kind} block") for kind in others]


def system_blocks(system: str | list[Block] | None) -> list[Block]:
    """Return the system prompt without the billing header, which is another one in each request."""
    blocks = as_blocks(system)
    if blocks and isinstance(blocks[0], TextBlock) and blocks[0].text.startswith(BILLING_HEADER):
        return blocks[1:]
    return blocks


def as_reminder_text(texts: Sequence[str]) -> str:
    """Return the texts of a system turn as one text for a user's turn; empty if there is none."""
    text = "\n\n".join(texts)
    if not text or text.startswith(f"<{REMINDER_TAG}>"):
        return text
    return f"<{REMINDER_TAG}>\n{text}\n</{REMINDER_TAG}>"


def repair_history(
    messages: Sequence[InputMessage],
    profile: Profile,
    refused_reasoning: Collection[bytes] = (),
    *,
    seam: HistorySeam | None = None,
) -> RepairedHistory:
    """Return the conversation as alternating turns that strict engines accept, the user's first.

    In a user turn tool results come first, in the order of the calls that they answer; every call has its result, and
    an id of its own. With a ``seam``, the turns may be only those behind it; all else is of the whole conversation.
    """
    history = _History(profile, refused_reasoning, seam)
    for index, message in enumerate(messages[history.begins_at :], history.begins_at):
        history.add(message, index)
    turns = history.paired_turns()
    if seam is not None and not any(turn.is_user for turn in turns):
        # It ends in the turn behind the seam, and what it ends with may belong before that.
        return repair_history(messages, profile, refused_reasoning)
    next_seam, closed_turns, losses = history.seam, history.closed_turns, history.losses
    if turns and not turns[-1].is_user and not profile.continues_prefill:
        turns, more = _with_prompted_prefill(turns)
        losses = losses + more
    if turns and not turns[0].is_user and seam is None:
        turns.insert(0, Turn(is_user=True, blocks=[TextBlock(BEGINNING)]))
        closed_turns += bool(closed_turns)
    if history.images and profile.max_images is not None:
        limited, more = limit_images([turn.blocks for turn in turns], profile.max_images)
        turns = [turn.with_blocks(blocks) for turn, blocks in zip(turns, limited, strict=True)]
        losses = losses + more
        if next_seam is not None and next_seam.images:
            next_seam, closed_turns = None, 0  # how many of them stay depends on those that follow
    last_texts = [block.text for block in turns[-1].blocks if type(block) is TextBlock] if turns else []
    return RepairedHistory(
        turns=turns,
        losses=losses,
        facts=PromptFacts(
            images=history.images,
            assistant_turns=(seam.assistant_turns if seam else 0) + sum(not turn.is_user for turn in turns),
            asks_for_summary=asks_for_summary(last_texts),
        ),
        tool_changes=history.tool_changes,
        seam=next_seam,
        closed_turns=closed_turns,
        is_taken_up=seam is not None,
    )


class _History:
    """A conversation as it is gathered, message by message; its turns alternate."""

    def __init__(self, profile: Profile, refused_reasoning: Collection[bytes], begun_at: HistorySeam | None) -> None:
        """``begun_at`` is where an earlier one is taken up."""
        self._profile = profile
        self._normalizer = BlockNormalizer(profile, refused_reasoning)
        self.losses = self._normalizer.losses
        """What was lost so far."""
        self.tool_changes = self._normalizer.tool_changes
        """What was done so far to the tools that the model is offered."""
        self.images = 0
        """How many images and documents the user's messages hold."""
        self.begins_at = self._assistant_turns = 0
        self._ids = ToolIds(profile)
        if begun_at is not None:
            self.losses += begun_at.losses
            self.tool_changes += begun_at.tool_changes
            self.images = begun_at.images
            self.begins_at, self._assistant_turns = begun_at.index, begun_at.assistant_turns
            self._ids = begun_at.ids.copy()
        self._lost_once = {loss.reason for loss in self.losses}
        self._turns: list[Turn] = []
        self._kinds: list[int] = []
        """What kinds of blocks each turn holds, as flags."""
        self._marks: list[_Mark] = []
        """What was known before each turn."""
        self.seam: HistorySeam | None = None
        self.closed_turns = 0
        """The last seam in the paired turns, and how many turns stand before it."""

    def add(self, message: InputMessage, index: int) -> None:
        """Take in the next message of the request."""
        is_assistant = message.role == "assistant"
        mark = _Mark(index, len(self.losses), len(self.tool_changes), self.images)
        blocks = self._normalizer.content(message.content, index)
        kinds = 0
        for block in blocks:
            kinds |= _FLAGS[type(block)]
        if kinds & ~_PLAIN:
            blocks, kinds = self._without_strangers(
                blocks, kinds, f"$.messages[{index}].content", is_assistant=is_assistant
            )
        if not is_assistant and message.role != "user":
            blocks = _as_reminder(blocks)
        if not blocks or (is_assistant and _says_nothing(blocks)):
            return
        if not is_assistant:
            self._drop_mere_thoughts()
        if self._turns and self._turns[-1].is_user is not is_assistant:
            self._turns[-1].blocks += blocks
            self._kinds[-1] |= kinds
        else:
            self._turns.append(Turn(is_user=not is_assistant, blocks=blocks))
            self._kinds.append(kinds)
            self._marks.append(mark)
        turn = self._turns[-1]
        turn.tool_changes = (*turn.tool_changes, *self.tool_changes[mark.tool_changes :])
        if message.output_config is not None and message.role == "system":
            turn.effort = message.output_config.effort or turn.effort

    def _without_strangers(
        self, blocks: list[NormalizedBlock], kinds: int, path: str, *, is_assistant: bool
    ) -> tuple[list[NormalizedBlock], int]:
        """Return a message's blocks without thinking that the engine does not take, and their kinds; count images."""
        if kinds & _THINKING and not (is_assistant and self._profile.reasoning_field is not None):
            # Gone before turns are merged: a turn that was only thought is no turn for this engine.
            if not (kinds & _REDACTED and self._profile.opaque_reasoning == "reasoning_items"):  # which holds it
                self._lose_once(path, "earlier thinking has no place in this engine's messages")
            blocks = [block for block in blocks if type(block) is not ThinkingBlock]
            kinds &= ~_THINKING
        images = sum(map(media_in, blocks))
        if images and is_assistant:
            self.losses.append(Loss(path, "an assistant's message can hold no images or files"))
        elif images:
            self.images += images
        return blocks, kinds

    def _lose_once(self, path: str, reason: str) -> None:
        """Note what is lost in any number of places, with the first of them."""
        if reason not in self._lost_once:
            self._lost_once.add(reason)
            self.losses.append(Loss(path, reason))

    def paired_turns(self) -> list[Turn]:
        """Return the turns with each call's result right behind it; the last step, nothing can be added any more."""
        self._drop_mere_thoughts()
        calls: list[Call] = []
        last_places = (len(self._turns) - 2, len(self._turns) - 3)
        seam_at = next((at for at in last_places if at > 0 and not self._turns[at].is_user), None)
        for at, (turn, kinds) in enumerate(zip(self._turns, self._kinds, strict=True)):
            if at == seam_at:
                self.seam, self.closed_turns = self._seam_before(at), at
            if turn.is_user:
                if calls or kinds & (_RESULT | _CALL):
                    turn.blocks = results_first(turn.blocks, calls, self._profile)
                calls = []
                continue
            if kinds & _RESULT:
                turn.blocks = without_results(turn.blocks)
            turn.blocks, calls = with_engine_ids(turn.blocks, self._ids) if kinds & _CALL else (turn.blocks, [])
        if calls:
            self._turns.append(Turn(is_user=True, blocks=results_first([], calls, self._profile)))
        return self._turns

    def _seam_before(self, at: int) -> HistorySeam:
        mark = self._marks[at]
        return HistorySeam(
            index=mark.place,
            needs=self._marks[at + 1].place,
            losses=tuple(self.losses[: mark.losses]),
            tool_changes=tuple(self.tool_changes[: mark.tool_changes]),
            ids=self._ids.copy(),
            images=mark.images,
            assistant_turns=self._assistant_turns + sum(not turn.is_user for turn in self._turns[:at]),
        )

    def _drop_mere_thoughts(self) -> None:
        """Drop a last turn in which the assistant only thought: engines refuse a message with no content."""
        if self._turns and not self._turns[-1].is_user and not self._kinds[-1] & ~(_THINKING | _REDACTED):
            self._lose_once("$.messages", "an assistant turn with nothing but thinking is left out")
            del self._turns[-1], self._kinds[-1], self._marks[-1]


def _says_nothing(blocks: list[NormalizedBlock]) -> bool:
    return len(blocks) == 1 and type(blocks[0]) is TextBlock and blocks[0].text.strip() == NO_CONTENT


def _as_reminder(blocks: list[NormalizedBlock]) -> list[NormalizedBlock]:
    """Return a system turn as user text, in its place: at the front it would change the prefix at every turn."""
    text = as_reminder_text([block.text for block in blocks if isinstance(block, TextBlock)])
    others: list[NormalizedBlock] = [block for block in blocks if not isinstance(block, TextBlock)]
    return [TextBlock(text), *others] if text else others


def _with_prompted_prefill(turns: list[Turn]) -> tuple[list[Turn], list[Loss]]:
    """Return the conversation with its last assistant turn as an instruction, and what is lost with that."""
    *before, last = turns
    text = text_of(last.blocks)
    if not text:
        return before, []
    losses = [Loss("$.messages[-1]", "the engine can't continue an answer; a message requests it")]
    if any(type(block) is ThinkingBlock for block in last.blocks):
        losses.append(Loss("$.messages[-1]", "the thinking before an answer can't be part of that request"))
    instruction = TextBlock(f"Begin your answer with exactly this text, and continue from there:\n{text}")
    asking = before.pop() if before else Turn(is_user=True, blocks=[])
    asking = asking.with_blocks([*asking.blocks, instruction])
    asking.tool_changes = (*asking.tool_changes, *last.tool_changes)
    return [*before, asking], losses
