"""Asks a model through the bridge, as a client's request goes, and notes what each answer took."""

from __future__ import annotations

import re
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Literal

import anyio
from msgspec import Struct, UnsetType

from claude_bridge.bridge import new_id
from claude_bridge.conversion.loss import PRINTED_CALL
from claude_bridge.conversion.response.accumulator import MessageAccumulator
from claude_bridge.conversion.tool_calls.arguments import accepts
from claude_bridge.conversion.tool_json.schema_check import WorkBudget
from claude_bridge.errors import BridgeError, UpstreamUnreachableError
from claude_bridge.router import AnyBridge
from claude_bridge.trace.bus import Bus
from claude_bridge.trace.events import ExchangeEnded, ToolInputRepaired, TraceEvent
from claude_bridge.trace.recorder import Recorder
from claude_bridge.wire.anthropic import MessagesRequest, TextBlock, ThinkingBlock, Tool, ToolUseBlock
from claude_bridge.wire.anthropic_answers import Message, StreamEvent, Usage, content_chars

MAX_ANSWER_CHARS = 1_000_000
"""Far more characters than the limit of an answer allows; an engine may ignore the limit."""

TRY_AGAIN = frozenset({429, 500, 502, 503, 529})
"""Statuses after which Claude Code asks again too."""

REPEATED_BYTES, REPEATS = 1_000, 12
LOOK_AFTER_EVENTS = 300
"""How often an answer is looked at while it comes: one without an end need not be waited for."""

TRIES = 3
WAIT_S, MAX_WAIT_S = 1.0, 60.0

CHARS_PER_TOKEN = 4

SLOW_TOKENS_PER_S, SLOW_FIRST_S = 5.0, 30.0
"""Below and above that nobody can work with a model."""

NOTHING = Message(id="", model="", content=[], stop_reason=None, usage=Usage())

Left = Literal["late", "endless", "begun"]
"""Why an answer was left before its end: its time was over, it had no end, or its first token was enough."""


class AnswerFigures(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one answer took. None means that it is not known."""

    prompt_tokens: int | None = None
    """Cached ones included."""
    cached_tokens: int | None = None
    output_tokens: int = 0
    thinking_tokens: int = 0
    prompt_s: float | None = None
    output_s: float | None = None
    first_token_s: float | None = None
    cost_usd: float | None = None
    calls: int = 0
    repaired: int = 0
    """Calls that would have failed without a repair."""
    printed: int = 0
    """Calls that the model printed as text, whether or not the bridge could make calls of them."""


class MeasuredAnswer(Struct, frozen=True, kw_only=True):
    """An answer and its figures, or as much as had come when it was ``left``; None: it is whole."""

    message: Message = NOTHING
    figures: AnswerFigures = AnswerFigures()
    took_s: float = 0.0
    left: Left | None = None

    @property
    def calls(self) -> list[ToolUseBlock]:
        """The tool calls."""
        return [block for block in self.message.content if isinstance(block, ToolUseBlock)]

    @property
    def text(self) -> str:
        """All that it says, without its thoughts."""
        return "".join(block.text for block in self.message.content if isinstance(block, TextBlock)).strip()

    @property
    def thoughts(self) -> str:
        """What it thinks."""
        return "".join(block.thinking for block in self.message.content if isinstance(block, ThinkingBlock)).strip()

    @property
    def tokens_per_s(self) -> float | None:
        """How fast it was written once it had begun; None: it was too short to tell."""
        seconds, tokens = self.figures.output_s or 0.0, self.figures.output_tokens
        return tokens / seconds if seconds > 0.05 and tokens > 1 else None

    @property
    def repeats_itself(self) -> bool:
        """Whether it says, or thinks, the same again and again: zlib makes that many times smaller."""
        parts = (self.text.encode(), self.thoughts.encode())
        return any(len(data) > REPEATED_BYTES and len(zlib.compress(data)) * REPEATS < len(data) for data in parts)


Ask = Callable[[MessagesRequest, float], Awaitable[MeasuredAnswer]]
"""Asks a model for an answer within so many seconds; raises BridgeError."""


def asks(bridge: AnyBridge) -> Ask:
    """Return a function that sends requests through a bridge; after a temporary error it tries again."""

    async def ask_again(request: MessagesRequest, within_s: float) -> MeasuredAnswer:
        ends_at = anyio.current_time() + within_s
        for _ in range(TRIES - 1):
            try:
                return await ask(bridge, request, ends_at - anyio.current_time())
            except BridgeError as error:
                if isinstance(error, UpstreamUnreachableError) or error.status not in TRY_AGAIN:
                    raise
                await anyio.sleep(min(error.retry_after_s or WAIT_S, MAX_WAIT_S))
        return await ask(bridge, request, ends_at - anyio.current_time())

    return ask_again


async def ask(
    bridge: AnyBridge, request: MessagesRequest, within_s: float, *, leaves_at_first: bool = False
) -> MeasuredAnswer:
    """Return the answer to one request; ``leaves_at_first`` stops it at its first token.

    Raises:
        BridgeError: there is none, or it broke off.
    """
    notes, fold, started_at = _Notes(), MessageAccumulator(), time.monotonic()
    recorder = Recorder(Bus([notes]), new_id("req_"))
    left: Left | None = None
    count = chars = 0

    async def take(events: Sequence[StreamEvent]) -> None:
        nonlocal left, count, chars
        fold.feed(events)
        count += len(events)
        chars += sum(map(content_chars, events))
        is_due, count = count >= LOOK_AFTER_EVENTS, count % LOOK_AFTER_EVENTS
        if chars and leaves_at_first:
            left = "begun"
        elif chars > MAX_ANSWER_CHARS or (is_due and MeasuredAnswer(message=fold.message).repeats_itself):
            left = "endless"
        if left is not None:
            limit.cancel()

    with anyio.move_on_after(within_s) as limit:
        async with AsyncExitStack() as stack:
            answer = await bridge.begin(request, recorder, None, stack)
            await answer.send_events_to(take)
    if limit.cancelled_caught and left is None:
        left = "late"
    if left is None and answer.error is not None:
        raise answer.error
    message = fold.message if fold.has_begun else NOTHING
    figures = AnswerFigures() if left else notes.figures(message, request.tools or ())
    return MeasuredAnswer(message=message, figures=figures, took_s=time.monotonic() - started_at, left=left)


class _Notes:
    """A sink that keeps what an exchange took."""

    name = "record of the answer"

    def __init__(self) -> None:
        self._repairs: Counter[tuple[str, str]] = Counter()
        self._ended: ExchangeEnded | None = None

    def take(self, event: TraceEvent) -> None:
        """Keep the event if it is of interest."""
        if isinstance(event, ToolInputRepaired):
            self._repairs[event.tool_name, event.what] += 1
        elif isinstance(event, ExchangeEnded):
            self._ended = event

    def close(self) -> None:
        """Nothing is held."""

    def figures(self, message: Message, tools: Sequence[Tool]) -> AnswerFigures:
        """Return what the exchange took, by the engine's own times before those that the bridge saw."""
        answer, ended = MeasuredAnswer(message=message), self._ended
        assert ended is not None, "its answer is whole"
        details = message.usage.output_tokens_details
        thinking_tokens = 0 if isinstance(details, UnsetType) else details.thinking_tokens
        printed = sum(count for (_, what), count in self._repairs.items() if what == PRINTED_CALL)
        first_token_s = ended.first_token_s
        since_first_s = ended.after_s - (first_token_s or 0.0)
        return AnswerFigures(
            prompt_tokens=ended.prompt_tokens,
            cached_tokens=ended.cached_tokens,
            output_tokens=message.usage.output_tokens,
            thinking_tokens=thinking_tokens or len(answer.thoughts) // CHARS_PER_TOKEN,
            prompt_s=first_token_s if ended.prompt_ms is None else ended.prompt_ms / 1000,
            output_s=since_first_s if ended.output_ms is None else ended.output_ms / 1000,
            first_token_s=first_token_s,
            cost_usd=ended.cost_usd,
            calls=len(answer.calls),
            repaired=self._repaired(answer.calls, {tool.name: bytes(tool.input_schema or b"") for tool in tools}),
            printed=printed + printed_calls(answer.text, [tool.name for tool in tools]),
        )

    def _repaired(self, calls: Sequence[ToolUseBlock], schemas: Mapping[str, bytes]) -> int:
        """Return how many calls are valid only because they were repaired.

        A call may need several repairs, each noted in words of its own; the same words twice are of two calls.
        """
        valid = Counter(
            call.name
            for call in calls
            if call.name in schemas and accepts(bytes(call.input).decode(), schemas[call.name], WorkBudget())
        )
        repairs: dict[str, int] = {}
        for (name, _), count in self._repairs.items():
            repairs[name] = max(count, repairs.get(name, 0))
        return sum(min(count, valid[name]) for name, count in repairs.items())


def printed_calls(text: str, tools: Sequence[str]) -> int:
    """Return how many calls of these tools stand in a text, as ``Read(…)``, as JSON with the name, or in tags."""
    name = "|".join(map(re.escape, tools)) or "(?!)"
    forms = (
        rf"""\b(?:{name})\((?=[\w{{"'])""",
        rf'"(?:name|tool|function)"\s*:\s*"(?:{name})"',
        rf'<(?:invoke name="|function=)(?:{name})\b',
    )
    return len(re.findall("|".join(forms), text))
