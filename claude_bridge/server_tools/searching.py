"""Services that search the web: a row for each, and how one is asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from html import unescape
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlencode

import msgspec
from anyio import to_thread
from msgspec import Struct

from claude_bridge.errors import SetupError, UpstreamError
from claude_bridge.server_tools.blocks import INSTALL_HINT, SearchHit, ToolError
from claude_bridge.server_tools.tools import SearchQuery, host_of
from claude_bridge.upstream.client import UpstreamClient
from claude_bridge.upstream.proxies import InvalidProxyError, proxy_for
from claude_bridge.wire.urls import parse_url

TIMEOUT_S = 15.0
MAX_PASSAGE_CHARS = 1_500
"""Of one result; some services send whole pages."""


class SearchService(Struct, frozen=True, kw_only=True):
    """One service with an API over HTTP."""

    title: str
    base_url: str
    """Empty: the user's own."""
    key_headers: Callable[[str], Mapping[str, str]] = lambda key: {"authorization": f"Bearer {key}"}
    request: Callable[[SearchQuery], tuple[str, Any]]
    """Returns the path below the base URL, and the JSON to post there (None: it is a GET)."""
    hits: Callable[[Any], Iterable[SearchHit]]
    """Reads an answer; raises KeyError, TypeError or AttributeError for one that is none."""
    refusal_hints: Mapping[int, str] = {}
    """By status: what the user must do."""


class HttpSearcher:
    """Asks one service."""

    def __init__(self, service: SearchService, base_url: str, key: str | None, *, timeout_s: float = TIMEOUT_S) -> None:
        """Raises SetupError for a key that can't be one."""
        self.name = service.title
        self._service = service
        self._timeout_s = timeout_s
        self.client = UpstreamClient(
            base_url,
            api_key=key,
            name=service.title,
            headers_of_key=lambda given: service.key_headers(given) if given else {},
        )

    async def search(self, query: SearchQuery) -> tuple[list[SearchHit], int]:
        """Return what was found; raises ToolError."""
        path, question = self._service.request(query)
        encoded = None if question is None else msgspec.json.encode(question)
        try:
            document = await self.client.fetch(path, timeout_s=self._timeout_s, question=encoded)
        except UpstreamError as error:
            raise ToolError("unavailable", error.message) from error
        if document.status != 200:
            raise self._refused(document.status)
        try:
            hits = list(self._service.hits(msgspec.json.decode(document.body)))
        except (msgspec.DecodeError, RecursionError, KeyError, TypeError, AttributeError):
            what = "a web page" if document.body.lstrip()[:1] == b"<" else "something else"
            hint = self._service.refusal_hints.get(200, "")
            raise ToolError(
                "unavailable", f"{self.name} answered with {what}, not with results. {hint}".strip()
            ) from None
        return [hit for hit in hits if hit.url], len(document.body)

    def _refused(self, status: int) -> ToolError:
        if status in _CODES:
            return ToolError(_CODES[status], f"{self.name} answered with status {status}.")
        hint = self._service.refusal_hints.get(status) or (
            "Its key is wrong, or has no searches left." if status in (401, 402, 403) else ""
        )
        return ToolError("unavailable", f"{self.name} answered with status {status}. {hint}".strip())

    async def aclose(self) -> None:
        """Close the connections."""
        await self.client.aclose()


class DuckDuckGo:
    """DuckDuckGo's result pages, read by the library ``ddgs``."""

    name = "DuckDuckGo"

    def __init__(self, find: Callable[..., list[dict[str, str]]] | None = None) -> None:
        """``find`` is ``DDGS().text``, or a test's.

        Raises:
            SetupError: the library is missing.
        """
        if find is None and find_spec("ddgs") is None:
            raise SetupError("DuckDuckGo is searched by the library ddgs, which is not installed.", INSTALL_HINT)
        self._find = find

    async def search(self, query: SearchQuery) -> tuple[list[SearchHit], int]:
        """Return what was found; raises ToolError."""
        return await to_thread.run_sync(self._search, query, abandon_on_cancel=True)

    async def aclose(self) -> None:
        """Do nothing: each search has a connection of its own."""

    def _search(self, query: SearchQuery) -> tuple[list[SearchHit], int]:
        from ddgs import DDGS
        from ddgs.exceptions import DDGSException, RatelimitException

        find = self._find or DDGS(proxy=_proxy(), timeout=round(TIMEOUT_S)).text
        region = f"{query.country}-{query.language or 'en'}".lower() if query.country else "wt-wt"
        try:
            found = find(query.with_operators, region=region, max_results=query.count, backend="duckduckgo")
        except RatelimitException as error:
            raise ToolError("too_many_requests", "DuckDuckGo takes no more searches for now.") from error
        except Exception as error:  # it reads web pages, and may raise anything
            if isinstance(error, DDGSException) and "No results" in str(error):
                return [], 0
            raise ToolError("unavailable", f"DuckDuckGo can't be searched: {error}") from error
        hits = [_hit(one.get("href"), one.get("title"), one.get("body")) for one in found]
        return hits, sum(len(hit.title) + len(hit.passage) + len(hit.url) for hit in hits)


def _proxy() -> str | None:
    """Return the proxy for DuckDuckGo, by the rule for all that the bridge asks; raises ToolError."""
    try:
        proxy = proxy_for(parse_url("https://html.duckduckgo.com"), os.environ)
    except InvalidProxyError as error:
        raise ToolError("unavailable", f"DuckDuckGo can't be searched: {error}") from error
    if proxy is None:
        return None
    url, login = proxy.url, f"{proxy.url.userinfo}@" if proxy.url.userinfo else ""
    return f"{url.scheme}://{login}{url.authority}"


def _hit(url: object, title: object, passage: object, age: object = None) -> SearchHit:
    return SearchHit(
        url=url if isinstance(url, str) and url.startswith(("http://", "https://")) else "",
        title=unescape(title).strip() if isinstance(title, str) else "",
        passage=unescape(passage).strip()[:MAX_PASSAGE_CHARS] if isinstance(passage, str) else "",
        age=age if isinstance(age, str) and age else None,
    )


def _given(**values: object) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _of_searxng(query: SearchQuery) -> tuple[str, None]:
    language = f"{query.language}-{query.country.upper()}" if query.language and query.country else query.language
    return f"/search?{urlencode({'q': query.with_operators, 'format': 'json', 'language': language or 'all'})}", None


def _of_brave(query: SearchQuery) -> tuple[str, None]:
    more = _given(country=query.country, search_lang=query.language)
    given = {"q": query.with_operators, "count": min(query.count, 20), "text_decorations": "false", **more}
    return f"/res/v1/web/search?{urlencode(given)}", None


def _of_tavily(query: SearchQuery) -> tuple[str, dict[str, Any]]:
    domains = _given(
        include_domains=list(map(host_of, query.allowed_domains)),
        exclude_domains=list(map(host_of, query.blocked_domains)),
    )
    return "/search", {"query": query.text, "max_results": min(query.count, 20), **domains}


def _of_exa(query: SearchQuery) -> tuple[str, dict[str, Any]]:
    more = _given(
        includeDomains=list(map(host_of, query.allowed_domains)),
        excludeDomains=list(map(host_of, query.blocked_domains)),
        userLocation=query.country and query.country.upper(),
    )
    contents = {"text": {"maxCharacters": MAX_PASSAGE_CHARS}}
    return "/search", {"query": query.text, "numResults": query.count, "contents": contents, **more}


def _of_ollama(query: SearchQuery) -> tuple[str, dict[str, Any]]:
    return "/api/web_search", {"query": query.with_operators, "max_results": min(query.count, 10)}


def _from_searxng(answer: Any) -> Iterable[SearchHit]:  # noqa: ANN401 - a service's JSON
    results = answer["results"]
    if not results and answer.get("unresponsive_engines"):
        engines = ", ".join(str(engine[0]) for engine in answer["unresponsive_engines"])
        raise ToolError("unavailable", f"None of SearXNG's engines answered: {engines}.")
    return [_hit(one.get("url"), one.get("title"), one.get("content"), one.get("publishedDate")) for one in results]


def _from_brave(answer: Any) -> Iterable[SearchHit]:  # noqa: ANN401 - a service's JSON
    if "web" not in answer and answer.get("type") == "search":
        return []  # it found none
    results = answer["web"]["results"]
    return [_hit(one.get("url"), one.get("title"), one.get("description"), one.get("age")) for one in results]


def _from_tavily(answer: Any) -> Iterable[SearchHit]:  # noqa: ANN401 - a service's JSON
    results = answer["results"]
    return [_hit(one.get("url"), one.get("title"), one.get("content"), one.get("published_date")) for one in results]


def _from_exa(answer: Any) -> Iterable[SearchHit]:  # noqa: ANN401 - a service's JSON
    return [
        _hit(one.get("url"), one.get("title"), one.get("text"), one.get("publishedDate")) for one in answer["results"]
    ]


_CODES = {400: "invalid_tool_input", 413: "query_too_long", 422: "invalid_tool_input", 429: "too_many_requests"}
_WANTS_JSON = "Let it answer in JSON: add `json` to `search.formats` in its settings.yml."

SERVICES: dict[str, SearchService] = {
    "searxng": SearchService(
        title="SearXNG",
        base_url="",
        request=_of_searxng,
        hits=_from_searxng,
        refusal_hints={200: _WANTS_JSON, 403: _WANTS_JSON},
    ),
    "brave": SearchService(
        title="Brave Search",
        base_url="https://api.search.brave.com",
        key_headers=lambda key: {"x-subscription-token": key},
        request=_of_brave,
        hits=_from_brave,
    ),
    "tavily": SearchService(
        title="Tavily",
        base_url="https://api.tavily.com",
        request=_of_tavily,
        hits=_from_tavily,
        refusal_hints={432: "The key has no searches left.", 433: "The key has no searches left."},
    ),
    "exa": SearchService(
        title="Exa",
        base_url="https://api.exa.ai",
        key_headers=lambda key: {"x-api-key": key},
        request=_of_exa,
        hits=_from_exa,
    ),
    "ollama": SearchService(
        title="Ollama's web search",
        base_url="https://ollama.com",
        request=_of_ollama,
        hits=_from_tavily,
    ),
}
"""By the name in ``--web-search``, after each service's documentation in 2026; DuckDuckGo has none."""


def searcher_for(choice: str, key: str | None = None) -> HttpSearcher | DuckDuckGo | None:
    """Return what searches by a choice such as ``brave`` or ``searxng:URL``; None for ``off``.

    Raises:
        SetupError: there is no such service, a SearXNG has no address, or DuckDuckGo's library is missing.
    """
    name, _, address = choice.partition(":")
    if name == "off":
        return None
    if name == "duckduckgo":
        return DuckDuckGo()
    service = SERVICES.get(name)
    if service is None or not (service.base_url or address):
        known = ", ".join(["off", "duckduckgo", "searxng:URL", *(one for one in SERVICES if one != "searxng")])
        raise SetupError(f"{choice!r} does not search the web.", f"Choose one of: {known}.")
    return HttpSearcher(service, address or service.base_url, key)
