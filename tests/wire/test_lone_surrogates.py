"""Halves of surrogate pairs in JSON text."""

from __future__ import annotations

import json
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.wire.lenient_json import replace_lone_surrogates


@pytest.mark.parametrize(
    ("document", "answer_repaired"),
    [
        (rb'"\ud83d"', rb'"\ufffd"'),
        (rb'"\uDE00 x"', rb'"\ufffd x"'),
        (rb'"\ud83d\ude00"', rb'"\ud83d\ude00"'),
        (rb'"\ud83d\ud83d\ude00"', rb'"\ufffd\ud83d\ude00"'),
        (rb'"\ude00\ud83d"', rb'"\ufffd\ufffd"'),
        (rb'"\ud83dA"', rb'"\ufffdA"'),
        (rb'"\\ud83d"', rb'"\\ud83d"'),
        (rb'"\\\ud83d"', rb'"\\\ufffd"'),
        (rb'"\\ud83d\ude00"', rb'"\\ud83d\ufffd"'),
        (rb'"\ud83d\\ude00"', rb'"\ufffd\\ude00"'),
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
        "high quoted",
        "low quoted",
        "among",
        "key",
        "-",
    ],
)
def test_a_half_alone_is_replaced_and_all_else_stays(document: bytes, answer_repaired: bytes) -> None:
    assert replace_lone_surrogates(document) == answer_repaired
    assert msgspec.json.decode(answer_repaired) == json.loads(answer_repaired)


@given(st.text(alphabet='\\u\ud83d\ude00\udbff\udc00a"\n', max_size=12))
def test_any_text_is_what_pythons_own_reader_makes_of_it(text: str) -> None:
    document = json.dumps({text: text}).encode()
    answer_repaired = replace_lone_surrogates(document)
    assert len(answer_repaired) == len(document)
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert list(msgspec.json.decode(answer_repaired).values()) == [whole]


@given(st.text(alphabet='\\u\ud83d\ude00\udbff\udc00a"\n', max_size=40), st.integers(1, 30))
def test_it_does_not_matter_where_a_document_is_cut(text: str, slice_bytes: int) -> None:
    document = json.dumps(text).encode()
    assert replace_lone_surrogates(document, slice_bytes=slice_bytes) == replace_lone_surrogates(document)


@pytest.mark.parametrize("escape", [rb"\ud800", rb"\ud83d\ude00", rb"\\ud800", rb"\\\\"])
def test_the_time_grows_with_the_length_and_no_faster(escape: bytes) -> None:
    def seconds(times: int) -> float:
        document = b'"' + escape * times + b'\\ud800"'
        started = time.process_time()
        replace_lone_surrogates(document)
        return time.process_time() - started

    assert seconds(400_000) < 8 * min(seconds(100_000) for _ in range(3)) + 0.05
