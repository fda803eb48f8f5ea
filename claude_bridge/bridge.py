"""Bridge: one exchange from a Messages request to stream events; also the library's front door."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
from msgspec import Struct

from claude_bridge.adapters.base import OutgoingRequest, StreamDecoder
from claude_bridge.conversion.answer import AnswerStream
from claude_bridge.conversion.compaction import Overlong, TokenScale, find_overlong, no_room_to_compact
from claude_bridge.conversion.deltas import Delta, Failure
from claude_bridge.conversion.fold import Fold
from claude_bridge.conversion.prices import Prices, answer_cost_usd
from claude_bridge.conversion.request import FitRequest, fit_request
from claude_bridge.conversion.tokens import estimate_tokens
from claude_bridge.errors import BridgeError, PromptTooLongError, UpstreamBrokenError
from claude_bridge.providers import Upstream
from claude_bridge.trace.bus import Bus
from claude_bridge.trace.recorder import Recorder
from claude_bridge.upstream.call import UpstreamCall
from claude_bridge.wire.anthropic import CountTokensRequest, Message, MessagesRequest, StreamEvent

if TYPE_CHECKING:
    from claude_bridge.upstream.client import UpstreamClient  # brings httpx, 150 ms


REACH_TIMEOUT_S = 5.0


class Waiting(Struct, frozen=True, kw_only=True):
    """How long the bridge waits for an engine before it acts.

    ``first_byte_grace_s``: before it commits to HTTP 200, so that early refusals keep their status.
    ``keep_alive_s``: of silence towards the client before a sign of life; clients give up after 300 s.
    """

    first_byte_grace_s: float = 5.0
    keep_alive_s: float = 10.0


def new_id(prefix: str) -> str:
    """Return a fresh id in Anthropic's manner, such as ``msg_`` and 24 hexadecimal digits."""
    return prefix + secrets.token_hex(12)


class Bridge:
    """Carries Messages requests to one engine and its answers back."""

    def __init__(
        self,
        upstream: Upstream,
        client: UpstreamClient,
        *,
        bus: Bus | None = None,
        waiting: Waiting | None = None,
    ) -> None:
        self.upstream = upstream
        self.bus = bus or Bus()
        self.waiting = waiting or Waiting()
        self._client = client
        self._scale = TokenScale()

    @asynccontextmanager
    async def exchange(self, request: MessagesRequest, recorder: Recorder) -> AsyncIterator[Exchange]:
        """Send the request upstream and yield the exchange; leaving the context closes the upstream connection.

        Raises:
            ClientError: the request can't be served.
            UpstreamError: the engine failed before its answer began.
        """
        upstream = self.upstream
        fit, outgoing, estimate = self._translated(request)
        prompt_tokens = self._scale.tokens(estimate)
        too_long = no_room_to_compact(fit, prompt_tokens, upstream.window_tokens)
        if too_long is not None:
            raise too_long
        recorder.sent(
            method=outgoing.method,
            url=upstream.base_url + outgoing.path,
            model=upstream.model,
            upstream=upstream.name,
            tokens=prompt_tokens,
            losses=fit.losses,
            body=outgoing.body,
        )
        answer = AnswerStream(
            request,
            message_id=new_id("msg_"),
            request_id=recorder.exchange,
            prompt_tokens=prompt_tokens,
            window_tokens=upstream.window_tokens,
            new_tool_id=lambda: new_id("toolu_"),
        )
        idle_s = self.waiting.keep_alive_s
        explain_refusal = partial(self._explain_refusal, prompt_tokens)
        async with self._client.open(outgoing, explain_refusal, idle_s=idle_s) as call:
            decoder = upstream.adapter.decoder(f"{upstream.name} at {upstream.base_url}")
            overlong = find_overlong(fit, estimate, upstream.window_tokens)
            exchange = Exchange(call, decoder, answer, recorder, self.waiting, overlong, upstream.prices)
            await exchange.begin()
            yield exchange
        if not fit.holds_images:
            self._scale.learn(estimate, answer.usage.prompt_tokens)

    async def complete(self, request: MessagesRequest, recorder: Recorder | None = None) -> Message:
        """Return the whole answer; raises as ``exchange`` does, and UpstreamError for an answer that breaks off."""
        async with self.exchange(request, recorder or Recorder(self.bus, new_id("req_"))) as exchange:
            return await exchange.message()

    async def reach(self) -> None:
        """Ask the engine something small; whatever it answers, it is there.

        Raises:
            UpstreamError: it does not answer.
        """
        await self._client.fetch(self.upstream.adapter.reach_path, timeout_s=REACH_TIMEOUT_S)

    def count_tokens(self, request: CountTokensRequest) -> int:
        """Return an estimate of the prompt's tokens, of everything that would be sent."""
        _, _, estimate = self._translated(request)
        return self._scale.tokens(estimate)

    def _translated(self, request: CountTokensRequest) -> tuple[FitRequest, OutgoingRequest, int]:
        """Return the request as the engine gets it, and how many tokens that is by its length."""
        upstream = self.upstream
        fit = fit_request(request, upstream.profile)
        outgoing = upstream.adapter.encode(fit, upstream.model, upstream.profile, upstream.limits)
        return fit, outgoing, estimate_tokens(outgoing.body, holds_images=fit.holds_images)

    def _explain_refusal(
        self, prompt_tokens: int, status: int, headers: Mapping[str, str], body: bytes, where: str
    ) -> BridgeError:
        """Return the adapter's explanation, with numbers where the engine gives none."""
        error = self.upstream.adapter.explain_refusal(status, headers, body, where)
        window_tokens = self.upstream.window_tokens
        if isinstance(error, PromptTooLongError) and not error.has_numbers and window_tokens is not None:
            return PromptTooLongError(max(prompt_tokens, window_tokens + 1), window_tokens)
        return error


class Exchange:
    """One client request with its whole answer; made by Bridge.exchange."""

    def __init__(
        self,
        call: UpstreamCall,
        decoder: StreamDecoder,
        answer: AnswerStream,
        recorder: Recorder,
        waiting: Waiting,
        overlong: Overlong | None,
        prices: Prices | None,
    ) -> None:
        """``overlong`` says that the prompt can't be read whole; an engine that answers all the same has cut it."""
        self._call = call
        self._decoder = decoder
        self._answer = answer
        self._recorder = recorder
        self._waiting = waiting
        self._overlong = overlong
        self._prices = prices
        self._early: list[Delta] = []
        self._upstream_ended = False
        self._upstream_is_silent = False
        self._status_told = False

    @property
    def error(self) -> BridgeError | None:
        """What ended the stream too early, if anything did."""
        return self._answer.error

    async def begin(self) -> None:
        """Wait for the engine's first sign, but no longer than the grace time.

        Raises:
            BridgeError: the engine refused or failed, and nothing has been said to the client yet.
        """
        with anyio.move_on_after(self._waiting.first_byte_grace_s):
            while not self._early and not self._upstream_ended:
                self._early = await self._next_deltas()
        for delta in self._early:
            if isinstance(delta, Failure):
                raise delta.error
        if self._upstream_ended and not self._early:
            raise UpstreamBrokenError("The upstream ended its answer before it began.")

    async def events(self) -> AsyncGenerator[list[StreamEvent], None]:
        """Yield the stream, one list of events for each upstream read; the last one ends it."""
        events = self._answer.start() + self._answer.feed(self._early)
        last_event_at = anyio.current_time()
        while True:
            ended = self._upstream_ended or self._decoder.done or self._answer.done
            if ended:
                events += self._answer.close()
            if events:
                last_event_at = anyio.current_time()
                self._tell(events)
            if ended:
                self._tell_end()  # before the last events go out: a client may leave as soon as it has them
                yield events
                break
            if events:
                yield events
            try:
                events = self._answer.feed(await self._next_deltas())
            except BridgeError as error:
                events = self._answer.fail(error)
            quiet_s = anyio.current_time() - last_event_at
            if not events and (self._upstream_is_silent or quiet_s >= self._waiting.keep_alive_s):
                self._recorder.waiting()
                events = self._answer.keep_alive()

    async def message(self) -> Message:
        """Return the whole answer as one message.

        Raises:
            BridgeError: the answer broke off.
        """
        fold = Fold()
        async for events in self.events():
            fold.feed(events)
        if self.error is not None:
            raise self.error
        return fold.message

    async def _next_deltas(self) -> list[Delta]:
        data = await self._call.receive()
        self._upstream_is_silent = data is None
        if data:
            return self._decoder.feed(data)
        if data is None and not self._decoder.finished:
            return []
        self._upstream_ended = True
        return self._decoder.close()

    def _tell(self, events: list[StreamEvent]) -> None:
        if not self._recorder.active:
            return
        if self._call.status is not None and not self._status_told:
            self._status_told = True
            self._recorder.upstream_answered(self._call.status)
        self._recorder.answered(events)
        self._recorder.repaired(self._answer.repairs)

    def _tell_end(self) -> None:
        if self.error is not None:
            self._recorder.failed(self.error, in_stream=True)
            return
        usage, overlong = self._answer.usage, self._overlong
        if overlong and usage.prompt_tokens is not None and usage.prompt_tokens <= overlong.window_tokens:
            self._recorder.prompt_cut(overlong, usage.prompt_tokens)
        self._recorder.ended(usage, cost_usd=answer_cost_usd(usage, self._prices))
