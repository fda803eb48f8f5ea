"""BoundedCache: a limit in bytes, the least recently used out first."""

from __future__ import annotations

from claude_bridge.conversion.bounded_cache import BoundedCache


def test_what_was_used_last_stays() -> None:
    cache: BoundedCache[str] = BoundedCache(100)
    for key in "abcd":
        cache.put(key, key.upper(), 25)
    assert cache.get("a") == "A"
    cache.put("e", "E", 25)
    assert [cache.get(key) for key in "abcde"] == ["A", None, "C", "D", "E"]
    assert (len(cache), cache.size_bytes) == (4, 100)


def test_what_would_push_out_most_of_the_others_is_not_kept() -> None:
    cache: BoundedCache[str] = BoundedCache(100)
    cache.put("a", "A", 26)
    assert (cache.get("a"), cache.size_bytes) == (None, 0)


def test_a_value_that_is_put_again_counts_once() -> None:
    cache: BoundedCache[str] = BoundedCache(100)
    cache.put("a", "A", 20)
    cache.put("a", "B", 10)
    assert (cache.get("a"), cache.size_bytes) == ("B", 10)
