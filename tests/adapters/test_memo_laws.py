"""With a memo and without one the same goes to the engine, whatever a session sends."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_bridge.adapters import engine_profiles
from claude_bridge.adapters.anthropic_messages import ANTHROPIC_MESSAGES
from claude_bridge.adapters.base import Adapter, ClientRequest, EncodedRequest, EngineModel
from claude_bridge.adapters.engine_profiles import ANTHROPIC, LLAMA_CPP, OLLAMA
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.request.history import KnownHistory, RequestMemo
from claude_bridge.errors import InvalidRequestError
from claude_bridge.wire.anthropic import MessagesRequest
from claude_bridge.wire.anthropic_codec import parse_messages_request
from tests.dialogues import ROWS, TRANSLATING, UPSTREAM, USUAL_PROFILES
from tests.golden_case import cases
from tests.requests import (
    TOOLS,
    Json,
    Messages,
    agent_conversations,
    conversations,
    frames,
    in_another_shape,
    questions,
    rows,
    wild_conversations,
)

ADAPTERS: dict[str, Adapter] = {**TRANSLATING, ANTHROPIC_MESSAGES.kind: ANTHROPIC_MESSAGES}


def a_memo(**limits: int) -> RequestMemo:
    return RequestMemo("mark", **({"least_bytes": 0} | limits))


def profiles_of(kind: str) -> st.SearchStrategy[Profile]:
    return rows(kind) if kind in TRANSLATING else st.sampled_from([ANTHROPIC, LLAMA_CPP, OLLAMA])


@st.composite
def sessions(draw: st.DrawFn) -> list[Messages]:
    """Draw the conversations that a client sends one after the other: they go on, back and elsewhere."""
    sent = [draw(conversations)]
    for _ in range(draw(st.integers(1, 3))):
        before = draw(st.sampled_from(sent))
        kept = before[: draw(st.integers(0, len(before)))] if draw(st.booleans()) else before
        more = draw(wild_conversations | agent_conversations() | st.builds(lambda one: [one], questions))
        unchanged = draw(st.integers(0, len(kept)))
        sent.append([*kept[:unchanged], *in_another_shape(kept[unchanged:], draw), *more])
    return sent


@st.composite
def bodies(draw: st.DrawFn, messages: Messages, frame: Json) -> bytes:
    """Draw the bytes of a request: the client chooses the order of its keys and white space, and may double a key."""
    fields = {"model": "m", "max_tokens": 100, "messages": messages} | frame
    names = draw(
        st.sampled_from([list(fields), list(fields)[::-1], ["messages", *(n for n in fields if n != "messages")]])
    )
    body = msgspec.json.encode({name: fields[name] for name in names})
    if draw(st.integers(0, 7)) == 0:
        body = msgspec.json.format(body, indent=2)
    if draw(st.integers(0, 7)) == 0:
        other = msgspec.json.encode(draw(conversations))
        body = draw(
            st.sampled_from([b'{"messages":%b,%b' % (other, body[1:]), b'%b,"messages":%b}' % (body[:-1], other)])
        )
    return body


def prepared(
    adapter: Adapter, engine: EngineModel, body: bytes, memo: RequestMemo | None
) -> tuple[MessagesRequest, EncodedRequest, str] | str:
    """Return a request, what goes to the engine for it and the digest of that, or what is wrong with it."""
    history: KnownHistory | None = None
    try:
        if memo is None:
            request = parse_messages_request(body)
        else:
            request, history = memo.parse(body, parse_messages_request, memo.find(body))
        encoded = adapter.prepare(request, ClientRequest(body=body, history=history), engine)
    except InvalidRequestError as error:
        return error.message
    return request, msgspec.structs.replace(encoded, prompt_digest=str), encoded.prompt_digest()


@pytest.mark.parametrize("kind", ADAPTERS)
@given(st.data(), sessions(), frames, frames)
def test_a_memo_changes_nothing(
    kind: str, data: st.DataObject, session: list[Messages], frame: Json, other: Json
) -> None:
    engine = EngineModel(where=UPSTREAM, model="m", profile=data.draw(profiles_of(kind)))
    memo = a_memo()
    for messages in session:
        body = data.draw(bodies(messages, data.draw(st.sampled_from([frame, frame, other]))))
        assert prepared(ADAPTERS[kind], engine, body, memo) == prepared(ADAPTERS[kind], engine, body, None)


@pytest.mark.parametrize("kind", ADAPTERS)
def test_a_memo_changes_nothing_of_a_golden_case_that_grows(kind: str) -> None:
    usual = USUAL_PROFILES.get(kind, ANTHROPIC)
    for case in cases(kind):
        profile = getattr(engine_profiles, case.facts.profile) if case.facts.profile else usual
        engine = EngineModel(where=UPSTREAM, model="m", profile=profile)
        request, memo = json.loads(case.request), a_memo()
        for length in range(1, len(request["messages"]) + 1):
            body = msgspec.json.encode({**request, "messages": request["messages"][:length]})
            with_memo, without = (prepared(ADAPTERS[kind], engine, body, known) for known in (memo, None))
            assert with_memo == without, case.folder.name


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}}


def _call(tool_id: str) -> Json:
    return {"type": "tool_use", "id": tool_id, "name": "Read", "input": {"a": 1}}


def _result(tool_id: str, content: object) -> Json:
    return {"type": "tool_result", "tool_use_id": tool_id, "content": content}


LONG: Messages = [
    {"role": "assistant", "content": "I begin."},
    {"role": "user", "content": [{"type": "text", "text": "Look."}, IMAGE]},
    {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm.", "signature": ""}]},
    {"role": "user", "content": "Well?"},
    {"role": "assistant", "content": [_call("call_0"), _call("call_0")]},
    {"role": "user", "content": [_result("call_0", "one"), _result("call_0", [IMAGE])]},
    {"role": "system", "content": "It is late."},
    {"role": "assistant", "content": [{"type": "thinking", "thinking": "So.", "signature": ""}, _call("call_0")]},
    {"role": "user", "content": [_result("call_0", [{"type": "tool_reference", "tool_name": "Later"}])]},
    {"role": "assistant", "content": [{"type": "text", "text": "I see."}, _call("call_1")]},
    {"role": "user", "content": [_result("call_9", "an orphan"), IMAGE, _result("call_1", "two")]},
    {"role": "assistant", "content": "(no content)"},
    {"role": "assistant", "content": [_call("call_0")]},
    {"role": "assistant", "content": [{"type": "text", "text": "Done."}]},
    {"role": "user", "content": "Go on."},
    {"role": "assistant", "content": "Gladly."},
    {"role": "user", "content": [IMAGE, IMAGE, IMAGE, IMAGE, IMAGE, {"type": "text", "text": "Look again."}]},
]
ENDS: list[Messages] = [
    [],
    [{"role": "user", "content": "In between."}],
    [{"role": "assistant", "content": [{"type": "text", "text": "I would say"}]}],
    [{"role": "assistant", "content": [{"type": "thinking", "thinking": "Or.", "signature": ""}]}],
]


FORCED: Json = {"tool_choice": {"type": "any"}, "tools": TOOLS}


@pytest.mark.parametrize(
    ("row", "frame"),
    [
        *(pytest.param(row, FORCED, id=f"{row}-forced") for row in [*ROWS, "anthropic-messages"]),
        *(pytest.param(kind, {}, id=f"{kind}-free") for kind in ADAPTERS),
    ],
)
def test_a_memo_changes_nothing_wherever_a_conversation_ends_and_turns(row: str, frame: Json) -> None:
    kind, profile = ROWS.get(row, (row, USUAL_PROFILES.get(row, ANTHROPIC)))
    engine = EngineModel(where=UPSTREAM, model="m", profile=profile)
    cold: dict[bytes, object] = {}
    for first in range(2):
        memo = a_memo()
        lengths = range(first + 1, len(LONG) + 1)
        for length in (*lengths, *reversed(lengths)):
            for end in ENDS:
                fields = {"model": "m", "max_tokens": 9, "messages": [*LONG[first:length], *end], **frame}
                body = msgspec.json.encode(fields)
                if body not in cold:
                    cold[body] = prepared(ADAPTERS[kind], engine, body, None)
                assert prepared(ADAPTERS[kind], engine, body, memo) == cold[body]
