"""Asks a model through the bridge, as a client's request goes, and notes what each answer took."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any

import anyio
from msgspec import Struct, UnsetType

from claude_bridge.bridge import new_id
from claude_bridge.bridge_protocol import BridgeProtocol
from claude_bridge.conversion.loss import PRINTED_CALL
from claude_bridge.conversion.response.accumulator import MessageAccumulator
from claude_bridge.conversion.tool_calls.arguments import accepts
from claude_bridge.conversion.tool_json.schema_check import WorkBudget
from claude_bridge.errors import BridgeError, UpstreamUnreachableError
from claude_bridge.trace.bus import Bus
from claude_bridge.trace.events import ExchangeEnded, ToolInputRepaired, TraceEvent
from claude_bridge.trace.recorder import Recorder
from claude_bridge.wire.anthropic import MessagesRequest, TextBlock, ThinkingBlock, Tool, ToolUseBlock
from claude_bridge.wire.anthropic_answers import Message, content_chars

ENDS_THE_EXAM = frozenset({401, 402, 403, 404})
"""Statuses of errors that the next task would have too: no such model, no key."""

MAX_ANSWER_CHARS = 1_000_000
"""Far more characters than the limit of an answer allows; an engine may ignore the limit."""

TRY_AGAIN = frozenset({429, 500, 502, 503, 529})
"""Statuses after which Claude Code asks again too."""

REPEATED_BYTES, REPEATS = 1_000, 12
LOOK_AFTER_EVENTS = 300
"""How often an answer is looked at while it comes: one without an end need not be waited for."""

TRIES = 3
WAIT_S, MAX_WAIT_S = 1.0, 60.0


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


class MeasuredAnswer(Struct, frozen=True):
    """A whole answer and its figures."""

    message: Message
    figures: AnswerFigures

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


class CutOffError(Exception):
    """An answer was stopped; ``thoughts`` and ``text`` are what had come of it, ``is_loop`` says that it had no end."""

    def __init__(self, so_far: MessageAccumulator, *, is_loop: bool) -> None:
        super().__init__()
        answer = MeasuredAnswer(so_far.message, AnswerFigures()) if so_far.has_begun else None
        self.thoughts, self.text = (answer.thoughts, answer.text) if answer else ("", "")
        self.is_loop = is_loop


Ask = Callable[[MessagesRequest, float], Awaitable[MeasuredAnswer]]
"""Asks a model for an answer within so many seconds; raises BridgeError, or CutOffError for one that has no end."""


def asks(bridge: BridgeProtocol) -> Ask:
    """Return a function that sends requests through a bridge; after a temporary error it tries again."""

    async def ask(request: MessagesRequest, within_s: float) -> MeasuredAnswer:
        ends_at = anyio.current_time() + within_s
        for tries_left in reversed(range(TRIES)):
            try:
                return await _ask(bridge, request, ends_at - anyio.current_time())
            except BridgeError as error:
                is_gone = isinstance(error, UpstreamUnreachableError)
                if is_gone or error.status not in TRY_AGAIN or not tries_left:
                    raise
                await anyio.sleep(min(error.retry_after_s or WAIT_S, MAX_WAIT_S))
        raise AssertionError("the last try returns or raises")

    return ask


async def _ask(bridge: BridgeProtocol, request: MessagesRequest, within_s: float) -> MeasuredAnswer:
    notes, fold = _Notes(), MessageAccumulator()
    recorder = Recorder(Bus([notes]), new_id("req_"))
    with anyio.move_on_after(within_s) as limit:
        async with AsyncExitStack() as stack:
            exchange = await bridge.begin(request, recorder, None, stack)
            stream = await stack.enter_async_context(aclosing(exchange.events()))
            count = chars = 0
            async for events in stream:
                fold.feed(events)
                count += len(events)
                chars += sum(map(content_chars, events))
                if chars > MAX_ANSWER_CHARS:
                    raise CutOffError(fold, is_loop=True)
                if count >= LOOK_AFTER_EVENTS:
                    count = 0
                    so_far = MeasuredAnswer(fold.message, AnswerFigures())
                    if says_the_same(so_far.text) or says_the_same(so_far.thoughts):
                        raise CutOffError(fold, is_loop=True)
        if exchange.error is not None:
            raise exchange.error
    if limit.cancelled_caught:
        raise CutOffError(fold, is_loop=False)
    return MeasuredAnswer(fold.message, notes.figures(fold.message, request.tools or ()))


def says_the_same(text: str) -> bool:
    """Return whether a text says the same again and again: zlib makes it many times smaller."""
    data = text.encode()
    return len(data) > REPEATED_BYTES and len(zlib.compress(data)) * REPEATS < len(data)


class _Notes:
    """A sink that keeps what an exchange took."""

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
        """Return what the exchange took."""
        answer, ended = MeasuredAnswer(message, AnswerFigures()), self._ended
        details = message.usage.output_tokens_details
        thinking_tokens = 0 if isinstance(details, UnsetType) else details.thinking_tokens
        return AnswerFigures(
            output_tokens=message.usage.output_tokens,
            thinking_tokens=thinking_tokens or len(answer.thoughts) // CHARS_PER_TOKEN,
            calls=len(answer.calls),
            repaired=self._repaired(answer.calls, {tool.name: bytes(tool.input_schema or b"") for tool in tools}),
            printed=sum(count for (_, what), count in self._repairs.items() if what == PRINTED_CALL)
            + printed_calls(answer.text, [tool.name for tool in tools]),
            **({} if ended is None else _measured(ended)),
        )

    def _repaired(self, calls: Sequence[ToolUseBlock], schemas: Mapping[str, bytes]) -> int:
        """Return how many calls are valid only because they were repaired.

        A call may need several repairs, each noted in words of its own; the same words twice are of two calls.
        """
        valid = Counter(call.name for call in calls if _is_valid(call, schemas))
        repairs: dict[str, int] = {}
        for (name, _), count in self._repairs.items():
            repairs[name] = max(count, repairs.get(name, 0))
        return sum(min(count, valid[name]) for name, count in repairs.items())


def _is_valid(call: ToolUseBlock, schemas: Mapping[str, bytes]) -> bool:
    return call.name in schemas and accepts(bytes(call.input).decode(), schemas[call.name], WorkBudget())


def _measured(ended: ExchangeEnded) -> dict[str, Any]:
    """Return the figures that the trace has, the engine's own times before those that the bridge saw."""
    first_token_s = ended.first_token_s
    since_first_s = ended.after_s - (first_token_s or 0.0)
    return {
        "prompt_tokens": ended.prompt_tokens,
        "cached_tokens": ended.cached_tokens,
        "prompt_s": first_token_s if ended.prompt_ms is None else ended.prompt_ms / 1000,
        "output_s": since_first_s if ended.output_ms is None else ended.output_ms / 1000,
        "first_token_s": first_token_s,
        "cost_usd": ended.cost_usd,
    }


CHARS_PER_TOKEN = 4


def printed_calls(text: str, tools: Sequence[str]) -> int:
    """Return how many calls of these tools stand in a text, as ``Read(…)``, as JSON with the name, or in tags."""
    if not tools:
        return 0
    name = "|".join(map(re.escape, tools))
    forms = (
        rf"""\b(?:{name})\((?=[\w{{"'])""",
        rf'"(?:name|tool|function)"\s*:\s*"(?:{name})"',
        rf'<(?:invoke name="|function=)(?:{name})\b',
    )
    return len(re.findall("|".join(forms), text))
