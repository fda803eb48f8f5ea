"""Services that search the web by an API over HTTP: what each is sent, and what is read of its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from msgspec import Struct

from claude_bridge.data_files import read_rows
from claude_bridge.server_tools.blocks import ToolError
from claude_bridge.server_tools.declared import host_of
from claude_bridge.server_tools.tools import SearchQuery

PLACES = read_rows("server_tools/places.toml")
"""What services call countries and languages, by service."""

MAX_PASSAGE_CHARS = 1_500
"""Of one result; some services send whole pages."""


class Question(NamedTuple):
    """What a service is sent: the path below its base URL, and the JSON to post there (None: it is a GET)."""

    path: str
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = {}


class SearchService(Struct, frozen=True, kw_only=True):
    """One service."""

    title: str
    base_url: str
    """Empty: the user's own."""
    key_headers: Callable[[str], Mapping[str, str]] = lambda key: {"authorization": f"Bearer {key}"}
    question: Callable[[SearchQuery], Question]
    results: Callable[[Any], Sequence[Mapping[str, Any]]] = itemgetter("results")
    """Returns the results in an answer; raises KeyError, TypeError or AttributeError for one that is none."""
    passage_field: str = "content"
    age_field: str = ""
    refusal_hints: Mapping[int, str] = {}
    """By status: what the user must do."""


def _given(**values: object) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _ask_searxng(query: SearchQuery) -> Question:
    language, country = query.language, query.location.country_code
    language = f"{language}-{country.upper()}" if language and country else language or "all"
    return Question(f"/search?{urlencode({'q': query.with_operators, 'format': 'json', 'language': language})}")


def _searxng_results(answer: Any) -> Sequence[Mapping[str, Any]]:  # noqa: ANN401 - a service's JSON
    if not answer["results"] and answer.get("unresponsive_engines"):
        engines = ", ".join(str(engine[0]) for engine in answer["unresponsive_engines"])
        raise ToolError("unavailable", f"None of SearXNG's engines answered: {engines}.")
    return answer["results"]  # type: ignore[no-any-return] # what is no list is found out by those who read it


def _ask_brave(query: SearchQuery) -> Question:
    place, language = query.location, query.language
    country = place.country_code.upper()
    asked = _given(
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
    return Question(f"/res/v1/web/search?{urlencode(asked)}", headers=encoded)


def _brave_results(answer: Any) -> Sequence[Mapping[str, Any]]:  # noqa: ANN401 - a service's JSON
    if "web" not in answer and answer.get("type") == "search":
        return []  # it found none
    return answer["web"]["results"]  # type: ignore[no-any-return] # as above


def _ask_tavily(query: SearchQuery) -> Question:
    more = _given(
        include_domains=list(map(host_of, query.allowed_domains)),
        exclude_domains=list(map(host_of, query.blocked_domains)),
        country=PLACES["tavily"]["countries"].get(query.location.country_code),
    )
    return Question("/search", {"query": query.text, "max_results": min(query.count, 20), **more})


def _ask_exa(query: SearchQuery) -> Question:
    more = _given(
        includeDomains=list(map(host_of, query.allowed_domains)),
        excludeDomains=list(map(host_of, query.blocked_domains)),
        userLocation=query.location.country_code.upper(),
    )
    contents = {"text": {"maxCharacters": MAX_PASSAGE_CHARS}}
    return Question("/search", {"query": query.text, "numResults": query.count, "contents": contents, **more})


def _ask_ollama(query: SearchQuery) -> Question:
    return Question("/api/web_search", {"query": query.with_operators, "max_results": min(query.count, 10)})


_WANTS_JSON = "Let it answer in JSON: add `json` to `search.formats` in its settings.yml."

SERVICES: dict[str, SearchService] = {
    "searxng": SearchService(
        title="SearXNG",
        base_url="",
        question=_ask_searxng,
        results=_searxng_results,
        age_field="publishedDate",
        refusal_hints={200: _WANTS_JSON, 403: _WANTS_JSON},
    ),
    "brave": SearchService(
        title="Brave Search",
        base_url="https://api.search.brave.com",
        key_headers=lambda key: {"x-subscription-token": key},
        question=_ask_brave,
        results=_brave_results,
        passage_field="description",
        age_field="age",
    ),
    "tavily": SearchService(
        title="Tavily",
        base_url="https://api.tavily.com",
        question=_ask_tavily,
        age_field="published_date",
        refusal_hints={432: "The key has no searches left.", 433: "The key has no searches left."},
    ),
    "exa": SearchService(
        title="Exa",
        base_url="https://api.exa.ai",
        key_headers=lambda key: {"x-api-key": key},
        question=_ask_exa,
        passage_field="text",
        age_field="publishedDate",
    ),
    "ollama": SearchService(title="Ollama's web search", base_url="https://ollama.com", question=_ask_ollama),
}
"""By the name in ``--web-search``, after each service's documentation in 2026; DuckDuckGo has none."""
