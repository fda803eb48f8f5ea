"""Which proxy a request takes: by the variables that all programs share, and never to this machine."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from claude_bridge.upstream.proxies import InvalidProxyError, proxy_for
from claude_bridge.wire.urls import parse_url

HTTP, HTTPS = "http://engine.example/v1", "https://engine.example/v1"
P, Q = "http://proxy.example:3128", "socks5://other.example:1080"


def proxy_of(url: str, **environment: str) -> str | None:
    found = proxy_for(parse_url(url), environment)
    return None if found is None else str(found)


@pytest.mark.parametrize(
    ("url", "environment", "expected"),
    [
        (HTTPS, {}, None),
        (HTTPS, {"HTTPS_PROXY": P}, f"{P} (from HTTPS_PROXY)"),
        (HTTPS, {"https_proxy": P, "HTTPS_PROXY": Q}, f"{P} (from https_proxy)"),
        (HTTPS, {"https_proxy": "", "HTTPS_PROXY": Q}, None),
        (HTTPS, {"HTTP_PROXY": P}, None),
        (HTTP, {"HTTP_PROXY": P, "HTTPS_PROXY": Q}, f"{P} (from HTTP_PROXY)"),
        (HTTP, {"ALL_PROXY": Q}, f"{Q} (from ALL_PROXY)"),
        (HTTP, {"ALL_PROXY": Q, "http_proxy": P}, f"{P} (from http_proxy)"),
        (HTTPS, {"HTTPS_PROXY": "proxy.example:3128"}, f"{P} (from HTTPS_PROXY)"),
        (HTTPS, {"HTTPS_PROXY": "proxy.example"}, "http://proxy.example (from HTTPS_PROXY)"),
        (HTTPS, {"HTTPS_PROXY": "http://me:secret@proxy.example:3128/"}, f"{P} (from HTTPS_PROXY)"),
        (HTTPS, {"ALL_PROXY": "socks5h://other.example"}, "socks5h://other.example:1080 (from ALL_PROXY)"),
    ],
)
def test_the_variables_name_the_proxy(url: str, environment: Mapping[str, str], expected: str | None) -> None:
    assert proxy_of(url, **environment) == expected


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.1", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "a.localhost"]
)
def test_this_machine_is_asked_directly_however_it_is_spelled(host: str) -> None:
    assert proxy_of(f"http://{host}:8000/v1", HTTP_PROXY=P, ALL_PROXY=P) is None


@pytest.mark.parametrize(
    ("no_proxy", "host", "is_direct"),
    [
        ("engine.example", "engine.example", True),
        ("other, engine.example", "engine.example", True),
        ("other engine.example", "engine.example", True),
        ("ENGINE.example", "engine.example", True),
        (".example", "engine.example", True),
        ("*.example", "engine.example", True),
        ("example", "engine.example", True),
        ("gine.example", "engine.example", False),
        ("engine.example:8000", "engine.example:8000", True),
        ("engine.example:8000", "engine.example:9000", False),
        ("*", "engine.example", True),
        (",", "engine.example", False),
        (".", "engine.example", False),
        ("10.0.0.0/8", "10.1.2.3", True),
        ("10.0.0.0/8", "11.1.2.3", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3:8000", "10.1.2.3:8000", True),
        ("10.0.0.0/99", "10.1.2.3", False),
        ("2001:db8::/32", "[2001:db8::1]", True),
        ("[2001:db8::1]", "[2001:db8::1]", True),
        ("[2001:db8::1]:80", "[2001:db8::1]:80", True),
        ("2001:db8::1", "[2001:db8::2]", False),
    ],
)
def test_no_proxy_names_hosts_domains_addresses_and_networks(no_proxy: str, host: str, *, is_direct: bool) -> None:
    assert (proxy_of(f"http://{host}/v1", HTTP_PROXY=P, NO_PROXY=no_proxy) is None) is is_direct


@pytest.mark.parametrize(
    "host",
    ["localhost", "a.localhost", "127.0.0.1", "127.1", "0x7f000001", "0.0.0.0", "[::]", "[::1]", "[::ffff:127.0.0.1]"],
)
def test_this_machine_is_never_asked_through_a_proxy_however_it_is_spelled(host: str) -> None:
    assert proxy_of(f"http://{host}:11434/v1", HTTP_PROXY=P, ALL_PROXY=P) is None
    assert proxy_of(f"https://{host}:11434/v1", HTTPS_PROXY=P, ALL_PROXY=P) is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("nonsense://x", "HTTPS_PROXY names a proxy of the kind nonsense://"),
        ("socks4://x:1", "the bridge can use http, https, socks5, socks5h"),
        ("http://", "HTTPS_PROXY is no address of a proxy"),
        ("http://proxy:99999", "HTTPS_PROXY is no address of a proxy"),
    ],
)
def test_what_is_no_proxy_is_reported_with_its_variable(value: str, words: str) -> None:
    with pytest.raises(InvalidProxyError) as caught:
        proxy_of(HTTPS, HTTPS_PROXY=value)
    assert words in str(caught.value)
