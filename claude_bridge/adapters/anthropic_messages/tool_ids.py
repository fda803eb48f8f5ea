"""ToolIds: an id for each tool use that no other one of the conversation has."""

from __future__ import annotations

from collections.abc import Callable

from claude_bridge.wire.anthropic import MessagesRequest, ToolUseBlock


class ToolIds:
    """Clients drop the second call with an id that they have seen."""

    def __init__(self, request: MessagesRequest, new_id: Callable[[], str]) -> None:
        self._request = request
        self._new_id = new_id
        self._used: set[str] | None = None

    def unused(self, given: str) -> str:
        """Return the given id, or a new one where it is empty or was used before."""
        if self._used is None:  # few answers call tools
            contents = (message.content for message in self._request.messages if not isinstance(message.content, str))
            self._used = {block.id for content in contents for block in content if isinstance(block, ToolUseBlock)}
        own = given if given and given not in self._used else self._new_id()
        self._used.add(own)
        return own
