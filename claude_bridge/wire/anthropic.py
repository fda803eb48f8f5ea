"""The Messages API: requests, content blocks, messages, stream events, errors, the model list.

Shapes follow the types of the ``anthropic`` SDK. Clients ship new fields and block types monthly, so unknown
fields are ignored and an unknown block becomes an UnknownBlock; a known field with a wrong value is an
InvalidRequestError that names its path.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from claude_bridge.errors import InvalidRequestError
from claude_bridge.wire.sse import encode_frame
from claude_bridge.wire.surrogates import replace_lone_surrogates

# --- content blocks -----------------------------------------------------------------------------------------


class TextBlock(Struct, frozen=True, tag_field="type", tag="text"):
    """Text; ``citations`` only where a server tool or a document gave some."""

    text: str
    citations: Raw | UnsetType = UNSET


class Base64Source(Struct, frozen=True, tag_field="type", tag="base64"):
    """Bytes in the request itself."""

    media_type: str
    data: str


class UrlSource(Struct, frozen=True, tag_field="type", tag="url"):
    """Bytes that whoever reads the block must fetch."""

    url: str


class FileSource(Struct, frozen=True, tag_field="type", tag="file"):
    """A file kept at Anthropic; no other engine can read it."""

    file_id: str


class PlainTextSource(Struct, frozen=True, tag_field="type", tag="text"):
    """A document given as text."""

    data: str
    media_type: str = "text/plain"


class ContentSource(Struct, frozen=True, tag_field="type", tag="content"):
    """A document given as content blocks, or as one string."""

    content: str | list[Block]


class ImageBlock(Struct, frozen=True, tag_field="type", tag="image"):
    """A picture."""

    source: Base64Source | UrlSource | FileSource


class DocumentBlock(Struct, frozen=True, tag_field="type", tag="document"):
    """A PDF or a text document."""

    source: Base64Source | UrlSource | FileSource | PlainTextSource | ContentSource
    title: str | None = None
    context: str | None = None


class SearchResultBlock(Struct, frozen=True, tag_field="type", tag="search_result"):
    """A passage that the client found for the model."""

    source: str
    title: str
    content: list[TextBlock]


class ThinkingBlock(Struct, frozen=True, tag_field="type", tag="thinking"):
    """Reasoning; ``signature`` is opaque and empty for most engines."""

    thinking: str
    signature: str = ""


class RedactedThinkingBlock(Struct, frozen=True, tag_field="type", tag="redacted_thinking"):
    """Reasoning that only Anthropic can read."""

    data: str = ""


class ToolUseBlock(Struct, frozen=True, tag_field="type", tag="tool_use"):
    """A call of a client's tool; ``input`` is kept as the bytes it came in: its key order is part of the prompt."""

    id: str
    name: str
    input: Raw = Raw(b"{}")


class ToolReferenceBlock(Struct, frozen=True, tag_field="type", tag="tool_reference"):
    """Names a deferred tool that the client's tool search has loaded."""

    tool_name: str


class ToolResultBlock(Struct, frozen=True, tag_field="type", tag="tool_result"):
    """What a tool call gave."""

    tool_use_id: str
    content: str | list[Block] | None = None
    is_error: bool | None = None


class ServerToolUseBlock(Struct, frozen=True, tag_field="type", tag="server_tool_use"):
    """A tool call that the API itself answered, such as web_search."""

    id: str
    name: str
    input: Raw = Raw(b"{}")


class WebSearchToolResultBlock(Struct, frozen=True, tag_field="type", tag="web_search_tool_result"):
    """Results of web_search, or its error object."""

    tool_use_id: str
    content: Raw = Raw(b"[]")


class UnknownBlock(Struct, frozen=True, tag_field="type", tag="~unknown"):
    """A block of a type that this version does not know; ``raw`` is the whole block."""

    block_type: str
    raw: Raw


Block = (
    TextBlock
    | ImageBlock
    | DocumentBlock
    | SearchResultBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | ToolUseBlock
    | ToolReferenceBlock
    | ToolResultBlock
    | ServerToolUseBlock
    | WebSearchToolResultBlock
    | UnknownBlock
)

_KNOWN_BLOCK_TYPES = frozenset(
    str(block.__struct_config__.tag) for block in Block.__args__ if block is not UnknownBlock
)

# --- requests -----------------------------------------------------------------------------------------------


class InputMessage(Struct, frozen=True):
    """One message of the request. ``role`` may be other than user and assistant: clients send "system"."""

    role: str
    content: str | list[Block]


class Tool(Struct, frozen=True):
    """A tool declaration. ``type`` is None or "custom" for the client's own tools; others run at the API."""

    name: str
    type: str | None = None
    description: str = ""
    input_schema: Raw | UnsetType = UNSET
    defer_loading: bool | None = None
    strict: bool | None = None


class ToolChoice(Struct, frozen=True):
    """Which tool the model must use; ``name`` goes with type "tool"."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Struct, frozen=True):
    """Whether the model reasons first: "enabled" (with a budget in tokens), "adaptive" or "disabled"."""

    type: str
    budget_tokens: int | None = None


class OutputFormat(Struct, frozen=True):
    """The shape that the answer must have; ``schema`` goes with type "json_schema"."""

    type: str
    schema: Raw | UnsetType = UNSET


class OutputConfig(Struct, frozen=True):
    """How hard the model tries, and in what shape it answers."""

    effort: str | None = None
    format: OutputFormat | None = None


class Metadata(Struct, frozen=True):
    """Who asks: ``user_id`` is opaque, and a JSON document in Claude Code's case."""

    user_id: str | None = None


class CountTokensRequest(Struct, frozen=True, kw_only=True):
    """POST /v1/messages/count_tokens, and what it has in common with a Messages request."""

    model: str
    messages: list[InputMessage]
    system: str | list[Block] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None


class MessagesRequest(CountTokensRequest, frozen=True, kw_only=True):
    """POST /v1/messages."""

    max_tokens: int
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    metadata: Metadata | None = None


_Request = TypeVar("_Request", bound=CountTokensRequest)

_messages_decoder = msgspec.json.Decoder(MessagesRequest)
_count_decoder = msgspec.json.Decoder(CountTokensRequest)


def parse_messages_request(body: bytes) -> MessagesRequest:
    """Return the typed request.

    Raises:
        InvalidRequestError: the body is no JSON, or a known field is wrong; the message names its path.
    """
    request = _parse(body, _messages_decoder)
    if not request.messages:
        raise InvalidRequestError("messages: at least one message is required - at `$.messages`")
    if request.max_tokens < 1:
        raise InvalidRequestError("max_tokens: must be 1 or more - at `$.max_tokens`")
    return request


def parse_count_tokens_request(body: bytes) -> CountTokensRequest:
    """Return the typed request of count_tokens; raises as parse_messages_request does."""
    return _parse(body, _count_decoder)


def unknown_fields(body: bytes) -> list[str]:
    """Return the top-level keys of a Messages request that this version does not read, in their order."""
    known = set(MessagesRequest.__struct_encode_fields__)
    return [key for key in msgspec.json.decode(replace_lone_surrogates(body), type=dict[str, Raw]) if key not in known]


def _parse(body: bytes, decoder: msgspec.json.Decoder[_Request]) -> _Request:
    try:
        if not body.isascii():
            body.decode()  # the decoder does not look into Raw fields
        try:
            return decoder.decode(body)
        except msgspec.DecodeError:
            # Perhaps only a lone surrogate, or a block of an unknown type.
            return decoder.decode(_wrap_unknown_blocks(replace_lone_surrogates(body)))
    except msgspec.ValidationError as error:
        raise InvalidRequestError(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"The body is not valid JSON: {error}") from error
    except RecursionError:
        raise InvalidRequestError("The body is nested too deeply.") from None


def _wrap_unknown_blocks(body: bytes) -> bytes:
    """Return the request with each block of an unknown type as an UnknownBlock; all else stays as it is."""
    fields = msgspec.json.decode(body, type=dict[str, Raw])
    changed = {key: Raw(_wrap_content(fields[key])) for key in ("system",) if key in fields}
    if "messages" in fields and _is_list(fields["messages"]):
        messages = msgspec.json.decode(fields["messages"], type=list[Raw])
        changed["messages"] = Raw(msgspec.json.encode([Raw(_wrap_in_holder(message)) for message in messages]))
    return msgspec.json.encode(fields | changed)


def _wrap_in_holder(holder: Raw) -> bytes:
    """Return what holds blocks as its ``content``: a message, or the source of a document."""
    if not bytes(holder).lstrip().startswith(b"{"):
        return bytes(holder)
    fields = msgspec.json.decode(holder, type=dict[str, Raw])
    if "content" in fields:
        fields["content"] = Raw(_wrap_content(fields["content"]))
    return msgspec.json.encode(fields)


def _wrap_content(content: Raw) -> bytes:
    if not _is_list(content):
        return bytes(content)
    blocks = msgspec.json.decode(content, type=list[Raw])
    return msgspec.json.encode([Raw(_wrap_block(block)) for block in blocks])


def _wrap_block(block: Raw) -> bytes:
    if not bytes(block).lstrip().startswith(b"{"):
        return bytes(block)
    fields = msgspec.json.decode(block, type=dict[str, Raw])
    kind: Any = msgspec.json.decode(fields["type"]) if "type" in fields else None
    if not isinstance(kind, str):
        return bytes(block)
    if kind not in _KNOWN_BLOCK_TYPES:
        return msgspec.json.encode(UnknownBlock(block_type=kind, raw=block))
    if kind == "tool_result" and "content" in fields:
        return msgspec.json.encode(fields | {"content": Raw(_wrap_content(fields["content"]))})
    if kind == "document" and "source" in fields:
        return msgspec.json.encode(fields | {"source": Raw(_wrap_in_holder(fields["source"]))})
    return bytes(block)


def _is_list(raw: Raw) -> bool:
    return bytes(raw).lstrip().startswith(b"[")


# --- messages and stream events -----------------------------------------------------------------------------

StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal", "model_context_window_exceeded"]

AnswerBlock = TextBlock | ThinkingBlock | ToolUseBlock


class OutputTokensDetails(Struct, frozen=True):
    """How many of the output tokens were reasoning."""

    thinking_tokens: int


class Usage(Struct, frozen=True, kw_only=True):
    """Token counts. The whole prompt is input + cache read + cache creation; output includes thinking.

    Every count is always an integer: a missing one crashes Claude Code.
    """

    input_tokens: int = 0
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    output_tokens: int = 0
    output_tokens_details: OutputTokensDetails | UnsetType = UNSET


class Message(Struct, frozen=True, kw_only=True, tag_field="type", tag="message"):
    """A whole answer; also the head of a stream, with no content yet."""

    id: str
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[AnswerBlock]
    stop_reason: StopReason | None
    stop_sequence: str | None = None
    usage: Usage


class MessageStart(Struct, frozen=True, tag_field="type", tag="message_start"):
    """Opens a stream."""

    message: Message


class ContentBlockStart(Struct, frozen=True, tag_field="type", tag="content_block_start"):
    """Opens block ``index`` with its empty form."""

    index: int
    content_block: AnswerBlock


class BlockTextDelta(Struct, frozen=True, tag_field="type", tag="text_delta"):
    """More text of a text block."""

    text: str


class BlockThinkingDelta(Struct, frozen=True, tag_field="type", tag="thinking_delta"):
    """More text of a thinking block."""

    thinking: str


class BlockSignatureDelta(Struct, frozen=True, tag_field="type", tag="signature_delta"):
    """The signature that ends a thinking block."""

    signature: str


class BlockInputJsonDelta(Struct, frozen=True, tag_field="type", tag="input_json_delta"):
    """More JSON text of a tool use's input."""

    partial_json: str


BlockDelta = BlockTextDelta | BlockThinkingDelta | BlockSignatureDelta | BlockInputJsonDelta


class ContentBlockDelta(Struct, frozen=True, tag_field="type", tag="content_block_delta"):
    """More of block ``index``."""

    index: int
    delta: BlockDelta


class ContentBlockStop(Struct, frozen=True, tag_field="type", tag="content_block_stop"):
    """Block ``index`` is whole."""

    index: int


class Stop(Struct, frozen=True):
    """Why the message ended."""

    stop_reason: StopReason
    stop_sequence: str | None = None


class MessageDelta(Struct, frozen=True, tag_field="type", tag="message_delta"):
    """The end of the message: why, and the exact usage."""

    delta: Stop
    usage: Usage


class MessageStop(Struct, frozen=True, tag_field="type", tag="message_stop"):
    """Closes a stream."""


class Ping(Struct, frozen=True, tag_field="type", tag="ping"):
    """Says that the stream lives."""


class ErrorDetail(Struct, frozen=True):
    """What went wrong, in a machine's and in a person's words."""

    type: str
    message: str


class ErrorEvent(Struct, frozen=True, tag_field="type", tag="error"):
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

_encoder = msgspec.json.Encoder()
_encode = _encoder.encode
_event_decoder: msgspec.json.Decoder[StreamEvent] = msgspec.json.Decoder(StreamEvent)

# The two commonest events by far, as templates: a third of the time that the general way takes.
_TEXT_DELTA = (
    b"event: content_block_delta\n"
    b'data: {"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":%b}}\n\n'
)
_INPUT_JSON_DELTA = (
    b"event: content_block_delta\n"
    b'data: {"type":"content_block_delta","index":%d,"delta":{"type":"input_json_delta","partial_json":%b}}\n\n'
)


def encode_stream_event(event: StreamEvent) -> bytes:
    """Return the event as one server-sent event."""
    if type(event) is ContentBlockDelta:
        delta = event.delta
        if type(delta) is BlockTextDelta:
            return _TEXT_DELTA % (event.index, _encode(delta.text))
        if type(delta) is BlockInputJsonDelta:
            return _INPUT_JSON_DELTA % (event.index, _encode(delta.partial_json))
    return encode_frame(str(event.__struct_config__.tag).encode(), _encode(event))


def parse_stream_event(data: bytes) -> StreamEvent:
    """Return the typed event of a frame's data; raises msgspec.DecodeError if it is none."""
    return _event_decoder.decode(data)


def encode_message(message: Message) -> bytes:
    """Return the body of an answer that is not streamed."""
    return _encode(message)


def encode_error(error_type: str, message: str, request_id: str) -> bytes:
    """Return the body of a failed request."""
    return _encode(ErrorEvent(ErrorDetail(error_type, message), request_id))


# --- the other endpoints ------------------------------------------------------------------------------------


class TokenCount(Struct, frozen=True):
    """Answer of count_tokens."""

    input_tokens: int


class ModelInfo(Struct, frozen=True, kw_only=True, tag_field="type", tag="model"):
    """One entry of the model list; ``created_at`` is RFC 3339."""

    id: str
    display_name: str
    created_at: str


class ModelList(Struct, frozen=True, kw_only=True):
    """GET /v1/models."""

    data: list[ModelInfo]
    has_more: bool = False
    first_id: str | None = None
    last_id: str | None = None


def encode_token_count(count: int) -> bytes:
    """Return the body of a count_tokens answer."""
    return _encode(TokenCount(count))


def encode_model(model: ModelInfo) -> bytes:
    """Return the body of GET /v1/models/ID."""
    return _encode(model)


def encode_model_list(models: list[ModelInfo]) -> bytes:
    """Return the body of GET /v1/models."""
    first, last = (models[0].id, models[-1].id) if models else (None, None)
    return _encode(ModelList(data=models, first_id=first, last_id=last))
