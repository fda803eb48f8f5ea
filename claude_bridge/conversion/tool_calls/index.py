"""Which tool call a fragment of a stream belongs to, whatever an engine gives to tell parallel calls apart."""

from __future__ import annotations

from claude_bridge.conversion.deltas import Delta, ToolCallArguments, ToolCallStart
from claude_bridge.conversion.tool_json.text import is_json
from claude_bridge.errors import UpstreamBrokenError

NO_NAME = "unknown_tool"
"""The name of a call to which the engine gave none: no tool has it, and the client tells the model so."""


MAX_CALLS = 1_000
MAX_ARGUMENTS_BYTES = 64 * 1024 * 1024
"""Of all calls of one answer, with what each fragment takes beside its characters."""

_FRAGMENT_COST_BYTES = 64


class _KnownCall:
    """What was said of one call so far."""

    def __init__(self) -> None:
        self.index: int | None = None
        self.id = ""
        self.name = ""
        self.said: list[str] = []

    def all_said(self) -> str:
        """Return the arguments so far, in one piece from now on."""
        self.said = ["".join(self.said)]
        return self.said[0]


class CallKeys:
    """Tells parallel calls apart, whichever of index, id and name an engine gives, and holds back nameless ones."""

    def __init__(self) -> None:
        self._calls: list[_KnownCall] = []
        self._bytes = 0

    def take(self, index: int | None, call_id: str, name: str, arguments: str, out: list[Delta]) -> None:
        """Add what a fragment says of its call.

        Raises:
            UpstreamBrokenError: the answer has more than MAX_CALLS calls, or MAX_ARGUMENTS_BYTES of arguments.
        """
        key = self._find(index, call_id, name)
        if key is None or _begins_another(self._calls[key], call_id, name, arguments):
            key = len(self._calls)
            if key == MAX_CALLS:
                raise UpstreamBrokenError(f"The upstream called more than {MAX_CALLS} tools in one answer.")
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
            self._bytes += len(arguments) + _FRAGMENT_COST_BYTES
            if self._bytes > MAX_ARGUMENTS_BYTES:
                raise UpstreamBrokenError(f"The upstream sent more than {MAX_ARGUMENTS_BYTES} bytes of arguments.")
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
        newest_first = range(len(self._calls) - 1, -1, -1)
        for key in newest_first:
            call = self._calls[key]
            if index is not None and call.index == index and (not call_id or call.id in ("", call_id)):
                return key
        for key in newest_first:
            call = self._calls[key]
            # An id goes for less than an index: engines give call_0 to each of their calls.
            if call_id and call.id == call_id and (index is None or call.index is None or not name):
                return key
        for key in newest_first[:1]:
            call = self._calls[key]
            if (index is None or call.index is None) and (not call_id or not call.id):
                return key
        return None


def _begins_another(call: _KnownCall, call_id: str, name: str, arguments: str) -> bool:
    """Return whether a fragment with a name begins a new call; engines also repeat the name on each chunk."""
    if not name or not call.name:
        return False
    if name != call.name:
        return True
    if (call_id and call_id == call.id) or not arguments.lstrip().startswith("{"):
        return False
    if not call.said or not call.said[-1].rstrip().endswith(("}", '"', "null")):
        return False  # what was said is not whole: no need to put it together
    said = call.all_said()
    return arguments != said and is_json(said)
