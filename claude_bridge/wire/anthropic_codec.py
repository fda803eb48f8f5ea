"""Messages API bytes to typed shapes, and back.

A known field with a wrong value is an InvalidRequestError that names its path; what is unknown is let through.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import Raw

from claude_bridge.errors import InvalidRequestError, UpstreamBrokenError
from claude_bridge.wire.anthropic import (
    Block,
    CountTokensRequest,
    InputMessage,
    MessagesRequest,
    ToolResultBlock,
    UnknownBlock,
)
from claude_bridge.wire.anthropic_answers import (
    BlockInputJsonDelta,
    BlockTextDelta,
    ContentBlockDelta,
    ErrorDetail,
    ErrorEvent,
    Message,
    ModelInfo,
    ModelList,
    RawBytes,
    ResponseItem,
    StreamEvent,
    TokenCount,
)
from claude_bridge.wire.lenient_json import read_or_none, replace_lone_surrogates
from claude_bridge.wire.sse import encode_frame

# --- requests -----------------------------------------------------------------------------------------------

KNOWN_BLOCK_TYPES = frozenset(str(block.__struct_config__.tag) for block in Block.__args__ if block is not UnknownBlock)

MAX_MESSAGES = 100_000
MAX_BLOCKS = 200_000
MAX_TOOLS = 10_000
MAX_MODEL_CHARS = 1_000
"""What one request may hold; Anthropic takes as many messages."""

MAX_STOP_CHARS = 4_096
"""Of all stop sequences together: the text is compared with each, for each token."""


class CountLimit(NamedTuple):
    """How often bytes of this kind may come in one request, in its texts too."""

    name: str
    kind: bytes
    most: int


BUDGETS = (
    CountLimit("`{`", b"{", 500_000),
    CountLimit("`[`", b"[", 500_000),
    CountLimit("`,`", b",", 1_000_000),
    CountLimit("`\\`", b"\\", 5_000_000),
    CountLimit("blanks and line breaks", b" \t\r\n", 30_000_000),
)
"""More of them would hold up the decoder, which nothing interrupts. No window of today has room for as many."""

MAX_CONTINUATION_BYTES = 10_000_000
"""The same for bytes behind the first one of characters outside ASCII."""

_SLICE_BYTES = 1024 * 1024
"""How much is counted at a time: other threads run in between."""

_LEAST_BLOCK_BYTES = len('{"type":"a"},')

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


class _OutlinedMessage(msgspec.Struct):
    role: str


class _Outline(msgspec.Struct):
    model: str
    messages: list[_OutlinedMessage]
    stream: bool | None = None


def parse_outline(body: bytes) -> MessagesRequest | None:
    """Return the model, the roles of the messages and whether it streams; None if even that is missing or too much.

    For requests that go on as they came: what this version can't read is for the engine to judge.
    """
    try:
        check_budgets(body)
    except InvalidRequestError:
        return None
    except UnicodeDecodeError:
        pass
    outline = read_or_none(msgspec.json.Decoder(_Outline).decode, replace_lone_surrogates(body))
    if outline is None:
        return None
    unread: list[Block] = [UnknownBlock("unread", Raw(b"{}"))]
    messages = [InputMessage(message.role, unread) for message in outline.messages]
    return MessagesRequest(model=outline.model, messages=messages, max_tokens=0, stream=outline.stream)


def encode_request(request: CountTokensRequest) -> bytes:
    """Return the body of a request; what has its default value is left out."""
    messages = [InputMessage(message.role, _encodable(message.content)) for message in request.messages]
    system = None if request.system is None else _encodable(request.system)
    return msgspec.json.encode(msgspec.structs.replace(request, messages=messages, system=system))


def _encodable(content: str | list[Block]) -> Any:  # noqa: ANN401 - blocks, and the bytes of unknown ones
    """Return content with each unknown block as the bytes that it came in."""
    if isinstance(content, str):
        return content
    blocks: list[Any] = []
    for block in content:
        if isinstance(block, UnknownBlock):
            blocks.append(block.raw)
        elif isinstance(block, ToolResultBlock) and isinstance(block.content, list):
            blocks.append(msgspec.structs.replace(block, content=_encodable(block.content)))
        else:
            blocks.append(block)
    return blocks


def _parse(body: bytes, decoder: msgspec.json.Decoder[_Request]) -> _Request:
    try:
        check_budgets(body)
        try:
            request = decoder.decode(body)
        except msgspec.DecodeError:
            # Perhaps only a lone surrogate, or a block of an unknown type.
            request = decoder.decode(_wrap_unknown_blocks(replace_lone_surrogates(body)))
    except msgspec.ValidationError as error:
        raise InvalidRequestError(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"The body is not valid JSON: {error}") from error
    except RecursionError:
        raise InvalidRequestError("The body is nested too deeply.") from None
    check_counts(request, len(body))
    return request


def check_budgets(body: bytes) -> None:
    """Check that a body can be decoded in little time, and that it is UTF-8: the decoder does not look into Raw fields.

    Raises:
        InvalidRequestError: it holds more than is allowed.
        UnicodeDecodeError: it is no UTF-8.
    """
    slices = range(0, len(body), _SLICE_BYTES)
    for name, kind, most in BUDGETS:
        if len(body) > most:
            found = sum(body.count(byte, at, at + _SLICE_BYTES) for at in slices for byte in kind)
            _check_budget(name, found, most)
    if not body.isascii():
        decoder = getincrementaldecoder("utf-8")()
        parts = (decoder.decode(body[at : at + _SLICE_BYTES], at == slices[-1]) for at in slices)
        _check_budget("bytes of characters outside ASCII", len(body) - sum(map(len, parts)), MAX_CONTINUATION_BYTES)


def _check_budget(name: str, found: int, most: int) -> None:
    if found > most:
        raise InvalidRequestError(f"At most {most:,} {name} are allowed in a request, and this has {found:,}.")


def check_counts(request: CountTokensRequest, size_bytes: int) -> None:
    """Check that a request, whose body takes so many bytes, does not hold more than it may.

    Raises:
        InvalidRequestError: it does.
    """
    blocks = 0
    if size_bytes > MAX_BLOCKS * _LEAST_BLOCK_BYTES:  # else it can't hold so many, and they need not be counted
        blocks = sum(len(message.content) for message in request.messages if type(message.content) is list)
    for name, found, most, path in (
        ("messages", len(request.messages), MAX_MESSAGES, "messages"),
        ("content blocks", blocks, MAX_BLOCKS, "messages"),
        ("tools", len(request.tools or ()), MAX_TOOLS, "tools"),
        ("characters", len(request.model), MAX_MODEL_CHARS, "model"),
    ):
        if found > most:
            raise InvalidRequestError(f"{path}: at most {most:,} {name} are allowed, not {found:,} - at `$.{path}`")
    stops = (request.stop_sequences or ()) if isinstance(request, MessagesRequest) else ()
    if max(len(stops), sum(map(len, stops))) > MAX_STOP_CHARS:
        raise InvalidRequestError(
            f"stop_sequences: at most {MAX_STOP_CHARS:,} characters in all are allowed - at `$.stop_sequences`"
        )


def raw_blocks(content: Raw) -> list[Raw]:
    """Return the content of a message as blocks, each as it is written."""
    if bytes(content).startswith(b"["):
        return msgspec.json.decode(content, type=list[Raw])
    return [Raw(msgspec.json.encode({"type": "text", "text": content}))]


def _wrap_unknown_blocks(body: bytes) -> bytes:
    """Return the request with each block of an unknown type as an UnknownBlock; all else stays as it is."""
    fields = msgspec.json.decode(body, type=dict[str, Raw])
    if "system" in fields:
        fields["system"] = _wrap_items(fields["system"], _wrap_block)
    if "messages" in fields:
        fields["messages"] = _wrap_items(fields["messages"], lambda message: _wrap_within(message, "content"))
    return msgspec.json.encode(fields)


def _wrap_items(items: Raw, wrap: Callable[[Raw], Raw]) -> Raw:
    """Return a list with each item wrapped; anything else as it is."""
    if not bytes(items).lstrip().startswith(b"["):
        return items
    return Raw(msgspec.json.encode([wrap(item) for item in msgspec.json.decode(items, type=list[Raw])]))


def _wrap_within(holder: Raw, *path: str) -> Raw:
    """Return an object with the list of blocks at the end of the path wrapped; anything else as it is."""
    if not path:
        return _wrap_items(holder, _wrap_block)
    fields = _fields(holder)
    name, *rest = path
    return Raw(msgspec.json.encode(fields | {name: _wrap_within(fields[name], *rest)})) if name in fields else holder


def _wrap_block(block: Raw) -> Raw:
    kind: Any = msgspec.json.decode(_fields(block).get("type", b"null"))
    if not isinstance(kind, str):
        return block
    if kind not in KNOWN_BLOCK_TYPES:
        return Raw(msgspec.json.encode(UnknownBlock(block_type=kind, raw=block)))
    return _wrap_within(block, *_PLACES_OF_BLOCKS[kind]) if kind in _PLACES_OF_BLOCKS else block


_PLACES_OF_BLOCKS = {"tool_result": ("content",), "document": ("source", "content")}


def _fields(value: Raw) -> dict[str, Raw]:
    """Return the fields of an object as they are written; none of anything else."""
    if not bytes(value).lstrip().startswith(b"{"):
        return {}
    return msgspec.json.decode(value, type=dict[str, Raw])


# --- answers ------------------------------------------------------------------------------------------------

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


def encode_stream_event(event: ResponseItem) -> bytes:
    """Return the event as one server-sent event; an engine's own bytes are returned unchanged."""
    if type(event) is ContentBlockDelta:
        delta = event.delta
        if type(delta) is BlockTextDelta:
            return _TEXT_DELTA % (event.index, _encode(delta.text))
        if type(delta) is BlockInputJsonDelta:
            return _INPUT_JSON_DELTA % (event.index, _encode(delta.partial_json))
    if type(event) is RawBytes:
        return event.data
    return encode_frame(str(event.__struct_config__.tag).encode(), _encode(event))


def parse_stream_event(data: bytes) -> StreamEvent:
    """Return the typed event of a frame's data; raises msgspec.DecodeError if it is none."""
    return _event_decoder.decode(data)


def encode_message(message: Message) -> bytes:
    """Return the body of an answer that is not streamed."""
    return _encode(message)


def encode_error(error_type: str, message: str, request_id: str, error_code: str | None = None) -> bytes:
    """Return the body of a failed request."""
    details = {"error_code": error_code} if error_code else None
    return _encode(ErrorEvent(ErrorDetail(error_type, message, details), request_id))


def encode_token_count(count: int) -> bytes:
    """Return the body of a count_tokens answer."""
    return _encode(TokenCount(count))


def parse_token_count(body: bytes) -> int:
    """Return the count of a count_tokens answer.

    Raises:
        UpstreamBrokenError: it holds no count.
    """
    try:
        return msgspec.json.decode(body, type=TokenCount).input_tokens
    except msgspec.DecodeError as error:
        raise UpstreamBrokenError(f"The upstream's count of tokens can't be read: {error}") from error


def encode_model(model: ModelInfo) -> bytes:
    """Return the body of GET /v1/models/ID."""
    return _encode(model)


def encode_model_list(models: Sequence[ModelInfo], *, has_more: bool = False) -> bytes:
    """Return the body of GET /v1/models: one page, and whether there are more of them."""
    first, last = (models[0].id, models[-1].id) if models else (None, None)
    return _encode(ModelList(data=list(models), first_id=first, last_id=last, has_more=has_more))
