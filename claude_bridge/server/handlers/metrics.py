"""GET /metrics: the figures of this run for Prometheus, by its own client library (extra ``metrics``)."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import TYPE_CHECKING

from claude_bridge.errors import NotFoundError
from claude_bridge.extras import how_to_install
from claude_bridge.server.app import Service
from claude_bridge.server.http1 import HttpRequest, Responder
from claude_bridge.trace.stats import FIRST_TOKEN_BOUNDS_S, Stats

if TYPE_CHECKING:
    from prometheus_client.core import Metric

PREFIX = "claude_bridge_"

_COUNTERS = (
    ("prompt_tokens", "Tokens of all prompts, cached ones included", "prompt_tokens"),
    ("cached_prompt_tokens", "Tokens of prompts that came from the engine's cache, if reported", "cached_tokens"),
    ("told_prompt_tokens", "Tokens of prompts whose cached part is reported", "cache_reported_prompt_tokens"),
    ("output_tokens", "Tokens of all answers, thinking included", "output_tokens"),
    ("thinking_tokens", "Tokens of thinking", "thinking_tokens"),
    ("output_seconds", "Seconds in which engines wrote answers", "output_s"),
    ("tool_call_repairs", "Tool calls that were repaired", "repairs"),
    ("losses", "Things of requests that engines can't take", "losses"),
    ("prompt_rereads", "Prompts of which the engine read again what it had read before", "rereads"),
    ("reread_prompt_tokens", "About how many tokens these were", "reread_tokens"),
    ("web_searches", "Searches that the bridge made for models", "web.searches"),
    ("web_fetches", "Pages that the bridge fetched for models", "web.fetches"),
    ("web_failures", "Searches and fetches that failed", "web.failed"),
    ("web_bytes", "Bytes of search results and pages", "web.size_bytes"),
    ("web_seconds", "Seconds that searches and fetches took", "web.took_s"),
    ("fallbacks", "Requests that went on to another upstream", "fallbacks"),
    ("cost_usd", "US dollars, as far as the cost is known", "cost_usd"),
    ("answers_of_unknown_cost", "Answers of which the cost is not known", "of_unknown_cost"),
)
"""Name, help and field of Figures."""

_OUTCOMES = ("answered", "failed", "left")


async def get_metrics(service: Service, _request: HttpRequest, responder: Responder) -> None:
    """Report the figures to Prometheus; raises NotFoundError where its library is not installed."""
    waiting = service.queues.waiting
    body, content_type = render_metrics(service.stats, running=service.running - waiting, waiting=waiting)
    await responder.send(200, body, content_type=content_type)


def render_metrics(stats: Stats, *, running: int, waiting: int) -> tuple[bytes, str]:
    """Return the figures in Prometheus' text format, and its content type.

    Raises:
        NotFoundError: the library is not installed.
    """
    try:
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    except ImportError:
        raise NotFoundError(
            f"Metrics need Prometheus' client library: {how_to_install('metrics')}. GET /stats has the same figures as "
            "JSON."
        ) from None
    registry = CollectorRegistry()
    registry.register(_Collector(stats, running, waiting))
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Collector:
    """Gives the sums that are kept anyway; nothing is counted twice."""

    def __init__(self, stats: Stats, running: int, waiting: int) -> None:
        self._stats = stats
        self._running = running
        self._waiting = waiting

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        models = self._stats.report(running=self._running).models
        yield GaugeMetricFamily(PREFIX + "running", "Exchanges that are under way", value=self._running)
        yield GaugeMetricFamily(PREFIX + "waiting", "Requests that wait for their turn", value=self._waiting)
        requests = CounterMetricFamily(PREFIX + "requests", "Exchanges, by how they ended", labels=["model", "outcome"])
        for model, figures in models.items():
            for outcome in _OUTCOMES:
                requests.add_metric([model, outcome], getattr(figures, outcome))
        yield requests
        for name, text, field in _COUNTERS:
            family = CounterMetricFamily(PREFIX + name, text, labels=["model"])
            for model, figures in models.items():
                family.add_metric([model], attrgetter(field)(figures))
            yield family
        histogram = HistogramMetricFamily(
            PREFIX + "first_token_seconds", "Seconds from a request to its answer's first content", labels=["model"]
        )
        for model, figures in models.items():
            histogram.add_metric(
                [model], _buckets(self._stats.first_token_classes(model)), sum_value=figures.first_token.total_s
            )
        yield histogram


def _buckets(classes: list[int]) -> list[tuple[str, float]]:
    """Return the classes as Prometheus has them: each holds all that are below its bound."""
    bounds = [str(bound) for bound in FIRST_TOKEN_BOUNDS_S] + ["+Inf"]
    return [(bound, float(sum(classes[: at + 1]))) for at, bound in enumerate(bounds)]
