"""Preparing: a client's request becomes what its engine gets, encoded once, with what is known of its prompt."""

from __future__ import annotations

from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from claude_bridge.adapters.base import ClientRequest, EncodedRequest, EngineModel
from claude_bridge.attachments.prepare import Attachments
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.prompt.context_budget import (
    ContextOverflow,
    answer_room,
    compactable_tokens,
    find_context_overflow,
)
from claude_bridge.conversion.reasoning import with_think_mode
from claude_bridge.errors import PromptTooLongError, UnknownThreadError
from claude_bridge.off_loop import run_off_loop_if_large
from claude_bridge.providers import Upstream
from claude_bridge.trace.bus import Bus
from claude_bridge.trace.events import ImageDescribed
from claude_bridge.trace.recorder import Recorder
from claude_bridge.upstream.token_counter import PromptCounter
from claude_bridge.wire.anthropic import CountTokensRequest, MessagesRequest
from claude_bridge.wire.json_splice import Edit, member_spans, splice, without_paths

_Request = TypeVar("_Request", bound=CountTokensRequest)


class Prepared(Struct, frozen=True, kw_only=True):
    """A request as its engine gets it."""

    request: MessagesRequest
    """The client's request with what the user of the bridge decided for it; the response is read by this."""
    encoded: EncodedRequest
    prompt_tokens: int
    """About how long the prompt is; exact where it may be too long."""
    overflow: ContextOverflow | None
    """How far the prompt exceeds the window; None: it does not, or that is not sure."""


class Preparer:
    """Prepares the requests to one model of one engine."""

    def __init__(self, upstream: Upstream, counter: PromptCounter, attachments: Attachments, bus: Bus) -> None:
        self.engine = upstream.engine_model
        """How requests to the upstream are made; it changes as the upstream refuses parts of them."""
        self._upstream = upstream
        self._counter = counter
        self._attachments = attachments
        self._bus = bus

    async def prepare(self, request: MessagesRequest, raw: ClientRequest | None, recorder: Recorder) -> Prepared:
        """Return what to send for a request; ``raw`` is the request as the client sent it (None: in this process).

        Raises:
            ClientError: the request can't be served as it is; PromptTooLongError where its conversation could not be
                compacted any more.
        """
        if request.thread is not None and request.thread.type != "create" and not self._keeps_threads:
            raise UnknownThreadError
        if raw is None:
            request = replace(request, stream=True)  # whole messages are put together from the events
        request, encoded = await self._encoded(request, raw, recorder)
        prompt_tokens = await self._prompt_tokens(encoded)
        encoded = await self._with_room(encoded, request.max_tokens)
        overflow = find_context_overflow(encoded.facts, prompt_tokens, self.engine.limits.window_tokens)
        return Prepared(request=request, encoded=encoded, prompt_tokens=prompt_tokens, overflow=overflow)

    @property
    def _keeps_threads(self) -> bool:
        """Whether the service itself keeps conversations, so that later requests need not hold them."""
        return self.engine.profile.messages.is_anthropic and self._upstream.adapter.is_passthrough

    async def prepare_count(self, request: CountTokensRequest, raw: ClientRequest | None) -> EncodedRequest:
        """Return what would be sent for a request whose prompt is to be counted; raises ClientError."""
        _, encoded = await self._encoded(request, raw, None)
        return encoded

    async def _encoded(
        self, request: _Request, raw: ClientRequest | None, recorder: Recorder | None
    ) -> tuple[_Request, EncodedRequest]:
        """Return the request with what the user of the bridge decided for it, and as the engine gets it."""
        upstream = self._upstream
        if upstream.adapter.is_passthrough:
            if raw is not None and not upstream.forwards_client_auth:
                raw = raw.without_credentials()
            return request, await self._encode_where_it_fits(request, raw)
        request, losses = with_think_mode(request, upstream.think)
        request, taken = upstream.settings.apply(request)
        losses = [*losses, *taken]
        ready = await self._attachments.prepare(
            request,
            self.engine.profile,
            self.engine.limits.window_tokens,
            history=raw.history_of(request) if raw is not None else None,
            new_bytes=upstream.adapter.new_bytes(request, raw, self.engine),
        )
        for warning in ready.warnings:
            self._bus.warn(warning)
        if recorder is not None:
            for path, found in ready.descriptions:
                recorder.record(
                    ImageDescribed(
                        path=path, model=found.model, text=found.text, trouble=found.trouble, took_s=found.took_s
                    )
                )
        losses = [*losses, *ready.losses]
        encoded = await self._encode_where_it_fits(ready.request, raw)
        if encoded.inline_tools:
            request = replace(request, tools=[*(request.tools or ()), *encoded.inline_tools])
        return request, replace(encoded, losses=(*losses, *encoded.losses)) if losses else encoded

    async def _encode_where_it_fits(self, request: CountTokensRequest, raw: ClientRequest | None) -> EncodedRequest:
        read_bytes = self._upstream.adapter.new_bytes(request, raw, self.engine)
        if raw is not None and self.engine.omitted_fields:  # which are looked for in all of it
            read_bytes = len(raw.body)
        return await run_off_loop_if_large(read_bytes, self._encode, request, raw, self.engine)

    def _encode(self, request: CountTokensRequest, raw: ClientRequest | None, engine: EngineModel) -> EncodedRequest:
        """Return the request as the engine gets it, without the fields that it refused before."""
        encoded = self._upstream.adapter.prepare(request, raw, engine)
        outgoing, omitted = self._upstream.settings.add_to(encoded.outgoing), engine.omitted_fields
        body = without_paths(outgoing.body, omitted) if omitted else outgoing.body
        if body is outgoing.body:
            return encoded if outgoing is encoded.outgoing else replace(encoded, outgoing=outgoing)
        losses = [Loss(f"$.{name}", "the upstream refuses it") for name in sorted(omitted)]
        return replace(encoded, outgoing=replace(outgoing, body=body), losses=(*encoded.losses, *losses))

    async def _prompt_tokens(self, encoded: EncodedRequest) -> int:
        """Return how long the prompt is, exactly only where it may be too long; raises PromptTooLongError."""
        limits = self.engine.limits
        limit = compactable_tokens(encoded.facts, limits.window_tokens)
        if limit is None:
            if limits.may_cut_prompts and limits.window_tokens is not None:
                await self._check_window(encoded, limits.window_tokens)
            return self._counter.guess(encoded)
        tokens = await self._counter.count(encoded, unless_below=limit)
        if tokens > limit:
            raise PromptTooLongError(tokens, limit)
        return tokens

    async def _check_window(self, encoded: EncodedRequest, window_tokens: int) -> None:
        """Refuse a prompt that is surely longer than the window; raises PromptTooLongError.

        An engine that knows of no such window would cut the prompt, and forget what the client wants of it.
        """
        if self._counter.is_surely_below(encoded, window_tokens):
            return
        tokens = await self._counter.exactly(encoded)
        if tokens is None:
            overflow = find_context_overflow(encoded.facts, self._counter.guess(encoded), window_tokens)
            tokens = overflow.prompt_tokens if overflow else 0
        if tokens > window_tokens:
            raise PromptTooLongError(tokens, window_tokens)

    async def _with_room(self, encoded: EncodedRequest, max_tokens: int) -> EncodedRequest:
        """Return the request with an answer that fits the window, where the engine would refuse a longer one."""
        window_tokens, field = self.engine.limits.window_tokens, encoded.output_limit_field
        if window_tokens is None or field is None:
            return encoded
        longest = min(max_tokens, self.engine.limits.max_output_tokens or max_tokens)
        if self._counter.is_surely_below(encoded, window_tokens - longest):
            return encoded
        room = answer_room(window_tokens, await self._counter.at_most(encoded))
        if room >= longest:
            return encoded
        outgoing = encoded.outgoing
        body = splice(outgoing.body, [Edit(member_spans(outgoing.body)[field], b"%d" % room)])
        loss = Loss("$.max_tokens", f"lowered from {max_tokens} to {room}, which the window has left")
        outgoing = replace(outgoing, body=body)
        return replace(encoded, outgoing=outgoing, max_tokens=room, losses=(*encoded.losses, loss))
