"""The figures of a run as one Markdown table, and as JSON."""

from __future__ import annotations

import os
import platform
import statistics
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec
from bodies import LARGE, MIDDLE, SMALL
from measurements import GROWING_SIZES, Figures, Plan
from processes import Pinning


class Row(msgspec.Struct, frozen=True):
    """One thing that is measured; ``key`` names its figures."""

    key: str
    title: str
    unit: str
    digits: int


class Samples(msgspec.Struct):
    """The figures of each side, one for each round."""

    direct: list[Figures] = msgspec.field(default_factory=list)
    bridged: list[Figures] = msgspec.field(default_factory=list)


class Spread(msgspec.Struct, frozen=True):
    """The median of some rounds, the lowest and the highest."""

    median: float
    low: float
    high: float

    def render(self, digits: int, sign: str = "") -> str:
        """Return ``median (low to high)``."""
        median, low, high = (f"{figure:,.{digits}f}" for figure in (self.median, self.low, self.high))
        return f"{median}{sign} ({low} to {high})"


def rows(plan: Plan) -> list[Row]:
    """Return what the table has to tell of, in its order."""
    paced = f"{plan.paced_streams} paced streams"
    shown = [
        *(Row(f"first_token_ms {size}", f"first token, {size} request", "ms", 2) for size in (SMALL, MIDDLE, LARGE)),
        *(Row(f"growing_ms {size}", f"first token in a growing session, {size}", "ms", 2) for size in GROWING_SIZES),
        *(
            Row(f"event_cpu_s {streams}", f"CPU for 100,000 events, {streams} stream{'s' * (streams > 1)}", "s", 2)
            for streams in plan.event_streams
        ),
        *(
            Row(f"requests_per_s {size}", f"requests per second, {size}, {plan.connections} connections", "1/s", 0)
            for size in plan.asks_per_connection
        ),
        Row("paced_intact", f"{paced}: intact", "streams", 0),
        Row("paced_p50_ms", f"{paced}: delay, p50", "ms", 2),
        Row("paced_p99_ms", f"{paced}: delay, p99", "ms", 2),
        Row("paced_cpu_s", f"{paced}: CPU for 100,000 events", "s", 2),
        Row("paced_memory_mb", f"{paced}: peak memory", "MB", 1),
        Row("start_health_s", "start to first answer", "s", 3),
        Row("start_message_s", "start to first message answered", "s", 3),
        Row("idle_mb", "idle memory", "MB", 1),
    ]
    if not plan.of_trace:
        return shown
    requests = [
        Row(f"request_cpu_s {size}", f"CPU for 100,000 requests, {size}", "s", 1) for size in plan.asks_per_connection
    ]
    spent = [*requests, *[row for row in shown if "_cpu_s" in row.key]]
    writers = [Row(f"writer_{row.key}", f"writing the trace: {row.title}", row.unit, row.digits) for row in spent]
    return [*shown, *requests, *writers]


def render_table(plan: Plan, samples: Samples) -> str:
    """Return the Markdown table: medians of the rounds, with the lowest and the highest."""
    sides = "without --trace | with --trace" if plan.of_trace else "upstream asked directly | through the bridge"
    lines = [
        f"| measured | unit | {sides} | added | ratio |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for row in rows(plan):
        direct, bridged = _figures(row, samples)
        added = _spread([b - d for d, b in zip(direct, bridged, strict=True)])
        cells = [
            _spread(direct).render(row.digits),
            _spread(bridged).render(row.digits),
            f"{added.median:+,.{row.digits}f}",
            _ratio(direct, bridged).render(2, "x") if any(direct) else "",
        ]
        lines.append(f"| {row.title} | {row.unit} | {' | '.join(cells)} |")
    return "\n".join(lines)


def describe_machine(pinning: Pinning) -> str:
    """Return the line that says what the figures were measured on."""
    loop = f"uvloop {_version('uvloop')}" if _version("uvloop") else "no uvloop"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    where = "nothing is pinned"
    if pinning.bridge is not None:
        shared = pinning.client == pinning.upstream
        client = f"client and upstream on CPU {pinning.client}"
        apart = f"client on CPU {pinning.client}, upstream on CPU {pinning.upstream}"
        where = f"bridge on CPU {pinning.bridge}, {client if shared else apart}"
    bridge = f"claude-bridge {_version('claude-bridge-cli') or 'from a checkout'}"
    return f"{os.cpu_count()} CPUs, {platform.system()} {platform.machine()}, {python}, {loop}, {bridge}; {where}"


def encode_json(plan: Plan, samples: Samples, machine: str) -> bytes:
    """Return the whole run: every round's figures, and the ratios of their medians with spread."""
    told: list[dict[str, Any]] = []
    for row in rows(plan):
        direct, bridged = _figures(row, samples)
        ratio = _ratio(direct, bridged)
        told.append(
            {"key": row.key, "title": row.title, "unit": row.unit, "direct": direct, "bridge": bridged, "ratio": ratio}
        )
    return msgspec.json.format(msgspec.json.encode({"machine": machine, "plan": plan, "rows": told}), indent=1)


def all_intact(plan: Plan, samples: Samples) -> bool:
    """Return whether no paced stream was broken; a broken answer of another kind ends the run."""
    direct, bridged = _figures(_INTACT, samples)
    return min(direct + bridged) == plan.paced_streams


_INTACT = Row("paced_intact", "", "", 0)


def _figures(row: Row, samples: Samples) -> tuple[list[float], list[float]]:
    direct, bridged = (
        [figures[row.key] for figures in side if row.key in figures] for side in (samples.direct, samples.bridged)
    )
    return direct, bridged


def _ratio(direct: list[float], bridged: list[float]) -> Spread:
    """Compare within each round, so that what slows the machine down falls on both."""
    return _spread([b / d if d else float("nan") for d, b in zip(direct, bridged, strict=True)])


def _spread(figures: list[float]) -> Spread:
    return Spread(statistics.median(figures), min(figures), max(figures))


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
