"""MessageWriter: the rounds of an answer as one stream, with the calls of web tools in the API's own blocks."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct

from claude_bridge.conversion.builtin_tools import WebTool
from claude_bridge.conversion.request.server_tool_history import unseal_content
from claude_bridge.conversion.response.accumulator import MessageAccumulator
from claude_bridge.conversion.web_results import search_citation
from claude_bridge.errors import BridgeError
from claude_bridge.server_tools.result_texts import CITED_CHARS
from claude_bridge.wire.anthropic import ServerToolUseBlock, TextBlock, ToolUseBlock, WebSearchToolResultBlock
from claude_bridge.wire.anthropic_answers import (
    AnswerBlock,
    BlockCitationDelta,
    BlockInputJsonDelta,
    BlockTextDelta,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    ErrorDetail,
    ErrorEvent,
    Message,
    MessageDelta,
    MessageStart,
    MessageStop,
    OutputTokensDetails,
    Ping,
    ServerToolUsage,
    Stop,
    StreamEvent,
    Usage,
    WebFetchAnswerBlock,
)

_MARK = re.compile(r"<cite source=[\"']?(?P<numbers>\d[\d, ]*)[\"']?>|</cite>", re.IGNORECASE)
_MAX_MARK_CHARS = 60
_BEGINNINGS = ("<cite source=", "</cite>")


class CitedText(NamedTuple):
    """A piece of text; ``sources`` are what it rests on, and ``begins`` says that it is not more of the one before."""

    text: str
    sources: tuple[Mapping[str, Any], ...]
    begins: bool


class CitationReader:
    """Takes the marks out of text that comes in pieces; a mark that names no known result says nothing."""

    def __init__(self, sources: Sequence[Mapping[str, Any]]) -> None:
        """``sources`` may grow while text comes."""
        self._sources = sources
        self._held = ""
        self._is_inside = False
        self._cited: tuple[Mapping[str, Any], ...] = ()
        self._begins = False

    def feed(self, text: str) -> list[CitedText]:
        """Return what of the text is sure to be text."""
        text, self._held = self._held + text, ""
        pieces, at = list[CitedText](), 0
        for mark in _MARK.finditer(text):
            if not (mark["numbers"] or self._is_inside):
                continue  # HTML that the model writes
            pieces += self._piece(text[at : mark.start()])
            cited = tuple(self._named(mark["numbers"])) if mark["numbers"] else ()
            self._begins = self._begins or cited != self._cited
            self._cited, self._is_inside, at = cited, bool(mark["numbers"]), mark.end()
        rest = text[at:]
        held_from = rest.rfind("<", max(0, len(rest) - _MAX_MARK_CHARS))
        if held_from >= 0 and _may_be_mark(rest[held_from:]):
            rest, self._held = rest[:held_from], rest[held_from:]
        return [*pieces, *self._piece(rest)]

    def close(self) -> list[CitedText]:
        """Return what was held back, at the end of a block; a mark that was never closed ends with it."""
        held, self._held = self._held, ""
        pieces = list(self._piece(held))
        self._cited, self._is_inside, self._begins = (), False, False
        return pieces

    def _piece(self, text: str) -> Iterator[CitedText]:
        if text:
            yield CitedText(text, self._cited, self._begins)
            self._begins = False

    def _named(self, numbers: str) -> Iterator[Mapping[str, Any]]:
        for number in dict.fromkeys(re.findall(r"\d{1,6}", numbers)):
            if 0 < int(number) <= len(self._sources):
                yield self._sources[int(number) - 1]


def _may_be_mark(text: str) -> bool:
    """Return whether more text may make a mark of this, which begins with ``<`` and holds no whole one."""
    lower = text.lower()
    return ">" not in lower and any(lower.startswith(word) or word.startswith(lower) for word in _BEGINNINGS)


def _citation(source: Mapping[str, Any]) -> Raw:
    """Return a citation as the API gives it: what is quoted is the passage that the model has read."""
    url, title, sealed = (str(source.get(name) or "") for name in ("url", "title", "encrypted_content"))
    return search_citation(url, title, sealed, (unseal_content(sealed) or "")[:CITED_CHARS])


class WebCall(Struct, frozen=True, kw_only=True):
    """A call of a web tool by the model; ``input`` is JSON."""

    id: str
    name: str
    input: Raw


class Round(Struct, frozen=True, kw_only=True):
    """What one round came to. ``answer`` is its content as the engine must get it back."""

    answer: Sequence[Raw]
    calls: Sequence[WebCall]
    calls_client: bool
    """Whether the model called tools of the client too."""
    stop: Stop | None
    """None: the answer broke off."""


class MessageWriter:
    """Writes one message: ``start``, then rounds and what their calls gave, and ``end`` or ``fail``.

    The block of a call stays open until the next block or the result: signs of life go into it.
    """

    def __init__(
        self,
        web_tools: Collection[str],
        sources: Sequence[Mapping[str, Any]],
        request_id: str,
        new_call_id: Callable[[], str],
    ) -> None:
        """``web_tools`` are the names that the bridge answers to; ``sources`` may grow while text comes."""
        self._web_tools = web_tools
        self._new_call_id = new_call_id
        self._request_id = request_id
        self._citations = CitationReader(sources)
        self._sources = sources
        self._is_started = False
        self._index = -1
        self._open: AnswerBlock | None = None
        self._round = MessageAccumulator()
        self._ids: dict[str, str] = {}
        self._usage = self._reported = Usage()

    def start(self, message: Message) -> list[StreamEvent]:
        """Return the opening event, once."""
        is_first, self._is_started = not self._is_started, True
        return [MessageStart(message)] if is_first else []

    def begin_round(self) -> None:
        """Take what follows as another answer of the engine."""
        self._round, self._ids = MessageAccumulator(), {}

    def take(self, events: Iterable[StreamEvent]) -> Iterator[StreamEvent]:
        """Yield what the client gets of an engine's events; its errors are for the caller."""
        for event in events:
            self._round.feed([event])
            match event:
                case MessageStart(message):
                    self._reported = message.usage
                    yield from self.start(message)
                case ContentBlockStart(_, block):
                    yield from self._begin(block)
                case ContentBlockDelta(_, BlockTextDelta(text)):
                    is_marked = text and self._sources
                    yield from self._text(self._citations.feed(text) if is_marked else [CitedText(text, (), False)])
                case ContentBlockDelta(_, delta):
                    yield ContentBlockDelta(self._index, delta)
                case ContentBlockStop():
                    yield from self._stop()
                case Ping():
                    yield event
                case MessageDelta() | MessageStop() | ErrorEvent():
                    pass

    def end_round(self) -> Round:
        """Return what the round came to."""
        message = self._round.message
        self._usage = _sum(self._usage, self._reported, message.usage)
        answer, calls = [], []
        for block in message.content:
            if isinstance(block, ToolUseBlock) and (call_id := self._ids.get(block.id)):
                block = msgspec.structs.replace(block, id=call_id)  # noqa: PLW2901 - the id that the client knows
                calls.append(WebCall(id=call_id, name=block.name, input=block.input))
            answer.append(Raw(msgspec.json.encode(block)))
        calls_client = sum(isinstance(block, ToolUseBlock) for block in message.content) > len(calls)
        stop = Stop(message.stop_reason, message.stop_sequence) if message.stop_reason else None
        return Round(answer=answer, calls=calls, calls_client=calls_client, stop=stop)

    def call(self, call: WebCall) -> list[StreamEvent]:
        """Return a call that the bridge itself makes."""
        events = self._start_block(ServerToolUseBlock(call.id, call.name))
        return [*events, ContentBlockDelta(self._index, BlockInputJsonDelta(bytes(call.input).decode()))]

    def result(self, tool: WebTool, call_id: str, content: Raw) -> list[StreamEvent]:
        """Return what a call gave."""
        kind = WebSearchToolResultBlock if tool == "web_search" else WebFetchAnswerBlock
        return [*self._start_block(kind(call_id, content)), *self._close()]

    def text(self, text: str) -> list[StreamEvent]:
        """Return a block with words of the bridge's own."""
        events = self._start_block(TextBlock(""))
        return [*events, ContentBlockDelta(self._index, BlockTextDelta(text)), *self._close()]

    def keep_alive(self) -> list[StreamEvent]:
        """Return events that add nothing."""
        if isinstance(self._open, ServerToolUseBlock):
            return [ContentBlockDelta(self._index, BlockInputJsonDelta("")), Ping()]
        events = [] if isinstance(self._open, TextBlock) else self._start_block(TextBlock(""))
        return [*events, ContentBlockDelta(self._index, BlockTextDelta("")), Ping()]

    def end(self, stop: Stop, counts: Mapping[WebTool, int]) -> list[StreamEvent]:
        """Return the end; ``counts`` are the uses of each tool that succeeded."""
        searches = counts.get("web_search", 0) + _hosted_searches(self._usage)
        used = ServerToolUsage(searches, counts.get("web_fetch", 0))
        usage = msgspec.structs.replace(self._usage, server_tool_use=used)
        return [*self._close(), MessageDelta(stop, usage), MessageStop()]

    def fail(self, error: BridgeError) -> list[StreamEvent]:
        """Return the error that ends the stream."""
        return [ErrorEvent(ErrorDetail(error.error_type, error.message), self._request_id)]

    def _begin(self, block: AnswerBlock) -> Iterator[StreamEvent]:
        if isinstance(block, ToolUseBlock) and block.name in self._web_tools:
            self._ids[block.id] = call_id = self._new_call_id()
            yield from self._start_block(ServerToolUseBlock(call_id, block.name))
        elif not isinstance(block, TextBlock):  # which begins with its text, since it may have a source
            yield from self._start_block(block)

    def _text(self, pieces: Iterable[CitedText]) -> Iterator[StreamEvent]:
        for piece in pieces:
            if piece.begins or not isinstance(self._open, TextBlock):
                yield from self._start_block(TextBlock(""))
                for source in piece.sources:
                    yield ContentBlockDelta(self._index, BlockCitationDelta(_citation(source)))
            yield ContentBlockDelta(self._index, BlockTextDelta(piece.text))

    def _stop(self) -> Iterator[StreamEvent]:
        yield from self._text(self._citations.close())
        if not isinstance(self._open, ServerToolUseBlock):
            yield from self._close()

    def _start_block(self, block: AnswerBlock) -> list[StreamEvent]:
        events = self._close()
        self._index += 1
        self._open = block
        return [*events, ContentBlockStart(self._index, block)]

    def _close(self) -> list[StreamEvent]:
        is_open, self._open = self._open is not None, None
        return [ContentBlockStop(self._index)] if is_open else []


def _sum(before: Usage, start: Usage, end: Usage) -> Usage:
    """Return the usage with that of another round: what its end does not report, its start did."""
    details = (before.output_tokens_details, end.output_tokens_details)
    thinking = sum(one.thinking_tokens for one in details if isinstance(one, OutputTokensDetails))
    is_reported = end.input_tokens or end.cache_read_input_tokens or end.cache_creation_input_tokens
    prompt = end if is_reported else start
    return Usage(
        input_tokens=before.input_tokens + prompt.input_tokens,
        cache_creation_input_tokens=before.cache_creation_input_tokens + prompt.cache_creation_input_tokens,
        cache_read_input_tokens=before.cache_read_input_tokens + prompt.cache_read_input_tokens,
        output_tokens=before.output_tokens + end.output_tokens,
        output_tokens_details=OutputTokensDetails(thinking) if thinking else UNSET,
        server_tool_use=ServerToolUsage(_hosted_searches(before) + _hosted_searches(end)),
    )


def _hosted_searches(usage: Usage) -> int:
    """Return how often the service itself searched."""
    return usage.server_tool_use.web_search_requests if isinstance(usage.server_tool_use, ServerToolUsage) else 0
