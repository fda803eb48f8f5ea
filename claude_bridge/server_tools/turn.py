"""WebTurn: one answer in several rounds: the model calls web tools, the bridge runs them, and the model continues."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Literal

import anyio
import msgspec
from anyio.abc import TaskGroup
from msgspec import Raw

from claude_bridge.adapters.base import ClientRequest
from claude_bridge.conversion.builtin_tools import WebTool
from claude_bridge.conversion.deltas import UsageReport
from claude_bridge.conversion.web_results import error_content
from claude_bridge.errors import BridgeError
from claude_bridge.exchange import Answer, Exchange, SendItems, Waiting
from claude_bridge.off_loop import run_off_loop_if_large
from claude_bridge.server_tools.function_calls import WebRequest
from claude_bridge.server_tools.message_writer import MessageWriter, WebCall
from claude_bridge.server_tools.result_texts import tool_result
from claude_bridge.server_tools.tools import CHARS_PER_TOKEN, CallResult, WebTools
from claude_bridge.trace.events import WebToolCalled
from claude_bridge.trace.recorder import Recorder
from claude_bridge.wire.anthropic import MessagesRequest
from claude_bridge.wire.anthropic_answers import Message, ResponseItem, Stop, Usage

MAX_ROUNDS = 12
"""How often an engine gets a request for one answer; the last one offers no tools."""

MAX_CALLS = 30
"""How many calls one answer may take, whatever the client allows."""

MAX_CONCURRENT = 4
"""How many calls of one answer run side by side."""

BeginRound = Callable[[MessagesRequest, ClientRequest, AsyncExitStack], Awaitable[Exchange]]
"""Sends a request to the engine; closing the stack ends it. Raises BridgeError."""

_FINISHED_CALLS = ("tool_use", "end_turn")
"""Stop reasons with which calls are whole."""


class WebTurn(Answer):
    """The answer to a request that declares web tools; ``begin`` comes first."""

    def __init__(
        self,
        request: WebRequest,
        given: MessagesRequest,
        tools: WebTools,
        begin_round: BeginRound,
        begin_later_round: BeginRound,
        recorder: Recorder,
        *,
        waiting: Waiting,
        window_tokens: int | None,
        new_id: Callable[[str], str],
    ) -> None:
        """``begin_later_round`` sends requests after the client got something: nobody else can send them then."""
        self._request = request
        self._given = given
        self._first_call = request.first_call
        self._tools = tools
        self._begin_round = begin_round
        self._begin_later_round = begin_later_round
        self._recorder = recorder
        self._waiting = waiting
        self._window_tokens = window_tokens
        self._new_id = new_id
        self._writer = MessageWriter(request.declared, request.sources, recorder.exchange, lambda: new_id("srvtoolu_"))
        self._error: BridgeError | None = None
        self._exchange: Exchange | None = None
        self._headers: Mapping[str, str] = {}
        self._rounds = AsyncExitStack()
        self._tasks: TaskGroup | None = None
        self._round_number = 0
        self._has_ended = False
        self._calls = Counter[str]()
        self._successes = Counter[WebTool]()
        self._results: dict[str, CallResult] = {}
        self._usages: list[tuple[UsageReport, float | None]] = []

    @property
    def error(self) -> BridgeError | None:
        """What ended the answer too early, if anything did."""
        return self._error

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the engine's first answer that are for the client."""
        return self._headers

    async def begin(self, stack: AsyncExitStack) -> None:
        """Wait for the engine's answer to begin, unless there is something to search for first.

        Raises:
            BridgeError: the engine refused or failed.
        """
        self._tasks = await enter_task_group(stack)
        await stack.enter_async_context(self._rounds)
        if self._first_call is None:
            self._exchange = await self._begun(self._begin_round)
            self._headers = self._exchange.headers

    async def send_to(self, send: SendItems) -> None:
        """Give what goes to the client to ``send``; the last list ends the answer."""

        async def emit(items: Sequence[ResponseItem]) -> None:
            if items:
                if not self._has_ended:
                    self._recorder.answered(items)
                await send(items)

        if self._first_call is not None:
            await self._begin_with(*self._first_call, emit)
        while not self._has_ended:
            try:
                await self._round(emit)
            except BridgeError as error:
                self._error = error
            if self._error is not None:
                await emit(self._end_early(self._error, has_results=self._first_call is not None))
                return
            ended = self._writer.end_round()
            is_whole = ended.stop is not None and ended.stop.stop_reason in _FINISHED_CALLS
            goes_on = bool(ended.calls) and is_whole and self._round_number < MAX_ROUNDS
            await self._run(ended.calls, emit, may_run=goes_on)
            if goes_on and not ended.calls_client:
                self._add_turn(ended.answer, ended.calls)
            elif goes_on:
                await emit(self._end(Stop("tool_use")))
            else:
                is_called = ended.stop is not None and (ended.stop.stop_reason != "tool_use" or ended.calls_client)
                await emit(self._end(ended.stop if ended.stop and is_called else Stop("end_turn")))

    async def _begin_with(self, name: str, tool_input: Raw, emit: SendItems) -> None:
        """Emit a call that no model makes, and what it gives; where it fails, that is all of the answer."""
        call = WebCall(id=self._new_id("srvtoolu_"), name=name, input=tool_input)
        head = Message(
            id=self._new_id("msg_"), model=self._given.model, content=[], stop_reason=None, usage=Usage(input_tokens=0)
        )
        await emit([*self._writer.start(head), *self._writer.call(call)])
        await self._run([call], emit, may_run=True)
        result = self._results[call.id]
        if result.error is None:
            block = {"type": "tool_use", "id": call.id, "name": call.name, "input": call.input}
            self._add_turn([Raw(msgspec.json.encode(block))], [call])
        else:
            await emit([*self._writer.text(result.reason or result.error), *self._end(Stop("end_turn"))])

    # --- rounds -------------------------------------------------------------------------------------------------

    async def _begun(self, begin_round: BeginRound) -> Exchange:
        """Return what the engine answers to all that has come of its answer so far."""
        await self._rounds.aclose()
        self._round_number += 1
        choice: Literal["auto", "none"] | None = None if self._round_number == 1 else "auto"
        if self._first_call is not None or self._round_number >= MAX_ROUNDS:
            choice = "none"
        request, raw = await run_off_loop_if_large(self._request.size_bytes, self._request.encoded, choice)
        self._writer.begin_round()
        return await begin_round(request, raw, self._rounds)

    async def _round(self, emit: SendItems) -> None:
        """Emit what the engine's next answer gives the client; raises BridgeError where it does not begin."""
        exchange, self._exchange = self._exchange or await self._begun(self._begin_later_round), None
        await exchange.send_events_to(lambda events: emit(list(self._writer.take(events))))
        self._error = exchange.error
        self._usages.append((exchange.usage, exchange.cost_usd))

    def _add_turn(self, answer: Sequence[Raw], calls: Sequence[WebCall]) -> None:
        """Add an answer and the results of its calls to the next request."""
        blocks = []
        for call in calls:
            tool, result = self._request.declared[call.name].tool, self._results[call.id]
            first = self._request.add_sources(result.content) if tool == "web_search" else 0
            blocks.append(tool_result(tool, call.id, result.content, first, result.reason))
        self._request.add_turn(answer, blocks)

    # --- calls --------------------------------------------------------------------------------------------------

    async def _run(self, calls: Sequence[WebCall], emit: SendItems, *, may_run: bool) -> None:
        """Emit what calls give, in their order, and signs of life while they run side by side."""
        assert self._tasks is not None, "begun"
        finished = {call.id: anyio.Event() for call in calls}

        side_by_side = anyio.CapacityLimiter(MAX_CONCURRENT)

        room_tokens = None
        if self._window_tokens is not None:  # all results of an answer take a half of it at most
            taken = sum(len(bytes(result.content)) for result in self._results.values()) // CHARS_PER_TOKEN
            room_tokens = max(0, self._window_tokens // 2 - taken) // max(1, len(calls))

        async def run(call: WebCall) -> None:
            async with side_by_side:
                self._results[call.id] = await self._call(call, room_tokens)
            finished[call.id].set()

        for call in calls:
            refusal = self._count(call) if may_run else "unavailable"
            if refusal is None:
                self._tasks.start_soon(run, call)
            else:
                content = error_content(self._request.declared[call.name].tool, refusal)
                self._results[call.id] = CallResult(content, refusal)
                finished[call.id].set()
        for call in calls:
            while not finished[call.id].is_set():
                with anyio.move_on_after(self._waiting.keep_alive_s):
                    await finished[call.id].wait()
                if not finished[call.id].is_set():
                    await emit(self._writer.keep_alive())
            tool = self._request.declared[call.name].tool
            await emit(self._writer.result(tool, call.id, self._results[call.id].content))

    async def _call(self, call: WebCall, room_tokens: int | None) -> CallResult:
        """Return what a call gives."""
        declared = self._request.declared[call.name]
        started_at = anyio.current_time()
        result = await self._tools.call(declared, call.input, self._request, room_tokens=room_tokens)
        self._successes[declared.tool] += result.error is None
        self._recorder.called_web(
            WebToolCalled(
                tool=declared.tool,
                input=bytes(call.input).decode("utf-8", "replace"),
                results=result.results,
                size_bytes=result.size_bytes,
                error=result.error,
                reason=result.reason,
                took_s=anyio.current_time() - started_at,
            )
        )
        return result

    def _count(self, call: WebCall) -> str | None:
        """Count a call, and return the code with which it is refused where it is one too many."""
        self._calls[call.name] += 1
        most = self._request.declared[call.name].max_uses
        is_too_many = self._calls[call.name] > (MAX_CALLS if most is None else min(most, MAX_CALLS))
        return "max_uses_exceeded" if is_too_many else None

    # --- the end ------------------------------------------------------------------------------------------------

    def _end_early(self, error: BridgeError, *, has_results: bool) -> Sequence[ResponseItem]:
        """Return the end after an error of the engine; results that the client itself requested are an answer."""
        if has_results:
            self._error = None
            self._recorder.retried(f"the results went out without a summary: {error.message}")
            return self._end(Stop("end_turn"))
        self._has_ended = True
        self._recorder.failed(error, in_stream=True)
        return self._writer.fail(error)

    def _end(self, stop: Stop) -> Sequence[ResponseItem]:
        items = self._writer.end(stop, self._successes)
        self._recorder.answered(items)
        self._has_ended = True  # before the last items go out: a client may leave as soon as it has them
        costs = [cost for _, cost in self._usages]
        cost = None if not costs or None in costs else sum(cost for cost in costs if cost is not None)
        self._recorder.ended(_sum([usage for usage, _ in self._usages]), cost_usd=cost)
        return items


def _sum(usages: Sequence[UsageReport]) -> UsageReport:
    """Return the sum; a figure that one of the rounds lacks is not known."""
    sums = {}
    for name in UsageReport.__struct_fields__:
        figures = [getattr(usage, name) for usage in usages]
        if figures and None not in figures:
            sums[name] = sum(figures)
    return UsageReport(**sums)


async def enter_task_group(stack: AsyncExitStack) -> TaskGroup:
    """Return a task group that ends with the stack, and does not wrap the error that ends that."""
    tasks = anyio.create_task_group()
    await tasks.__aenter__()

    async def end() -> None:
        tasks.cancel_scope.cancel()
        await tasks.__aexit__(None, None, None)

    stack.push_async_callback(end)
    return tasks
