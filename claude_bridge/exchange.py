"""Exchange: one client request with its whole answer, from the engine's first sign to the last word."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

import anyio
from msgspec import Struct

from claude_bridge.adapters.base import Answer
from claude_bridge.conversion.deltas import UsageReport
from claude_bridge.conversion.pricing import Prices, answer_cost_usd
from claude_bridge.conversion.prompt.cache_misses import CacheMiss
from claude_bridge.conversion.prompt.context_budget import ContextOverflow
from claude_bridge.conversion.response.accumulator import MessageAccumulator
from claude_bridge.errors import BridgeError, UpstreamBrokenError
from claude_bridge.trace.recorder import Recorder
from claude_bridge.upstream.call import UpstreamCall
from claude_bridge.wire.anthropic import Message, RawBytes, ResponseItem, StreamEvent
from claude_bridge.wire.anthropic_codec import encode_message
from claude_bridge.wire.anthropic_lenient import typed_events


class Waiting(Struct, frozen=True, kw_only=True):
    """How long the bridge waits for an engine before it acts.

    ``first_byte_grace_s``: before it commits to HTTP 200, so that early refusals keep their status.
    ``keep_alive_s``: of silence towards the client before a sign of life; clients give up after 300 s.
    """

    first_byte_grace_s: float = 5.0
    keep_alive_s: float = 10.0


class Exchange:
    """One client request with its whole answer; made by Bridge.exchange."""

    def __init__(
        self,
        call: UpstreamCall,
        answer: Answer,
        recorder: Recorder,
        waiting: Waiting,
        overlong: ContextOverflow | None,
        prices: Prices | None,
        learn: Callable[[int | None], None],
        judge: Callable[[str, UsageReport], CacheMiss | None],
    ) -> None:
        """``overlong`` says that the prompt can't be read whole; an engine that answers all the same has cut it.

        ``learn`` takes the prompt's tokens as the engine counted them; ``judge`` says why it read again what it had
        read before, if it did.
        """
        self._call = call
        self._answer = answer
        self._recorder = recorder
        self._waiting = waiting
        self._overlong = overlong
        self._prices = prices
        self._learn = learn
        self._judge = judge
        self._early: list[ResponseItem] = []
        self._upstream_ended = False
        self._upstream_is_silent = False
        self._status_told = False

    @property
    def error(self) -> BridgeError | None:
        """What ended the answer too early, if anything did."""
        return self._answer.error

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the engine's answer that are for the client, as far as they have come."""
        return self._answer.kept_headers(self._call.headers)

    async def begin(self) -> None:
        """Wait for the engine's first sign; no longer than the grace time, if the client may be told something then.

        Raises:
            BridgeError: the engine refused or failed, and nothing has been said to the client yet.
        """
        try:
            await self._begin()
        finally:
            if self._call.retried is not None:
                self._recorder.retried(self._call.retried)

    async def _begin(self) -> None:
        self._early += self._answer.start()
        grace_s = self._waiting.first_byte_grace_s if self._answer.emits_before_upstream else math.inf
        with anyio.move_on_after(grace_s):
            while not self._answer.begun and not self._upstream_ended:
                self._early += await self._next_pieces()
        if self._upstream_ended and not self._answer.begun:
            self._early += self._answer.close()
            if not self._answer.begun:
                raise UpstreamBrokenError("The upstream ended its answer before it began.")
        if self.error is not None and self._answer.emits_before_upstream:
            raise self.error

    async def pieces(self) -> AsyncGenerator[Sequence[ResponseItem], None]:
        """Yield what goes to the client, as much at a time as an upstream read brought; the last one ends it."""
        pieces: Sequence[ResponseItem] = self._early
        last_progress_at = anyio.current_time()
        while True:
            ended = self._upstream_ended or self._answer.done
            if ended:
                pieces = [*pieces, *self._answer.close()]
            if _is_progress(pieces):
                last_progress_at = anyio.current_time()
            if pieces:
                self._emit(pieces)
            if ended:
                self._end()  # before the last pieces go out: a client may leave, or ask on, as soon as it has them
                yield pieces
                break
            if pieces:
                yield pieces
            try:
                pieces = await self._next_pieces()
            except BridgeError as error:
                pieces = self._answer.fail(error)
            quiet_s = anyio.current_time() - last_progress_at
            is_late = self._upstream_is_silent or quiet_s >= self._waiting.keep_alive_s
            if is_late and not _is_progress(pieces):
                self._recorder.waiting()
                pieces = [*pieces, *self._answer.keep_alive()]

    async def events(self) -> AsyncGenerator[list[StreamEvent], None]:
        """Yield the stream as typed events, one list for each upstream read; the last one ends it."""
        async with aclosing(self.pieces()) as stream:
            async for pieces in stream:
                yield typed_events(pieces)

    async def body(self) -> bytes:
        """Return the whole answer as the body of a response that is not streamed.

        Raises:
            BridgeError: the answer broke off.
        """
        fold, verbatim = MessageAccumulator(), bytearray()
        async with aclosing(self.pieces()) as stream:
            async for pieces in stream:
                for piece in pieces:
                    if isinstance(piece, RawBytes):
                        verbatim += piece.data
                    else:
                        fold.feed([piece])
        if self.error is not None:
            raise self.error
        return bytes(verbatim) or encode_message(fold.message)

    async def message(self) -> Message:
        """Return the whole answer as one message.

        Raises:
            BridgeError: the answer broke off.
        """
        fold = MessageAccumulator()
        async with aclosing(self.events()) as stream:
            async for events in stream:
                fold.feed(events)
        if self.error is not None:
            raise self.error
        return fold.message

    async def _next_pieces(self) -> Sequence[ResponseItem]:
        data = await self._call.receive()
        self._upstream_is_silent = data is None
        if data:
            return self._answer.feed(data)
        self._upstream_ended = data is not None or self._answer.finished
        return ()

    def _emit(self, pieces: Sequence[ResponseItem]) -> None:
        if not self._recorder.active:
            if self._recorder.awaits_first_token:
                self._recorder.look_for_first_token(typed_events(pieces))
            return
        if self._call.status is not None and not self._status_told:
            self._status_told = True
            self._recorder.upstream_answered(self._call.status)
        self._recorder.answered(typed_events(pieces))
        self._recorder.repaired(self._answer.repairs)
        self._recorder.mended(self._answer.mends)

    def _end(self) -> None:
        self._recorder.repaired(self._answer.repairs)
        if self.error is not None:
            self._recorder.failed(self.error, in_stream=True)
            return
        usage, overlong = self._answer.usage, self._overlong
        if overlong is None:
            self._learn(usage.prompt_tokens)
        elif usage.prompt_tokens is not None and usage.prompt_tokens <= overlong.window_tokens:
            self._recorder.prompt_cut(overlong, usage.prompt_tokens)
        reread = self._judge(self._answer.message_id, usage)
        if reread is not None:
            self._recorder.reread(reread)
        self._recorder.ended(usage, cost_usd=answer_cost_usd(usage, self._prices))


def _is_progress(pieces: Sequence[ResponseItem]) -> bool:
    return any(type(piece) is not RawBytes or piece.is_progress for piece in pieces)
