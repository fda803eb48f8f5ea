"""Answer: what a client gets for one request; Exchange: the answer of one request to an engine, byte by byte."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence

import anyio
from msgspec import Struct

from claude_bridge.adapters.base import Response
from claude_bridge.conversion.deltas import UsageReport
from claude_bridge.conversion.pricing import Prices, answer_cost_usd
from claude_bridge.conversion.prompt.cache_misses import PromptWatch
from claude_bridge.conversion.prompt.context_budget import ContextOverflow
from claude_bridge.conversion.response.accumulator import MessageAccumulator
from claude_bridge.errors import BridgeError, UpstreamBrokenError
from claude_bridge.off_loop import LARGE_BYTES, run_off_loop_if_large
from claude_bridge.trace.events import UpstreamAnswered, WaitingForUpstream
from claude_bridge.trace.recorder import Recorder
from claude_bridge.upstream.call import UpstreamCall
from claude_bridge.wire.anthropic_answers import Message, RawBytes, ResponseItem, StreamEvent
from claude_bridge.wire.anthropic_codec import encode_message
from claude_bridge.wire.anthropic_lenient import typed_events


class Waiting(Struct, frozen=True, kw_only=True):
    """How long the bridge waits for an engine before it acts.

    ``first_byte_grace_s``: before it commits to HTTP 200, so that early refusals keep their status.
    ``keep_alive_s``: of silence towards the client before a sign of life; clients give up after 300 s.
    """

    first_byte_grace_s: float = 5.0
    keep_alive_s: float = 10.0


SendItems = Callable[[Sequence[ResponseItem]], Awaitable[None]]
"""Sends some of an answer to a client."""

SendEvents = Callable[[Sequence[StreamEvent]], Awaitable[None]]


class Answer(ABC):
    """What a client gets for one request: a stream of items, or what they come to."""

    @property
    @abstractmethod
    def error(self) -> BridgeError | None:
        """What ended the answer too early, if anything did."""

    @property
    @abstractmethod
    def headers(self) -> Mapping[str, str]:
        """The headers of the engine's answer that are for the client, as far as they have come."""

    @abstractmethod
    async def send_to(self, send: SendItems) -> None:
        """Give all that goes to the client to ``send``, one list for each upstream read; the last one ends it."""

    async def send_events_to(self, send: SendEvents) -> None:
        """Give the stream to ``send`` as typed events, one list for each upstream read; the last one ends it."""
        await self.send_to(lambda items: send(typed_events(items)))

    async def body(self) -> bytes:
        """Return the whole answer as the body of a response that is not streamed.

        Raises:
            BridgeError: the answer broke off.
        """
        accumulator, verbatim = MessageAccumulator(), bytearray()

        async def take(items: Sequence[ResponseItem]) -> None:
            for item in items:
                if isinstance(item, RawBytes):
                    verbatim.extend(item.data)
                else:
                    accumulator.feed([item])

        await self.send_to(take)
        if self.error is not None:
            raise self.error
        return bytes(verbatim) or encode_message(accumulator.message)

    async def message(self) -> Message:
        """Return the whole answer as one message.

        Raises:
            BridgeError: the answer broke off.
        """
        accumulator = MessageAccumulator()

        async def take(events: Sequence[StreamEvent]) -> None:
            accumulator.feed(events)

        await self.send_events_to(take)
        if self.error is not None:
            raise self.error
        return accumulator.message


_WORK_OF_A_BYTE = 4
"""How many times as long as a byte of a request a byte of an answer takes, where tool calls may be printed in it."""


class Exchange(Answer):
    """One request to an engine with its whole answer; made by ModelBridge."""

    def __init__(
        self,
        call: UpstreamCall,
        response: Response,
        recorder: Recorder,
        waiting: Waiting,
        *,
        overflow: ContextOverflow | None,
        prices: Prices | None,
        calibrate: Callable[[int | None], None],
        watch: PromptWatch,
        is_round: bool = False,
    ) -> None:
        """``overflow`` says that the prompt exceeds the window; an engine that answers all the same has cut it.

        ``calibrate`` takes the prompt's tokens as the engine counted them (None: it did not). ``is_round`` says that
        the answer is only a part of what the client gets: then others report the whole to the trace.
        """
        self._call = call
        self.response = response
        self._recorder = recorder
        self._waiting = waiting
        self._overflow = overflow
        self._prices = prices
        self._calibrate = calibrate
        self._watch = watch
        self._must_read_prompt = watch.size_bytes > LARGE_BYTES and watch.must_read
        """Whether the prompt takes long to read: before the last items, but after all others."""
        self._is_round = is_round
        self._repairs_seen = 0
        self._early: list[ResponseItem] = []
        self._upstream_ended = False
        self._upstream_is_silent = False
        self._status_reported = False
        self._read_tokens: int | None = None
        self._open_line_bytes = 0
        self._last_progress_at = time.monotonic()

    @property
    def error(self) -> BridgeError | None:
        """What ended the answer too early, if anything did."""
        return self.response.error

    @property
    def usage(self) -> UsageReport:
        """What the engine has reported so far."""
        return self.response.usage

    @property
    def cost_usd(self) -> float | None:
        """What the answer cost so far; None: not known."""
        return answer_cost_usd(self.usage, self._prices)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the engine's answer that are for the client, as far as they have come."""
        return self.response.kept_headers(self._call.headers)

    async def begin(self) -> None:
        """Wait for the engine's first bytes, but no longer than the grace time if the client may get something before.

        Raises:
            BridgeError: the engine refused or failed, and nothing has been sent to the client yet.
        """
        self._early += self.response.start()
        grace_s = self._waiting.first_byte_grace_s if self.response.emits_before_upstream else math.inf
        try:
            with anyio.move_on_after(grace_s):
                while not self.response.begun and not self._upstream_ended:
                    self._early += await self._take(await self._call.receive())
        finally:
            if self._call.retried is not None:
                self._recorder.retried(f"{self._call.where} {self._call.retried}")
            if self._call.refusal:
                self._recorder.upstream_sent(self._call.refusal)
        if self._upstream_ended and not self.response.begun:
            self._early += self.response.close()
            if not self.response.begun:
                raise UpstreamBrokenError("The upstream ended its answer before it began.")
        if self.error is not None and self.response.emits_before_upstream:
            raise self.error

    async def send_to(self, send: SendItems) -> None:
        """Give all that goes to the client to ``send``; see Answer."""
        items: Sequence[ResponseItem] = self._early
        while not self._is_over:
            if items:
                self._emit(items)
                await send(items)
            items = await self._send_until_silent(send)
        items = [*items, *self._last_items()]
        if items:
            self._emit(items)
        try:
            await send(items)
        finally:  # at once, without letting others have their turn: a client may ask on as soon as it has them
            self._end()

    async def _send_until_silent(self, send: SendItems) -> Sequence[ResponseItem]:
        """Send what comes until the engine is silent or the answer ends; return what is to be sent next.

        One cancel scope serves all these reads: one for each of them takes a tenth of what a token costs.
        """
        if self._has_ended or not self._call.is_watched:
            return await self._later_items()
        with self._call.until_silent() as silence:
            while True:
                items = await self._later_items()
                if silence.cancel_called or self._has_ended:  # to send in there could be broken off
                    return items
                if items:
                    self._emit(items)
                    await send(items)
        return await self._later_items()

    @property
    def _has_ended(self) -> bool:
        return self._upstream_ended or self.response.done

    @property
    def _is_over(self) -> bool:
        """Whether only the last items are missing."""
        return self._has_ended and not self._must_read_prompt

    async def _later_items(self) -> Sequence[ResponseItem]:
        """Return what comes next for the client; its connection is kept alive where that is nothing."""
        if self._has_ended and self._must_read_prompt:
            self._must_read_prompt = False
            await run_off_loop_if_large(self._watch.size_bytes, self._watch.read_prompt)
            return ()
        try:
            items = await self._take(await self._call.receive())
        except BridgeError as error:
            items = self.response.fail(error)
        now = time.monotonic()
        if _is_progress(items):
            self._last_progress_at = now
        elif self._upstream_is_silent or now - self._last_progress_at >= self._waiting.keep_alive_s:
            self._last_progress_at = now
            self._recorder.record(WaitingForUpstream())
            items = [*items, *self.response.keep_alive()]
        return items

    def _last_items(self) -> Sequence[ResponseItem]:
        """Return the end of the answer, which is an error where the engine's last bytes can't be read."""
        try:
            return self.response.close()
        except BridgeError as error:
            return self.response.fail(error)

    async def _take(self, data: bytes | None) -> Sequence[ResponseItem]:
        """Return what a read brings for the client; ``data`` as UpstreamCall.receive gives it."""
        self._upstream_is_silent = data is None
        if data:
            self._recorder.upstream_sent(data)
            work_bytes = self._work_bytes(data)
            if work_bytes <= LARGE_BYTES:
                items = self.response.feed(data)
            else:
                with anyio.CancelScope(shield=True):  # what was read must not be lost
                    items = await run_off_loop_if_large(work_bytes, self.response.feed, data)
            if not self.response.begun:
                self._report_progress()
            return items
        self._upstream_ended = data is not None or self.response.finished
        return ()

    def _work_bytes(self, data: bytes) -> int:
        """Return how much work a read is: much where it ends a huge line, such as a whole file in one piece."""
        first, last = data.find(b"\n"), data.rfind(b"\n")
        line_bytes = self._open_line_bytes + (len(data) if first < 0 else first)
        self._open_line_bytes = line_bytes if first < 0 else len(data) - last - 1
        return _WORK_OF_A_BYTE * line_bytes

    def _report_progress(self) -> None:
        """Report how much of the prompt the engine has read, if it says so."""
        usage = self.response.usage
        if usage.read_tokens != self._read_tokens:
            self._read_tokens = usage.read_tokens
            self._recorder.reading(usage)

    def _emit(self, items: Sequence[ResponseItem]) -> None:
        if self._recorder.active:
            if self._call.status and not self._status_reported:
                self._status_reported = True
                self._recorder.record(UpstreamAnswered(status=self._call.status))
            self._record_repairs()
        if not self._is_round:
            self._recorder.answered(items)

    def _record_repairs(self) -> None:
        repairs, seen = self.response.repairs, self._repairs_seen
        if len(repairs) > seen:
            self._repairs_seen = len(repairs)
            self._recorder.repaired(repairs[seen:])

    def _end(self) -> None:
        self._record_repairs()
        if self.error is not None:
            if not self._is_round:
                self._recorder.failed(self.error, in_stream=True)
            return
        usage, overflow = self.usage, self._overflow
        if overflow is None:
            self._calibrate(usage.prompt_tokens)
        elif usage.prompt_tokens is not None and usage.prompt_tokens <= overflow.window_tokens:
            self._recorder.prompt_cut(overflow, usage.prompt_tokens)
        cache_miss = self._watch.end(self.response.message_id, usage)
        if cache_miss is not None:
            self._recorder.reread(cache_miss)
        if not self._is_round:
            self._recorder.ended(usage, cost_usd=self.cost_usd)


def _is_progress(items: Sequence[ResponseItem]) -> bool:
    if items and type(items[0]) is not RawBytes:  # nearly always
        return True
    return any(type(item) is not RawBytes or item.is_progress for item in items)
