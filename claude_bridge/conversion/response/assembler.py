"""MessageAssembler: deltas in, a legal Anthropic event stream out.

Legality is data: TRANSITIONS says which event may follow in which state, and every event the assembler makes goes
through it. The same table judges streams in the tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum, auto
from typing import assert_never

import msgspec
from msgspec.structs import replace

from claude_bridge.conversion.deltas import (
    Delta,
    Failure,
    Finish,
    HostedSearch,
    OpaqueReasoning,
    RedactedReasoning,
    TextDelta,
    TextEnd,
    TextStart,
    ThinkingDelta,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
    UrlCitation,
    UsageReport,
)
from claude_bridge.conversion.ending import convert_finish_reason, explain_missing
from claude_bridge.conversion.loss import Repair
from claude_bridge.conversion.request.server_tool_history import seal_content
from claude_bridge.conversion.response.context import ResponseContext
from claude_bridge.conversion.response.usage import convert_usage, merge_usage
from claude_bridge.conversion.web_results import SearchHit, error_content, search_citation, search_content
from claude_bridge.errors import BridgeError, UpstreamBrokenError
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
    BlockDelta,
    BlockInputJsonDelta,
    BlockSignatureDelta,
    BlockTextDelta,
    BlockThinkingDelta,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    ErrorDetail,
    ErrorEvent,
    Message,
    MessageDelta,
    MessageStart,
    MessageStop,
    Ping,
    ServerToolUsage,
    Stop,
    StreamEvent,
    Usage,
    WebFetchAnswerBlock,
)

UNSIGNED = "claude-bridge"
"""Signature of thinking that no engine signed. Clients send it back; real Anthropic must never see it."""


MAX_ANSWER_CHARS = 16 * 1024 * 1024
"""No model writes as much; an engine in an endless loop does."""

_MAX_HELD_SPACE_CHARS = 10_000
"""White space before text that is kept; nobody misses more."""


class State(IntEnum):  # and no Enum, whose hash is written in Python
    """Where a stream stands."""

    NEW = auto()
    BETWEEN_BLOCKS = auto()
    TEXT = auto()
    THINKING = auto()
    SIGNED = auto()
    TOOL_USE = auto()
    ENDING = auto()
    ENDED = auto()


_OWN_TRANSITIONS: dict[State, dict[type, State]] = {
    State.BETWEEN_BLOCKS: {
        TextBlock: State.TEXT,
        ThinkingBlock: State.THINKING,
        RedactedThinkingBlock: State.SIGNED,  # whole as it begins
        ToolUseBlock: State.TOOL_USE,
        ServerToolUseBlock: State.TOOL_USE,
        WebSearchToolResultBlock: State.SIGNED,
        WebFetchAnswerBlock: State.SIGNED,
        MessageDelta: State.ENDING,
    },
    State.TEXT: {
        BlockTextDelta: State.TEXT,
        BlockCitationDelta: State.TEXT,
        ContentBlockStop: State.BETWEEN_BLOCKS,
    },
    State.THINKING: {BlockThinkingDelta: State.THINKING, BlockSignatureDelta: State.SIGNED},
    State.SIGNED: {ContentBlockStop: State.BETWEEN_BLOCKS},
    State.TOOL_USE: {BlockInputJsonDelta: State.TOOL_USE, ContentBlockStop: State.BETWEEN_BLOCKS},
    State.ENDING: {MessageStop: State.ENDED},
}

TRANSITIONS: dict[State, dict[type, State]] = {
    State.NEW: {MessageStart: State.BETWEEN_BLOCKS},
    **{state: {**own, Ping: state, ErrorEvent: State.ENDED} for state, own in _OWN_TRANSITIONS.items()},
    State.ENDED: {},
}
"""By state and kind of event (or of the block or delta inside it), the next state; what is missing is illegal."""

_EMPTY_DELTAS: dict[State, BlockDelta] = {
    State.THINKING: BlockThinkingDelta(""),
    State.TOOL_USE: BlockInputJsonDelta(""),
}


class IllegalEventError(Exception):
    """An event that the transition table does not allow: a bug of whoever made it."""


def next_state(state: State, event: StreamEvent) -> State:
    """Return the state after ``event``; raises IllegalEventError if it may not come now."""
    kind: type = type(event)
    if isinstance(event, ContentBlockDelta):
        kind = type(event.delta)
    elif isinstance(event, ContentBlockStart):
        kind = type(event.content_block)
    try:
        return TRANSITIONS[state][kind]
    except KeyError:
        raise IllegalEventError(f"{kind.__name__} may not come in state {state.name}") from None


class MessageAssembler:
    """Turns the deltas of one answer into the events of one stream.

    ``start`` comes first, ``close`` last; between them ``feed`` and ``keep_alive`` in any order. Tool calls must
    come one after the other (ToolCallBuffer sees to it). Nothing follows an error event.
    """

    def __init__(self, context: ResponseContext, model: str, *, empty_is_dropped_call: bool = False) -> None:
        """``empty_is_dropped_call`` is the engine's way to report a call that it could not read."""
        self._context = context
        self._head = Message(
            id=context.message_id,
            model=model,
            content=[],
            stop_reason=None,
            usage=Usage(input_tokens=context.prompt_tokens),
            diagnostics=context.diagnostics,
        )
        self._empty_is_dropped_call = empty_is_dropped_call
        self._state = State.NEW
        self._index = -1
        self._held_space = ""
        self._has_visible_text = False
        self._finish: Finish | None = None
        self._has_text = False
        self._has_thinking = False
        self._has_tool_use = False
        self._output_chars = 0
        self._searches = 0
        self.usage = UsageReport()
        self.repairs: list[Repair] = []
        self.error: BridgeError | None = None

    @property
    def ended(self) -> bool:
        """Whether the stream has had its last event."""
        return self._state is State.ENDED

    def start(self) -> list[StreamEvent]:
        """Return the opening event."""
        return [self._advance(MessageStart(self._head))]

    def feed(self, deltas: Iterable[Delta]) -> list[StreamEvent]:
        """Return the events that the deltas call for."""
        events: list[StreamEvent] = []
        for delta in deltas:
            # Nearly every delta of a long answer comes this way: the text goes on in its open block.
            if type(delta) is TextDelta and self._state is State.TEXT and self._has_visible_text:
                self._output_chars += len(delta.text)
                events.append(ContentBlockDelta(self._index, BlockTextDelta(delta.text)))
            elif not self.ended:
                events += self._take(delta)
        if self._output_chars > MAX_ANSWER_CHARS and not self.ended:
            events += self.fail(UpstreamBrokenError(f"The upstream wrote more than {MAX_ANSWER_CHARS} characters."))
        return events

    def keep_alive(self) -> list[StreamEvent]:
        """Return events without content that count as progress: old clients ignore pings, all count deltas."""
        if self._state in (State.NEW, State.ENDING, State.ENDED):
            return []
        is_open = self._state in (State.TEXT, State.THINKING, State.TOOL_USE)
        opening = [] if is_open else self._open(TextBlock(""))
        return [*opening, self._delta(_EMPTY_DELTAS.get(self._state, BlockTextDelta(""))), self._advance(Ping())]

    def close(self) -> list[StreamEvent]:
        """Return the end of the stream: why it ended and the usage, or an error if the engine never finished."""
        if self.ended:
            return []
        if self._finish is None:
            return self.fail(UpstreamBrokenError("The upstream ended its answer in the middle."))
        events = self._close_block()
        window_full = self._context.is_window_full(self.usage)
        reason = convert_finish_reason(self._finish, has_tool_use=self._has_tool_use, window_full=window_full)
        usage = convert_usage(self.usage, prompt_tokens=self._context.prompt_tokens, output_chars=self._output_chars)
        if self._searches:
            usage = replace(usage, server_tool_use=ServerToolUsage(self._searches))
        events.append(self._advance(MessageDelta(Stop(reason, self._finish.stop_sequence), usage)))
        events.append(self._advance(MessageStop()))
        return events

    def fail(self, error: BridgeError) -> list[StreamEvent]:
        """Return the error event that ends the stream; ``error`` is kept."""
        if self.ended:
            return []
        self.error = error = self._context.check_error(error)
        return [self._advance(ErrorEvent(ErrorDetail(error.error_type, error.message), self._context.request_id))]

    def _take(self, delta: Delta) -> list[StreamEvent]:
        match delta:
            case TextDelta(text):
                return self._text(text)
            case TextStart() | TextEnd():
                return self._end_text()
            case ThinkingDelta(text):
                return self._thinking(text) if text else []
            case RedactedReasoning(data):
                return [*self._open(RedactedThinkingBlock(data)), *self._close_block()]
            case OpaqueReasoning():
                return []  # the engine does not want it back
            case HostedSearch():
                return self._search(delta)
            case UrlCitation():
                return self._cite(delta)
            case ToolCallStart():
                self._has_tool_use = True
                return self._open(ToolUseBlock(delta.id, delta.name))
            case ToolCallArguments(_, fragment):
                self._output_chars += len(fragment)
                return [self._delta(BlockInputJsonDelta(fragment))]
            case ToolCallEnd():
                return self._close_block()
            case Repair():
                self.repairs.append(delta)
                return []
            case UsageReport():
                self.usage = merge_usage(self.usage, delta)
                return []
            case Finish():
                self._finish = delta
                return self._check_content(delta)
            case Failure(error):
                return self.fail(error)
            case _:
                assert_never(delta)

    def _check_content(self, finish: Finish) -> list[StreamEvent]:
        """Return an error where the content is not all that the engine must have sent."""
        if self._has_tool_use:
            return []
        error = explain_missing(
            finish,
            self.usage,
            has_text=self._has_text,
            has_thinking=self._has_thinking and not self._empty_is_dropped_call,
            empty_is_dropped_call=self._empty_is_dropped_call,
        )
        return [] if error is None else self.fail(error)

    def _text(self, text: str) -> list[StreamEvent]:
        # White space alone opens no block, and does not go into one that was opened to keep the line alive: engines
        # print "\n\n" before tool calls, and Anthropic refuses such blocks when they come back in the history.
        if not text.strip():
            if len(self._held_space) < _MAX_HELD_SPACE_CHARS:
                self._held_space += text[:_MAX_HELD_SPACE_CHARS]
            return []
        text, self._held_space = self._held_space + text, ""
        opening = [] if self._state is State.TEXT else self._open(TextBlock(""))
        self._has_visible_text = self._has_text = True
        self._output_chars += len(text)
        return [*opening, self._delta(BlockTextDelta(text))]

    def _search(self, search: HostedSearch) -> list[StreamEvent]:
        """Return a search that the service ran, with what it found."""
        found = search.urls
        self._searches += found is not None
        call = self._open(ServerToolUseBlock(search.id, "web_search"))
        query = msgspec.json.encode({"query": search.query}).decode()
        self._output_chars += len(query)
        call.append(self._delta(BlockInputJsonDelta(query)))
        hits = [SearchHit(url=url) for url in found or ()]
        content = error_content("web_search", "unavailable") if found is None else search_content(hits)
        result = self._open(WebSearchToolResultBlock(search.id, content))
        return [*call, *result, *self._close_block()]

    def _cite(self, cited: UrlCitation) -> list[StreamEvent]:
        if self._state is not State.TEXT or not self._has_visible_text:
            return []  # nothing rests on it
        citation = search_citation(cited.url, cited.title, seal_content(""), "")
        return [self._delta(BlockCitationDelta(citation))]

    def _end_text(self) -> list[StreamEvent]:
        """Close an open block that has text; the next delta opens another one."""
        self._held_space = ""
        return self._close_block() if self._state is State.TEXT and self._has_visible_text else []

    def _thinking(self, text: str) -> list[StreamEvent]:
        opening = [] if self._state is State.THINKING else self._open(ThinkingBlock(""))
        self._has_thinking = True
        self._output_chars += len(text)
        return [*opening, self._delta(BlockThinkingDelta(text))]

    def _open(self, block: AnswerBlock) -> list[StreamEvent]:
        events = self._close_block()
        if not isinstance(block, TextBlock):
            self._held_space = ""
        self._has_visible_text = False
        self._index += 1
        return [*events, self._advance(ContentBlockStart(self._index, block))]

    def _close_block(self) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        if self._state is State.THINKING:
            events.append(self._delta(BlockSignatureDelta(UNSIGNED)))
        if self._state in (State.TEXT, State.SIGNED, State.TOOL_USE):
            events.append(self._advance(ContentBlockStop(self._index)))
        return events

    def _delta(self, delta: BlockDelta) -> StreamEvent:
        return self._advance(ContentBlockDelta(self._index, delta))

    def _advance(self, event: StreamEvent) -> StreamEvent:
        self._state = next_state(self._state, event)
        return event
