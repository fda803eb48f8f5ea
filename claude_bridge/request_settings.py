"""RequestSettings: what the user of the bridge wants of every request to a provider or a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from claude_bridge.adapters.base import OutgoingRequest
from claude_bridge.conversion.loss import Loss
from claude_bridge.wire.anthropic import CountTokensRequest, MessagesRequest, TextBlock
from claude_bridge.wire.json_splice import without_members

CONVERSATION_FIELDS = frozenset(
    {"model", "messages", "input", "instructions", "system", "prompt", "tools", "tool_choice", "functions", "stream"}
    | {"stream_options", "store", "previous_response_id"}
)
"""Fields of a body that carry the conversation, or decide how it is answered: no setting may override them."""

TRANSPORT_HEADERS = frozenset(
    {"host", "content-length", "content-type", "content-encoding", "transfer-encoding", "connection", "upgrade"}
    | {"expect", "te", "trailer", "accept", "accept-encoding"}
)
"""Headers that decide how a request is sent: no setting may override them."""

_Request = TypeVar("_Request", bound=CountTokensRequest)


class RequestSettings(Struct, frozen=True, kw_only=True):
    """None, and what is empty, changes nothing."""

    headers: Mapping[str, str] = {}
    """Headers that go with every request, by their names in lower case."""
    secrets: tuple[str, ...] = ()
    """Those of their values that nobody may see."""
    body: Mapping[str, Any] = {}
    """Fields of the upstream's own API, which take the place of those that the bridge would send."""
    sampling: Mapping[str, int | float] = {}
    """Fields of Messages requests, such as ``temperature``."""
    append_system_prompt: str | None = None
    disallowed_tools: tuple[str, ...] = ()
    """Names of tools that the model is not offered."""

    def apply(self, request: _Request) -> tuple[_Request, list[Loss]]:
        """Return the request as the user of the bridge wants it, and what that takes from it."""
        changes: dict[str, Any] = dict(self.sampling) if isinstance(request, MessagesRequest) else {}
        losses: list[Loss] = []
        if self.append_system_prompt:
            before = [TextBlock(request.system)] if isinstance(request.system, str) else request.system or []
            changes["system"] = [*before, TextBlock(self.append_system_prompt)]
        if self.disallowed_tools and request.tools:
            kept = [tool for tool in request.tools if tool.name not in self.disallowed_tools]
            losses = [
                Loss("$.tools", f"{tool.name} is not offered to this model, as configured")
                for tool in request.tools
                if tool.name in self.disallowed_tools
            ]
            changes["tools"] = kept or None
        return (replace(request, **changes) if changes else request), losses

    def add_to(self, outgoing: OutgoingRequest) -> OutgoingRequest:
        """Return the upstream request with the fields that the user wants in its body."""
        if not self.body or not outgoing.body:
            return outgoing
        kept = without_members(outgoing.body, self.body)
        added = msgspec.json.encode(self.body)[1:-1]
        return replace(outgoing, body=kept[: kept.rindex(b"}")] + b"," + added + b"}")
