"""Search services: what each is sent, what is read of its answers, and what becomes of its refusals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from claude_bridge.app.web import search_key_variables
from claude_bridge.config.types import SearchChoice
from claude_bridge.conversion.web_results import SearchHit
from claude_bridge.server_tools.declared import UserLocation
from claude_bridge.server_tools.result_texts import ToolError
from claude_bridge.server_tools.searching import SERVICES, DuckDuckGo, HttpSearcher, duckduckgo_region
from claude_bridge.server_tools.tools import SearchQuery
from tests.fake_upstream import FakeUpstream, ReceivedRequest, Reply, Stall, json_document, refusal

pytestmark = pytest.mark.anyio

COLOGNE = UserLocation(country="DE", region="Nordrhein-Westfalen", city="Köln", timezone="Europe/Berlin")
QUERY = SearchQuery(text="bridges & more", count=5, blocked_domains=("ads.example",), location=COLOGNE, language="de")
KEY = "a-key-of-mine"

# Answers in the shape of each service's documentation, with what the bridge has no use for.
ANSWERS: Mapping[str, Any] = {
    "searxng": {
        "query": "bridges",
        "number_of_results": 0,
        "results": [
            {"url": "https://a.example/", "title": "A", "content": "About a.", "publishedDate": "2026-01-02T00:00:00"},
            {"url": "https://b.example/", "title": "B", "content": None, "engine": "bing", "score": 1.0},
        ],
        "answers": [],
        "unresponsive_engines": [["google", "timeout"]],
    },
    "brave": {
        "type": "search",
        "query": {"original": "bridges"},
        "web": {
            "type": "search",
            "results": [
                {"title": "A", "url": "https://a.example/", "description": "About a.", "age": "2026-01-02T00:00:00"},
                {"title": "B", "url": "https://b.example/", "is_source_local": False},
            ],
        },
    },
    "tavily": {
        "query": "bridges",
        "answer": None,
        "results": [
            {"title": "A", "url": "https://a.example/", "content": "About a.", "published_date": "2026-01-02T00:00:00"},
            {"title": "B", "url": "https://b.example/", "score": 0.5},
        ],
        "response_time": 1.2,
    },
    "exa": {
        "requestId": "x",
        "results": [
            {"title": "A", "url": "https://a.example/", "text": "About a.", "publishedDate": "2026-01-02T00:00:00"},
            {"title": "B", "url": "https://b.example/", "author": None},
        ],
    },
    "ollama": {
        "results": [
            {"title": "A", "url": "https://a.example/", "content": "About a."},
            {"title": "B", "url": "https://b.example/"},
        ]
    },
}
each_service = pytest.mark.parametrize("name", sorted(SERVICES))


async def ask(name: str, reply: Reply, query: SearchQuery = QUERY) -> tuple[list[SearchHit], ReceivedRequest]:
    """Search at a service that answers so, with a key."""
    async with FakeUpstream(lambda _: reply, answers_get=True) as service:
        searcher = HttpSearcher(SERVICES[name], service.base_url.removesuffix("/v1"), KEY, timeout_s=0.5)
        try:
            hits, size = await searcher.search(query)
        finally:
            await searcher.aclose()
        assert size > 0
        return hits, service.requests[0]


@each_service
async def test_results_are_read(name: str) -> None:
    hits, _ = await ask(name, json_document(ANSWERS[name]))
    age = None if name == "ollama" else "2026-01-02T00:00:00"
    assert hits == [
        SearchHit(url="https://a.example/", title="A", passage="About a.", age=age),
        SearchHit(url="https://b.example/", title="B"),
    ]


async def test_each_service_is_asked_in_its_own_way() -> None:
    requested = {name: (await ask(name, json_document(ANSWERS[name])))[1] for name in SERVICES}
    seen = {name: (request.method, urlsplit(request.path).path) for name, request in requested.items()}
    assert seen == {
        "searxng": ("GET", "/search"),
        "brave": ("GET", "/res/v1/web/search"),
        "tavily": ("POST", "/search"),
        "exa": ("POST", "/search"),
        "ollama": ("POST", "/api/web_search"),
    }
    words = {name: parse_qs(urlsplit(requested[name].path).query) for name in ("searxng", "brave")}
    assert words["searxng"] == {"q": ["bridges & more -site:ads.example"], "format": ["json"], "language": ["de-DE"]}
    assert words["brave"] == {
        "q": ["bridges & more -site:ads.example"],
        "count": ["5"],
        "text_decorations": ["false"],
        "country": ["DE"],
        "search_lang": ["de"],
    }
    where = {name: value for name, value in requested["brave"].headers.items() if name.startswith("x-loc-")}
    assert where == {
        "x-loc-country": "DE",
        "x-loc-state-name": "Nordrhein-Westfalen",
        "x-loc-city": "K%C3%B6ln",
        "x-loc-timezone": "Europe/Berlin",
    }
    assert requested["tavily"].json == {
        "query": "bridges & more",
        "max_results": 5,
        "exclude_domains": ["ads.example"],
        "country": "germany",
    }
    assert requested["exa"].json == {
        "query": "bridges & more",
        "numResults": 5,
        "contents": {"text": {"maxCharacters": 1500}},
        "excludeDomains": ["ads.example"],
        "userLocation": "DE",
    }
    assert requested["ollama"].json == {"query": "bridges & more -site:ads.example", "max_results": 5}
    headers = {"brave": "x-subscription-token", "exa": "x-api-key"}
    for name, request in requested.items():
        assert KEY in request.headers[headers.get(name, "authorization")]
        assert KEY not in request.path


@pytest.mark.parametrize(
    ("name", "field", "most"), [("brave", "count", 20), ("tavily", "max_results", 20), ("ollama", "max_results", 10)]
)
async def test_no_service_is_asked_for_more_results_than_it_gives(name: str, field: str, most: int) -> None:
    _, requested = await ask(name, json_document(ANSWERS[name]), SearchQuery(text="bridges", count=50))
    sent = requested.json[field] if requested.body else int(parse_qs(urlsplit(requested.path).query)[field][0])
    assert sent == most


@each_service
@pytest.mark.parametrize(
    ("status", "code"),
    [(429, "too_many_requests"), (401, "unavailable"), (422, "invalid_tool_input"), (503, "unavailable")],
)
async def test_refusals_are_codes_of_the_api_with_a_reason(name: str, status: int, code: str) -> None:
    with pytest.raises(ToolError) as caught:
        await ask(name, refusal(status, KEY))
    assert caught.value.code == code
    assert SERVICES[name].title in caught.value.reason
    assert KEY not in caught.value.reason
    if status == 401:
        usual = "Its key is wrong, or has no searches left."
        assert SERVICES[name].refusal_hints.get("401", usual) in caught.value.reason


@each_service
async def test_a_service_that_does_not_answer_is_unavailable(name: str) -> None:
    with pytest.raises(ToolError) as caught:
        await ask(name, [Stall()])
    assert caught.value.code == "unavailable"


@pytest.mark.parametrize("name", ["brave", "exa", "searxng", "tavily"])
async def test_a_country_that_a_service_does_not_know_is_left_out(name: str) -> None:
    replies = [refusal(422, "no such country"), json_document(ANSWERS[name])]
    async with FakeUpstream(replies, answers_get=True) as service:
        searcher = HttpSearcher(SERVICES[name], service.base_url.removesuffix("/v1"), KEY)
        async with aclosing(searcher):
            hits, _ = await searcher.search(QUERY)
        first, second = (f"{one.path} {one.headers} {one.body!r}".lower() for one in service.requests)
    assert len(hits) == 2
    assert "de-de" in first or '"de"' in first or "country" in first
    assert not any(word in second for word in ("de-de", '"de"', "germany", "x-loc-", "country"))
    assert "ads.example" in second


@pytest.mark.parametrize("place", [{}, {"country": ""}, {"country": "XX", "city": "\r\nx: y"}, {"country": "Germany"}])
@each_service
async def test_an_odd_place_is_no_reason_to_fail(name: str, place: dict[str, str]) -> None:
    query = SearchQuery(text="bridges", count=5, location=UserLocation(**place))
    hits, requested = await ask(name, json_document(ANSWERS[name]), query)
    assert len(hits) == 2
    assert "x" not in requested.headers


@pytest.mark.parametrize(
    ("country", "language", "region"),
    [
        *(("de", None, "de-de"), ("gb", "de", "uk-en"), ("ca", "fr", "ca-fr"), ("ch", "it", "ch-it")),
        *(("", "de", "wt-wt"), ("xx", None, "wt-wt")),
    ],
)
def test_duckduckgo_has_its_own_names_of_countries(country: str, language: str | None, region: str) -> None:
    assert duckduckgo_region(country, language) == region


async def test_engines_behind_a_searxng_that_all_fail_are_named() -> None:
    failed = {"results": [], "unresponsive_engines": [["google", "CAPTCHA"], ["bing", "timeout"]]}
    with pytest.raises(ToolError, match="unavailable") as caught:
        await ask("searxng", json_document(failed))
    assert "google, bing" in caught.value.reason


async def test_a_brave_search_without_results_has_none() -> None:
    hits, _ = await ask("brave", json_document({"type": "search", "query": {}}))
    assert hits == []


async def test_addresses_that_are_none_are_left_out_and_long_passages_are_cut() -> None:
    found = [
        {"url": "javascript:alert(1)", "title": "x"},
        {"url": "https://a.example", "title": 3, "content": "x" * 9999},
    ]
    hits, _ = await ask("searxng", json_document({"results": found}))
    assert [(hit.url, hit.title, len(hit.passage)) for hit in hits] == [("https://a.example", "", 1500)]


async def test_duckduckgo_is_searched_by_its_library() -> None:
    requested: list[tuple[str, Mapping[str, Any]]] = []

    def find(text: str, **settings: Any) -> list[dict[str, str]]:
        requested.append((text, settings))
        return [{"title": "A &amp; b", "href": "https://a.example/", "body": "About a."}]

    hits, _ = await DuckDuckGo(find).search(QUERY)
    assert hits == [SearchHit(url="https://a.example/", title="A & b", passage="About a.")]
    ((text, settings),) = requested
    assert text == "bridges & more -site:ads.example"
    assert settings == {"region": "de-de", "max_results": 5, "backend": "duckduckgo"}


async def test_duckduckgos_refusals_are_codes_too() -> None:
    from ddgs.exceptions import DDGSException, RatelimitException

    for error, code in ((RatelimitException("202"), "too_many_requests"), (DDGSException("odd"), "unavailable")):

        def find(_text: str, error: Exception = error, **_: Any) -> list[dict[str, str]]:
            raise error

        with pytest.raises(ToolError) as caught:
            await DuckDuckGo(find).search(QUERY)
        assert caught.value.code == code

    def nothing(_text: str, **_: Any) -> list[dict[str, str]]:
        raise DDGSException("No results found.")

    assert await DuckDuckGo(nothing).search(QUERY) == ([], 0)


def test_the_installed_library_takes_what_it_is_given() -> None:
    import inspect

    from ddgs import DDGS

    taken = inspect.signature(DDGS.text).parameters
    assert any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()) or {
        *("region", "max_results", "backend")
    } <= set(taken)


def test_every_service_can_be_chosen_and_every_choice_is_a_service() -> None:
    words = SearchChoice.WANTED.replace(" or ", ", ").split(", ")
    assert sorted(word.partition(":")[0] for word in words) == sorted(["auto", "off", "duckduckgo", *SERVICES])
    assert sorted(search_key_variables()) == sorted(set(SERVICES) - {"searxng"})
    assert json.dumps(sorted(SERVICES))
