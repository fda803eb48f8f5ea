"""A whole trace as one HTML page, within a budget: the newest exchanges in full, older ones in short."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from claude_bridge.page.assets import page_around_data
from claude_bridge.trace.detail import Detail, Pool, detail_of, read_lines
from claude_bridge.trace.trace_file import TraceFile
from claude_bridge.version import __version__

MAX_VALUES_BYTES = 64 * 1024 * 1024
"""Of requests and answers, where what exchanges share counts once. Browsers open such a page in a few seconds."""

MAX_STREAM_BYTES = 16 * 1024 * 1024
"""Of the bytes that went over the wire, which no two exchanges share."""


def trace_page(trace: TraceFile) -> Iterator[bytes]:
    """Yield the page in pieces."""
    details, pool, notes = _details_of(trace)
    before, behind = page_around_data()
    yield before
    document = {
        "version": __version__,
        "source": trace.path.name,
        "notes": [*trace.notes, *notes],
        "exchanges": list(trace.exchanges.values()),
        "details": details,
        "values": pool.values,
    }
    # No "<" can end the element that holds the data, and no text in it becomes markup.
    yield msgspec.json.encode(document).replace(b"<", b"\\u003c")
    yield behind


def _details_of(trace: TraceFile) -> tuple[dict[str, Detail], Pool, list[str]]:
    """Return the exchanges in full, the newest first, as far as the budget goes, and what is left out."""
    details: dict[str, Detail] = {}
    pool, stream_bytes = Pool(), 0
    without_streams = 0
    for name in reversed(trace.exchanges):
        if pool.size > MAX_VALUES_BYTES:
            break
        detail = details[name] = detail_of(read_lines(trace.lines(name)), pool)
        stream_bytes += sum(len(text) for _, text in (*detail.upstream_stream, *detail.client_stream))
        if stream_bytes > MAX_STREAM_BYTES:
            detail.upstream_stream = detail.client_stream = []
            without_streams += 1
    notes = []
    if left := len(trace.exchanges) - len(details):
        notes.append(
            f"Of the first {left:,} exchanges this page has only the summaries, so that it stays small enough for a "
            f"browser. `bridge trace show {trace.path.name} EXCHANGE` shows each in full."
        )
    if without_streams:
        notes.append(f"For the same reason {without_streams:,} exchanges are without the bytes of their streams.")
    return details, pool, notes
