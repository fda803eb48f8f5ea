"""Whether the web can be searched: one search at the service that is chosen."""

from __future__ import annotations

import time
from contextlib import aclosing

from claude_bridge.app.plan import WebPlan
from claude_bridge.app.web import where_queries_go
from claude_bridge.doctor.finding import Finding, fail, ok, warn
from claude_bridge.errors import SetupError
from claude_bridge.server_tools.blocks import ToolError
from claude_bridge.server_tools.searching import searcher_for
from claude_bridge.server_tools.tools import SearchQuery

WEB_SEARCH = "web search"
QUERY = "Python programming language"
"""What every service finds something for."""


def untried_search(choice: str, why: SetupError) -> Finding:
    """Return that the running bridge searches by a service that can't be tried from here."""
    return warn(WEB_SEARCH, f"the running bridge searches by {choice}, which can't be tried here: {why.what}", why.hint)


async def check_search(plan: WebPlan) -> Finding | None:
    """Search once; None where nothing is searched."""
    searcher = searcher_for(plan.search, plan.search_key)
    if searcher is None:
        return None
    async with aclosing(searcher):
        started_at = time.monotonic()
        try:
            hits, _ = await searcher.search(SearchQuery(text=QUERY, count=5))
        except ToolError as error:
            remedy = f"Check {where_queries_go(plan)}, or choose another service: --web-search"
            return fail(WEB_SEARCH, (error.reason or error.code).rstrip("."), remedy)
    if not hits:
        return warn(WEB_SEARCH, f"{searcher.name} finds nothing for {QUERY!r}", "Check which engines it searches.")
    seconds = time.monotonic() - started_at
    found = "1 result" if len(hits) == 1 else f"{len(hits)} results"
    return ok(WEB_SEARCH, f"{searcher.name}: {found} in {seconds:.1f} s; queries go to it")
