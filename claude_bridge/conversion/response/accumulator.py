"""fold: the events of a whole stream become the one Message of a request that was not streamed."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from claude_bridge.conversion.tool_json.text import input_json
from claude_bridge.wire.anthropic import (
    RedactedThinkingBlock,
    ServerToolUseBlock,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    WebSearchToolResultBlock,
)
from claude_bridge.wire.anthropic_answers import (
    AnswerBlock,
    BlockCitationDelta,
    BlockInputJsonDelta,
    BlockSignatureDelta,
    BlockTextDelta,
    BlockThinkingDelta,
    ContentBlockDelta,
    ContentBlockStart,
    Message,
    MessageDelta,
    MessageStart,
    StreamEvent,
    WebFetchAnswerBlock,
)


class MessageAccumulator:
    """Gathers stream events; ``message`` is whole once the message delta has come.

    Streams of engines may lack one, and have deltas of blocks that were never opened: these are passed over.
    """

    def __init__(self) -> None:
        self._head: Message | None = None
        self._blocks: list[AnswerBlock] = []
        self._parts: list[list[str]] = []
        self._signatures: dict[int, str] = {}
        self._citations: dict[int, list[msgspec.Raw]] = {}
        self._end: MessageDelta | None = None

    def feed(self, events: Iterable[StreamEvent]) -> None:
        """Take more of the stream."""
        for event in events:
            if type(event) is ContentBlockDelta and type(event.delta) is BlockTextDelta:
                # Nearly all of a stream: a match of all the kinds takes three times as long.
                if event.index < len(self._parts):
                    self._parts[event.index].append(event.delta.text)
                continue
            match event:
                case MessageStart(message):
                    self._head = message
                case ContentBlockStart(_, block):
                    self._blocks.append(block)
                    self._parts.append([])
                case ContentBlockDelta(
                    index, BlockTextDelta(part) | BlockThinkingDelta(part) | BlockInputJsonDelta(part)
                ) if index < len(self._parts):
                    self._parts[index].append(part)
                case ContentBlockDelta(index, BlockSignatureDelta(signature)):
                    self._signatures[index] = signature
                case ContentBlockDelta(index, BlockCitationDelta(citation)):
                    self._citations.setdefault(index, []).append(citation)
                case MessageDelta():
                    self._end = event
                case _:
                    pass  # block stops, message_stop and pings add nothing; the caller takes errors

    @property
    def has_begun(self) -> bool:
        """Whether the stream's start has come."""
        return self._head is not None

    @property
    def message(self) -> Message:
        """The message, without the empty text blocks that kept a stream alive."""
        assert self._head is not None, "the stream has a start"
        blocks = [self._whole_block(index) for index in range(len(self._blocks))]
        return msgspec.structs.replace(
            self._head,
            content=[block for block in blocks if not (isinstance(block, TextBlock) and not block.text)],
            stop_reason=self._end.delta.stop_reason if self._end else None,
            stop_sequence=self._end.delta.stop_sequence if self._end else None,
            usage=self._end.usage if self._end else self._head.usage,
        )

    def _whole_block(self, index: int) -> AnswerBlock:
        block, content = self._blocks[index], "".join(self._parts[index])
        match block:
            case TextBlock():
                cited = self._citations.get(index)
                return TextBlock(content, msgspec.Raw(msgspec.json.encode(cited)) if cited else msgspec.UNSET)
            case ThinkingBlock():
                return ThinkingBlock(content, self._signatures.get(index, ""))
            case RedactedThinkingBlock() | WebSearchToolResultBlock() | WebFetchAnswerBlock():
                return block
            case ToolUseBlock() | ServerToolUseBlock():
                return msgspec.structs.replace(block, input=msgspec.Raw(input_json(content).encode()))
