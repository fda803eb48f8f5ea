"""Services that search the web by an API over HTTP: what each is sent, and what is read of its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from msgspec import Struct, convert

from claude_bridge.data_files import read_rows
from claude_bridge.server_tools.blocks import ToolError
from claude_bridge.server_tools.declared import host_of
from claude_bridge.server_tools.tools import SearchQuery

PLACES = read_rows("server_tools/places.toml")
"""What services call countries and languages, by service."""

MAX_PASSAGE_CHARS = 1_500
"""Of one result; some services send whole pages."""


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

    def question(self, query: SearchQuery) -> ServiceRequest:
        """Return what the service is sent for a query."""
        return _QUESTIONS[self.name](query)

    def results(self, answer: Any) -> Sequence[Mapping[str, Any]]:  # noqa: ANN401 - a service's JSON
        """Return the results in an answer; raises KeyError, TypeError or AttributeError for one that is none."""
        return _RESULTS.get(self.name, itemgetter("results"))(answer)


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

SERVICES = {
    name: convert({**row, "name": name}, SearchService) for name, row in read_rows("server_tools/services.toml").items()
}
"""By the name in ``--web-search``; DuckDuckGo has none."""
