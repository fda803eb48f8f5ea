"""Tool calls gathered: each is handed on whole and repaired, one after the other, since clients run them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from claude_bridge.conversion.builtin_tools import schema_of
from claude_bridge.conversion.deltas import (
    Delta,
    Failure,
    Finish,
    Stage,
    TextDelta,
    TextEnd,
    ThinkingDelta,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
    whole_call,
)
from claude_bridge.conversion.ending import cut_off, ended_by_itself
from claude_bridge.conversion.loss import Repair
from claude_bridge.conversion.tool_calls.arguments import RepairedArguments, accepts, repair_arguments
from claude_bridge.conversion.tool_json.progress import JsonFragments
from claude_bridge.conversion.tool_json.schema_check import WorkBudget
from claude_bridge.conversion.tool_json.text import is_json, split_calls
from claude_bridge.conversion.tool_names import DeclaredTools, engine_name
from claude_bridge.wire.anthropic import Tool


class GatheredCall(JsonFragments):
    """A tool call that is still being gathered; the pieces are its arguments."""

    def __init__(self, name: str, tool: Tool | None) -> None:
        """``name`` is the engine's, ``tool`` the declared one that it means."""
        super().__init__()
        self.tool = tool
        self.name = tool.name if tool else name
        self.has_ended = False
        self._schema = bytes(schema_of(tool)) if tool else b"{}"
        self._notes: tuple[str, ...] = () if name in (self.name, engine_name(self.name)) else (f"called as {name!r}",)
        self._looks = 0

    @property
    def is_empty(self) -> bool:
        """Whether it has no arguments so far."""
        return not any(map(str.strip, self.pieces))

    @property
    def is_whole(self) -> bool:
        """Whether nothing seems to be missing."""
        if self.has_ended and self.is_empty:
            return True
        if not self.progress.is_closed or self._looks == _MAX_LOOKS:
            return False
        self._looks += 1
        return is_json("".join(self.pieces))

    def inputs(self, budget: WorkBudget, *, may_repair: bool) -> Iterator[RepairedArguments]:
        """Yield the input, or several where the tool takes each of them; see repair_arguments."""
        notes = self._notes
        found = [text.strip() for text in split_calls(self.pieces)]
        *whole, last = found
        if whole and all(accepts(text, self._schema, budget) for text in (*whole, *([last] if is_json(last) else ()))):
            notes += (f"{len(found)} inputs in one call became as many calls",)
        elif whole:
            found = ["".join(self.pieces).strip()]
        for text in found:
            repaired = repair_arguments(text, self._schema, self.name, may_repair=may_repair, budget=budget)
            yield repaired._replace(notes=notes + repaired.notes)
            notes = ()


_MAX_LOOKS = 4
"""How often a call that seems to be closed is parsed before the answer ends."""

CUT_BEFORE_ARGUMENTS = "a call that was cut off before its arguments was left out"
_ONE_AT_A_TIME = "left out: the client takes one call at a time"


class ToolCallBuffer(Stage):
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
        self._calls: dict[int, GatheredCall] = {}
        self._next_key = 0

    def passes(self, _: str) -> bool:
        """Return whether text passes unchanged."""
        return not self._calls

    def close(self) -> list[Delta]:
        """Drop calls that never ended: the stream then ends in an error."""
        self._calls.clear()
        return []

    def take(self, delta: Delta) -> Iterator[Delta]:
        """Yield the delta; of a call each once it is whole."""
        match delta:
            case ToolCallStart(key, name):
                yield from self._release_whole()
                if self._one_only and (self._calls or self._next_key):
                    yield Repair(name, _ONE_AT_A_TIME)  # the engine is let finish: its usage comes at the end
                else:
                    name = self._take_begun_name(name) + name
                    self._calls[key] = GatheredCall(name, self._tools.find(name))
                    yield TextEnd()  # a long call may take minutes
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

    def _take_begun_name(self, rest: str) -> str:
        """Return the beginning of a name that came as a call of its own, where ``rest`` makes it a declared one."""
        if not self._calls:
            return ""
        key, call = next(reversed(self._calls.items()))
        is_begun = call.tool is None and not any(call.pieces)
        if not is_begun or call.name + rest not in self._tools.names or rest in self._tools.names:
            return ""
        del self._calls[key]
        return call.name

    def _release_whole(self) -> Iterator[Delta]:
        while self._calls:
            key = next(iter(self._calls))
            if not self._calls[key].is_whole:
                break
            call = self._calls.pop(key)
            for repaired in call.inputs(self._budget, may_repair=True):
                yield from self._release(call, repaired)

    def _finish(self, finish: Finish) -> Iterator[Delta]:
        """Release all calls, then the finish, which says whether one of them was cut off."""
        calls = list(self._calls.values())
        self._calls.clear()
        has_ended = ended_by_itself(finish)
        for call in calls:
            if not has_ended and call is calls[-1] and call.is_empty:
                # With the empty input that stands for no arguments it would look like a call that means it.
                yield Repair(call.name, CUT_BEFORE_ARGUMENTS)
                continue
            for repaired in call.inputs(self._budget, may_repair=has_ended):
                finish = cut_off(finish) if repaired.is_cut_off else finish
                yield from self._release(call, repaired)
        yield finish

    def _release(self, call: GatheredCall, repaired: RepairedArguments) -> Iterator[Delta]:
        if self._one_only and self._next_key:
            yield Repair(call.name, _ONE_AT_A_TIME)
            return
        yield from (Repair(call.name, note) for note in repaired.notes)
        key, self._next_key = self._next_key, self._next_key + 1
        yield from whole_call(key, call.name, repaired.text, call_id=self._new_tool_id())
