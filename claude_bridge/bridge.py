"""ModelBridge: one model of one engine: sends it requests, and yields each exchange once the answer begins."""

from __future__ import annotations

import random
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from claude_bridge.adapters.adaptation import MAX_ADAPTATIONS, adapt
from claude_bridge.adapters.base import ClientRequest, EncodedRequest, EngineModel
from claude_bridge.adapters.passthrough_adaptation import adapt_passthrough
from claude_bridge.attachments.prepare import Attachments
from claude_bridge.clients.claude_code import SUBAGENT_HEADER
from claude_bridge.conversion.prompt.cache_misses import PromptMemory, PromptWatch
from claude_bridge.conversion.reasoning import TextOpening
from claude_bridge.conversion.response.context import ResponseContext
from claude_bridge.conversion.upstream_errors.context_overflow import checked_overflow
from claude_bridge.errors import BridgeError, DroppedCallError, PromptTooLongError
from claude_bridge.exchange import Answer, Exchange, Waiting
from claude_bridge.off_loop import run_off_loop_if_large
from claude_bridge.prepare import Prepared, Preparer
from claude_bridge.providers import Upstream
from claude_bridge.server_tools.function_calls import WebRequest, uses_web_tools
from claude_bridge.server_tools.tools import WebTools
from claude_bridge.server_tools.turn import BeginRound, WebTurn
from claude_bridge.trace.bus import Bus
from claude_bridge.trace.events import RequestSent
from claude_bridge.trace.recorder import Recorder
from claude_bridge.trace.secrets import REDACTED
from claude_bridge.upstream.call import UpstreamCall
from claude_bridge.upstream.key_ring import ChosenKey
from claude_bridge.upstream.request_queue import RequestQueues
from claude_bridge.upstream.token_counter import PromptCounter
from claude_bridge.wire.anthropic import CountTokensRequest, MessagesRequest
from claude_bridge.wire.anthropic_answers import Message
from claude_bridge.wire.anthropic_codec import parse_token_count
from claude_bridge.wire.urls import join_path

if TYPE_CHECKING:
    from claude_bridge.upstream.client import UpstreamClient
    from claude_bridge.upstream.engines.report import OfferedModel


REACH_TIMEOUT_S = 5.0
COUNT_WITHIN_S = 60.0


_numbers = random.Random()  # noqa: S311 - ids are no secrets, and the system's own generator takes ten times as long


def new_id(prefix: str) -> str:
    """Return a fresh id in Anthropic's manner, such as ``msg_`` and 24 hexadecimal digits."""
    return f"{prefix}{_numbers.getrandbits(96):024x}"


class ModelBridge:
    """Carries Messages requests to one model of one engine, and its responses back.

    All requests go to the one model, which is always tried.
    """

    small_model = None
    resting: Mapping[str, float] = {}

    def __init__(
        self,
        upstream: Upstream,
        client: UpstreamClient,
        *,
        bus: Bus | None = None,
        waiting: Waiting | None = None,
        attachments: Attachments | None = None,
        queues: RequestQueues | None = None,
        web_tools: WebTools | None = None,
    ) -> None:
        """``queues`` say how many requests each engine gets at a time (None: all that come).

        ``web_tools`` are what the bridge does on the web for models (None: nothing).
        """
        if client.has_key:
            upstream = replace(upstream, forwards_client_auth=False)
        self.upstream = upstream
        self.bus = bus or Bus()
        self.waiting = waiting or Waiting()
        self.attachments = attachments or Attachments()
        self.queues = queues or RequestQueues(None)
        self.web_tools = web_tools or WebTools()
        self._queue = self.queues.at(upstream.base_url)
        self._client = client
        self._prompts = PromptMemory()
        self._learned_opening: TextOpening | None = None
        self._rereads_window = upstream.rereads_window and bool(upstream.model)
        self._has_answered = False
        self._counter = PromptCounter(client, upstream.adapter.count_routes(upstream.profile))
        self._preparer = Preparer(upstream, self._counter, self.attachments, self.bus)

    @property
    def is_passthrough(self) -> bool:
        """Whether requests are passed on unchanged."""
        return self.upstream.adapter.is_passthrough

    def begin(
        self,
        request: MessagesRequest,
        recorder: Recorder,
        raw: ClientRequest | None,
        stack: AsyncExitStack,
        *,
        begin_later_round: BeginRound | None = None,
    ) -> Coroutine[Any, Any, Answer]:
        """Return the answer once the engine begins it; closing ``stack`` ends it, and closes its connection.

        ``raw`` is the request as the client sent it, for upstreams that get its own bytes (None: it was made here).
        ``begin_later_round`` sends what follows after the client got something, where an answer takes several requests
        to the engine (None: this bridge sends it).

        Raises:
            ClientError: the request can't be served.
            UpstreamError: the engine failed before its answer began.
        """
        if self._runs_web_tools(request):
            return self._begin_turn(request, recorder, raw, stack, begin_later_round)
        return self.begin_round(recorder, request, raw, stack, is_round=False)

    async def _begin_turn(
        self,
        request: MessagesRequest,
        recorder: Recorder,
        raw: ClientRequest | None,
        stack: AsyncExitStack,
        begin_later_round: BeginRound | None,
    ) -> WebTurn:
        begin_round = partial(self.begin_round, recorder)
        turn = WebTurn(
            await self._web_request(request, raw),
            request,
            self.web_tools,
            begin_round,
            begin_later_round or begin_round,
            recorder,
            waiting=self.waiting,
            window_tokens=self._preparer.engine.limits.window_tokens,
            new_id=new_id,
        )
        await turn.begin(stack)
        return turn

    def _runs_web_tools(self, request: CountTokensRequest) -> bool:
        if self.upstream.profile.messages.is_anthropic:  # which runs them itself
            return False
        return uses_web_tools(request, is_search_hosted=self._leaves_searches)

    @property
    def _leaves_searches(self) -> bool:
        """Whether the service runs searches itself."""
        return self.web_tools.hosted and self.upstream.profile.responses.web_search is not None

    async def _web_request(self, request: CountTokensRequest, raw: ClientRequest | None) -> WebRequest:
        web, size = self.web_tools, len(raw.body) if raw else 0
        web_request = partial(
            WebRequest,
            has_search=web.searcher is not None,
            has_fetch=web.pages is not None,
            is_search_hosted=self._leaves_searches,
        )
        return await run_off_loop_if_large(size, web_request, request, raw)

    async def begin_round(
        self,
        recorder: Recorder,
        request: MessagesRequest,
        raw: ClientRequest | None,
        stack: AsyncExitStack,
        *,
        is_round: bool = True,
    ) -> Exchange:
        """Return the engine's answer to one request, of several that make one answer if it ``is_round``; see begin."""
        if self._rereads_window and self._has_answered:
            await self._reread_window()
        ring, refused = self._client.ring, None
        adaptations_left, has_dropped_a_call = MAX_ADAPTATIONS, False
        keys_left = 2 * len(ring.keys) if ring else 0
        while True:
            engine = self._preparer.engine
            prepared = await self._preparer.prepare(request, raw, recorder)
            outgoing = prepared.encoded.outgoing
            if refused is not None and refused[0] == outgoing:
                raise refused[1]
            key = await self._client.choose_key(recorder.session or "")
            recorder.sent(self._sent(prepared, engine, key))
            async with AsyncExitStack() as attempt:
                try:
                    call = await attempt.enter_async_context(self._call(prepared, raw, recorder, key))
                    exchange = self._exchange(call, prepared, engine, raw, recorder, is_round=is_round)
                    await exchange.begin()
                except BridgeError as error:
                    if ring and key and ring.gives_way(key, error):
                        if not keys_left:
                            raise
                        keys_left -= 1
                        recorder.retried(f"{key.key.name} was refused with status {error.status}")
                    elif isinstance(error, DroppedCallError):
                        if has_dropped_a_call:
                            raise
                        has_dropped_a_call = True
                    elif await self._adapt(engine, error, prepared, recorder) and adaptations_left:
                        refused, adaptations_left = (outgoing, error), adaptations_left - 1
                    else:
                        raise
                else:
                    if ring and key:
                        ring.works(key)
                    self._has_answered = True
                    attempt.push_async_callback(self._learn, exchange, engine, prepared, recorder)
                    stack.push_async_exit(attempt.pop_all())
                    return exchange

    async def _adapt(self, engine: EngineModel, error: BridgeError, prepared: Prepared, recorder: Recorder) -> bool:
        """Leave out of later requests what was refused in this one; return whether anything can be left out."""
        find = adapt_passthrough if self.is_passthrough else adapt
        body = prepared.encoded.outgoing.body
        adaptation = await run_off_loop_if_large(len(body), find, engine, error, prepared.request, body)
        if adaptation is None:
            return False
        if adaptation.prompt_tokens is not None:
            self._counter.remember(prepared.encoded, adaptation.prompt_tokens)
        if self._preparer.engine is engine:  # else another request was refused in the meantime, and has adapted it
            self._preparer.engine = adaptation.engine
            self.upstream = self.upstream.as_learned(adaptation.engine)
        if adaptation.warning:
            self.bus.warn(adaptation.warning)
        recorder.retried(adaptation.reason)
        return True

    def _sent(self, prepared: Prepared, engine: EngineModel, key: ChosenKey | None) -> RequestSent:
        upstream, encoded = self.upstream, prepared.encoded
        outgoing = encoded.outgoing
        return RequestSent(
            method=outgoing.method,
            url=join_path(upstream.base_url, outgoing.path),
            model=upstream.model or prepared.request.model,
            upstream=f"{upstream.name} with {key.key.name}" if key else upstream.name,
            estimated_tokens=prepared.prompt_tokens,
            losses=list(encoded.losses),
            body=outgoing.body,
            kind=upstream.adapter.kind,
            profile=engine.profile.name,
            window_tokens=engine.limits.window_tokens,
            headers={**dict.fromkeys(self._client.key_headers, REDACTED), **outgoing.headers},
        )

    def _call(
        self, prepared: Prepared, raw: ClientRequest | None, recorder: Recorder, key: ChosenKey | None
    ) -> UpstreamCall:
        turn = None
        if self._queue is not None:
            is_subagent = raw is not None and SUBAGENT_HEADER in raw.headers
            turn = self._queue.turn(recorder.session, is_subagent=is_subagent, report_position=recorder.queued)
        explain_error = partial(self._explain_error, prepared.encoded, prepared.prompt_tokens)
        outgoing, idle_s = prepared.encoded.outgoing, self.waiting.keep_alive_s
        return self._client.open(outgoing, explain_error, idle_s=idle_s, turn=turn, key=key)

    def _exchange(
        self,
        call: UpstreamCall,
        prepared: Prepared,
        engine: EngineModel,
        raw: ClientRequest | None,
        recorder: Recorder,
        *,
        is_round: bool,
    ) -> Exchange:
        upstream, request = self.upstream, prepared.request
        encoded, prompt_tokens = prepared.encoded, prepared.prompt_tokens
        agent = raw.headers.get(SUBAGENT_HEADER) if raw else None
        watch = PromptWatch(
            self._prompts,
            encoded.outgoing.body,
            f"{recorder.session} {agent}",
            # Anthropic answers that itself.
            diagnostics_request=None if upstream.profile.messages.is_anthropic else request.diagnostics,
            estimate=prompt_tokens,
            has_listeners=recorder.has_listeners,
        )
        context = ResponseContext(
            message_id=new_id("msg_"),
            request_id=recorder.exchange,
            prompt_tokens=prompt_tokens,
            window_tokens=engine.limits.window_tokens,
            max_tokens=encoded.max_tokens,
            new_tool_id=lambda: new_id("toolu_"),
            diagnostics=watch.diagnostics,
            prompt_digest=encoded.prompt_digest,
            learned_opening=self._learned_opening,
            is_whole=not request.stream,
            check_error=lambda error: self._client.without_key(self._checked(encoded, prompt_tokens, error)),
        )
        return Exchange(
            call,
            upstream.adapter.response(request, engine, context),
            recorder,
            self.waiting,
            overflow=prepared.overflow,
            prices=upstream.prices,
            calibrate=partial(self._counter.calibrate, encoded),
            watch=watch,
            is_round=is_round,
        )

    async def complete(self, request: MessagesRequest, raw: ClientRequest | None = None) -> Message:
        """Return the whole answer; raises as ``begin`` does, and UpstreamError for an answer that breaks off."""
        async with AsyncExitStack() as stack:
            answer = await self.begin(request, Recorder(self.bus, new_id("req_")), raw, stack)
            return await answer.message()

    async def reach(self) -> None:
        """Check that the engine answers, whatever the answer is.

        Raises:
            UpstreamError: it does not answer.
        """
        await self._client.fetch(self.upstream.adapter.reach_path, timeout_s=REACH_TIMEOUT_S)

    async def offered(self) -> Sequence[OfferedModel]:
        """Return nothing: all requests go to the one model."""
        return ()

    async def count_tokens(self, request: CountTokensRequest, raw: ClientRequest | None = None) -> int:
        """Return the tokens of the prompt, of everything that would be sent: exact where the engine can count."""
        if self._runs_web_tools(request):
            request, raw = (await self._web_request(request, raw)).countable()
        encoded = await self._preparer.prepare_count(request, raw)
        if not self.upstream.profile.messages.is_anthropic:
            return await self._counter.count(encoded)
        # Anthropic's own count, by the client's own login; its refusal is the client's to see.
        body = b""
        explain_error = partial(self._explain_error, encoded, 0)
        key = await self._client.choose_key("")
        async with self._client.open(encoded.outgoing, explain_error, idle_s=COUNT_WITHIN_S, key=key) as call:
            while (data := await call.receive()) != b"":
                body += data or b""
        return parse_token_count(body)

    async def _reread_window(self) -> None:
        """Ask an Ollama for the window that it has loaded the model with for our own requests."""
        from claude_bridge.upstream.engines.ollama import loaded_window

        self._rereads_window = False
        window_tokens = await loaded_window(self._client, self.upstream.model)
        if window_tokens is not None:
            self._learn_window(window_tokens)

    def _learn_window(self, window_tokens: int) -> None:
        limits = replace(self._preparer.engine.limits, window_tokens=window_tokens)
        self._preparer.engine = replace(self._preparer.engine, limits=limits)
        self.upstream = self.upstream.as_learned(self._preparer.engine)

    async def _learn(self, exchange: Exchange, engine: EngineModel, prepared: Prepared, recorder: Recorder) -> None:
        """Keep what an answer showed: how this model's text begins, and what the engine refused after a beginning."""
        self._learned_opening = exchange.response.learned_opening or self._learned_opening
        if exchange.error is not None:
            await self._adapt(engine, exchange.error, prepared, recorder)

    def _explain_error(
        self,
        encoded: EncodedRequest,
        prompt_tokens: int,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        _where: str,
    ) -> BridgeError:
        error = self.upstream.adapter.explain_error(status, headers, body, self._preparer.engine)
        return self._checked(encoded, prompt_tokens, error)

    def _checked(self, encoded: EncodedRequest, prompt_tokens: int, error: BridgeError) -> BridgeError:
        """Return what an engine means; a smaller window that it reports counts from now on."""
        if not isinstance(error, PromptTooLongError):
            return error
        report, window_tokens = error.report, self.upstream.window_tokens
        checked = checked_overflow(
            error,
            prompt_tokens=prompt_tokens,
            guess=self._counter.guess(encoded),
            window_tokens=window_tokens,
            holds_images=encoded.facts.holds_images,
            where=self._preparer.engine.where,
        )
        reported = report.window_tokens if report and report.prompt_tokens is not None else None
        if checked is error and reported is not None and (window_tokens is None or reported < window_tokens):
            self._learn_window(reported)
        return checked
