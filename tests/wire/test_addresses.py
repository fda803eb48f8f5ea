"""Hosts in every spelling: what is this machine, and what only looks like it."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from claude_bridge.wire.addresses import ip_address_of, is_loopback, reaches_this_machine

THIS_MACHINE = [
    "localhost", "LOCALHOST", "localhost.", "a.localhost", "127.0.0.1", "127.8.8.8", "127.1", "127.0.1", "2130706433",
    "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "::1", "[::1]", "0:0:0:0:0:0:0:1",
    "::ffff:127.0.0.1", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "::1%lo",
]  # fmt: skip

ELSEWHERE = [
    "", "localhost.example", "notlocalhost", "127.evil.com", "127.0.0.1.nip.io", "127.0.0.1.evil", "192.168.1.2",
    "10.0.0.1", "engine.example", "1.0.0.127", "::2", "fe80::1", "::ffff:8.8.8.8", "127.0.0.256", "127.0.0.1.1",
    "0x", "09", "4294967296", "1..1", "[127.0.0.1", "localhost:80", "\uff19", "1" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("host", THIS_MACHINE)
def test_this_machine_is_known_in_every_spelling(host: str) -> None:
    assert is_loopback(host)
    assert reaches_this_machine(host)


@pytest.mark.parametrize("host", ELSEWHERE, ids=lambda host: host[:20])
def test_what_only_looks_like_this_machine_is_not(host: str) -> None:
    assert not is_loopback(host)
    assert not reaches_this_machine(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "0", "::", "[::]"])
def test_the_unspecified_addresses_reach_this_machine_but_listen_to_all(host: str) -> None:
    assert reaches_this_machine(host)
    assert not is_loopback(host)


def test_an_ipv4_address_inside_an_ipv6_one_is_returned_as_itself() -> None:
    assert ip_address_of("[::ffff:10.0.0.1]") == IPv4Address("10.0.0.1")
    assert ip_address_of("2001:db8::1%eth0") == IPv6Address("2001:db8::1")
    assert ip_address_of("engine.example") is None


@given(
    st.from_regex(
        r"(0[xX][0-9a-fA-F]{1,9}|0[0-7]{0,12}|[1-9][0-9]{0,10})(\.(0x[0-9a-f]{1,3}|[0-9]{1,4})){0,4}", fullmatch=True
    )
)
@example("127.1")
def test_numbers_mean_what_they_mean_to_the_system(host: str) -> None:
    try:
        expected = IPv4Address(socket.inet_aton(host))
    except OSError:
        expected = None
    assert ip_address_of(host) == expected
