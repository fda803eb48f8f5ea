"""Messages whose form an engine can't take, rewritten where they stand; what they hold stays byte for byte.

A run is what stands between two answers of the model: messages of the user, and of roles that engines do not know.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import groupby

import msgspec
from msgspec import Raw, Struct

from claude_bridge.adapters.anthropic_messages.web_history import web_texts, with_texts
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.opaque_reasoning import is_ours
from claude_bridge.conversion.profile import MessagesProfile
from claude_bridge.conversion.request.history import KnownHistory
from claude_bridge.conversion.request.turns import as_reminder_text
from claude_bridge.wire.anthropic import Block, InputMessage, RedactedThinkingBlock, ThinkingBlock, ToolResultBlock
from claude_bridge.wire.json_splice import Edit, Span, item_spans

_USUAL_ROLES = frozenset({"user", "assistant"})

SHORTEST_SIGNATURE = 64
"""Anthropic's signatures are hundreds of characters; those of engines are none, a word or 32 digits."""


_Place = tuple[int, InputMessage]
"""A message, and its number."""

_SpanOf = Callable[[int], Span]
"""Returns where the message with a number stands."""


class _Edited(Struct, frozen=True, kw_only=True):
    """The edits of a conversation before an answer, by their places in its list of messages."""

    profile: MessagesProfile
    """That they are for; kept, so that no other one can be taken for it."""
    answer: int = 0
    """The number of that answer."""
    edits: tuple[Edit, ...] = ()
    first_lost: int | None = None
    """The first message that lost something; None: none did."""


def message_edits(
    body: bytes,
    span: Span,
    messages: Sequence[InputMessage],
    profile: MessagesProfile,
    history: KnownHistory | None = None,
) -> tuple[list[Edit], tuple[Loss, ...]]:
    """Return the edits that make the messages fit for the engine, and what is lost by them.

    ``span`` is the place of the list of messages in the body; ``history`` is what is known of them.
    """
    maker = _maker(profile)
    known: _Edited = (history and history.latest(maker)) or _Edited(profile=profile)
    rest = list(enumerate(messages[known.answer :], known.answer))
    runs = [] if profile.is_anthropic else _unfit_runs(rest, profile)
    foreign: list[int] = []
    replaced: dict[int, dict[int, str]] = {}
    for index, message in rest:
        thoughts = _foreign_thoughts(message) if profile.is_anthropic else {}
        foreign += [index] if thoughts else []
        if texts := web_texts(message, only_ours=profile.is_anthropic) | thoughts:
            replaced[index] = texts
    new: list[tuple[int, Edit | None]] = []
    if replaced or runs:
        span_of = history.span if history is not None else item_spans(body, span).__getitem__
        new = [(index, _with_texts(body, index, texts, span_of)) for index, texts in replaced.items()]
        new += [(run[-1][0], _rewritten(body, run, profile, span_of)) for run in runs]
    edits = [(index, edit) for index, edit in new if edit is not None]
    first_lost = foreign[0] if known.first_lost is None and foreign else known.first_lost
    answer = max((index for index, message in rest if message.role == "assistant"), default=0)
    if history is not None and answer:
        closed = _moved([edit for index, edit in edits if index < answer], -span.start)
        edited = _Edited(
            profile=profile,
            answer=answer,
            edits=(*known.edits, *closed),
            first_lost=None if first_lost is None or first_lost >= answer else first_lost,
        )
        history.keep(maker, answer + 1, edited, sum(len(edit.replacement) for edit in closed))
    losses: tuple[Loss, ...] = ()
    if first_lost is not None:
        reason = "thoughts that Anthropic has not signed are refused by it"
        losses = (Loss(f"$.messages[{first_lost}].content", reason),)
    return [*_moved(known.edits, span.start), *(edit for _, edit in edits)], losses


def edits_are_known(profile: MessagesProfile, history: KnownHistory) -> bool:
    """Return whether ``message_edits`` has looked at the beginning of a conversation before."""
    return history.latest(_maker(profile)) is not None


def _maker(profile: MessagesProfile) -> Hashable:
    return (message_edits, id(profile))


def _moved(edits: Sequence[Edit], by: int) -> list[Edit]:
    return [Edit(Span(start + by, end + by), replacement) for (start, end), replacement in edits]


def _unfit_runs(rest: Sequence[_Place], profile: MessagesProfile) -> list[list[_Place]]:
    """Return each run that the engine can't take; ``rest`` begins the conversation, or with an answer."""
    if not profile.separate_tool_results and _USUAL_ROLES.issuperset([message.role for _, message in rest]):
        return []
    groups = groupby(rest, key=lambda place: place[1].role == "assistant")
    runs = [list(run) for is_answer, run in groups if not is_answer]
    return [
        run
        for run in runs
        if any(message.role != "user" for _, message in run)
        or (profile.separate_tool_results and any(_mixes_results(message) for _, message in run))
    ]


def _mixes_results(message: InputMessage) -> bool:
    kinds = set() if isinstance(message.content, str) else set(map(type, message.content))
    return ToolResultBlock in kinds and len(kinds) > 1


def _rewritten(body: bytes, run: Sequence[_Place], profile: MessagesProfile, span_of: _SpanOf) -> Edit:
    """Return the edit that makes a run one message of the user, or two: the results of tools, then all else."""
    base: dict[str, Raw] = {}
    blocks: list[Raw] = []
    for index, message in run:
        fields = _raw_fields(body[slice(*span_of(index))])
        content = fields.get("content", Raw(b'""'))
        if message.role == "user":
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
    rewritten = b",".join(map(msgspec.json.encode, messages or [{"role": "user", "content": blocks}]))
    return Edit(Span(span_of(run[0][0]).start, span_of(run[-1][0]).end), rewritten)


def _blocks(content: Raw) -> list[Raw]:
    if bytes(content).startswith(b"["):
        return msgspec.json.decode(content, type=list[Raw])
    return [Raw(msgspec.json.encode({"type": "text", "text": content}))]


def _reminder(content: Raw) -> list[Raw]:
    """Return what another role says as a reminder; the same for a text and for a list with that text in it."""
    blocks = _blocks(content)
    texts = [_text_field(block, "text") for block in blocks if _type_of(block) == "text"]
    text = as_reminder_text(list(filter(None, texts)))
    others = [block for block in blocks if _type_of(block) != "text"]
    return [*([Raw(msgspec.json.encode({"type": "text", "text": text}))] if text else []), *others]


def _raw_fields(document: bytes | Raw) -> dict[str, Raw]:
    """Return the fields of a JSON object as they are written, or none for anything else."""
    try:
        return msgspec.json.decode(document, type=dict[str, Raw])
    except (msgspec.DecodeError, RecursionError):
        return {}


def _text_field(block: Raw, name: str) -> str:
    """Return the text in a field of a block; empty where it has none."""
    try:
        value = msgspec.json.decode(_raw_fields(block).get(name, b"null"))
    except (msgspec.DecodeError, RecursionError):
        return ""
    return value if isinstance(value, str) else ""


class _Typed(Struct):
    type: str = ""


_type_decoder = msgspec.json.Decoder(_Typed)


def _type_of(block: Raw) -> str:
    try:
        return _type_decoder.decode(block).type
    except msgspec.DecodeError:
        return ""


def _foreign_thoughts(message: InputMessage) -> dict[int, str]:
    """Return an empty text in place of each block that another engine than Anthropic has thought."""
    blocks = () if isinstance(message.content, str) else message.content
    return {place: "" for place, block in enumerate(blocks) if _is_foreign_thought(block)}


def _is_foreign_thought(block: Block) -> bool:
    if isinstance(block, ThinkingBlock):
        return len(block.signature) < SHORTEST_SIGNATURE
    return isinstance(block, RedactedThinkingBlock) and is_ours(block)


def _with_texts(body: bytes, index: int, texts: dict[int, str], span_of: _SpanOf) -> Edit | None:
    """Return the edit that puts texts in place of some blocks of a message; of one that has nothing left, all of it."""
    span = span_of(index)
    fields = _raw_fields(body[slice(*span)])
    if kept := list(with_texts(_blocks(fields["content"]), texts)):
        return Edit(span, msgspec.json.encode({**fields, "content": kept}))
    return Edit(Span(span_of(index - 1).end, span.end), b"") if index else None  # no conversation begins with a thought
