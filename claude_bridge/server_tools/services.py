"""Services that search the web by an API over HTTP: what each is sent, and what is read of its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from msgspec import Struct

from claude_bridge.server_tools.blocks import ToolError
from claude_bridge.server_tools.declared import host_of
from claude_bridge.server_tools.tools import SearchQuery

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
        country=country if country in _BRAVE_COUNTRIES.split() else None,
        search_lang=_BRAVE_LANGUAGES.get(language or "", language),
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
        country=next(
            (row[3:] for row in _TAVILY_COUNTRIES.split("; ") if row[:2] == query.location.country_code), None
        ),
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


_BRAVE_COUNTRIES = (
    "AR AT AU BE BR CA CH CL CN DE DK ES FI FR GB GR HK ID IN IT JP KR MX MY NL NO NZ PH PL PT RU SA SE TR TW US ZA"
)
"""Whose own results it has; of others it only takes that the user is there."""

_BRAVE_LANGUAGES = {"ja": "jp", "no": "nb", "pt": "pt-pt", "zh": "zh-hans"}

_TAVILY_COUNTRIES = (
    "ad andorra; ae united arab emirates; af afghanistan; al albania; am armenia; ao angola; ar argentina; "
    "at austria; au australia; az azerbaijan; ba bosnia and herzegovina; bb barbados; bd bangladesh; be belgium; "
    "bf burkina faso; bg bulgaria; bh bahrain; bi burundi; bj benin; bn brunei; bo bolivia; br brazil; bs bahamas; "
    "bt bhutan; bw botswana; by belarus; bz belize; ca canada; cf central african republic; cg congo; ch switzerland; "
    "cl chile; cm cameroon; cn china; co colombia; cr costa rica; cu cuba; cv cape verde; cy cyprus; "
    "cz czech republic; de germany; dj djibouti; dk denmark; do dominican republic; dz algeria; ec ecuador; "
    "ee estonia; eg egypt; er eritrea; es spain; et ethiopia; fi finland; fj fiji; fr france; ga gabon; "
    "gb united kingdom; ge georgia; gh ghana; gm gambia; gn guinea; gq equatorial guinea; gr greece; gt guatemala; "
    "hn honduras; hr croatia; ht haiti; hu hungary; id indonesia; ie ireland; il israel; in india; iq iraq; ir iran; "
    "is iceland; it italy; jm jamaica; jo jordan; jp japan; ke kenya; kg kyrgyzstan; kh cambodia; km comoros; "
    "kp north korea; kr south korea; kw kuwait; kz kazakhstan; lb lebanon; li liechtenstein; lk sri lanka; "
    "lr liberia; ls lesotho; lt lithuania; lu luxembourg; lv latvia; ly libya; ma morocco; mc monaco; md moldova; "
    "me montenegro; mg madagascar; mk north macedonia; ml mali; mm myanmar; mn mongolia; mr mauritania; mt malta; "
    "mu mauritius; mv maldives; mw malawi; mx mexico; my malaysia; mz mozambique; na namibia; ne niger; ng nigeria; "
    "ni nicaragua; nl netherlands; no norway; np nepal; nz new zealand; om oman; pa panama; pe peru; "
    "pg papua new guinea; ph philippines; pk pakistan; pl poland; pt portugal; py paraguay; qa qatar; ro romania; "
    "rs serbia; ru russia; rw rwanda; sa saudi arabia; sd sudan; se sweden; sg singapore; si slovenia; sk slovakia; "
    "sn senegal; so somalia; ss south sudan; sv el salvador; sy syria; td chad; tg togo; th thailand; tj tajikistan; "
    "tm turkmenistan; tn tunisia; tr turkey; tt trinidad and tobago; tw taiwan; tz tanzania; ua ukraine; ug uganda; "
    "us united states; uy uruguay; uz uzbekistan; ve venezuela; vn vietnam; ye yemen; za south africa; zm zambia; "
    "zw zimbabwe"
)
"""It takes countries by name."""

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
