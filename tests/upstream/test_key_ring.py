"""Several keys of one engine: which session uses which, and when another one takes over."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from claude_bridge.errors import AuthenticationError, InvalidRequestError, UpstreamOverloadedError, UpstreamRefusedError
from claude_bridge.upstream.key_ring import ApiKey, KeyRing

pytestmark = pytest.mark.anyio


def refused(status: int, *, retry_after_s: float | None = None) -> UpstreamRefusedError:
    return UpstreamRefusedError("no", status=status, error_type="x", retry_after_s=retry_after_s)


def ring(*names: str) -> KeyRing:
    return KeyRing([ApiKey(name=name, read=partial("value of {}".format, name)) for name in names])


async def test_the_first_key_is_used_as_long_as_it_works_and_a_session_keeps_its_key() -> None:
    keys = ring("env:A", "env:B")
    first = await keys.choose("before")
    assert first.key.name == "env:A"
    assert keys.gives_way(first, refused(429))
    assert (await keys.choose("meanwhile")).key.name == "env:B"
    keys.works(first)
    assert [(await keys.choose(session)).key.name for session in ("later", "meanwhile", "before")] == [
        "env:A",
        "env:B",
        "env:A",
    ]


@pytest.mark.parametrize("status", [401, 402, 403, 429])
async def test_a_refused_key_gives_way_and_the_session_stays_with_the_other_one(status: int) -> None:
    keys = ring("env:A", "env:B")
    before = await keys.choose("s")
    assert keys.gives_way(before, refused(status))
    after = await keys.choose("s")
    assert after.key != before.key
    keys.works(after)
    assert (await keys.choose("s")).key == after.key


async def test_when_all_keys_were_refused_the_one_that_may_be_used_first_is_tried() -> None:
    keys = ring("env:A", "env:B")
    for wait_s in (900.0, 30.0):
        chosen = await keys.choose("s")
        gives_way = keys.gives_way(chosen, refused(429, retry_after_s=wait_s))
    assert not gives_way
    assert (await keys.choose("s")).key == chosen.key


async def test_other_errors_do_not_change_the_key() -> None:
    keys = ring("env:A", "env:B")
    chosen = await keys.choose("s")
    for error in (refused(400), refused(500), UpstreamOverloadedError("busy"), InvalidRequestError("wrong")):
        assert not keys.gives_way(chosen, error)
    assert (await keys.choose("s")).key == chosen.key


def command(values: Iterator[str], *, lifetime_s: float = 300.0) -> KeyRing:
    return KeyRing([ApiKey(name="command:x", read=lambda: next(values), lifetime_s=lifetime_s)])


async def test_what_a_command_gives_is_kept_and_asked_again_once_after_a_401() -> None:
    hidden: list[str] = []
    keys = command(iter(["one", "two", "three"]))
    assert keys.read_first() == "one"
    keys.hide_by(hidden.append)
    stale = await keys.choose("s")
    assert stale.value == "one"
    assert keys.gives_way(stale, refused(401))
    fresh = await keys.choose("s")
    assert (fresh.value, hidden) == ("two", ["one", "two"])
    assert keys.gives_way(stale, refused(401)), "another request has read it again"
    assert not keys.gives_way(fresh, refused(401)), "a new value was refused too"
    keys.works(fresh)
    assert keys.gives_way(fresh, refused(401)), "it worked in between"


async def test_a_value_is_read_again_after_its_lifetime() -> None:
    keys = command(iter(["one", "two"]), lifetime_s=-1)
    assert [(await keys.choose("s")).value, (await keys.choose("s")).value] == ["one", "two"]


async def test_a_key_that_can_not_be_read_is_an_error_that_no_client_repeats() -> None:
    def fails() -> str:
        raise ValueError("is command:x, and that command failed with exit code 1")

    with pytest.raises(AuthenticationError, match="exit code 1") as caught:
        await KeyRing([ApiKey(name="command:x", read=fails, lifetime_s=1.0)]).choose("s")
    assert caught.value.should_retry is False


async def test_a_ring_that_takes_anothers_place_keeps_sessions_and_rests() -> None:
    before, after = ring("env:A", "env:B"), ring("env:C", "env:B", "env:A")
    refused_key = await before.choose("s")
    assert before.gives_way(refused_key, refused(429))
    assert (await before.choose("s")).key.name == "env:B"
    after.continue_from(before)
    assert [(await after.choose(session)).key.name for session in ("s", "new")] == ["env:B", "env:C"]
    assert after._rests(after.keys[2])
