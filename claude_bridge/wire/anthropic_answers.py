"""The Messages API, what clients get: messages, stream events, errors, the model list; shapes as in ``anthropic``."""

from __future__ import annotations

from typing import Literal

from msgspec import UNSET, Raw, Struct, UnsetType

from claude_bridge.wire.anthropic import (
    RedactedThinkingBlock,
    ServerToolUseBlock,
    TextBlock,
    ThinkingBlock,
    ToolUseBlock,
    WebSearchToolResultBlock,
)

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal", "model_context_window_exceeded"]


class WebFetchAnswerBlock(Struct, frozen=True, gc=False, tag_field="type", tag="web_fetch_tool_result"):
    """What web_fetch gave, or its error object, in an answer."""

    tool_use_id: str
    content: Raw = Raw(b"{}")


AnswerBlock = (
    TextBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | ToolUseBlock
    | ServerToolUseBlock
    | WebSearchToolResultBlock
    | WebFetchAnswerBlock
)


class OutputTokensDetails(Struct, frozen=True, gc=False):
    """How many of the output tokens were reasoning."""

    thinking_tokens: int


class ServerToolUsage(Struct, frozen=True, gc=False):
    """How many searches and fetches an answer took; those that failed are not counted."""

    web_search_requests: int = 0
    web_fetch_requests: int = 0


class Usage(Struct, frozen=True, gc=False, kw_only=True):
    """Token counts. The whole prompt is input + cache read + cache creation; output includes thinking.

    Every count is always an integer: a missing one crashes Claude Code.
    """

    input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    output_tokens: int = 0
    output_tokens_details: OutputTokensDetails | UnsetType = UNSET
    server_tool_use: ServerToolUsage | UnsetType = UNSET


class CacheMissReason(Struct, frozen=True, gc=False):
    """Why the prefix of an earlier prompt could not be reused, and about how many tokens that cost."""

    type: str
    cache_missed_input_tokens: int | UnsetType = UNSET


class Diagnostics(Struct, frozen=True, gc=False):
    """Why the prompt cache missed, for a client that requested it."""

    cache_miss_reason: CacheMissReason


class Message(Struct, frozen=True, gc=False, kw_only=True, tag_field="type", tag="message"):
    """A whole answer; also the head of a stream, with no content yet."""

    id: str
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[AnswerBlock]
    stop_reason: StopReason | None
    stop_sequence: str | None = None
    usage: Usage
    diagnostics: Diagnostics | UnsetType | None = UNSET


class MessageStart(Struct, frozen=True, gc=False, tag_field="type", tag="message_start"):
    """Opens a stream."""

    message: Message


class ContentBlockStart(Struct, frozen=True, gc=False, tag_field="type", tag="content_block_start"):
    """Opens block ``index`` with its empty form."""

    index: int
    content_block: AnswerBlock


class BlockTextDelta(Struct, frozen=True, gc=False, tag_field="type", tag="text_delta"):
    """More text of a text block."""

    text: str


class BlockThinkingDelta(Struct, frozen=True, gc=False, tag_field="type", tag="thinking_delta"):
    """More text of a thinking block."""

    thinking: str


class BlockSignatureDelta(Struct, frozen=True, gc=False, tag_field="type", tag="signature_delta"):
    """The signature that ends a thinking block."""

    signature: str


class BlockInputJsonDelta(Struct, frozen=True, gc=False, tag_field="type", tag="input_json_delta"):
    """More JSON text of a tool use's input."""

    partial_json: str


class BlockCitationDelta(Struct, frozen=True, gc=False, tag_field="type", tag="citations_delta"):
    """One more source of a text block."""

    citation: Raw


BlockDelta = BlockTextDelta | BlockThinkingDelta | BlockSignatureDelta | BlockInputJsonDelta | BlockCitationDelta


class ContentBlockDelta(Struct, frozen=True, gc=False, tag_field="type", tag="content_block_delta"):
    """More of block ``index``."""

    index: int
    delta: BlockDelta


class ContentBlockStop(Struct, frozen=True, gc=False, tag_field="type", tag="content_block_stop"):
    """Block ``index`` is whole."""

    index: int


class Stop(Struct, frozen=True, gc=False):
    """Why the message ended."""

    stop_reason: StopReason
    stop_sequence: str | None = None


class MessageDelta(Struct, frozen=True, gc=False, tag_field="type", tag="message_delta"):
    """The end of the message: why, and the exact usage."""

    delta: Stop
    usage: Usage


class MessageStop(Struct, frozen=True, gc=False, tag_field="type", tag="message_stop"):
    """Closes a stream."""


class Ping(Struct, frozen=True, gc=False, tag_field="type", tag="ping"):
    """Says that the stream lives."""


class ErrorDetail(Struct, frozen=True, gc=False, omit_defaults=True):
    """What went wrong, in a machine's and in a person's words."""

    type: str
    message: str
    details: dict[str, str] | None = None
    """The API's own code for it, as ``error_code``."""


class ErrorEvent(Struct, frozen=True, gc=False, tag_field="type", tag="error"):
    """An error: the body of a failed request, or the last event of a broken stream."""

    error: ErrorDetail
    request_id: str | None = None


StreamEvent = (
    MessageStart
    | ContentBlockStart
    | ContentBlockDelta
    | ContentBlockStop
    | MessageDelta
    | MessageStop
    | Ping
    | ErrorEvent
)


class RawBytes(Struct, frozen=True, gc=False):
    """Part of an answer in the engine's own bytes: whole frames of a stream, or a whole body.

    ``is_progress`` False: it holds nothing but signs of life, which older clients do not count.
    """

    data: bytes
    is_progress: bool = True


ResponseItem = StreamEvent | RawBytes
"""What goes to a client: an event of our own making, or the engine's own bytes."""


# --- the other endpoints ------------------------------------------------------------------------------------


class TokenCount(Struct, frozen=True, gc=False):
    """Answer of count_tokens."""

    input_tokens: int


class ModelInfo(Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True, tag_field="type", tag="model"):
    """One entry of the model list; ``created_at`` is RFC 3339. None in a limit, in tokens, means not known."""

    id: str
    display_name: str
    created_at: str
    max_input_tokens: int | None = None
    max_tokens: int | None = None


class ModelList(Struct, frozen=True, gc=False, kw_only=True):
    """GET /v1/models."""

    data: list[ModelInfo]
    has_more: bool = False
    first_id: str | None = None
    last_id: str | None = None


def content_chars(event: StreamEvent) -> int:
    """Return how much text, thought or input an event adds to an answer."""
    if type(event) is not ContentBlockDelta:
        return 0
    match event.delta:
        case BlockTextDelta(text) | BlockThinkingDelta(text) | BlockInputJsonDelta(text):
            return len(text)
        case _:
            return 0
