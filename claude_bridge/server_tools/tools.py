"""WebTools: what the bridge can do on the web for models, and what each call of a tool comes to."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import anyio
import msgspec
from msgspec import Raw, Struct

from claude_bridge.conversion.web_results import SearchHit, error_content, fetch_content, search_content
from claude_bridge.off_loop import run_off_loop_if_large
from claude_bridge.server_tools.declared import Declaration, UserLocation, host_of
from claude_bridge.server_tools.function_calls import WebRequest
from claude_bridge.server_tools.pages import MAX_PAGE_CHARS, PageReader
from claude_bridge.server_tools.result_texts import ToolError

CALL_LIMIT_S = 60.0
"""The longest that one call takes, whatever happens."""

MAX_URL_CHARS = 250
"""As at the API."""

MAX_QUERY_CHARS = 1_000
MAX_OPERATORS = 10
"""Of longer lists of domains the rest only filters what was found: search engines take no longer queries."""

CHARS_PER_TOKEN = 4
NO_SEARCH = (
    "Web search is off in claude-bridge. Its option --web-search turns it on, or [web] search in its configuration."
)
NO_FETCH = "Fetching is off in claude-bridge: [web] fetch = false."


class SearchQuery(Struct, frozen=True, kw_only=True):
    """What to search for. ``language`` has two letters; None: whatever the service takes."""

    text: str
    count: int
    allowed_domains: tuple[str, ...] = ()
    blocked_domains: tuple[str, ...] = ()
    location: UserLocation = UserLocation()
    language: str | None = None

    @property
    def with_operators(self) -> str:
        """The text with the domains in the words that most search engines understand."""
        allowed = " OR ".join(f"site:{host}" for host in map(host_of, self.allowed_domains[:MAX_OPERATORS]) if host)
        blocked = [f"-site:{host}" for host in map(host_of, self.blocked_domains[:MAX_OPERATORS]) if host]
        return " ".join(part for part in (self.text, f"({allowed})" if allowed else "", *blocked) if part)


class Searcher(Protocol):
    """What searches the web."""

    @property
    def name(self) -> str:
        """The name for people."""

    async def search(self, query: SearchQuery) -> tuple[list[SearchHit], int]:
        """Return what was found, and how many bytes that took; raises ToolError."""

    async def aclose(self) -> None:
        """Close the connections."""


class CallResult(NamedTuple):
    """What one call came to: the content of its block; ``reason`` explains an error ("": there is none)."""

    content: Raw
    error: str | None = None
    reason: str = ""
    results: int = 0
    size_bytes: int = 0


class WebTools(Struct, frozen=True, kw_only=True):
    """What the bridge can do on the web; by itself nothing."""

    searcher: Searcher | None = None
    """None: there is no search."""
    hosted: bool = True
    """Whether a service that can search runs the searches of its own models, whatever ``searcher`` is."""
    pages: PageReader | None = None
    """None: nothing is fetched."""
    language: str | None = None
    """Two letters, for searches (None: any)."""
    results: int = 10
    """How many results a search gives."""
    fetches_any_url: bool = False
    """Whether a model may fetch addresses that nothing in the conversation names."""

    async def call(
        self, declared: Declaration, given: Raw, request: WebRequest, *, room_tokens: int | None
    ) -> CallResult:
        """Return what a call of a tool gives; a failure is a result too.

        A page takes at most a half of ``room_tokens``, and the results of a search a quarter (None: there is room).
        """
        run = self._search if declared.tool == "web_search" else self._fetch
        try:
            with anyio.fail_after(CALL_LIMIT_S):
                return await run(declared, _arguments(given), request, room_tokens)
        except ToolError as error:
            failure = error
        except TimeoutError:
            failure = ToolError("unavailable", f"It took longer than {CALL_LIMIT_S:g} seconds.")
        return CallResult(error_content(declared.tool, failure.code), failure.code, failure.reason)

    async def _search(
        self, declared: Declaration, given: dict[str, Any], _request: WebRequest, room_tokens: int | None
    ) -> CallResult:
        if self.searcher is None:
            raise ToolError("unavailable", NO_SEARCH)
        text = given.get("query")
        if not isinstance(text, str) or not text.strip():
            raise ToolError("invalid_tool_input", "A search needs a query.")
        if len(text) > MAX_QUERY_CHARS:
            raise ToolError("query_too_long", f"A query has at most {MAX_QUERY_CHARS} characters.")
        query = SearchQuery(
            text=" ".join(text.split()),
            count=self.results,
            allowed_domains=tuple(declared.allowed_domains or ()),
            blocked_domains=tuple(declared.blocked_domains or ()),
            location=declared.user_location or UserLocation(),
            language=self.language,
        )
        found, size_bytes = await self.searcher.search(query)
        hits = [hit for hit in found if declared.allows(hit.url)][: self.results]
        if hits and room_tokens is not None:
            most = max(100, room_tokens // 4 * CHARS_PER_TOKEN // len(hits))
            hits = [msgspec.structs.replace(hit, passage=hit.passage[:most]) for hit in hits]
        return CallResult(search_content(hits), results=len(hits), size_bytes=size_bytes)

    async def _fetch(
        self, declared: Declaration, given: dict[str, Any], request: WebRequest, room_tokens: int | None
    ) -> CallResult:
        if self.pages is None:
            raise ToolError("unavailable", NO_FETCH)
        url = given.get("url")
        url = url.strip() if isinstance(url, str) else ""
        if not url.lower().startswith(("http://", "https://")) or not host_of(url):
            raise ToolError("invalid_tool_input", "A page is fetched by its http:// or https:// address.")
        if len(url) > MAX_URL_CHARS:
            raise ToolError("url_too_long")
        if not declared.allows(url):
            raise ToolError("url_not_allowed", "The request does not allow this domain.")
        if not self.fetches_any_url and not await run_off_loop_if_large(
            request.size_bytes, request.names_url, url, declared
        ):
            raise ToolError("url_not_in_prior_context")
        page = await self.pages.read(url, use_cache=declared.use_cache)
        if not declared.allows(page.url):
            raise ToolError("url_not_allowed", "The page has moved to a domain that the request does not allow.")
        text = page.text[: _max_chars(declared, room_tokens)]
        if len(text) < len(page.text):
            text += f"\n\n[the rest is left out: {len(page.text):,} characters in all]"
        is_cited = declared.citations is not None and declared.citations.enabled
        content = fetch_content(page.url, page.title or None, text, page.retrieved_at, is_cited=is_cited)
        return CallResult(content, results=1, size_bytes=page.size_bytes)


def _arguments(given: Raw) -> dict[str, Any]:
    try:
        arguments = msgspec.json.decode(given)
    except msgspec.DecodeError:
        arguments = None
    if not isinstance(arguments, dict):
        raise ToolError("invalid_tool_input", "The input is no JSON object.")
    return arguments


def _max_chars(declared: Declaration, room_tokens: int | None) -> int:
    """Return how much of a page a model gets."""
    limits = [MAX_PAGE_CHARS]
    if declared.max_content_tokens is not None:
        limits.append(max(0, declared.max_content_tokens) * CHARS_PER_TOKEN)
    if room_tokens is not None:
        limits.append(room_tokens // 2 * CHARS_PER_TOKEN)
    return min(limits)
