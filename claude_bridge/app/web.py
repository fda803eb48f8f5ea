"""The web for models: which service searches, with which key, and what fetches pages."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from msgspec.structs import replace

from claude_bridge.app.notices import Notices
from claude_bridge.config.locate import search_answer_file
from claude_bridge.config.types import SearchChoice
from claude_bridge.data_files import read_rows
from claude_bridge.errors import SetupError
from claude_bridge.extras import how_to_install

if TYPE_CHECKING:
    from claude_bridge.app.plan import WebPlan
    from claude_bridge.providers import Upstream
    from claude_bridge.server_tools.tools import WebTools

OFF, AUTO, DUCKDUCKGO = SearchChoice("off"), SearchChoice("auto"), SearchChoice("duckduckgo")


@cache
def search_key_variables() -> Mapping[str, str]:
    """Return the environment variables that hold the keys of search services."""
    rows = read_rows("server_tools/services.toml")
    return {name: row["key_variable"] for name, row in rows.items() if "key_variable" in row}


def default_key(choice: SearchChoice) -> str | None:
    """Return the key in a service's own variable (None: it needs none); raises SetupError where it is not set."""
    variable = search_key_variables().get(choice)
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise SetupError(
            f"--web-search {choice} needs a key, and none is set.", f"Set {variable}, or [web] search_key."
        )
    return key


async def with_agreed_search(plan: WebPlan, notices: Notices) -> WebPlan:
    """Return the plan with DuckDuckGo where nothing is chosen and the user agrees: now, or at an earlier start."""
    if plan.is_search_chosen or not find_spec("ddgs"):
        return plan
    agrees = agreed_search()
    if agrees is None:
        agrees = await notices.agrees_to_search()
        if agrees is not None:
            _keep_answer(DUCKDUCKGO if agrees else OFF, notices)
    return replace(plan, search=DUCKDUCKGO) if agrees else plan


def agreed_search() -> bool | None:
    """Return whether the user has agreed that searches go to DuckDuckGo; None: nobody has been asked yet."""
    try:
        answer = search_answer_file().read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return answer == DUCKDUCKGO if answer in (DUCKDUCKGO, OFF) else None


def _keep_answer(answer: str, notices: Notices) -> None:
    file = search_answer_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{answer}\n", "utf-8")
    except OSError as error:
        notices.warn(f"The answer can't be kept in {file}: {error.strerror}. You will be asked again.")


def leaves_searches(plan: WebPlan, upstream: Upstream) -> bool:
    """Return whether the service that has the model runs searches itself."""
    return plan.is_search_hosted and upstream.profile.responses.web_search is not None


def search_note(plan: WebPlan, upstream: Upstream) -> str | None:
    """Return where queries go; None where nothing is searched."""
    if leaves_searches(plan, upstream):
        return f"web searches run at {upstream.profile.name}, which charges for them"
    return None if plan.search in (OFF, AUTO) else f"web searches go to {where_queries_go(plan)}"


def no_search_note(plan: WebPlan) -> str | None:
    """Return how searches are turned on; None where the user has chosen."""
    if plan.is_search_chosen:
        return None
    if not find_spec("ddgs"):
        return f"no web search; to search with DuckDuckGo, install the extra `web`: {how_to_install('web')}"
    return "no web search; --web-search duckduckgo sends Claude Code's queries to DuckDuckGo"


def where_queries_go(plan: WebPlan) -> str:
    """Return the address or the name of the search service."""
    return plan.search.address or plan.search.service


async def open_web_tools(plan: WebPlan, stack: AsyncExitStack) -> WebTools:
    """Return what the bridge does on the web for models; connections are closed with ``stack``."""
    from claude_bridge.attachments.public_web import PublicWeb
    from claude_bridge.server_tools.pages import LIMITS, PageReader
    from claude_bridge.server_tools.searching import searcher_for
    from claude_bridge.server_tools.tools import WebTools

    searcher = searcher_for(plan.search, plan.search_key)
    if searcher is not None:
        stack.push_async_callback(searcher.aclose)
    web = PublicWeb(LIMITS, trusted_hosts=plan.settings.fetch_private_hosts)
    return WebTools(
        searcher=searcher,
        hosted=plan.is_search_hosted,
        pages=PageReader(web) if plan.settings.fetch else None,
        language=plan.settings.search_language and plan.settings.search_language.lower(),
        results=plan.settings.search_results,
        fetches_any_url=plan.settings.fetch_any_url,
    )
