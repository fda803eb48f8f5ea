"""PromptCounter: how many tokens a prompt takes, by the engine's own tokenizer or by an estimate that learns.

A count is a courtesy: it never costs the client an error, and never much time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

import anyio
import msgspec

from claude_bridge.adapters.base import EncodedRequest
from claude_bridge.adapters.token_counting import COUNTINGS, COUNTS_IMAGES
from claude_bridge.conversion.profile import CountRoute
from claude_bridge.conversion.prompt.token_estimate import TokenScale, image_tokens, token_count
from claude_bridge.errors import UpstreamError

if TYPE_CHECKING:
    from claude_bridge.upstream.client import UpstreamClient

COUNT_WITHIN_S = 2.0
"""How long a count may take, waiting for others included; engines need some 10 ms for a long prompt."""

MAX_CONCURRENT = 4
"""How many counts the engine is asked for side by side: Claude Code's /context wants more than twenty."""

BACKOFF_S = 30.0
"""How long an engine that did not count is not asked again."""

CACHE_SIZE = 512
"""How many counts are kept: /context asks for the same parts again and again."""

_NO_SUCH_ROUTE = (404, 405, 501)


class PromptCounter:
    """Counts the prompts for one model of one engine."""

    def __init__(
        self,
        client: UpstreamClient,
        routes: Sequence[CountRoute],
        *,
        within_s: float = COUNT_WITHIN_S,
        cache_size: int = CACHE_SIZE,
    ) -> None:
        """``routes`` are those that the engine may have, the best first; empty: it has no tokenizer for others."""
        self._within_s = within_s
        self._cache_size = cache_size
        self._client = client
        self._routes = list(routes)
        self._scale = TokenScale()
        self._limit = anyio.CapacityLimiter(MAX_CONCURRENT)
        self._counts: dict[bytes, int] = {}
        self._asks_again_at = 0.0

    def guess(self, prompt: EncodedRequest) -> int:
        """Return about how many tokens it is, without asking."""
        return self._scale.tokens(prompt.estimated_tokens)

    async def count(self, prompt: EncodedRequest, *, unless_below: int | None = None) -> int:
        """Return how many tokens it is, exactly where the engine can tell, else about.

        A prompt that has fewer than ``unless_below`` tokens beyond doubt is not worth a question.
        """
        if unless_below is not None and self.is_surely_below(prompt, unless_below):
            return self.guess(prompt)
        exact = await self.exactly(prompt)
        return self.guess(prompt) if exact is None else exact

    def is_surely_below(self, prompt: EncodedRequest, tokens: int) -> bool:
        """Return whether it has fewer tokens beyond doubt."""
        return self._scale.at_most(prompt.estimated_tokens) < tokens

    async def at_most(self, prompt: EncodedRequest) -> int:
        """Return how many tokens it is at the most: exactly where the engine can tell."""
        exact = await self.exactly(prompt)
        return math.ceil(self._scale.at_most(prompt.estimated_tokens)) if exact is None else exact

    def remember(self, prompt: EncodedRequest, reported: int) -> None:
        """Take the length that the engine reported when it refused a prompt, which is about to be sent again."""
        self._scale.remember(prompt.estimated_tokens, reported)

    def calibrate(self, prompt: EncodedRequest, counted: int | None) -> None:
        """Take what the engine counted (None: it did not tell), so that the next estimate is better."""
        if not prompt.facts.holds_images:
            self._scale.calibrate(prompt.estimated_tokens, counted)

    async def exactly(self, prompt: EncodedRequest) -> int | None:
        """Return how many tokens the engine itself counts; None: it can't tell now."""
        if not self._routes or anyio.current_time() < self._asks_again_at:
            return None
        key = blake2b(prompt.outgoing.body, digest_size=16).digest()
        counted = self._counts.pop(key, None)
        if counted is None:
            with anyio.move_on_after(self._within_s):
                async with self._limit:
                    counted = await self._ask_unless_one_failed(prompt)
        if counted is None:
            return None
        self._counts[key] = counted  # at the end: what was not asked for the longest time goes first
        if len(self._counts) > self._cache_size:
            del self._counts[next(iter(self._counts))]
        self.calibrate(prompt, counted)
        return counted

    async def _ask_unless_one_failed(self, prompt: EncodedRequest) -> int | None:
        if anyio.current_time() < self._asks_again_at:  # while this one waited
            return None
        counted = None
        try:
            counted = await self._ask(prompt)
        finally:
            if counted is None:
                self._asks_again_at = anyio.current_time() + BACKOFF_S
        return counted

    async def _ask(self, prompt: EncodedRequest) -> int | None:
        while self._routes:
            route = self._routes[0]
            counted, status = await self._ask_at(route, prompt.outgoing.body)
            if status in _NO_SUCH_ROUTE:
                if self._routes and self._routes[0] == route:  # else another count has found it out too
                    del self._routes[0]
                continue
            if counted and prompt.facts.holds_images and route not in COUNTS_IMAGES:
                counted += image_tokens(prompt.outgoing.body)
            return counted or None
        return None

    async def _ask_at(self, route: CountRoute, body: bytes) -> tuple[int | None, int]:
        """Return the count, None if it can't be had, and the status of the last answer (0: there was none)."""
        counting = COUNTINGS[route](body)
        try:
            question = next(counting)
            while True:
                answer = await self._client.fetch(
                    question.path,
                    timeout_s=self._within_s,
                    question=question.body,
                    at_root=question.at_root,
                    key_header=question.key_header,
                )
                if answer.status != 200:
                    return None, answer.status
                question = counting.send(answer.body)
        except StopIteration as end:
            return token_count(end.value), 200
        except (UpstreamError, msgspec.DecodeError):
            return None, 0
