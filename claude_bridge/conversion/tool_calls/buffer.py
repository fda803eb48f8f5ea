"""Tool calls gathered: each is handed on whole and repaired, one after the other, since clients run them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from claude_bridge.conversion.builtin_tools import api_tool, schema_of, web_result
from claude_bridge.conversion.deltas import (
    ApiToolCall,
    Delta,
    Failure,
    Finish,
    TextDelta,
    ThinkingDelta,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
)
from claude_bridge.conversion.ending import cut_off, ended_by_itself
from claude_bridge.conversion.loss import Repair
from claude_bridge.conversion.tool_calls.arguments import RepairedArguments, accepts, repair_arguments
from claude_bridge.conversion.tool_json.progress import JsonFragments
from claude_bridge.conversion.tool_json.schema_check import WorkBudget
from claude_bridge.conversion.tool_json.text import is_json, split_calls
from claude_bridge.conversion.tool_names import DeclaredTools, engine_name
from claude_bridge.wire.anthropic import Tool


class _Call(JsonFragments):
    """A tool call that is still being gathered; the pieces are its arguments."""

    def __init__(self, name: str, tool: Tool | None) -> None:
        """``name`` is the engine's, ``tool`` the declared one that it means."""
        super().__init__()
        self.tool = tool
        self.name = tool.name if tool else name
        self.schema = bytes(schema_of(tool)) if tool else b"{}"
        self.has_ended = False
        self._notes = [] if name in (self.name, engine_name(self.name)) else [f"called as {name!r}"]
        self._looks = 0

    @property
    def is_whole(self) -> bool:
        """Whether nothing seems to be missing."""
        if self.has_ended and not any(map(str.strip, self.pieces)):
            return True
        if not self.progress.is_closed or self._looks == _MAX_LOOKS:
            return False
        self._looks += 1
        return is_json("".join(self.pieces))

    def inputs(self, budget: WorkBudget) -> list[str]:
        """Return the arguments: one text, or several where the tool takes each of them."""
        found = [text.strip() for text in split_calls(self.pieces)]
        *whole, last = found
        if not whole:
            return found
        if not all(accepts(text, self.schema, budget) for text in (*whole, *([last] if is_json(last) else ()))):
            return ["".join(self.pieces).strip()]
        self._notes.append(f"{len(found)} inputs in one call became as many calls")
        return found

    def take_notes(self) -> list[str]:
        """Return the notes on the call as a whole, once."""
        notes, self._notes = self._notes, []
        return notes


_MAX_LOOKS = 4
"""How often a call that seems to be closed is parsed before the answer ends."""

_ONE_AT_A_TIME = "left out: the client takes one call at a time"

_CALLS_AND_ENDS = {ToolCallStart, ToolCallArguments, ToolCallEnd, Finish, Failure}


class ToolCallBuffer:
    """Hands tool calls on one by one and whole: the client runs a tool when its block closes, not before.

    A call goes on when it is whole by the time that the next one or more text begins, and at the finish in any case.
    Text and thinking pass at once.
    """

    def __init__(self, tools: Sequence[Tool], new_tool_id: Callable[[], str], *, one_only: bool) -> None:
        """``tools`` are those that the client declared; ``one_only`` says that it takes no more than one call."""
        self._one_only = one_only
        self._tools = DeclaredTools(tools)
        self._budget = WorkBudget()
        self._new_tool_id = new_tool_id
        self._calls: dict[int, _Call] = {}
        self._next_key = 0

    def feed(self, deltas: list[Delta]) -> list[Delta]:
        """Return the deltas with each call in one piece."""
        if not self._calls and _CALLS_AND_ENDS.isdisjoint(map(type, deltas)):
            return deltas
        return [passed for delta in deltas for passed in self._take(delta)]

    def close(self) -> list[Delta]:
        """Drop calls that never ended: the stream then ends in an error."""
        self._calls.clear()
        return []

    def _take(self, delta: Delta) -> Iterator[Delta]:
        match delta:
            case ToolCallStart(key, name):
                yield from self._release_whole()
                if self._one_only and (self._calls or self._next_key):
                    yield Repair(name, _ONE_AT_A_TIME)  # the engine is let finish: its usage comes at the end
                else:
                    self._calls[key] = _Call(name, self._tools.find(name))
            case ToolCallArguments(key, fragment):
                if key in self._calls:  # else it was whole, and comes once more
                    self._calls[key].pieces.append(fragment)
            case ToolCallEnd(key):
                if key in self._calls:
                    self._calls[key].has_ended = True
                    yield from self._release_whole()
            case Finish():
                yield from self._finish(delta)
            case Failure():
                self._calls.clear()
                yield delta
            case TextDelta(text) | ThinkingDelta(text):
                if text.strip():
                    yield from self._release_whole()
                yield delta
            case _:
                yield delta

    def _release_whole(self) -> Iterator[Delta]:
        while self._calls:
            key = next(iter(self._calls))
            if not self._calls[key].is_whole:
                break
            call = self._calls.pop(key)
            for arguments in call.inputs(self._budget):
                yield from self._release(call, self._repaired(call, arguments, may_repair=True))

    def _finish(self, finish: Finish) -> Iterator[Delta]:
        """Release all calls, then the finish, which says whether one of them was cut off."""
        calls = list(self._calls.values())
        self._calls.clear()
        ended = ended_by_itself(finish)
        for call in calls:
            for arguments in call.inputs(self._budget):
                if not arguments and not ended and call is calls[-1]:
                    # With the empty input that stands for no arguments it would look like a call that means it.
                    yield Repair(call.name, "a call that was cut off before its arguments was left out")
                    continue
                repaired = self._repaired(call, arguments, may_repair=ended)
                finish = cut_off(finish) if repaired.is_cut_off else finish
                yield from self._release(call, repaired)
        yield finish

    def _repaired(self, call: _Call, arguments: str, *, may_repair: bool) -> RepairedArguments:
        return repair_arguments(arguments, call.schema, call.name, may_repair=may_repair, budget=self._budget)

    def _release(self, call: _Call, repaired: RepairedArguments) -> Iterator[Delta]:
        known = api_tool(call.tool) if call.tool else None
        if self._one_only and self._next_key:
            yield Repair(call.name, _ONE_AT_A_TIME)
            return
        yield from (Repair(call.name, note) for note in (*call.take_notes(), *repaired.notes))
        if known is not None and known.runs_at_api is not None:
            call_id = f"srv{self._new_tool_id()}"
            yield ApiToolCall(call_id, call.name, repaired.text, web_result(known.runs_at_api, call_id))
            return
        key, self._next_key = self._next_key, self._next_key + 1
        yield ToolCallStart(key, call.name, self._new_tool_id())
        yield ToolCallArguments(key, repaired.text)
        yield ToolCallEnd(key)
