"""Whether one request's prompt begins with another's, byte by byte: then an engine need not read that part again."""

from __future__ import annotations

import msgspec
from msgspec import Raw


def assert_extends(longer: bytes, shorter: bytes) -> None:
    """Assert that all that goes into the prompt of the shorter request stands unchanged at the front of the longer's.

    Messages and tools may have been added, each behind the others. A tool that was loaded changes the prompt from
    there on, as chat templates put tools first; those before it stay what they were.
    """
    before, after = (msgspec.json.decode(body, type=dict[str, Raw]) for body in (shorter, longer))
    for name in ("messages", "input", "tools"):
        _assert_begins(bytes(after.pop(name, Raw(b"[]"))), bytes(before.pop(name, Raw(b"[]"))), name)
    assert {name: bytes(value) for name, value in after.items()} == {n: bytes(value) for n, value in before.items()}


def _assert_begins(longer: bytes, shorter: bytes, name: str) -> None:
    beginning = shorter.removesuffix(b"]")
    same = next((at for at, (a, b) in enumerate(zip(longer, beginning, strict=False)) if a != b), len(beginning))
    assert same == len(beginning), (
        f"{name} differ at byte {same}: {_around(shorter, same)} became {_around(longer, same)}"
    )


def _around(text: bytes, at: int) -> str:
    return repr(text[max(0, at - 80) : at + 80].decode("utf-8", "replace"))
