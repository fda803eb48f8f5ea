"""Halves of surrogate pairs in JSON text."""

from __future__ import annotations

import json

import msgspec
import pytest

from claude_bridge.wire.surrogates import replace_lone_surrogates


@pytest.mark.parametrize(
    ("document", "mended"),
    [
        (rb'"\ud83d"', rb'"\ufffd"'),
        (rb'"\uDE00 x"', rb'"\ufffd x"'),
        (rb'"\ud83d\ude00"', rb'"\ud83d\ude00"'),
        (rb'"\ud83d\ud83d\ude00"', rb'"\ufffd\ud83d\ude00"'),
        (rb'"\ude00\ud83d"', rb'"\ufffd\ufffd"'),
        (rb'"\ud83dA"', rb'"\ufffdA"'),
        (rb'"\\ud83d"', rb'"\\ud83d"'),
        (rb'"\\\ud83d"', rb'"\\\ufffd"'),
        (rb'"\n\u00e4\ud800"', rb'"\n\u00e4\ufffd"'),
        (rb'{"\udfff":1}', rb'{"\ufffd":1}'),
        (b'"none"', b'"none"'),
    ],
    ids=[
        "high",
        "low",
        "pair",
        "high pair",
        "reversed",
        "before a letter",
        "quoted",
        "half quoted",
        "among",
        "key",
        "-",
    ],
)
def test_a_half_alone_is_replaced_and_all_else_stays(document: bytes, mended: bytes) -> None:
    assert replace_lone_surrogates(document) == mended
    assert msgspec.json.decode(mended) == json.loads(mended)
