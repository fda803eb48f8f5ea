"""The figures as Prometheus reads them."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from claude_bridge.server.handlers.metrics import render_metrics
from claude_bridge.trace.stats import Finished, Stats


def read(stats: Stats, *, running: int = 0, waiting: int = 0) -> dict[tuple[str, ...], float]:
    """Return each sample by its name and its labels' values, in the order of the labels' names."""
    body, content_type = render_metrics(stats, running=running, waiting=waiting)
    assert content_type.startswith("text/plain")
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_sums_are_reported_by_model() -> None:
    stats = Stats()
    stats.take(
        Finished(
            model='a "quoted" \\ model',
            session=None,
            outcome="answered",
            prompt_tokens=1000,
            cached_tokens=900,
            output_tokens=50,
            cost_usd=0.5,
        )
    )
    stats.take(Finished(model="b", session=None, outcome="failed"))
    samples = read(stats, running=3, waiting=2)
    assert samples["claude_bridge_running",] == 3
    assert samples["claude_bridge_waiting",] == 2
    assert samples["claude_bridge_requests_total", 'a "quoted" \\ model', "answered"] == 1
    assert samples["claude_bridge_requests_total", "b", "failed"] == 1
    assert samples["claude_bridge_prompt_tokens_total", 'a "quoted" \\ model'] == 1000
    assert samples["claude_bridge_cached_prompt_tokens_total", 'a "quoted" \\ model'] == 900
    assert samples["claude_bridge_output_tokens_total", "b"] == 0
    assert samples["claude_bridge_cost_usd_total", 'a "quoted" \\ model'] == 0.5


def test_first_tokens_are_a_histogram_whose_buckets_hold_the_smaller_ones() -> None:
    stats = Stats()
    for seconds in (0.05, 0.3, 0.4, 1000.0):
        stats.take(Finished(model="m", session=None, outcome="answered", first_token_s=seconds))
    samples = read(stats)
    buckets = {key[1]: value for key, value in samples.items() if key[0].endswith("_bucket")}
    assert (buckets["0.1"], buckets["0.25"], buckets["0.5"], buckets["300.0"], buckets["+Inf"]) == (1, 1, 3, 3, 4)
    assert samples["claude_bridge_first_token_seconds_count", "m"] == 4
    assert samples["claude_bridge_first_token_seconds_sum", "m"] == 1000.75


def test_a_new_bridge_reports_zero_requests() -> None:
    assert read(Stats()) == {("claude_bridge_running",): 0, ("claude_bridge_waiting",): 0}
