"""Tool calls gathered: each is handed on whole, mended, and one after the other, since that is when clients run it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from claude_bridge.conversion.builtin_tools import api_tool, schema_of, web_result
from claude_bridge.conversion.deltas import (
    ApiToolCall,
    Delta,
    Failure,
    Finish,
    FinishReason,
    TextDelta,
    ThinkingDelta,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
)
from claude_bridge.conversion.loss import Repair
from claude_bridge.conversion.tool_calls.arguments import repair_arguments
from claude_bridge.conversion.tool_json.text import as_json_text, is_json, join_arguments
from claude_bridge.conversion.tool_names import called_tool, engine_name
from claude_bridge.wire.anthropic import Tool


class _Call:
    """A tool call that is still being gathered."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.fragments: list[str] = []
        self.ended = False
        self._judged = 0  # with how many fragments it was found to be not whole

    @property
    def whole(self) -> bool:
        """Whether nothing seems to be missing."""
        if not self.ended and self._judged == len(self.fragments):
            return False
        arguments = join_arguments(self.fragments).strip()
        self._judged = len(self.fragments)
        return self.ended or (arguments[:1] in ("{", '"') and is_json(arguments))


_CALLS_AND_ENDS = {ToolCallStart, ToolCallArguments, ToolCallEnd, Finish, Failure}


class ToolCallBuffer:
    """Hands tool calls on one by one and whole: the client runs a tool when its block closes, not before.

    A call goes on when the next one or more text begins, if it looks whole by then, and at the finish in any case.
    Text and thinking pass at once.
    """

    def __init__(
        self, tools: Sequence[Tool], new_tool_id: Callable[[], str], repairs: list[Repair], *, one_only: bool
    ) -> None:
        """``tools`` are those that the client declared; ``one_only`` says that it takes no more than one call."""
        self._one_only = one_only
        self._tools = tools
        self._new_tool_id = new_tool_id
        self._repairs = repairs
        self._calls: dict[int, _Call] = {}
        self._next_key = 0

    def feed(self, deltas: list[Delta]) -> list[Delta]:
        """Return the deltas with each call in one piece."""
        if not self._calls and _CALLS_AND_ENDS.isdisjoint([type(delta) for delta in deltas]):
            return deltas
        out: list[Delta] = []
        for delta in deltas:
            self._take(delta, out)
        return out

    def close(self) -> list[Delta]:
        """Drop calls that never ended: the stream then ends in an error."""
        self._calls.clear()
        return []

    def _take(self, delta: Delta, out: list[Delta]) -> None:
        match delta:
            case ToolCallStart(key, name):
                self._release_whole(out)
                if self._one_only and (self._calls or self._next_key):
                    # The engine is let finish: its usage comes at the end.
                    self._repairs.append(Repair(name, "left out: the client takes one call at a time"))
                else:
                    self._calls[key] = _Call(name)
            case ToolCallArguments(key, fragment):
                if key in self._calls:  # else it was whole, and is said once more
                    self._calls[key].fragments.append(fragment)
            case ToolCallEnd(key):
                if key in self._calls:
                    self._calls[key].ended = True
                    self._release_whole(out)
            case Finish(reason):
                self._release_all(out, cut_off=reason not in (FinishReason.STOP, FinishReason.TOOL_CALLS))
                out.append(delta)
            case Failure():
                self._calls.clear()
                out.append(delta)
            case TextDelta(text) | ThinkingDelta(text):
                if text.strip():
                    self._release_whole(out)
                out.append(delta)
            case _:
                out.append(delta)

    def _release_whole(self, out: list[Delta]) -> None:
        while self._calls:
            key = next(iter(self._calls))
            if not self._calls[key].whole:
                return
            self._release(self._calls.pop(key), out, cut_off=False)

    def _release_all(self, out: list[Delta], *, cut_off: bool) -> None:
        calls = list(self._calls.values())
        self._calls.clear()
        for call in calls:
            self._release(call, out, cut_off=cut_off and call is calls[-1])

    def _release(self, call: _Call, out: list[Delta], *, cut_off: bool) -> None:
        tool = called_tool(call.name, self._tools)
        name = tool.name if tool else call.name
        arguments = join_arguments(call.fragments)
        if cut_off and not arguments.strip():
            # With the empty input that stands for no arguments it would look like a call that means it.
            self._repairs.append(Repair(name, "a call that was cut off before its arguments was left out"))
            return
        if call.name not in (name, engine_name(name)):
            self._repairs.append(Repair(name, f"called as {call.name!r}"))
        if cut_off and not is_json(arguments):
            # Mending half a call would make the client run it; left open, it is seen for what it is.
            arguments = as_json_text(arguments)
        else:
            schema = bytes(schema_of(tool)) if tool else b"{}"
            arguments, notes = repair_arguments(arguments, schema, name)
            self._repairs += [Repair(name, note) for note in notes]
        known = api_tool(tool) if tool else None
        if known is not None and known.runs_at_api is not None:
            call_id = f"srv{self._new_tool_id()}"
            out.append(ApiToolCall(call_id, name, arguments, web_result(known.runs_at_api, call_id)))
            return
        key, self._next_key = self._next_key, self._next_key + 1
        out.append(ToolCallStart(key, name, self._new_tool_id()))
        out.append(ToolCallArguments(key, arguments))
        out.append(ToolCallEnd(key))
