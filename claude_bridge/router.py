"""RoutedBridge: a bridge before several upstreams; each request goes to the first candidate that answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import partial

import anyio

from claude_bridge.adapters.base import ClientRequest
from claude_bridge.bridge import ModelBridge
from claude_bridge.clients.claude_code import SUBAGENT_HEADER
from claude_bridge.conversion.prompt.token_estimate import estimate_raw_tokens
from claude_bridge.errors import BridgeError, NotFoundError, SetupError
from claude_bridge.exchange import Answer, Exchange
from claude_bridge.providers import Upstream
from claude_bridge.routing import (
    Candidate,
    RequestFacts,
    Routing,
    Target,
    is_alias_of_anthropic,
    is_planning,
    plain_name,
    shows_images,
)
from claude_bridge.spending import Spending
from claude_bridge.trace.recorder import Recorder
from claude_bridge.upstream.engines.report import OfferedModel
from claude_bridge.wire.anthropic import CountTokensRequest, MessagesRequest

COOL_DOWN_S = 30.0
"""How long a candidate that failed is tried last, unless its error says how long."""

MAX_COOL_DOWN_S = 600.0
"""The upper bound of that: the error may be wrong, and the candidate may be the main model."""

OFFERED_FOR_S = 60.0
"""How long a list of models is cached."""

_PASSING = frozenset({429, 500, 502, 503, 504, 529})
"""Statuses of errors that another upstream may not have; others mean that nobody could serve the request."""

_UNUSABLE = frozenset({401, 403, 404})
"""Statuses of a fallback that is configured wrongly: the request itself may be fine."""

OpenTarget = Callable[[Target], Awaitable[ModelBridge]]
ListOffered = Callable[[], Awaitable[Sequence[OfferedModel]]]


class RoutedBridge:
    """Carries each request to the upstream that its model's name means, or to the next one while that one fails."""

    def __init__(
        self,
        main: ModelBridge,
        routing: Routing,
        *,
        open_target: OpenTarget,
        list_offered: ListOffered,
        spending: Spending | None = None,
    ) -> None:
        """``open_target`` gives the bridge to another target, and raises BridgeError or SetupError where it can't.

        ``spending`` refuses requests beyond the user's budgets (None: there are none).
        """
        self._spending = spending
        self.routing = routing
        self._others = routing.others
        self._main = main
        self._open_target = open_target
        self._list_offered = list_offered
        self._opened: dict[Target, ModelBridge] = {routing.main: main}
        self._opening = anyio.Lock()
        self._listing = anyio.Lock()
        self._rests_until: dict[Target, float] = {}
        self._offered: Sequence[OfferedModel] = ()
        self._offered_until = 0.0

    @property
    def upstream(self) -> Upstream:
        """The main upstream."""
        return self._main.upstream

    @property
    def small_model(self) -> str | None:
        """The name by which clients ask for the small model."""
        return self.routing.small_model

    @property
    def is_passthrough(self) -> bool:
        """Whether the main upstream gets requests as they came, and there is no other one."""
        return self._main.is_passthrough and not self._others

    @property
    def resting(self) -> dict[str, float]:
        """The models that failed a moment ago, and the seconds for which they are still tried last."""
        now = anyio.current_time()
        return {str(target): until - now for target, until in self._rests_until.items() if until > now}

    async def reach(self) -> None:
        """Check that the main upstream answers; raises UpstreamError."""
        await self._main.reach()

    async def count_tokens(self, request: CountTokensRequest, raw: ClientRequest | None = None) -> int:
        """Return the prompt's tokens as the first candidate's engine counts them."""
        (candidate, *_) = await self._candidates(request, raw)
        return await (await self.open(candidate.target)).count_tokens(request, raw)

    async def offered(self) -> Sequence[OfferedModel]:
        """Return the models of the main provider; none if they can't be listed."""
        async with self._listing:
            if anyio.current_time() >= self._offered_until:
                try:
                    self._offered = await self._list_offered()
                except (BridgeError, SetupError):
                    self._offered = ()
                self._offered_until = anyio.current_time() + OFFERED_FOR_S
        return self._offered

    async def problems(self) -> list[str]:
        """Open all targets but the main one, and return what is wrong with them."""
        problems: list[str] = []
        for target in self._others:
            try:
                await self.open(target)
            except BridgeError as error:
                problems.append(error.message)
        return problems

    async def begin(
        self, request: MessagesRequest, recorder: Recorder, raw: ClientRequest | None, stack: AsyncExitStack
    ) -> Answer:
        """Return the answer of the first candidate that answers; see ModelBridge.begin.

        Another candidate is asked only before the first byte goes to the client.
        """
        candidates = await self._candidates(request, raw)
        begin_later_round = partial(self._begin_round, candidates, recorder)
        for candidate in candidates:
            with self._passing_over(candidate, candidates, recorder):
                bridge = await self._ready(candidate, recorder)
                return await bridge.begin(request, recorder, raw, stack, begin_later_round=begin_later_round)
        raise AssertionError("there is always a candidate, and the last one's error is raised")

    async def _begin_round(
        self,
        candidates: Sequence[Candidate],
        recorder: Recorder,
        request: MessagesRequest,
        raw: ClientRequest,
        stack: AsyncExitStack,
    ) -> Exchange:
        """Return a part of an answer of which the client has the beginning; see ModelBridge.begin_round."""
        candidates = self._rested(candidates)
        for candidate in candidates:
            with self._passing_over(candidate, candidates, recorder):
                bridge = await self._ready(candidate, recorder)
                return await bridge.begin_round(recorder, request, raw, stack)
        raise AssertionError("there is always a candidate, and the last one's error is raised")

    async def _ready(self, candidate: Candidate, recorder: Recorder) -> ModelBridge:
        """Return the bridge to a candidate; raises BridgeError where it may not or can't be used."""
        if self._others or candidate.target != self.routing.main:
            recorder.routed(candidate.reason)
        recorder.provider = candidate.target.provider
        if self._spending is not None:
            self._spending.check(recorder.session, candidate.target.provider)
        return await self.open(candidate.target)

    @contextmanager
    def _passing_over(
        self, candidate: Candidate, candidates: Sequence[Candidate], recorder: Recorder
    ) -> Iterator[None]:
        """Note whether a candidate answers, and keep an error back for which the next one is tried."""
        try:
            yield
        except BridgeError as error:
            is_unusable = candidate.target in self.routing.fallback and error.status in _UNUSABLE
            if not (is_unusable or error.may_succeed_elsewhere or error.status in _PASSING):
                raise
            self._rests_until[candidate.target] = anyio.current_time() + cool_down_s(error)
            if candidate is candidates[-1]:
                raise
            recorder.fell_back(str(candidate.target), error)
        else:
            self._rests_until.pop(candidate.target, None)

    async def _candidates(self, request: CountTokensRequest, raw: ClientRequest | None) -> list[Candidate]:
        """Return the candidates in order; those that failed a moment ago come last."""
        requested = request.model
        routing = self.routing
        names: set[str] = set()
        if plain_name(requested) != self.routing.main.model and not is_alias_of_anthropic(requested):
            names = {model.id for model in await self.offered()}
        if not self._others and plain_name(requested) not in names:
            return [Candidate(routing.main, "it is the only one")]
        prompt_tokens = 0
        if raw is not None and routing.long_context is not None:
            prompt_tokens = estimate_raw_tokens(raw.body, raw.body.count(b'"base64"'))
        facts = RequestFacts(
            is_subagent=raw is not None and SUBAGENT_HEADER in raw.headers,
            shows_images=routing.images is not None and any(map(shows_images, request.messages)),
            is_planning=routing.planning is not None and is_planning(request.messages),
            prompt_tokens=prompt_tokens,
        )
        return self._rested(routing.candidates(requested, facts, offered=names))

    def _rested(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates with those at the end that failed a moment ago."""
        now = anyio.current_time()
        return sorted(candidates, key=lambda candidate: self._rests_until.get(candidate.target, 0.0) > now)

    async def open(self, target: Target) -> ModelBridge:
        """Return the bridge to a target.

        Raises:
            BridgeError: it can't be reached, or there is no such model.
        """
        bridge = self._opened.get(target)
        if bridge is not None:
            return bridge
        async with self._opening:
            if target not in self._opened:
                try:
                    self._opened[target] = await self._open_target(target)
                except SetupError as error:
                    raise NotFoundError(f"{target}: {error.what} {error.hint}") from error
        return self._opened[target]


AnyBridge = ModelBridge | RoutedBridge
"""What the server and others need: a bridge, whether it has one model or several."""


def cool_down_s(error: BridgeError) -> float:
    """Return how long a candidate that failed with this error is tried last."""
    return min(error.retry_after_s or COOL_DOWN_S, MAX_COOL_DOWN_S)
