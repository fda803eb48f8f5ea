"""``bridge stats``: the figures of the running bridge."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from claude_bridge.cli import terminal
from claude_bridge.cli.bridge_client import BridgeToken, BridgeUrl, ask, place_of_bridge
from claude_bridge.cli.options import AsJson, ConfigFile, checked

if TYPE_CHECKING:
    from rich.console import RenderableType

    from claude_bridge.wire.admin_api import Figures, ReadingPrompt, StatsReport

MOST_SESSIONS = 10
"""How many sessions are shown, the newest first."""

EXAMPLES = ("bridge stats", "bridge stats --watch", "bridge stats --json")

MODEL = terminal.Column("model", narrowest=16)

COLUMNS = terminal.numbers(
    requests=4, stopped=7, failed=2, input=1, cached=3, output=1,
    thinking=10, tokens_per_s=2, first_token=5, repairs=8, fallbacks=9, cost=3,
)  # fmt: skip
SESSION_COLUMNS = (
    terminal.Column("session"),
    terminal.Column("model", rank=5),
    *terminal.numbers(last_request=6),
)


def stats(
    url: BridgeUrl = None,
    auth_token: BridgeToken = None,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh until Ctrl-C.")] = False,
    every_s: Annotated[
        float,
        typer.Option(
            "--every",
            help="With --watch: seconds between two refreshes.",
            parser=checked(float, low=0.2),
            metavar="SECONDS",
        ),
    ] = 1.0,
    as_json: AsJson = False,
    config_file: ConfigFile = None,
) -> None:
    """Show requests, tokens, cache use, speed, repairs and cost of the running bridge.

    A figure that the engine does not report is shown as ?, and an estimate has a ~.
    """
    from claude_bridge.wire.admin_api import STATS_PATH, encode_stats, parse_stats

    place = place_of_bridge(url, auth_token, config_file)

    def look() -> StatsReport:
        return ask(place, STATS_PATH, parse_stats)

    if as_json:
        terminal.print_line(encode_stats(look()).decode())
    elif not watch:
        terminal.print_renderable(render_report(look(), now_s=time.time()))
    else:
        with _live_view() as show:
            while True:
                show(render_report(look(), now_s=time.time()))
                time.sleep(every_s)


@contextmanager
def _live_view() -> Iterator[Callable[[RenderableType], None]]:
    """Show one thing on stdout and then the next in its place; yields the function that does. Ctrl-C ends the context.

    Where stdout is no terminal, one comes behind the other.
    """
    from rich.live import Live
    from rich.text import Text

    console = terminal.table_console()
    with suppress(KeyboardInterrupt):
        if not console.is_terminal:
            yield console.print
            return
        with Live(Text(""), console=console, auto_refresh=False) as live:
            yield lambda renderable: live.update(renderable, refresh=True)


def render_report(report: StatsReport, *, now_s: float, width: int | None = None) -> RenderableType:
    """Return the tables of the models and of the newest sessions, in ``width`` columns (None: the terminal's)."""
    from rich.console import Group
    from rich.text import Text

    from claude_bridge.trace.console.printable import printable

    running = f", {report.running} running" if report.running else ""
    title = f"claude-bridge {report.version}, up for {_age(now_s - report.started_at_s)}{running}"
    newest = sorted(report.sessions.items(), key=lambda pair: pair[1].last_at_s, reverse=True)
    models = [[name, *_figures(figures)] for name, figures in report.models.items()]
    sessions = [
        [name[:8], session.model, f"{_age(now_s - session.last_at_s)} ago", *_figures(session.figures)]
        for name, session in newest[:MOST_SESSIONS]
    ]
    if models:
        tables = [terminal.table_of(title, (MODEL, *COLUMNS), models, width=width)]
    else:
        tables = [Text(title, style="bold")]
    if sessions:
        more = f" (the newest {len(sessions)} of {len(newest)})" if len(newest) > len(sessions) else ""
        tables.append(terminal.table_of(f"Sessions{more}", (*SESSION_COLUMNS, *COLUMNS), sessions, width=width))
    if web := _web_text(report):
        tables.append(Text(web))
    reading = [f"{prompt.model}: {reading_words(prompt, now_s)}" for prompt in report.reading[:MOST_SESSIONS]]
    return Group(*tables, *(Text(printable(line)) for line in reading))


def _web_text(report: StatsReport) -> str:
    """Return what the bridge did on the web for models; nothing where it did nothing."""
    from claude_bridge.trace.console.printable import size

    web = [figures.web for figures in report.models.values()]
    searches, fetches, failed = (sum(getattr(one, name) for one in web) for name in ("searches", "fetches", "failed"))
    if not searches and not fetches:
        return ""
    spent = f"{size(sum(one.size_bytes for one in web))}, {sum(one.took_s for one in web):.1f} s"
    return f"On the web: searches {searches:,}, fetches {fetches:,}, failed {failed:,}; {spent}"


def _figures(figures: Figures) -> list[str]:
    about = "~" if figures.estimated else ""
    first = figures.first_token
    return [
        str(figures.requests),
        str(figures.left),
        str(figures.failed),
        f"{about}{short_count(figures.prompt_tokens)}",
        "?" if figures.cache_share is None else f"{figures.cache_share:.0%}",
        f"{about}{short_count(figures.output_tokens)}",
        short_count(figures.thinking_tokens),
        "?" if figures.tokens_per_s is None else f"{figures.tokens_per_s:,.0f}",
        f"{first.total_s / first.count:.2f} s" if first.count else "?",
        str(figures.repairs),
        str(figures.fallbacks),
        cost_text(figures) if figures.answered else "?",
    ]


def _age(seconds: float) -> str:
    for unit_s, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit_s:
            return f"{seconds // unit_s:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


# --- figures in words, the same in every command --------------------------------------------------------------------


def short_count(count: int) -> str:
    """Return a count in few characters, as 999, 12.3k or 4.5M."""
    if count < 1_000:
        return str(count)
    return f"{count / 1_000:.1f}k" if count < 999_950 else f"{count / 1_000_000:.1f}M"


def cost_text(figures: Figures) -> str:
    """Return what the answers cost, with ? for those whose cost is not known."""
    if figures.of_unknown_cost and not figures.cost_usd:
        return "?"
    digits = 4 if 0 < figures.cost_usd < 1 else 2
    return f"${figures.cost_usd:,.{digits}f}" + (" + ?" if figures.of_unknown_cost else "")


def reading_words(prompt: ReadingPrompt, now_s: float) -> str:
    """Return how far an engine is in reading a prompt: as it reports, else by how fast it read earlier ones."""
    total, speed = prompt.prompt_tokens, prompt.tokens_per_s
    passed_s = max(0.0, now_s - prompt.since_s)
    if prompt.read_tokens is not None:
        left = f", ~{(total - prompt.read_tokens) / speed:.0f} s left" if speed else ""
        return f"reading {prompt.read_tokens / max(total, 1):.0%} of {short_count(total)} tokens{left}"
    if speed:
        return f"reading ~{short_count(total)} tokens, {passed_s:.0f} s of ~{total / speed:.0f} s, less from cache"
    return f"reading ~{short_count(total)} tokens, {passed_s:.0f} s"


def session_words(figures: Figures) -> list[str]:
    """Return the figures of one session, the most important first; what is not known is left out."""
    cache = "" if figures.cache_share is None else f" ({figures.cache_share:.0%} cached)"
    about = "~" if figures.estimated else ""
    words = [f"{about}{short_count(figures.prompt_tokens)} in{cache}"]
    if figures.answered or figures.output_tokens:
        words.append(f"{about}{short_count(figures.output_tokens)} out")
    if figures.tokens_per_s is not None:
        words.append(f"{figures.tokens_per_s:,.0f} tok/s")
    if figures.first_token.count:
        words.append(f"first token {figures.first_token.last_s:.1f} s")
    if figures.answered and (cost := cost_text(figures)) != "?":
        words.append(cost)
    if figures.left:
        words.append(f"{figures.left} stopped")
    if figures.failed:
        words.append(f"{figures.failed} failed")
    return words
