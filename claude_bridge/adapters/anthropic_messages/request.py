"""How a request is passed on: the client's own bytes, with edits only where the engine needs them.

What an edited message holds stays byte for byte. A run is what stands between two answers of the model: messages of the
user, and of roles that engines do not know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec
from msgspec import Raw, Struct

from claude_bridge.adapters.anthropic_messages.replaced_blocks import Texts, replaced_texts
from claude_bridge.clients.claude_code import BILLING_HEADER, BILLING_VOLATILE_KEY
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import MessagesProfile, Profile, SchemaDialect
from claude_bridge.conversion.request.history import KnownHistory
from claude_bridge.conversion.request.offered_tools import ToolAt, ToolChange, declared_tools, offered_tools
from claude_bridge.conversion.request.prompted_options import CALL_ANY_TOOL, CALL_THIS_TOOL, prompted_schema
from claude_bridge.conversion.request.turns import as_reminder_text
from claude_bridge.conversion.tool_json.schema_reduce import ReducedSchema, reduce_tool_schema
from claude_bridge.conversion.tool_json.simpler_schemas import schema_digest
from claude_bridge.wire.anthropic import (
    Block,
    CountTokensRequest,
    InputMessage,
    Tool,
    ToolReferenceBlock,
    ToolResultBlock,
)
from claude_bridge.wire.anthropic_codec import raw_blocks
from claude_bridge.wire.json_splice import Edit, Span, item_spans, member_spans, splice, without_members
from claude_bridge.wire.lenient_json import read_or_none, replace_lone_surrogates

_PINNED = b"00000"

# As it stands in the JSON text of the block; the header is one line.
_VOLATILE = re.compile(
    rb'"%b(?:[^"\\]|\\[^n])*?[;\s]%b=(?P<value>[^;"\\\s]*)'
    % (re.escape(BILLING_HEADER.encode()), BILLING_VOLATILE_KEY.encode()),
    re.DOTALL,
)


def edit_request(
    body: bytes,
    request: CountTokensRequest,
    model: str,
    profile: Profile,
    history: KnownHistory | None = None,
    *,
    max_tokens: int | None = None,
    simpler_schemas: Mapping[bytes, SchemaDialect] | None = None,
) -> tuple[bytes, tuple[Loss, ...]]:
    """Return the body for the engine, and what of it the engine can't take.

    An empty ``model`` and no ``max_tokens`` keep the client's. All that is not edited stays byte for byte as it came.
    ``simpler_schemas`` gives the dialect of schemas that the engine refused, by their digests.
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
    if max_tokens is not None:
        edits.append(Edit(members["max_tokens"], b"%d" % max_tokens))
    if not profile.messages.is_anthropic and "system" in members:
        edits += _pinned(readable, members["system"])
    edits += _instructions(readable, members.get("system"), request, profile.messages)
    if request.tools and not profile.messages.is_anthropic:
        edits += _tool_edits(readable, members["tools"], request, profile.messages, simpler_schemas or {})
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


def _instructions(
    body: bytes, system: Span | None, request: CountTokensRequest, profile: MessagesProfile
) -> Iterator[Edit]:
    """Yield the edits that append instructions to the system prompt, for what the engine has no field for."""
    texts: list[str] = []
    choice, answer = request.tool_choice, request.answer_format
    if not profile.has_tool_choice and choice is not None and choice.type in ("any", "tool"):
        texts.append(CALL_THIS_TOOL.format(name=choice.name) if choice.name else CALL_ANY_TOOL)
    if not profile.has_answer_format and answer is not None and isinstance(answer.schema, Raw):
        texts.append(prompted_schema(answer.schema))
    if not texts:
        return
    block = msgspec.json.encode({"type": "text", "text": "\n\n".join(texts)})
    if system is None:
        start = body.index(b"{") + 1
        yield Edit(Span(start, start), b'"system":[%b],' % block)
    elif body.startswith(b"[", system.start):
        separator = b"," if item_spans(body, system) else b""
        yield Edit(Span(system.end - 1, system.end - 1), separator + block)
    elif body.startswith(b'"', system.start):
        yield Edit(Span(system.start, system.start), b'[{"type":"text","text":')
        yield Edit(Span(system.end, system.end), b"},%b]" % block)
    else:
        yield Edit(system, b"[%b]" % block)


# --- tools ------------------------------------------------------------------------------------------------------


def _tool_edits(
    body: bytes,
    span: Span,
    request: CountTokensRequest,
    profile: MessagesProfile,
    simpler_schemas: Mapping[bytes, SchemaDialect],
) -> Iterator[Edit]:
    """Yield the edit that keeps only the tools that the model can call now, as ordinary tools, the loaded ones last.

    An engine that knows deferred tools gets them unchanged. Schemas that were refused are simplified.
    """
    declared = [ToolAt(tool, f"$.tools[{place}]") for place, tool in enumerate(request.tools or ())]
    offered: Sequence[ToolAt] = declared
    if profile.block_types and "tool_reference" not in profile.block_types:
        choice = request.tool_choice
        is_any_deferred = any(tool.defer_loading for tool in request.tools or ())  # otherwise all are loaded already
        messages = request.messages if is_any_deferred else ()
        changes = [ToolChange(name) for message in messages for name in _references(message.content)]
        kept, _ = declared_tools(request.tools or ())
        offered = offered_tools(kept, changes, choice if choice and choice.type == "tool" else None)
    simpler = {path: found for tool, path in offered if (found := _simpler(tool, simpler_schemas))}
    if offered == declared and not simpler:
        return
    written = {f"$.tools[{place}]": body[slice(*item)] for place, item in enumerate(item_spans(body, span))}
    plain = {path: without_members(tool, ["defer_loading"]) for path, tool in written.items()}
    tools = [_with_schema(plain[path], simpler.get(path)) for _, path in offered]
    yield Edit(span, b"[" + b",".join(tools) + b"]")


def _simpler(tool: Tool, simpler_schemas: Mapping[bytes, SchemaDialect]) -> ReducedSchema | None:
    if not simpler_schemas or not isinstance(tool.input_schema, Raw):
        return None
    document = bytes(tool.input_schema)
    dialect = simpler_schemas.get(schema_digest(document))
    return reduce_tool_schema(document, dialect) if dialect else None


def _with_schema(tool: bytes, reduced: ReducedSchema | None) -> bytes:
    if reduced is None:
        return tool
    fields: dict[str, Any] = {**_raw_fields(tool), "input_schema": Raw(reduced.schema)}
    if reduced.notes:
        described = read_or_none(msgspec.json.decode, fields.get("description", b'""')) or ""
        fields["description"] = f"{described}\n\n{reduced.notes}".strip()
    return msgspec.json.encode(fields)


def _references(content: str | list[Block] | None) -> Iterator[str]:
    for block in () if isinstance(content, str) else content or ():
        if isinstance(block, ToolReferenceBlock):
            yield block.tool_name
        elif isinstance(block, ToolResultBlock):
            yield from _references(block.content)


# --- messages ---------------------------------------------------------------------------------------------------

_USUAL_ROLES = frozenset({"user", "assistant"})


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
    replaced: dict[int, Texts] = {}
    for index, message in rest:
        texts, has_foreign_thoughts = replaced_texts(message, profile)
        foreign += [index] if has_foreign_thoughts else []
        if texts:
            replaced[index] = texts
    new: list[tuple[int, Edit | None]] = []
    if replaced or runs:
        span_of = history.span if history is not None else item_spans(body, span).__getitem__
        in_runs = {index for run in runs for index, _ in run}
        new = [
            (index, _with_texts(body, index, texts, span_of))
            for index, texts in replaced.items()
            if index not in in_runs
        ]
        new += [(run[-1][0], _rewritten(body, run, replaced, profile, span_of)) for run in runs]
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
        reason = "Anthropic refuses thinking that it has not signed"
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


def _rewritten(
    body: bytes, run: Sequence[_Place], replaced: Mapping[int, Texts], profile: MessagesProfile, span_of: _SpanOf
) -> Edit:
    """Return the edit that makes a run one message of the user, or two: the results of tools, then all else."""
    base: dict[str, Raw] = {}
    blocks: list[Raw] = []
    for index, message in run:
        fields = _raw_fields(body[slice(*span_of(index))])
        content = fields.get("content", Raw(b'""'))
        if index in replaced:
            content = Raw(msgspec.json.encode(_replaced(content, replaced[index])))
        if message.role == "user":
            base = base or fields
            blocks += raw_blocks(content)
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


def _reminder(content: Raw) -> list[Raw]:
    """Return what another role says as a reminder; the same for a text and for a list with that text in it."""
    blocks = [(block, _head(block)) for block in raw_blocks(content)]
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


def _with_texts(body: bytes, index: int, texts: Texts, span_of: _SpanOf) -> Edit | None:
    """Return the edit that puts texts in place of some blocks of a message; of one that has nothing left, all of it."""
    span = span_of(index)
    fields = _raw_fields(body[slice(*span)])
    blocks = _replaced(fields["content"], texts)
    if blocks:
        return Edit(span, msgspec.json.encode({**fields, "content": blocks}))
    return Edit(Span(span_of(index - 1).end, span.end), b"") if index else None  # no conversation begins with a thought


def _replaced(content: Raw, texts: Texts) -> list[Any]:
    blocks: list[Any] = []
    for place, block in enumerate(raw_blocks(content)):
        text = texts.get(place)
        if text is None:
            blocks.append(block)
        elif isinstance(text, str):
            blocks += [{"type": "text", "text": text}] if text else []
        else:
            fields = _raw_fields(block)
            blocks.append({**fields, "content": _replaced(fields["content"], text)})
    return blocks
