"""Which tool call a fragment of a stream belongs to, whatever an engine gives to tell parallel calls apart."""

from __future__ import annotations

import re

from claude_bridge.conversion.deltas import Delta, ToolCallArguments, ToolCallStart
from claude_bridge.conversion.tool_json.progress import JsonFragments
from claude_bridge.errors import UpstreamBrokenError

NO_NAME = "unknown_tool"
"""The name of a call to which the engine gave none: no tool has it, and the client reports that to the model."""


MAX_CALLS = 1_000
MAX_ARGUMENTS_BYTES = 64 * 1024 * 1024
"""Of all calls of one answer, with what each fragment takes beside its characters."""

_FRAGMENT_COST_BYTES = 64

_OBJECT_BEGINS = re.compile(r'\s*\{\s*(?:["}]|\Z)')


class _KnownCall(JsonFragments):
    """What is known of one call so far; the pieces are its arguments."""

    def __init__(self, key: int, index: int | None, call_id: str) -> None:
        super().__init__()
        self.key = key
        self.index = index
        self.id = call_id
        self.name = ""
        self._whole: str | None = None

    def repeats(self, arguments: str) -> bool:
        """Return whether the arguments are those that the call had at the first of these questions, all of them."""
        if self._whole is None:
            self._whole = "".join(self.pieces)
        return arguments == self._whole


class ToolCallIndex:
    """Tells parallel calls apart, whichever of index, id and name an engine gives, and holds back nameless ones."""

    def __init__(self) -> None:
        self._calls: list[_KnownCall] = []
        self._by_index: dict[int, _KnownCall] = {}  # the newest ones: engines use an index again
        self._by_id: dict[str, _KnownCall] = {}
        self._by_index_and_id: dict[tuple[int, str], _KnownCall] = {}
        self._bytes = 0

    @property
    def count(self) -> int:
        """How many calls there are so far."""
        return len(self._calls)

    def add(self, index: int | None, call_id: str, name: str, arguments: str) -> list[Delta]:
        """Add a fragment to its call, and return what can be passed on of that.

        Raises:
            UpstreamBrokenError: the answer has more than MAX_CALLS calls, or MAX_ARGUMENTS_BYTES of arguments.
        """
        call = self._find(index, call_id, name, arguments)
        if call is None:
            if len(self._calls) == MAX_CALLS:
                raise UpstreamBrokenError(f"The upstream called more than {MAX_CALLS} tools in one answer.")
            call = _KnownCall(len(self._calls), index, call_id)
            self._calls.append(call)
        call.index = index if call.index is None else call.index
        call.id = call.id or call_id
        self._remember(call, index, call_id)
        deltas: list[Delta] = []
        if name and not call.name:
            call.name = name
            deltas = [ToolCallStart(call.key, name, call.id), *_arguments(call)]
        if arguments:
            self._bytes += len(arguments) + _FRAGMENT_COST_BYTES
            if self._bytes > MAX_ARGUMENTS_BYTES:
                raise UpstreamBrokenError(f"The upstream sent more than {MAX_ARGUMENTS_BYTES} bytes of arguments.")
            call.pieces.append(arguments)
            if call.name:
                deltas.append(ToolCallArguments(call.key, arguments))
        return deltas

    def close(self) -> list[Delta]:
        """Return what never got a name: more of the call before it, if that one is not whole; else a call of its own.

        Its name is NO_NAME then.
        """
        deltas: list[Delta] = []
        before: _KnownCall | None = None
        for call in self._calls:
            if call.name:
                before = call
            elif before is not None and call.pieces and not before.progress.is_closed:
                before.pieces += call.pieces
                deltas += [ToolCallArguments(before.key, piece) for piece in call.pieces]
            elif call.pieces:
                deltas += [ToolCallStart(call.key, NO_NAME, call.id), *_arguments(call)]
        return deltas

    def _find(self, index: int | None, call_id: str, name: str, arguments: str) -> _KnownCall | None:
        """Return the call that a fragment continues; None: it begins one."""
        call, is_sure = self._candidate(index, call_id, name)
        if call is None or not name:
            return call
        if not call.name:
            return call if is_sure else None
        if name != call.name or _begins_another(call, arguments, has_new_id=not is_sure, has_id=bool(call_id)):
            return None
        return call

    def _candidate(self, index: int | None, call_id: str, name: str) -> tuple[_KnownCall | None, bool]:
        """Return the call that a fragment may belong to, and whether nothing but a repeated name speaks against it."""
        of_index = None if index is None else self._by_index.get(index)
        if index is not None and call_id and (index, call_id) in self._by_index_and_id:
            return self._by_index_and_id[index, call_id], True
        if of_index is not None and (not call_id or not of_index.id):
            return of_index, True
        of_id = self._by_id.get(call_id)
        # An id goes for less than an index: engines give call_0 to each of their calls.
        if of_id is not None and (index is None or of_id.index is None or not name):
            return of_id, True
        newest = self._calls[-1] if self._calls else None
        if of_index is not None:
            return of_index, False  # some engines give each piece of a call an id of its own
        if newest is None or (index is not None and newest.index is not None):
            return None, False
        if not call_id or not newest.id:
            return newest, True
        return (newest, False) if name or not newest.progress.is_closed else (None, False)

    def _remember(self, call: _KnownCall, index: int | None, call_id: str) -> None:
        if index is not None:
            self._by_index[index] = call
            if call_id:
                self._by_index_and_id[index, call_id] = call
        if call_id:
            self._by_id[call_id] = call


def _arguments(call: _KnownCall) -> list[Delta]:
    return [ToolCallArguments(call.key, piece) for piece in call.pieces]


def _begins_another(call: _KnownCall, arguments: str, *, has_new_id: bool, has_id: bool) -> bool:
    """Return whether a fragment with the name of a call begins another: engines also repeat the name on each chunk."""
    if not _OBJECT_BEGINS.match(arguments):
        return has_new_id and call.progress.is_closed
    if has_new_id:
        # Inside a string of JSON no quote follows a brace, and where a value may follow it may be an object.
        is_another = bool(call.pieces) and not call.progress.awaits_value
        return is_another and not (call.progress.in_string and '"' not in arguments)
    return not has_id and call.progress.is_closed and not call.repeats(arguments)
