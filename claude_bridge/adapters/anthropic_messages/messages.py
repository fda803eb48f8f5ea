"""Messages whose form an engine can't take, rewritten where they stand; what they hold stays byte for byte.

A run is what was said between two answers of the model: messages of the user, and of roles that engines do not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

import msgspec
from msgspec import Raw, Struct

from claude_bridge.adapters.anthropic_messages.frame_repair import plain
from claude_bridge.adapters.anthropic_messages.frames import raw_fields
from claude_bridge.adapters.anthropic_messages.web_history import web_texts, with_texts
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.opaque_reasoning import is_ours
from claude_bridge.conversion.profile import MessagesProfile
from claude_bridge.conversion.request.turns import as_reminder_text
from claude_bridge.wire.anthropic import InputMessage, RedactedThinkingBlock, ThinkingBlock, ToolResultBlock
from claude_bridge.wire.json_splice import Edit, Span, item_spans

_USUAL_ROLES = frozenset({"user", "assistant"})

SHORTEST_SIGNATURE = 64
"""Anthropic's signatures are hundreds of characters; those of engines are none, a word or 32 digits."""


def message_edits(
    body: bytes, span: Span, messages: Sequence[InputMessage], profile: MessagesProfile
) -> tuple[list[Edit], tuple[Loss, ...]]:
    """Return the edits that make the messages fit for the engine, and what is lost by them.

    ``span`` is the place of the list of messages in the body.
    """
    texts = {
        index: found
        for index, message in enumerate(messages)
        if (found := web_texts(message, only_ours=profile.is_anthropic))
    }
    if profile.is_anthropic:
        signed_elsewhere = [index for index, message in enumerate(messages) if _holds_foreign_thought(message)]
        places = sorted({*signed_elsewhere, *texts})
        spans = item_spans(body, span) if places else []
        path = f"$.messages[{signed_elsewhere[0]}].content" if signed_elsewhere else ""
        losses = (Loss(path, "thoughts that Anthropic has not signed are refused by it"),) if path else ()
        return list(_without_foreign_thoughts(body, spans, places, texts)), losses
    runs = list(_unfit_runs(messages, profile))
    spans = item_spans(body, span) if runs or texts else []
    edits = [Edit(spans[index], _with_texts(body[slice(*spans[index])], found)) for index, found in texts.items()]
    for first, last in runs:
        run = [(messages[index].role, body[slice(*spans[index])]) for index in range(first, last + 1)]
        edits.append(Edit(Span(spans[first].start, spans[last].end), _rewritten(run, profile)))
    return edits, ()


def _unfit_runs(messages: Sequence[InputMessage], profile: MessagesProfile) -> Iterator[tuple[int, int]]:
    """Yield the places of the first and the last message of each run that the engine can't take."""
    if not profile.separate_tool_results and _USUAL_ROLES.issuperset(message.role for message in messages):
        return
    for is_answer, run in groupby(enumerate(messages), key=lambda place: place[1].role == "assistant"):
        places = list(run)
        if is_answer:
            continue
        if any(message.role != "user" for _, message in places) or (
            profile.separate_tool_results and any(_mixes_results(message) for _, message in places)
        ):
            yield places[0][0], places[-1][0]


def _mixes_results(message: InputMessage) -> bool:
    kinds = set() if isinstance(message.content, str) else set(map(type, message.content))
    return ToolResultBlock in kinds and len(kinds) > 1


def _rewritten(run: Sequence[tuple[str, bytes]], profile: MessagesProfile) -> bytes:
    """Return a run as one message of the user, or as two: the results of tools, then what else was said."""
    base: dict[str, Raw] = {}
    blocks: list[Raw] = []
    for role, message in run:
        fields = raw_fields(message)
        content = fields.get("content", Raw(b'""'))
        if role == "user":
            base = base or fields
            blocks += _blocks(content)
        else:
            blocks += _reminder(content)
    parts = [blocks]
    if profile.separate_tool_results:
        results = [block for block in blocks if _type_of(block) == "tool_result"]
        parts = [results, [block for block in blocks if _type_of(block) != "tool_result"]]
    extra = {name: value for name, value in base.items() if name not in ("role", "content")}
    messages = [{"role": "user", "content": part, **extra} for part in parts if part]
    return b",".join(map(msgspec.json.encode, messages or [{"role": "user", "content": blocks}]))


def _blocks(content: Raw) -> list[Raw]:
    if bytes(content).startswith(b"["):
        return msgspec.json.decode(content, type=list[Raw])
    return [Raw(msgspec.json.encode({"type": "text", "text": content}))]


def _reminder(content: Raw) -> list[Raw]:
    """Return what another role says as a reminder; the same for a text and for a list with that text in it."""
    blocks = _blocks(content)
    texts = [plain(raw_fields(block).get("text")) for block in blocks if _type_of(block) == "text"]
    said = as_reminder_text([text for text in texts if isinstance(text, str) and text])
    others = [block for block in blocks if _type_of(block) != "text"]
    return [*([Raw(msgspec.json.encode({"type": "text", "text": said}))] if said else []), *others]


class _Typed(Struct):
    type: str = ""


_type_decoder = msgspec.json.Decoder(_Typed)


def _type_of(block: Raw) -> str:
    try:
        return _type_decoder.decode(block).type
    except msgspec.DecodeError:
        return ""


def _holds_foreign_thought(message: InputMessage) -> bool:
    blocks = () if isinstance(message.content, str) else message.content
    return any(
        (isinstance(block, ThinkingBlock) and len(block.signature) < SHORTEST_SIGNATURE)
        or (isinstance(block, RedactedThinkingBlock) and is_ours(block))
        for block in blocks
    )


def _with_texts(message: bytes, texts: dict[int, str]) -> bytes:
    fields = raw_fields(message)
    return msgspec.json.encode({**fields, "content": list(with_texts(_blocks(fields["content"]), texts))})


def _without_foreign_thoughts(
    body: bytes, spans: Sequence[Span], places: Sequence[int], texts: Mapping[int, dict[int, str]]
) -> Iterator[Edit]:
    """Yield the edits that take out what another engine thought; a message that was no more goes with it.

    ``texts`` stand in place of blocks of the messages at some places.
    """
    for place in places:
        span = spans[place]
        fields = raw_fields(body[slice(*span)])
        blocks = with_texts(_blocks(fields["content"]), texts.get(place, {}))
        kept = [block for block in blocks if not _is_foreign_thought(block)]
        if kept:
            yield Edit(span, msgspec.json.encode({**fields, "content": kept}))
        elif place:  # no conversation begins with a thought
            yield Edit(Span(spans[place - 1].end, span.end), b"")


def _is_foreign_thought(block: Raw) -> bool:
    signature = plain(raw_fields(block).get("signature"))
    if _type_of(block) == "redacted_thinking":
        data = plain(raw_fields(block).get("data"))
        return isinstance(data, str) and is_ours(RedactedThinkingBlock(data))
    return _type_of(block) == "thinking" and (not isinstance(signature, str) or len(signature) < SHORTEST_SIGNATURE)
