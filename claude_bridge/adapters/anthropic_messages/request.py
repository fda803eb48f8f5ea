"""How a request is passed on: the client's own bytes, with edits only where the engine needs them.

What an edited message holds stays byte for byte. A run is what stands between two answers of the model: messages of the
user, and of roles that engines do not know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import groupby

import msgspec
from msgspec import Raw, Struct

from claude_bridge.clients.claude_code import BILLING_HEADER, BILLING_VOLATILE_KEY
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.opaque_reasoning import is_ours
from claude_bridge.conversion.profile import MessagesProfile, Profile
from claude_bridge.conversion.request.history import KnownHistory
from claude_bridge.conversion.request.server_tool_history import (
    call_text,
    is_our_citation,
    search_results_in,
    search_results_text,
    unseal_content,
)
from claude_bridge.conversion.request.turns import as_reminder_text
from claude_bridge.wire.anthropic import (
    Block,
    CountTokensRequest,
    InputMessage,
    PlainTextSource,
    RedactedThinkingBlock,
    ServerToolUseBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    WebFetchToolResultBlock,
    WebSearchToolResultBlock,
)
from claude_bridge.wire.json_splice import Edit, Span, item_spans, member_spans, splice
from claude_bridge.wire.lenient_json import read_or_none, replace_lone_surrogates

_PINNED = b"00000"

# As it stands in the JSON text of the block; the header is one line.
_VOLATILE = re.compile(
    rb'"%b(?:[^"\\]|\\[^n])*?[;\s]%b=(?P<value>[^;"\\\s]*)'
    % (re.escape(BILLING_HEADER.encode()), BILLING_VOLATILE_KEY.encode()),
    re.DOTALL,
)


def edit_request(
    body: bytes, request: CountTokensRequest, model: str, profile: Profile, history: KnownHistory | None = None
) -> tuple[bytes, tuple[Loss, ...]]:
    """Return the body for the engine, and what of it the engine can't take; an empty ``model`` keeps the client's.

    All that is not edited stays byte for byte as it came.
    """
    readable = body
    try:
        members = member_spans(body)
    except msgspec.DecodeError:
        readable = replace_lone_surrogates(body)  # of the same length
        members = member_spans(readable)
    edits: list[Edit] = []
    if model and model != request.model:
        edits.append(Edit(members["model"], msgspec.json.encode(model)))
    if not profile.messages.is_anthropic and "system" in members:
        edits += _pinned(readable, members["system"])
    of_messages, losses = _message_edits(
        readable, members["messages"], request.messages, profile.messages, history if readable is body else None
    )
    return splice(body, [*edits, *of_messages]), losses


def _pinned(body: bytes, system: Span) -> Iterator[Edit]:
    """Yield the edit that gives the volatile value in Claude Code's billing header one value for ever.

    It changes with every request, and stands at the very front: no engine could reuse anything of its prompt cache.
    """
    if body.startswith(b"[", system.start):
        blocks = item_spans(body, system)
        first = member_spans(body, blocks[0]) if blocks and body.startswith(b"{", blocks[0].start) else {}
        system = first.get("text", system)
    found = _VOLATILE.match(body, *system)
    if found:
        yield Edit(Span(*found.span("value")), _PINNED)


# --- messages ---------------------------------------------------------------------------------------------------

_USUAL_ROLES = frozenset({"user", "assistant"})

_SHORTEST_SIGNATURE = 64
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


def _message_edits(
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
        if texts := _web_texts(message, only_ours=profile.is_anthropic) | thoughts:
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
    """Return whether ``_message_edits`` has looked at the beginning of a conversation before."""
    return history.latest(_maker(profile)) is not None


def _maker(profile: MessagesProfile) -> Hashable:
    return (_message_edits, id(profile))


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
        results = [block for block in blocks if _head(block).type == "tool_result"]
        parts = [results, [block for block in blocks if _head(block).type != "tool_result"]]
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
    blocks = [(block, _head(block)) for block in _blocks(content)]
    text = as_reminder_text([head.text for _, head in blocks if head.type == "text" and head.text])
    others = [block for block, head in blocks if head.type != "text"]
    return [*([Raw(msgspec.json.encode({"type": "text", "text": text}))] if text else []), *others]


_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def _raw_fields(document: bytes | Raw) -> dict[str, Raw]:
    """Return the fields of a JSON object as they are written, or none for anything else."""
    return read_or_none(_decode_fields, document) or {}


class _Head(Struct):
    type: str = ""
    text: str = ""


_decode_head = msgspec.json.Decoder(_Head).decode


def _head(block: Raw) -> _Head:
    """Return the type of a block, and its text where it has one."""
    return read_or_none(_decode_head, block) or _Head()


def _foreign_thoughts(message: InputMessage) -> dict[int, str]:
    """Return an empty text in place of each block that another engine than Anthropic has thought."""
    thoughts: dict[int, str] = {}
    for place, block in enumerate(() if isinstance(message.content, str) else message.content):
        match block:
            case ThinkingBlock(signature=signature) if len(signature) < _SHORTEST_SIGNATURE:
                thoughts[place] = ""
            case RedactedThinkingBlock() if is_ours(block):
                thoughts[place] = ""
            case _:
                pass
    return thoughts


def _with_texts(body: bytes, index: int, texts: dict[int, str], span_of: _SpanOf) -> Edit | None:
    """Return the edit that puts texts in place of some blocks of a message; of one that has nothing left, all of it."""
    span = span_of(index)
    fields = _raw_fields(body[slice(*span)])
    blocks = [
        Raw(msgspec.json.encode({"type": "text", "text": texts[place]})) if place in texts else block
        for place, block in enumerate(_blocks(fields["content"]))
        if texts.get(place) != ""
    ]
    if blocks:
        return Edit(span, msgspec.json.encode({**fields, "content": blocks}))
    return Edit(Span(span_of(index - 1).end, span.end), b"") if index else None  # no conversation begins with a thought


# --- blocks that an engine can't take, as text -------------------------------------------------------------------
#
# Engines other than Anthropic know no searches and fetches. Anthropic refuses results that it has not sealed itself:
# those that the bridge found for another model.


def _web_texts(message: InputMessage, *, only_ours: bool) -> dict[int, str]:
    """Return the text of each block that must be replaced, by its place; ``only_ours`` leaves Anthropic's own."""
    if message.role != "assistant" or isinstance(message.content, str):
        return {}
    replaced = set(filter(None, (_replaced_call(block, only_ours=only_ours) for block in message.content)))
    texts: dict[int, str] = {}
    for place, block in enumerate(message.content):
        match block:
            case ServerToolUseBlock(call_id, name, tool_input) if call_id in replaced or (
                not only_ours and name in ("web_search", "web_fetch")
            ):
                texts[place] = call_text(name, tool_input)
            case WebSearchToolResultBlock(call_id, content) if call_id in replaced:
                texts[place] = search_results_text(content)
            case WebFetchToolResultBlock(call_id, fetched) if call_id in replaced:
                source = fetched.content.source if fetched.content else None
                text = source.data if isinstance(source, PlainTextSource) else f"[{fetched.error_code or 'a document'}]"
                texts[place] = f"Fetched from {fetched.url}:\n{text}" if fetched.url else text
            case TextBlock(text, Raw() as citations) if is_our_citation(citations) or not only_ours:
                texts[place] = text
            case _:
                pass
    return texts


def _replaced_call(block: Block, *, only_ours: bool) -> str | None:
    """Return which call the block gives the result of, if that must be replaced."""
    match block:
        case WebSearchToolResultBlock(call_id, content):
            found = search_results_in(content)
            is_ours = any(unseal_content(one.get("encrypted_content")) is not None for one in found)
            return call_id if is_ours or not only_ours else None
        case WebFetchToolResultBlock(call_id):
            return None if only_ours else call_id
        case _:
            return None
