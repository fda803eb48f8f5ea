"""URLs: what their host is, and what goes into a request line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.wire.urls import InvalidUrlError, join_path, key_in_query, parse_url


@pytest.mark.parametrize(
    ("text", "host", "port", "target"),
    [
        ("http://engine", "engine", 80, "/"),
        ("HTTPS://Engine.Example/v1/", "engine.example", 443, "/v1/"),
        ("http://engine:8000?a=b#c", "engine", 8000, "/?a=b"),
        (" http://[::1]:1/v1 ", "::1", 1, "/v1"),
        ("http://me:secret@engine/", "engine", 80, "/"),
        ("http://me@other@engine/", "engine", 80, "/"),
        ("http://engine/a b\n\"'é", "engine", 80, "/a%20b%0A%22'%C3%A9"),
        ("http://engine/a%20b?c=d e", "engine", 80, "/a%20b?c=d%20e"),
        ("http://bücher.example/", "xn--bcher-kva.example", 80, "/"),
        ("http://my_engine/", "my_engine", 80, "/"),
        ("http://engine./", "engine.", 80, "/"),
    ],
)
def test_a_url_is_taken_apart(text: str, host: str, port: int, target: str) -> None:
    url = parse_url(text)
    assert (url.host, url.port, url.target) == (host, port, target)


@pytest.mark.parametrize(
    "text",
    [
        "", "engine", "engine:8000", "http:/engine", "http://", "http:///v1", "http://:80", "http://a b/", "http://a\\b/",
        "http://a\tb/", "http://[::1/", "http://[engine]/", "http://::1/", "http://engine:0/", "http://engine:99999/",
        "http://engine:1234567/", "http://engine:x/", "http://a..b/", "http://.a/", "http://a%41/",
        "http://" + "a" * 300, "http://\u2024/",
    ],
)  # fmt: skip
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(InvalidUrlError):
        parse_url(text)


@given(st.text(max_size=60))
def test_whatever_is_taken_goes_safely_into_a_request_line(text: str) -> None:
    try:
        url = parse_url(f"http://engine/{text}")
    except InvalidUrlError:
        return
    assert url.host == "engine"
    assert url.target.isascii()
    assert all("!" <= letter <= "~" for letter in url.target)
    assert parse_url(str(url)) == url


def test_a_url_is_shown_without_its_password() -> None:
    assert str(parse_url("http://me:secret@engine:1/a?b=c")) == "http://engine:1/a?b=c"


@pytest.mark.parametrize(
    ("base_url", "path", "joined"),
    [
        ("http://h/v1", "/models", "http://h/v1/models"),
        ("http://h/v1/", "/models", "http://h/v1/models"),
        ("https://h/openai/deployments/x?api-version=1", "/chat/completions", "https://h/openai/deployments/x/chat/completions?api-version=1"),
        ("http://h", "/v1/messages?beta=true", "http://h/v1/messages?beta=true"),
        ("http://h?a=b", "/v1/messages?beta=true", "http://h/v1/messages?a=b&beta=true"),
        ("http://h?", "/models?", "http://h/models"),
        ("", "/models", "/models"),
    ],
)  # fmt: skip
def test_a_path_comes_before_the_query_of_the_base_url(base_url: str, path: str, joined: str) -> None:
    assert join_path(base_url, path) == joined


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/v1?api_key=abc", "api_key"),
        ("https://h/v1?a=b&apikey=abc", "apikey"),
        ("https://h/v1?key=abc&a=b", "key"),
        ("https://h/v1?access_token=abc", "access_token"),
        ("https://h/v1?Subscription-Key=abc", "Subscription-Key"),
        ("https://h/v1?sig=abc", "sig"),
        ("https://h/v1?code=abc", "code"),
        ("https://h/v1?api-version=1", None),
        ("https://h/v1?key=", None),
        ("https://h/v1?design=1&keyboard=2", None),
        ("https://h/key=abc", None),
        ("https://h/v1", None),
    ],
)
def test_a_key_in_a_query_is_seen(url: str, name: str | None) -> None:
    assert key_in_query(url) == name
