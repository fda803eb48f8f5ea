"""What ``bridge trace`` shows: the tables of a list, and one exchange with both of its requests side by side."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from rich.console import Group
from rich.table import Table
from rich.text import Text

from claude_bridge.cli import terminal
from claude_bridge.cli.stats import short_count
from claude_bridge.trace.console.printable import NO_BREAK, counted, one_line, printable, seconds, shortened, size
from claude_bridge.trace.detail import Lines, Pool, rows_of
from claude_bridge.trace.parts import Part, answer_parts
from claude_bridge.trace.summary import Step, TracedExchange

if TYPE_CHECKING:
    from rich.console import RenderableType

    from claude_bridge.app.replay import Recorded, Replayed
    from claude_bridge.trace.comparison import ComparedPart

_Figure = TypeVar("_Figure", int, float)

SHORT_LINES, SHORT_CHARS = 8, 600
"""Of a text that is not shown whole."""

MAX_ROWS = 1_000
"""Of a list: each takes a few milliseconds, and nobody reads more."""

PLAIN_CHARS = 200
"""Of a text that is the same on both sides, unless all is shown whole."""

NARROW = 80
"""Below so many columns the two requests stand below each other."""

_ADDRESS = re.compile(r" at https?://\S+")
"""Where the engine is, in a message: the same in each line of a list."""

_MARKS = {
    "same": ("=", "dim"),
    "joined": ("+", "dim"),
    "changed": ("~", "yellow"),
    "lost": ("-", "red"),
    "added": (">", "green"),
}
_MARK_WORDS = "   ".join(
    words.replace(" ", NO_BREAK)
    for words in ("= the same", "+ joined with other text", "~ changed", "- not sent", "> added")
)

_SESSION_COLUMNS = (
    terminal.Column("session"),
    terminal.Column("model", rank=5),
    *terminal.numbers(exchanges=0, failed=2, input=1, cached=3, output=1, repairs=4, losses=4, time=3),
)
_COLUMNS = (
    terminal.Column("#", is_number=True),
    *(terminal.Column(name, rank=rank) for name, rank in (("id", 4), ("at", 6), ("session", 7), ("model", 3))),
    *terminal.numbers(messages=8, request=9, sent=9, input=1, cached=2, output=1, first_token=5, time=2),
    *terminal.numbers(repairs=6, losses=6),
)


def render_list(exchanges: Iterable[TracedExchange]) -> RenderableType:
    """Return the tables of sessions and of exchanges."""
    every = sorted(exchanges, key=lambda one: one.number)
    sessions: dict[str, list[TracedExchange]] = {}
    for exchange in every:
        sessions.setdefault(exchange.session or "?", []).append(exchange)
    title = (
        f"The last {MAX_ROWS:,} of {len(every):,} exchanges; --json has all" if len(every) > MAX_ROWS else "Exchanges"
    )
    end = terminal.Column("end", narrowest=16 if terminal.screen_width() < terminal.NARROW else 30)
    return Group(
        terminal.table_of("Sessions", _SESSION_COLUMNS, [_session_row(*session) for session in sessions.items()]),
        Text(),
        terminal.table_of(title, (*_COLUMNS, end), [_exchange_row(one) for one in every[-MAX_ROWS:]]),
    )


def _session_row(name: str, exchanges: Sequence[TracedExchange]) -> list[str]:
    reported = [one for one in exchanges if one.cached_tokens is not None and one.prompt_tokens]
    prompt = sum(one.prompt_tokens or 0 for one in reported)
    share = f"{sum(one.cached_tokens or 0 for one in reported) / prompt:.0%}" if prompt else "?"
    models = dict.fromkeys(one.model or one.client_model or "?" for one in exchanges)
    return [
        name[:8],
        ", ".join(models),
        str(len(exchanges)),
        str(sum(one.state == "failed" for one in exchanges)),
        short_count(sum(one.prompt_tokens or 0 for one in exchanges)),
        share,
        short_count(sum(one.output_tokens or 0 for one in exchanges)),
        str(sum(one.repairs for one in exchanges)),
        str(sum(one.losses for one in exchanges)),
        seconds(sum(one.took_s or 0.0 for one in exchanges)),
    ]


def _exchange_row(one: TracedExchange) -> list[str]:
    about = "~" if one.is_estimated else ""
    estimated = f"~{short_count(one.estimated_tokens)}" if one.estimated_tokens else "?"
    share = None if one.cached_tokens is None or not one.prompt_tokens else one.cached_tokens / one.prompt_tokens
    return [
        str(one.number),
        one.exchange[-8:],
        _clock(one.at_s),
        (one.session or "?")[:8],
        one.model or one.client_model or "?",
        str(one.messages),
        size(one.request_bytes),
        size(one.sent_bytes),
        estimated if one.prompt_tokens is None else f"{about}{short_count(one.prompt_tokens)}",
        _known(share, "{:.0%}".format),
        _known(one.output_tokens, lambda tokens: f"{about}{short_count(tokens)}"),
        _known(one.first_token_s, seconds),
        _known(one.took_s, seconds),
        str(one.repairs),
        str(one.losses),
        end_words(one),
    ]


def _known(figure: _Figure | None, words: Callable[[_Figure], str]) -> str:
    return "?" if figure is None else words(figure)


def end_words(one: TracedExchange) -> str:
    """Return how an exchange ended, or that its end is missing."""
    if one.failure is not None:
        message = _ADDRESS.sub("", one_line(one.failure.message))
        return f"{one.failure.status} {shortened(message, 90)}"
    ends: dict[str, str] = {"answered": one.stop_reason or "answered", "left": "the client left"}
    fallbacks = f", {counted(one.fallbacks, 'fallback')}" if one.fallbacks else ""
    return ends.get(one.state, "no end recorded") + fallbacks


def _clock(at_s: float, form: str = "%H:%M:%S") -> str:
    return datetime.fromtimestamp(at_s).astimezone().strftime(form)


def render_exchange(one: TracedExchange, lines: Lines, *, is_full: bool) -> RenderableType:
    """Return one exchange: its figures, what happened, both requests side by side, and the answer."""
    parts: list[RenderableType] = [
        _line(f"Exchange {one.number} · {one.exchange}", "bold"),
        *map(_line, _facts(one)),
        Text(),
        Text("What happened", style="bold"),
        _steps(one.steps),
        Text(),
        Text("The client's request, and what the engine got", style="bold"),
        Text(_MARK_WORDS, style="dim"),
        _comparison(rows_of(lines, Pool()), is_full=is_full),
        Text(),
        Text("The answer", style="bold"),
        *(_part(part, is_full=is_full) for part in answer_parts((lines.answer or {}).get("content"))),
    ]
    if lines.answer is None:
        parts.append(_line(end_words(one)))
    return Group(*parts)


def _facts(one: TracedExchange) -> list[str]:
    """Return what is known of an exchange, in lines."""
    figures = [
        _known(one.prompt_tokens, "{:,} tokens in".format),
        _known(one.cached_tokens, "{:,} of them cached".format),
        _known(one.output_tokens, "{:,} out".format),
        _known(one.first_token_s, lambda first_s: f"first token after {seconds(first_s)}"),
        _known(one.tokens_per_s, "{:,.0f} tokens/s".format),
        _known(one.took_s, lambda took_s: f"{seconds(took_s)} in all"),
    ]
    failure = one.failure
    return [
        f"{_clock(one.at_s, '%Y-%m-%d %H:%M:%S')} · session {one.session or '?'} · {one.path}",
        f"{one.client_model or '?'} → {one.model or '(not sent)'} on {one.upstream or '?'}",
        *([f"chosen because {one.reason}"] if one.reason else []),
        ", ".join(figure for figure in figures if figure != "?"),
        end_words(one) if failure is None else f"{failure.status} {failure.error_type}: {failure.message}",
    ]


def _steps(steps: Sequence[Step]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", no_wrap=True, width=8)
    table.add_column(overflow="fold")
    for step in steps:
        table.add_row(seconds(step.after_s), _line(step.text, "yellow" if step.is_trouble else ""))
    return table


def _line(text: str, style: str = "") -> Text:
    return Text(printable(text), style=style)


def _comparison(rows: Sequence[ComparedPart], *, is_full: bool) -> RenderableType:
    is_narrow = terminal.screen_width() < NARROW
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_header=not is_narrow, expand=True)
    table.add_column("", width=1)
    if is_narrow:
        table.add_column("", overflow="fold")
    else:
        table.add_column("client", ratio=1, overflow="fold")
        table.add_column("engine", ratio=1, overflow="fold")
    for row in rows:
        mark, style = _MARKS[row.mark]
        is_plain = row.mark in ("same", "joined")
        ours = [] if row.client is None else [_part(row.client, is_full=is_full, is_plain=is_plain)]
        theirs = [] if row.upstream is None else [_part(row.upstream, is_full=is_full, is_plain=is_plain)]
        note = [Text(f"! {printable(row.note)}", style=style)] if row.note else []
        if is_narrow:
            table.add_row(Text(mark, style=style), Group(*ours, *([] if row.mark == "same" else theirs), *note))
        else:
            table.add_row(Text(mark, style=style), Group(*ours, *note), Group(*theirs))
    return table


def _part(part: Part, *, is_full: bool, is_plain: bool = False) -> Text:
    """Return a part under its heading: whole, its beginning, or where nothing became of it in short."""
    role = "" if part.kind in ("tool", "parameter") else part.role  # those are nobody's words
    heading = " ".join(filter(None, (role, part.kind.replace("_", " "), part.name)))
    body = printable(part.text or (f"(image, {size(len(part.data))})" if part.data else ""))
    if not is_full:
        body = shortened(one_line(body), PLAIN_CHARS) if is_plain else _beginning(body)
    return Text.assemble((f"{printable(heading)}\n", "bold"), (body, "dim" if is_plain else ""))


def _beginning(text: str) -> str:
    short = "\n".join(text[:SHORT_CHARS].split("\n")[:SHORT_LINES])
    left = len(text) - len(short)
    return text if left <= 0 else f"{short}… ({left:,} more characters; --full shows them)"


def render_replay(replayed: Replayed) -> RenderableType:
    """Return both answers to one request side by side."""
    then, now = replayed
    is_narrow = terminal.screen_width() < terminal.NARROW
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=not is_narrow, header_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("recorded", ratio=1, overflow="fold")
    if not is_narrow:
        table.add_column("now", ratio=1, overflow="fold")
    for (name, before), (_, after) in zip(_figures_of(then), _figures_of(now), strict=True):
        if is_narrow:
            table.add_row(Text(name, style="bold"))
            table.add_row("  recorded", _line(before))
            table.add_row("  now", _line(after))
        else:
            table.add_row(Text(name, style="bold"), _line(before), _line(after))
    return Group(_line(f"Exchange {then.summary.number} · {then.summary.exchange}", "bold"), table, Text())


def replay_json(replayed: Replayed) -> dict[str, object]:
    """Return both answers to one request for JSON."""
    return {
        name: {"exchange": one.summary, "answer": one.lines.answer}
        for name, one in (("recorded", replayed.then), ("now", replayed.now))
    }


def _figures_of(recorded: Recorded) -> list[tuple[str, str]]:
    one, parts = recorded.summary, answer_parts((recorded.lines.answer or {}).get("content"))
    calls = [f"{part.name} {_beginning(part.text)}" for part in parts if part.kind == "tool_use"]
    return [
        ("model", f"{one.model} on {one.upstream or '?'}" if one.model else "(not sent)"),
        ("end", end_words(one)),
        ("first token", _known(one.first_token_s, seconds)),
        ("time", _known(one.took_s, seconds)),
        ("tokens in", _known(one.prompt_tokens, "{:,}".format)),
        ("cached", _known(one.cached_tokens, "{:,}".format)),
        ("tokens out", _known(one.output_tokens, "{:,}".format)),
        ("tokens/s", _known(one.tokens_per_s, "{:,.1f}".format)),
        ("thinking", f"{sum(len(part.text) for part in parts if part.kind == 'thinking'):,} characters"),
        ("tool calls", "\n".join(calls) or "none"),
        ("answer", _beginning("\n".join(part.text for part in parts if part.kind == "text"))),
    ]
