"""How a request is passed on: the client's own bytes, with edits only where the engine needs them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from claude_bridge.adapters.anthropic_messages.messages import message_edits
from claude_bridge.clients.claude_code import BILLING_HEADER, BILLING_VOLATILE_KEY
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.request.history import KnownHistory
from claude_bridge.wire.anthropic import CountTokensRequest
from claude_bridge.wire.json_splice import Edit, Span, item_spans, member_spans, splice
from claude_bridge.wire.lenient_json import replace_lone_surrogates

PINNED = b"00000"

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
    of_messages, losses = message_edits(
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
        yield Edit(Span(*found.span("value")), PINNED)
