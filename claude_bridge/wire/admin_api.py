"""The bridge's own endpoints: whether it is ready, what it serves, and what all exchanges came to."""

from __future__ import annotations

import msgspec
from msgspec import Struct, field

READY_PATH = "/readyz"


class Readiness(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """GET /readyz. ``reason`` says why the bridge is not ready; None in a limit means not known.

    ``slots`` is how many requests the engine answers at a time. ``forwards_client_auth`` (``passes_credentials`` in the
    document) says that the client's own login goes on to Anthropic. ``web_search`` is who searches the web for models,
    as in ``--web-search``.
    """

    ready: bool
    version: str
    reason: str | None = None
    upstream: str | None = None
    kind: str | None = None
    base_url: str | None = None
    model: str | None = None
    small_model: str | None = None
    window_tokens: int | None = None
    max_output_tokens: int | None = None
    slots: int | None = None
    web_search: str | None = None
    forwards_client_auth: bool = field(default=False, name="passes_credentials")


def encode_readiness(readiness: Readiness) -> bytes:
    """Return the body."""
    return msgspec.json.encode(readiness)


def parse_readiness(body: bytes) -> Readiness:
    """Return what a bridge reports; raises msgspec.DecodeError for what is none."""
    return msgspec.json.decode(body, type=Readiness)


# --- figures ------------------------------------------------------------------------------------------------

STATS_PATH = "/stats"


class FirstTokens(Struct, frozen=True, kw_only=True):
    """Seconds from a request to the first content of its answer, of all answers that had any."""

    count: int = 0
    last_s: float = 0.0
    total_s: float = 0.0
    longest_s: float = 0.0


class WebFigures(Struct, frozen=True, kw_only=True):
    """Searches and fetches that the bridge made for models; ``failed`` counts those of both that failed."""

    searches: int = 0
    fetches: int = 0
    failed: int = 0
    size_bytes: int = 0
    took_s: float = 0.0

    def plus(self, tool: str, *, size_bytes: int, took_s: float, failed: bool) -> WebFigures:
        """Return the figures with one more call."""
        kind, failures = "searches" if tool == "web_search" else "fetches", int(failed)
        return self.sum(WebFigures(size_bytes=size_bytes, took_s=took_s, failed=failures, **{kind: 1}))

    def sum(self, other: WebFigures) -> WebFigures:
        """Return the figures of both."""
        return WebFigures(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


class Figures(Struct, frozen=True, kw_only=True):
    """What a number of exchanges came to. Token counts are the engine's own, where it gave any.

    ``cache_reported_prompt_tokens`` (``told_prompt_tokens`` in the document) are the prompt tokens of those answers of
    which the engine reports how much came from its cache, and ``cached_tokens`` how many these were: an engine that
    does not report it adds to neither. ``cost_usd`` is what is known; ``of_unknown_cost`` counts the other answers.
    """

    requests: int = 0
    answered: int = 0
    failed: int = 0
    left: int = 0
    """How often the client went away before the end."""
    estimated: int = 0
    """Answers of which the engine gave no token counts, so that these are estimates."""
    prompt_tokens: int = 0
    cache_reported_prompt_tokens: int = field(default=0, name="told_prompt_tokens")
    cached_tokens: int = 0
    output_tokens: int = 0
    thinking_tokens: int = 0
    timed_output_tokens: int = 0
    output_s: float = 0.0
    """How long the engine wrote at ``timed_output_tokens``."""
    first_token: FirstTokens = FirstTokens()
    repairs: int = 0
    losses: int = 0
    fallbacks: int = 0
    rereads: int = 0
    """Prompts of which the engine read again what an earlier one had brought: ``reread_tokens`` in all."""
    reread_tokens: int = 0
    cost_usd: float = 0.0
    of_unknown_cost: int = 0
    web: WebFigures = WebFigures()

    @property
    def cache_share(self) -> float | None:
        """How much of the prompts came from the engine's cache, from 0 to 1; None: it does not tell."""
        return self.cached_tokens / self.cache_reported_prompt_tokens if self.cache_reported_prompt_tokens else None

    @property
    def tokens_per_s(self) -> float | None:
        """How fast the engine writes; None: nothing was measured."""
        return self.timed_output_tokens / self.output_s if self.output_s else None


class ReadingPrompt(Struct, frozen=True, kw_only=True):
    """A prompt that an engine is reading: the first token of the answer has not come.

    ``read_tokens`` is the engine's own report, ``prompt_tokens`` then its own count, else an estimate.
    ``tokens_per_s`` is how fast the engine reads what is not in its cache. None means not known.
    """

    model: str
    session: str | None
    since_s: float
    prompt_tokens: int
    read_tokens: int | None = None
    cached_tokens: int = 0
    tokens_per_s: float | None = None


class SessionFigures(Struct, frozen=True, kw_only=True):
    """One session of a client; ``model`` is the one that answered last."""

    model: str
    last_at_s: float
    figures: Figures


class StatsReport(Struct, frozen=True, kw_only=True):
    """GET /stats: since the bridge was started, by the engine's name of the model and by the client's session id."""

    version: str
    started_at_s: float
    running: int
    waiting: int = 0
    """How many wait for their turn (``--max-concurrent``); they are not among those that run."""
    serves: str | None
    """The model for requests that name no other; None: not known yet."""
    models: dict[str, Figures]
    sessions: dict[str, SessionFigures]
    reading: list[ReadingPrompt] = []
    """The prompts that are being read now, the oldest first."""


def encode_stats(report: StatsReport) -> bytes:
    """Return the body."""
    return msgspec.json.encode(report)


def parse_stats(body: bytes) -> StatsReport:
    """Return what a bridge reports; raises msgspec.DecodeError for what is none."""
    return msgspec.json.decode(body, type=StatsReport)
