"""Which tool call a fragment of a stream belongs to, whatever an engine gives to tell parallel calls apart."""

from __future__ import annotations

from claude_bridge.conversion.deltas import Delta, ToolCallArguments, ToolCallStart
from claude_bridge.conversion.json_text import is_json

NO_NAME = "unknown_tool"
"""The name of a call to which the engine gave none: no tool has it, and the client tells the model so."""


class _KnownCall:
    """What was said of one call so far."""

    def __init__(self) -> None:
        self.index: int | None = None
        self.id = ""
        self.name = ""
        self.said: list[str] = []


class CallKeys:
    """Tells parallel calls apart, whichever of index, id and name an engine gives, and holds back nameless ones."""

    def __init__(self) -> None:
        self._calls: list[_KnownCall] = []

    def take(self, index: int | None, call_id: str, name: str, arguments: str, out: list[Delta]) -> None:
        """Add what a fragment says of its call."""
        key = self._find(index, call_id, name)
        if key is None or _begins_another(self._calls[key], call_id, name, arguments):
            key = len(self._calls)
            self._calls.append(_KnownCall())
        call = self._calls[key]
        if call.index is None:
            call.index = index
        call.id = call.id or call_id
        if name and not call.name:
            call.name = name
            out.append(ToolCallStart(key, name, call.id))
            out += [ToolCallArguments(key, early) for early in call.said]
        if arguments:
            call.said.append(arguments)
            if call.name:
                out.append(ToolCallArguments(key, arguments))

    def nameless(self) -> list[Delta]:
        """Return the calls that never got a name, under NO_NAME."""
        out: list[Delta] = []
        for key, call in enumerate(self._calls):
            if call.said and not call.name:
                out.append(ToolCallStart(key, NO_NAME, call.id))
                out += [ToolCallArguments(key, early) for early in call.said]
        return out

    def _find(self, index: int | None, call_id: str, name: str) -> int | None:
        """Return the call that a fragment seems to belong to; the newest first, as engines use an index again."""
        newest_first = list(reversed(list(enumerate(self._calls))))
        for key, call in newest_first:
            if index is not None and call.index == index and (not call_id or call.id in ("", call_id)):
                return key
        for key, call in newest_first:
            # An id goes for less than an index: engines give call_0 to each of their calls.
            if call_id and call.id == call_id and (index is None or call.index is None or not name):
                return key
        for key, call in newest_first[:1]:
            if (index is None or call.index is None) and (not call_id or not call.id):
                return key
        return None


def _begins_another(call: _KnownCall, call_id: str, name: str, arguments: str) -> bool:
    """Return whether a fragment with a name begins a new call; engines also repeat the name on each chunk."""
    if not name or not call.name:
        return False
    if name != call.name:
        return True
    said = "".join(call.said)
    same = arguments == said or (call_id and call_id == call.id)
    return not same and arguments.lstrip().startswith("{") and is_json(said)
