"""Bridge: one exchange from a Messages request to stream events; also the library's front door."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct
from msgspec.structs import replace

from claude_bridge.adapters.anthropic_messages import COUNT_PATH
from claude_bridge.adapters.base import (
    Adapter,
    Answer,
    AnswerTerms,
    ClientRequest,
    OutgoingRequest,
    Relay,
    TokenLimits,
)
from claude_bridge.adapters.translated import TranslatedAnswer
from claude_bridge.attachments.prepare import Attachments
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import CountRoute
from claude_bridge.conversion.prompt.cache_misses import PromptMemory
from claude_bridge.conversion.prompt.context_budget import (
    Conversation,
    answer_room,
    compactable_tokens,
    find_context_overflow,
)
from claude_bridge.conversion.prompt.token_estimate import estimate_given_tokens, estimate_tokens
from claude_bridge.conversion.reasoning import with_think_mode
from claude_bridge.conversion.request.normalize import NormalizedRequest, PassthroughConversation, normalize_request
from claude_bridge.conversion.tool_json.rejected_schemas import RejectedSchemas
from claude_bridge.errors import BridgeError, PromptTooLongError, SchemasRefusedError
from claude_bridge.exchange import Exchange, Waiting
from claude_bridge.providers import Upstream
from claude_bridge.trace.bus import Bus
from claude_bridge.trace.recorder import Recorder
from claude_bridge.upstream.token_counter import Prompt, PromptCounter
from claude_bridge.wire.anthropic import CountTokensRequest, Message, MessagesRequest
from claude_bridge.wire.anthropic_codec import encode_request, parse_token_count

if TYPE_CHECKING:
    from claude_bridge.upstream.client import UpstreamClient  # brings httpx, 150 ms
    from claude_bridge.upstream.engines.catalog import OfferedModel


REACH_TIMEOUT_S = 5.0
COUNT_WITHIN_S = 60.0

SUBAGENT_HEADER = "x-claude-code-agent-id"
"""Which sub-agent of a session asks."""


def new_id(prefix: str) -> str:
    """Return a fresh id in Anthropic's manner, such as ``msg_`` and 24 hexadecimal digits."""
    return prefix + secrets.token_hex(12)


class BridgeProtocol(Protocol):
    """What carries requests to engines: a Bridge to one of them, or several with a choice before them."""

    @property
    def upstream(self) -> Upstream:
        """The upstream that is asked if nothing else is said."""
        ...

    @property
    def small_model(self) -> str | None:
        """The name by which clients ask for the small model; None: there is none."""
        ...

    @property
    def is_passthrough(self) -> bool:
        """Whether requests go on as they came, so that they need not be understood."""
        ...

    def exchange(
        self, request: MessagesRequest, recorder: Recorder, *, given: ClientRequest | None = None
    ) -> AbstractAsyncContextManager[Exchange]:
        """Send a request upstream; see Bridge.exchange."""
        ...

    async def count_tokens(self, request: CountTokensRequest, given: ClientRequest | None = None) -> int:
        """Return the prompt's tokens; see Bridge.count_tokens."""
        ...

    async def reach(self) -> None:
        """Ask the main engine something small; raises UpstreamError."""
        ...

    async def offered(self) -> Sequence[OfferedModel]:
        """Return the models that can be asked for by their names, beside the main one."""
        ...


class Prepared(Struct, frozen=True, kw_only=True):
    """A request as the engine gets it, and what is known of it: how long it is, and what it lost."""

    outgoing: OutgoingRequest
    conversation: Conversation
    prompt: Prompt
    losses: list[Loss]
    fit: NormalizedRequest | None = None
    """What it was made of; None: it goes on as it came."""


class Bridge:
    """Carries Messages requests to one engine and its answers back."""

    small_model = None
    """All requests go to the one model."""

    def __init__(
        self,
        upstream: Upstream,
        client: UpstreamClient,
        *,
        bus: Bus | None = None,
        waiting: Waiting | None = None,
        attachments: Attachments | None = None,
    ) -> None:
        self.upstream = upstream
        self.bus = bus or Bus()
        self.waiting = waiting or Waiting()
        self._client = client
        self.attachments = attachments or Attachments()
        self._refused_schemas = RejectedSchemas()
        self._prompts = PromptMemory()
        routes: tuple[CountRoute, ...] = upstream.profile.count_routes
        if isinstance(upstream.adapter, Relay):
            # Anthropic is never asked unbidden: that may cost the client its limits.
            routes = () if upstream.profile.messages.is_anthropic else ("messages",)
        self._counter = PromptCounter(client, routes)

    @asynccontextmanager
    async def exchange(
        self, request: MessagesRequest, recorder: Recorder, *, given: ClientRequest | None = None
    ) -> AsyncIterator[Exchange]:
        """Send the request upstream and yield the exchange; leaving the context closes the upstream connection.

        ``given`` is the request as the client put it, for engines that are asked with its own bytes.

        Raises:
            ClientError: the request can't be served.
            UpstreamError: the engine failed before its answer began.
        """
        async with AsyncExitStack() as attempts:
            try:
                exchange = await attempts.enter_async_context(self._attempt(request, recorder, given))
            except SchemasRefusedError:
                if self.is_passthrough or not self._refused_schemas.learn(request):
                    raise
                exchange = await attempts.enter_async_context(self._attempt(request, recorder, given))
            yield exchange

    @asynccontextmanager
    async def _attempt(
        self, request: MessagesRequest, recorder: Recorder, given: ClientRequest | None
    ) -> AsyncIterator[Exchange]:
        """Send the request upstream once; see ``exchange``."""
        upstream = self.upstream
        if given is None:
            request = replace(request, stream=True)  # nobody waits for a whole answer: it is made of the events
        prepared = await self._prepared(request, given, recorder)
        prompt_tokens = await self._prompt_tokens(prepared)
        prepared = await self._with_room(prepared, request.max_tokens)
        outgoing = prepared.outgoing
        recorder.sent(
            method=outgoing.method,
            url=upstream.base_url + outgoing.path,
            model=upstream.model or request.model,
            upstream=upstream.name,
            tokens=prompt_tokens,
            losses=prepared.losses,
            body=outgoing.body,
        )
        agent = given.headers.get(SUBAGENT_HEADER) if given else None
        watch = self._prompts.watch(
            outgoing.body,
            f"{recorder.session} {agent}",
            wish=None if upstream.profile.messages.is_anthropic else request.diagnostics,  # it tells that itself
            estimate=prompt_tokens,
            has_listeners=recorder.has_listeners,
        )
        terms = AnswerTerms(
            message_id=new_id("msg_"),
            request_id=recorder.exchange,
            prompt_tokens=prompt_tokens,
            window_tokens=upstream.window_tokens,
            new_tool_id=lambda: new_id("toolu_"),
            diagnostics=watch.diagnostics,
        )
        answer = self._answer(request, terms)
        explain_refusal = partial(self._explain_refusal, prompt_tokens)
        async with self._client.open(outgoing, explain_refusal, idle_s=self.waiting.keep_alive_s) as call:
            overlong = find_context_overflow(prepared.conversation, prompt_tokens, upstream.window_tokens)
            learn = partial(self._counter.learn, prepared.prompt)
            exchange = Exchange(call, answer, recorder, self.waiting, overlong, upstream.prices, learn, watch.end)
            try:
                await exchange.begin()
            except PromptTooLongError as error:
                raise self._with_numbers(error, prompt_tokens) from None
            yield exchange

    @property
    def is_passthrough(self) -> bool:
        """Whether requests go on as they came."""
        return isinstance(self.upstream.adapter, Relay)

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

    async def offered(self) -> Sequence[OfferedModel]:
        """Return nothing: all requests go to the one model."""
        return ()

    async def count_tokens(self, request: CountTokensRequest, given: ClientRequest | None = None) -> int:
        """Return the prompt's tokens, of everything that would be sent: exact where the engine can count."""
        prepared = await self._prepared(request, given)
        if self.upstream.profile.messages.is_anthropic:
            return await self._counted_by_anthropic(prepared.outgoing, given)
        return await self._counter.count(prepared.prompt)

    async def _counted_by_anthropic(self, outgoing: OutgoingRequest, given: ClientRequest | None) -> int:
        """Return its count, asked with the client's own login; raises its refusal as it came."""
        asked = replace(outgoing, path=COUNT_PATH + (given.query if given else ""))
        body = b""
        async with self._client.open(asked, partial(self._explain_refusal, 0), idle_s=COUNT_WITHIN_S) as call:
            while (data := await call.receive()) != b"":
                body += data or b""
        return parse_token_count(body)

    async def _prompt_tokens(self, prepared: Prepared) -> int:
        """Return how long the prompt is, exactly only where it may be too long.

        Raises:
            PromptTooLongError: its conversation could not be compacted any more.
        """
        limit = compactable_tokens(prepared.conversation, self.upstream.window_tokens)
        if limit is None:
            return self._counter.guess(prepared.prompt)
        tokens = await self._counter.count(prepared.prompt, unless_below=limit)
        if tokens > limit:
            raise PromptTooLongError(tokens, limit)
        return tokens

    async def _prepared(
        self, request: CountTokensRequest, given: ClientRequest | None, recorder: Recorder | None = None
    ) -> Prepared:
        """Return the request as the engine gets it: translated, or its own bytes with what must be edited."""
        upstream, adapter = self.upstream, self.upstream.adapter
        conversation: Conversation
        fit: NormalizedRequest | None = None
        if isinstance(adapter, Relay):
            given = given or ClientRequest(body=encode_request(request))
            if self._client.has_key:
                given = given.without_credentials()
            outgoing, losses = adapter.edit(given, request, upstream.model, upstream.profile)
            conversation = asked = PassthroughConversation(request.messages)
            estimate = estimate_given_tokens(outgoing.body, asked.images)
        else:
            request, losses = await self._with_attachments(request, recorder)
            request = with_think_mode(request, upstream.think, losses)
            request = self._refused_schemas.put_plainly(request, losses)
            conversation = fit = normalize_request(request, upstream.profile, losses)
            outgoing, losses = self._encoded(adapter, fit, upstream.limits)
            estimate = estimate_tokens(outgoing.body, holds_images=fit.holds_images)
        prompt = Prompt(body=outgoing.body, holds_images=conversation.holds_images, estimate=estimate)
        return Prepared(outgoing=outgoing, conversation=conversation, prompt=prompt, losses=losses, fit=fit)

    async def _with_room(self, prepared: Prepared, max_tokens: int) -> Prepared:
        """Return the request with an answer that fits the window, where the engine would refuse a longer one."""
        upstream, adapter = self.upstream, self.upstream.adapter
        window_tokens = upstream.window_tokens
        if isinstance(adapter, Relay) or prepared.fit is None or window_tokens is None:
            return prepared
        longest = min(max_tokens, upstream.max_output_tokens or max_tokens)
        fits = self._counter.is_surely_below(prepared.prompt, window_tokens - longest)
        if fits or not upstream.profile.chat.answer_needs_room:
            return prepared
        room = answer_room(window_tokens, await self._counter.at_most(prepared.prompt))
        if room >= longest:
            return prepared
        outgoing, losses = self._encoded(adapter, prepared.fit, replace(upstream.limits, available_output_tokens=room))
        return replace(prepared, outgoing=outgoing, losses=losses)

    def _encoded(
        self, adapter: Adapter, fit: NormalizedRequest, limits: TokenLimits
    ) -> tuple[OutgoingRequest, list[Loss]]:
        """Return what to send, and all that is lost with it; ``fit`` stays as it is."""
        fit = replace(fit, losses=list(fit.losses))
        return adapter.encode(fit, self.upstream.model, self.upstream.profile, limits), fit.losses

    async def _with_attachments(
        self, request: CountTokensRequest, recorder: Recorder | None
    ) -> tuple[CountTokensRequest, list[Loss]]:
        """Return the request with all images and documents at hand, and what of them could not be had."""
        ready = await self.attachments.prepare(request, self.upstream.profile, self.upstream.window_tokens)
        for warning in ready.warnings:
            self.bus.warn(warning)
        if recorder is not None:
            for path, said in ready.descriptions:
                recorder.described(path, model=said.model, text=said.text, trouble=said.trouble, took_s=said.took_s)
        return ready.request, ready.losses

    def _answer(self, request: MessagesRequest, terms: AnswerTerms) -> Answer:
        upstream, adapter = self.upstream, self.upstream.adapter
        where = f"{upstream.name} at {upstream.base_url}"
        if isinstance(adapter, Relay):
            return adapter.answer(request, upstream.profile, terms, where)
        request = with_think_mode(request, upstream.think, [])
        return TranslatedAnswer(request, adapter.decoder(where), upstream.profile, terms)

    def _explain_refusal(
        self, prompt_tokens: int, status: int, headers: Mapping[str, str], body: bytes, where: str
    ) -> BridgeError:
        """Return the adapter's explanation."""
        adapter = self.upstream.adapter
        if isinstance(adapter, Relay):
            error = adapter.explain_refusal(status, headers, body, where, self.upstream.profile)
        else:
            error = adapter.explain_refusal(status, headers, body, where)
        return self._with_numbers(error, prompt_tokens) if isinstance(error, PromptTooLongError) else error

    def _with_numbers(self, error: PromptTooLongError, prompt_tokens: int) -> PromptTooLongError:
        """Return the error with numbers where the engine gave none: the client drops by them what it need not keep."""
        window_tokens = self.upstream.window_tokens
        if error.has_numbers or window_tokens is None:
            return error
        return PromptTooLongError(max(prompt_tokens, window_tokens + 1), window_tokens)
