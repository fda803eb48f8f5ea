"""Searches the web: asks a service with an API, each with its own questions, or reads DuckDuckGo's pages."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from html import unescape
from importlib.util import find_spec
from operator import itemgetter
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec
from anyio import to_thread
from msgspec import Struct, convert

from claude_bridge.conversion.web_results import SearchHit
from claude_bridge.data_files import read_rows
from claude_bridge.errors import SetupError, UpstreamError
from claude_bridge.extras import how_to_install
from claude_bridge.server_tools.declared import UserLocation, host_of
from claude_bridge.server_tools.result_texts import ToolError
from claude_bridge.server_tools.tools import SearchQuery
from claude_bridge.upstream.client import FetchedDocument, UpstreamClient
from claude_bridge.upstream.proxies import InvalidProxyError, proxy_for
from claude_bridge.wire.urls import parse_url

PLACES = read_rows("server_tools/places.toml")
"""What services call countries and languages, by service."""

MAX_PASSAGE_CHARS = 1_500
"""Of one result; some services send whole pages."""

TIMEOUT_S = 15.0
MAX_LINE_CHARS, MAX_URL_CHARS = 300, 2_000
"""Of a title, and of an address: longer ones only fill the window."""

_CODES = {400: "invalid_tool_input", 413: "query_too_long", 422: "invalid_tool_input", 429: "too_many_requests"}


class ServiceRequest(NamedTuple):
    """What a service is sent: the path below its base URL, and the JSON to post there (None: it is a GET)."""

    path: str
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = {}


class SearchService(Struct, frozen=True, kw_only=True):
    """One service: its row in ``services.toml``."""

    name: str
    title: str
    base_url: str = ""
    """Empty: the user's own."""
    key_header: str = ""
    passage_field: str = "content"
    age_field: str = ""
    refusal_hints: Mapping[str, str] = {}
    """By status: what the user must do."""

    def key_headers(self, key: str | None) -> Mapping[str, str]:
        """Return the header that carries the key."""
        if not key:
            return {}
        return {self.key_header: key} if self.key_header else {"authorization": f"Bearer {key}"}


def _given(**values: object) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _ask_searxng(query: SearchQuery) -> ServiceRequest:
    language, country = query.language, query.location.country_code
    language = f"{language}-{country.upper()}" if language and country else language or "all"
    return ServiceRequest(f"/search?{urlencode({'q': query.with_operators, 'format': 'json', 'language': language})}")


def _searxng_results(answer: Any) -> Sequence[Mapping[str, Any]]:  # noqa: ANN401 - a service's JSON
    if not answer["results"] and answer.get("unresponsive_engines"):
        engines = ", ".join(str(engine[0]) for engine in answer["unresponsive_engines"])
        raise ToolError("unavailable", f"None of SearXNG's engines answered: {engines}.")
    return answer["results"]  # type: ignore[no-any-return] # what is no list is found out by those who read it


def _ask_brave(query: SearchQuery) -> ServiceRequest:
    place, language = query.location, query.language
    country = place.country_code.upper()
    parameters = _given(
        q=query.with_operators,
        count=min(query.count, 20),
        text_decorations="false",
        country=country if country in PLACES["brave"]["countries"] else None,
        search_lang=PLACES["brave"]["languages"].get(language, language),
    )
    headers = {
        "x-loc-country": country,
        "x-loc-state-name": place.region,
        "x-loc-city": place.city,
        "x-loc-timezone": place.timezone,
    }
    encoded = {name: quote(value, safe=" /,+-") for name, value in headers.items() if value}
    return ServiceRequest(f"/res/v1/web/search?{urlencode(parameters)}", headers=encoded)


def _brave_results(answer: Any) -> Sequence[Mapping[str, Any]]:  # noqa: ANN401 - a service's JSON
    if "web" not in answer and answer.get("type") == "search":
        return []  # it found none
    return answer["web"]["results"]  # type: ignore[no-any-return] # as above


def _ask_tavily(query: SearchQuery) -> ServiceRequest:
    more = _given(
        include_domains=list(map(host_of, query.allowed_domains)),
        exclude_domains=list(map(host_of, query.blocked_domains)),
        country=PLACES["tavily"]["countries"].get(query.location.country_code),
    )
    return ServiceRequest("/search", {"query": query.text, "max_results": min(query.count, 20), **more})


def _ask_exa(query: SearchQuery) -> ServiceRequest:
    more = _given(
        includeDomains=list(map(host_of, query.allowed_domains)),
        excludeDomains=list(map(host_of, query.blocked_domains)),
        userLocation=query.location.country_code.upper(),
    )
    contents = {"text": {"maxCharacters": MAX_PASSAGE_CHARS}}
    return ServiceRequest("/search", {"query": query.text, "numResults": query.count, "contents": contents, **more})


def _ask_ollama(query: SearchQuery) -> ServiceRequest:
    return ServiceRequest("/api/web_search", {"query": query.with_operators, "max_results": min(query.count, 10)})


_QUESTIONS: Mapping[str, Callable[[SearchQuery], ServiceRequest]] = {
    "searxng": _ask_searxng,
    "brave": _ask_brave,
    "tavily": _ask_tavily,
    "exa": _ask_exa,
    "ollama": _ask_ollama,
}
_RESULTS: Mapping[str, Callable[[Any], Sequence[Mapping[str, Any]]]] = {
    "searxng": _searxng_results,
    "brave": _brave_results,
}
"""Where the results of an answer are not in ``results``; they raise KeyError, TypeError or AttributeError."""

SERVICES = {
    name: convert({**row, "name": name}, SearchService) for name, row in read_rows("server_tools/services.toml").items()
}
"""By the name in ``--web-search``; DuckDuckGo has none."""


class HttpSearcher:
    """Asks one service."""

    def __init__(self, service: SearchService, base_url: str, key: str | None, *, timeout_s: float = TIMEOUT_S) -> None:
        """Raises SetupError for a key that can't be one."""
        self.name = service.title
        self._service = service
        self._timeout_s = timeout_s
        headers_of_key = service.key_headers
        self._client = UpstreamClient(base_url, api_key=key, name=service.title, headers_of_key=headers_of_key)

    async def search(self, query: SearchQuery) -> tuple[list[SearchHit], int]:
        """Return what was found; raises ToolError."""
        anywhere = msgspec.structs.replace(query, location=UserLocation(), language=None)
        question_of = _QUESTIONS[self._service.name]
        document = await self._ask(question := question_of(query))
        if document.status in (400, 422) and question != (plain := question_of(anywhere)):
            document = await self._ask(plain)  # it may not know this country or language
        if document.status != 200:
            raise self._refused(document.status)
        try:
            results_in = _RESULTS.get(self._service.name, itemgetter("results"))
            results = results_in(msgspec.json.decode(document.body))
            fields = (self._service.passage_field, self._service.age_field)
            hits = [_hit(*map(result.get, ("url", "title", *fields))) for result in results]
        except (msgspec.DecodeError, RecursionError, KeyError, TypeError, AttributeError):
            what = "a web page" if document.body.lstrip()[:1] == b"<" else "something else"
            hint = self._service.refusal_hints.get("200", "")
            raise ToolError(
                "unavailable", f"{self.name} answered with {what}, not with results. {hint}".strip()
            ) from None
        return [hit for hit in hits if hit.url], len(document.body)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _ask(self, question: ServiceRequest) -> FetchedDocument:
        body = None if question.body is None else msgspec.json.encode(question.body)
        try:
            return await self._client.fetch(
                question.path, timeout_s=self._timeout_s, question=body, headers=question.headers
            )
        except UpstreamError as error:
            raise ToolError("unavailable", error.message) from error

    def _refused(self, status: int) -> ToolError:
        if status in _CODES:
            return ToolError(_CODES[status], f"{self.name} answered with status {status}.")
        hint = self._service.refusal_hints.get(str(status)) or (
            "Its key is wrong, or has no searches left." if status in (401, 402, 403) else ""
        )
        return ToolError("unavailable", f"{self.name} answered with status {status}. {hint}".strip())


class DuckDuckGo:
    """DuckDuckGo's result pages, read by the library ``ddgs``."""

    name = "DuckDuckGo"

    def __init__(self, find: Callable[..., list[dict[str, str]]] | None = None) -> None:
        """``find`` is ``DDGS().text``, or a test's; without it, raises SetupError as ``require_ddgs`` does."""
        if find is None:
            require_ddgs()
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
        region = duckduckgo_region(query.location.country_code, query.language)
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


def require_ddgs() -> None:
    """Check that DuckDuckGo can be searched; raises SetupError where the library is missing."""
    if find_spec("ddgs") is None:
        raise SetupError(
            "DuckDuckGo is searched by the library ddgs, which is not installed.",
            f"Install it: {how_to_install('web')}",
        )


def duckduckgo_region(country: str, language: str | None) -> str:
    """Return DuckDuckGo's name for a country, in the language if it has several; ``wt-wt`` is everywhere."""
    country = "uk" if country == "gb" else country
    regions: list[str] = [region for region in PLACES["duckduckgo"]["regions"] if region.startswith(f"{country}-")]
    return next((region for region in regions if region == f"{country}-{language}"), [*regions, "wt-wt"][0])


def searcher_for(choice: str, key: str | None = None) -> HttpSearcher | DuckDuckGo | None:
    """Return what searches by a choice such as ``brave`` or ``searxng:URL``; None for ``off`` and ``auto``.

    Raises:
        SetupError: there is no such service, a SearXNG has no address, or DuckDuckGo's library is missing.
    """
    name, _, address = choice.partition(":")
    if name in ("off", "auto"):
        return None
    if name == "duckduckgo":
        return DuckDuckGo()
    service = SERVICES.get(name)
    if service is None or not (service.base_url or address):
        known = ", ".join(["auto", "off", "duckduckgo", "searxng:URL", *(one for one in SERVICES if one != "searxng")])
        raise SetupError(f"There is no search service {choice!r}.", f"Choose one of: {known}.")
    return HttpSearcher(service, address or service.base_url, key)


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


def _hit(url: Any, title: Any, passage: Any, age: Any = None) -> SearchHit:  # noqa: ANN401 - a service's JSON
    return SearchHit(
        url=url if isinstance(url, str) and _is_address(url) else "",
        title=_line(title),
        passage=unescape(passage).strip()[:MAX_PASSAGE_CHARS] if isinstance(passage, str) else "",
        age=_line(age) or None,
    )


def _line(text: Any) -> str:  # noqa: ANN401 - a service's JSON
    return " ".join(unescape(text).split())[:MAX_LINE_CHARS] if isinstance(text, str) else ""


def _is_address(url: str) -> bool:
    is_plain = len(url) <= MAX_URL_CHARS and url.isprintable() and " " not in url
    return is_plain and url.startswith(("http://", "https://")) and bool(host_of(url))
