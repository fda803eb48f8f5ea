"""RequestMemo: what is found again, what is not, and how much is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from claude_bridge.conversion.request.history import KnownHistory, RequestMemo
from claude_bridge.errors import InvalidRequestError
from claude_bridge.wire.anthropic import CountTokensRequest, MessagesRequest
from claude_bridge.wire.anthropic_codec import parse_count_tokens_request, parse_messages_request

QUESTION, ANSWER, NEXT = (
    {"role": role, "content": [{"type": "text", "text": text}]}
    for role, text in (("user", "Why?"), ("assistant", "So."), ("user", "And now?"))
)


class Parser:
    """Parses requests, and keeps how long the bodies were that it had to read."""

    def __init__(self) -> None:
        self.read_bytes: list[int] = []

    def __call__(self, body: bytes) -> MessagesRequest:
        self.read_bytes.append(len(body))
        return parse_messages_request(body)


def a_body(*messages: Any, **fields: Any) -> bytes:
    return msgspec.json.encode({"model": "m", "messages": messages, "max_tokens": 9} | fields)


def a_memo(**limits: int) -> RequestMemo:
    return RequestMemo("mark", **({"least_bytes": 0} | limits))


def read(memo: RequestMemo, body: bytes, parser: Callable[[bytes], MessagesRequest]) -> Any:
    return memo.parse(body, parser, memo.find(body))


def parsed(memo: RequestMemo, body: bytes) -> tuple[MessagesRequest, KnownHistory, int]:
    """Return a request, what is known of it, and how many bytes of the body were decoded."""
    parser = Parser()
    request, history = read(memo, body, parser)
    assert request == parse_messages_request(body)
    assert history is not None
    assert history.messages is request.messages
    return request, history, sum(parser.read_bytes)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(a_body(QUESTION, ANSWER, NEXT), id="the same head"),
        pytest.param(a_body(QUESTION, ANSWER, NEXT, model="another"), id="another head"),
        pytest.param(a_body(QUESTION, ANSWER, NEXT, tools=[]), id="another tail"),
        pytest.param(a_body(QUESTION, ANSWER, NEXT, max_tokens=8), id="another tail of the same length"),
        pytest.param(a_body(QUESTION, ANSWER), id="nothing new"),
        pytest.param(
            b'{"tools":[{"name":"a","input_schema":{"messages":[1]}}],' + a_body(QUESTION, ANSWER, NEXT)[1:],
            id="another list of this name before",
        ),
    ],
)
def test_messages_that_are_known_are_not_decoded_again(body: bytes) -> None:
    memo = a_memo()
    before, first, _ = parsed(memo, a_body(QUESTION, ANSWER))
    assert first.new_bytes == len(first.body)
    request, _, _ = parsed(memo, body)
    assert all(new is old for new, old in zip(request.messages, before.messages, strict=False))


def test_only_what_is_new_is_read() -> None:
    memo = a_memo()
    long = {"role": "user", "content": "x" * 10_000}
    parsed(memo, a_body(long, ANSWER))
    found = memo.find(a_body(long, ANSWER, NEXT))
    assert found is not None
    assert found.size_bytes == len(msgspec.json.encode([long, ANSWER])) - len("[]")
    _, _, read_bytes = parsed(memo, a_body(long, ANSWER, NEXT))
    assert read_bytes < 500


def test_a_request_that_only_goes_on_is_read_where_it_is_new() -> None:
    memo, parser = a_memo(), Parser()
    read(memo, a_body(QUESTION, ANSWER, tools=[{"name": "Read"}]), parser)
    for messages in ([QUESTION, ANSWER, NEXT], [QUESTION, ANSWER, NEXT, ANSWER], [QUESTION, NEXT], [QUESTION, NEXT]):
        body = a_body(*messages, tools=[{"name": "Read"}])
        request, history = read(memo, body, parser)
        assert request == parse_messages_request(body)
        assert history is not None
        spans = [history.span(index) for index in range(len(messages))]
        assert [msgspec.json.decode(body[slice(*span)]) for span in spans] == messages
    assert len(parser.read_bytes) == 1, "the rest was not parsed as a whole"


def test_of_a_new_conversation_only_the_messages_are_read_where_all_else_is_known() -> None:
    memo = a_memo()
    frame = {"tools": [{"name": "Read", "input_schema": {}}], "system": "Be brief."}
    _, first = read(memo, a_body(QUESTION, **frame), parse_messages_request)
    first.frames["maker"] = "of the frame"
    for messages in ([NEXT], [ANSWER, NEXT]):
        for sent, new in ((messages, messages), ([*messages, QUESTION], [QUESTION])):
            body = a_body(*sent, **frame)
            request, history = read(memo, body, parse_messages_request)
            assert request == parse_messages_request(body)
            assert (history.new_bytes, history.latest("maker")) == (len(msgspec.json.encode(new)), None)
            assert history.frames == {"maker": "of the frame"}
    _, other = read(memo, body := a_body(QUESTION, **frame, temperature=0.5), parse_messages_request)
    assert other.new_bytes > len(body) // 2


@pytest.mark.parametrize("spaces", [0, 1, 2])
def test_white_space_between_messages_changes_nothing(spaces: int) -> None:
    memo = a_memo()
    for messages in ([QUESTION, ANSWER], [QUESTION, ANSWER, NEXT]):
        parsed(memo, msgspec.json.format(a_body(*messages), indent=spaces))


@pytest.mark.parametrize(
    "ending",
    [
        b',"messages":[{"role":"user","content":"Other"}]}',
        b',"messages":[{"role":"user","content":""}]}',
        b',"\\u006dessages":[]}',
        b',"messages":7}',
    ],
)
def test_a_list_that_is_given_twice_is_the_last_one(ending: bytes) -> None:
    memo, body = a_memo(), a_body(QUESTION, ANSWER)
    read(memo, body, parse_messages_request)
    doubled = body[:-1] + ending
    try:
        expected: object = parse_messages_request(doubled)
    except InvalidRequestError as error:
        with pytest.raises(InvalidRequestError) as found:
            read(memo, doubled, parse_messages_request)
        assert found.value.message == error.message  # noqa: PT017 - compared, not only seen
    else:
        assert read(memo, doubled, parse_messages_request)[0] == expected


def test_messages_under_a_name_that_is_escaped_stand_somewhere_too() -> None:
    body = a_body(QUESTION, ANSWER).replace(b'"messages"', b'"\\u006dessages"')
    _, history, _ = parsed(a_memo(), body)
    assert msgspec.json.decode(body[slice(*history.span(1))]) == ANSWER


@pytest.mark.parametrize(
    "ending",
    [b",]", b", 7]", b';{"role":"user","content":""}]', b',{"role":"user"}]', b'{"role":"user","content":""}]'],
)
def test_what_is_wrong_is_reported_at_its_place(ending: bytes) -> None:
    memo, body = a_memo(), a_body(QUESTION, ANSWER)
    read(memo, body, parse_messages_request)
    wrong = body.replace(b"]}]", b"]}" + ending)
    with pytest.raises(InvalidRequestError) as expected:
        parse_messages_request(wrong)
    with pytest.raises(InvalidRequestError) as found:
        read(memo, wrong, parse_messages_request)
    assert found.value.message == expected.value.message


def test_a_body_that_was_only_counted_is_still_a_whole_request() -> None:
    memo = a_memo()
    memo.parse(a_body(QUESTION, ANSWER, NEXT), parse_messages_request)
    other_frame = a_body(QUESTION, ANSWER, NEXT, temperature=0.5)
    for body in (other_frame, a_body(QUESTION, ANSWER, temperature=0.5)):
        assert type(memo.parse(body, parse_count_tokens_request, memo.find(body))[0]) is CountTokensRequest
        assert type(memo.parse(body, parse_messages_request, memo.find(body))[0]) is MessagesRequest


def test_what_is_nested_too_deeply_is_refused_beside_a_known_conversation() -> None:
    memo = a_memo()
    parsed(memo, a_body(QUESTION, ANSWER, NEXT))
    deep = b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":%b' % (b"[" * 100_000)
    with pytest.raises(InvalidRequestError, match="nested too deeply"):
        read(memo, deep, Parser())


def test_what_was_made_of_a_beginning_is_true_of_those_that_share_it() -> None:
    memo = a_memo()
    _, history, _ = parsed(memo, a_body(QUESTION, ANSWER))
    history.keep("maker", 1, "of one", 100)
    history.keep("maker", 2, "of two", 50)
    _, longer, _ = parsed(memo, a_body(QUESTION, ANSWER, NEXT))
    assert longer.latest("maker") == "of two"
    assert longer.size_bytes == 3 * len(longer.body) + 150
    assert memo.size_bytes == longer.size_bytes, "it is kept in place of the one that it goes on from"
    _, other, _ = parsed(memo, a_body(QUESTION, NEXT))
    assert other.latest("maker") == "of one"
    _, foreign, _ = parsed(memo, a_body(NEXT))
    assert foreign.latest("maker") is None


def test_sessions_that_begin_alike_are_both_known() -> None:
    memo = a_memo()
    head = [{"role": "user", "content": f"{number}"} for number in range(10)]
    for end in (QUESTION, NEXT):
        parsed(memo, a_body(*head, *[end] * 20))
    for end in (QUESTION, NEXT):
        _, history, _ = parsed(memo, a_body(*head, *[end] * 21))
        history.keep("maker", 25, end)
    for end in (QUESTION, NEXT):
        _, history, _ = parsed(memo, a_body(*head, *[end] * 22))
        assert history.latest("maker") == end
    _, history, _ = parsed(memo, a_body(*head, *[NEXT] * 15, ANSWER))
    assert history.latest("maker") == NEXT, "what shares the most counts, not what was found last"


def test_what_is_kept_has_a_limit() -> None:
    memo = a_memo(max_bytes=60_000)
    for number in range(100):
        _, history, _ = parsed(memo, a_body({"role": "user", "content": f"{number}" * 1000}))
        history.keep("maker", 1, b"", 1_000)
        assert memo.size_bytes <= 61_000
    found = [memo.find(a_body({"role": "user", "content": f"{at}" * 1000})) for at in (0, 98, 99)]
    assert [one and one.messages for one in found] == [0, 1, 1], "the oldest were forgotten"
    request, history_of_large = read(memo, a_body({"role": "user", "content": "x" * 11_000}), parse_messages_request)
    assert (history_of_large, len(request.messages)) == (None, 1), "one conversation can't push out all others"


def test_a_memo_of_no_bytes_keeps_nothing() -> None:
    memo = RequestMemo("mark", max_bytes=0, least_bytes=0)
    assert read(memo, a_body(QUESTION), parse_messages_request)[1] is None
    assert memo.size_bytes == 0
