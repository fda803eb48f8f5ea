"""The client's request beside what the engine got: nothing is called lost that went, nor the other way round."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.trace.comparison import ComparedPart
from claude_bridge.trace.detail import Lines, Pool, detail_of, read_lines, rows_of
from claude_bridge.trace.jsonl import encode_event
from tests.trace.samples import received, sent


def lines_of(client: dict[str, Any], upstream: dict[str, Any], **losses: str) -> Lines:
    raw = json.dumps(client).encode(), json.dumps(upstream).encode()
    line = json.loads(encode_event(sent(body=raw[1])))
    line["losses"] = [{"path": path, "reason": reason} for path, reason in losses.items()]
    return read_lines([encode_event(received(body=raw[0])), json.dumps(line).encode()])


def marks(client: dict[str, Any], upstream: dict[str, Any]) -> list[tuple[str, str]]:
    rows = rows_of(lines_of(client, upstream), Pool())
    return [(row.mark, (row.client or row.upstream).text) for row in rows if row.client or row.upstream]  # type: ignore[union-attr] # one of them is there


def user(content: object) -> dict[str, Any]:
    return {"role": "user", "content": content}


def block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def test_what_is_the_same_in_both_apis_is_the_same() -> None:
    client = {
        "system": "Be brief.",
        "messages": [
            user("List the files"),
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "t1", "name": "Bash", "input": {"b": 1, "a": 2}}],
            },
            user([{"type": "tool_result", "tool_use_id": "t1", "content": [block("a.txt")]}]),
        ],
        "tools": [{"name": "Bash", "description": "Runs", "input_schema": {"type": "object"}}],
    }
    call = {"id": "t1", "type": "function", "function": {"name": "Bash", "arguments": '{"a":2,"b":1}'}}
    upstream = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            user("List the files"),
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "t1", "content": "a.txt"},
        ],
        "tools": [
            {"type": "function", "function": {"name": "Bash", "description": "Runs", "parameters": {"type": "object"}}}
        ],
    }
    assert {mark for mark, _ in marks(client, upstream)} == {"same"}


def test_texts_that_become_one_text_are_joined() -> None:
    client = {"system": [block("One of the blocks."), block("The other one.")], "messages": [user("Hi")]}
    upstream = {"messages": [{"role": "system", "content": "One of the blocks.\n\nThe other one."}, user("Hi")]}
    assert marks(client, upstream) == [("joined", "One of the blocks."), ("joined", "The other one."), ("same", "Hi")]


def test_what_is_left_out_is_lost_and_what_comes_from_nowhere_is_added() -> None:
    client = {"messages": [user([block("Header that is dropped"), block("Keep this text, please.")]), user("Bye")]}
    upstream = {"messages": [user("Keep this text, please."), user("Invented"), user("Bye")]}
    assert marks(client, upstream) == [
        ("lost", "Header that is dropped"),
        ("same", "Keep this text, please."),
        ("added", "Invented"),
        ("same", "Bye"),
    ]


def test_a_text_that_differs_is_changed() -> None:
    assert marks({"messages": [user("sunny")]}, {"messages": [user("rainy")]}) == [("changed", "sunny")]


PDF = {"type": "base64", "media_type": "application/pdf", "data": "A" * 4_000}
FILE = {"file_data": f"data:application/pdf;base64,{'A' * 400}"}


@pytest.mark.parametrize(
    ("block", "shown"),
    [
        ({"source": PDF}, "(application/pdf, 3,000 bytes)"),
        ({"type": "file", "file": FILE}, "(application/pdf, 300 bytes)"),
        ({"source": {"type": "text", "media_type": "text/plain", "data": "Figures"}}, "Figures"),
        ({"file_id": "f1"}, '{"file_id": "f1", "type": "document"}'),
    ],
    ids=["base64", "file", "text", "id"],
)
def test_a_document_that_went_as_text_is_changed_and_shown_without_its_bytes(block: dict[str, Any], shown: str) -> None:
    client = {"messages": [user([{"type": "document", **block}])]}
    assert marks(client, {"messages": [user("[page 1 of 1] Figures")]}) == [("changed", shown)]


def test_a_loss_stands_at_its_part_and_else_alone() -> None:
    lines = lines_of(
        {"top_k": 5, "messages": [user([block("a"), {**block("b"), "cache_control": {"type": "ephemeral"}}])]},
        {"messages": [user([block("a"), block("b")])]},
        **{"$.top_k": "not known", "$.messages[0].content[1].cache_control": "no such thing", "$.else": "gone"},
    )
    rows = rows_of(lines, Pool())
    assert [(row.mark, row.note) for row in rows] == [
        ("same", ""),
        ("changed", "no such thing"),
        ("lost", "not known"),
        ("lost", "$.else: gone"),
    ]


@pytest.mark.parametrize("body", [b"null", b'"text"', b"[]", b'{"messages":5}', b'{"messages":[1,null,{"role":5}]}'])
def test_any_body_gives_rows_and_no_error(body: bytes) -> None:
    lines = read_lines([encode_event(received(body=body)), encode_event(sent(body=body))])
    detail_of(lines, Pool())


texts = st.lists(st.sampled_from(["alpha is a long enough text", "beta is another of them", "c", "d", ""]), max_size=6)


@given(texts, texts)
def test_every_part_of_both_sides_is_in_the_rows_once_and_in_its_order(client: list[str], upstream: list[str]) -> None:
    lines = lines_of({"messages": [user(text) for text in client]}, {"messages": [user(text) for text in upstream]})
    rows: list[ComparedPart] = rows_of(lines, Pool())
    assert [row.client.text for row in rows if row.client] == [text for text in client if text]
    assert [row.upstream.text for row in rows if row.upstream] == [text for text in upstream if text]


def test_what_exchanges_share_is_kept_once() -> None:
    pool = Pool()
    turns = [user(f"turn {number} " + "x" * 1_000) for number in range(50)]
    for number in range(1, 50):
        body = {"messages": turns[:number]}
        detail_of(lines_of(body, body), pool)
    assert pool.size < 50 * 1_000 * 4
