"""The way out: an engine's deltas, through thinking, stop sequences and tool calls, into the event stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import UNSET, Struct

from claude_bridge.conversion.assembler import MessageAssembler
from claude_bridge.conversion.deltas import (
    Delta,
    Failure,
    Finish,
    FinishReason,
    TextDelta,
    ThinkingDelta,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
    UsageReport,
)
from claude_bridge.conversion.json_text import as_json_text, is_json, join_arguments
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.stop_reasons import StopSequenceCutter
from claude_bridge.conversion.think_tags import ThinkTagSplitter
from claude_bridge.conversion.thinking import wished_thinking
from claude_bridge.conversion.tool_input import mend_input
from claude_bridge.conversion.tool_names import called_tool, engine_name
from claude_bridge.errors import BridgeError
from claude_bridge.wire.anthropic import MessagesRequest, StreamEvent, Tool


class Repair(Struct, frozen=True):
    """A tool call that was mended: which, and how."""

    tool_name: str
    what: str


class _Stage(Protocol):
    """One step between the decoder and the assembler."""

    def feed(self, deltas: list[Delta]) -> list[Delta]: ...

    def close(self) -> list[Delta]: ...


class AnswerStream:
    """One answer on its way to the client: deltas in, legal stream events out.

    ``start`` comes first, ``close`` last. ``done`` says that the client has all it asked for and the engine may be
    stopped. ``repairs`` grows as tool calls are mended.
    """

    def __init__(
        self,
        request: MessagesRequest,
        *,
        message_id: str,
        request_id: str,
        prompt_tokens: int,
        window_tokens: int | None,
        new_tool_id: Callable[[], str],
        profile: Profile,
    ) -> None:
        """``prompt_tokens`` is an estimate; ``window_tokens`` the engine's context window (None: not known)."""
        self.repairs: list[Repair] = []
        self._window_tokens = window_tokens
        self._cutter = StopSequenceCutter(request.stop_sequences) if request.stop_sequences else None
        gatherer = _ToolCallGatherer(request.tools or (), new_tool_id, self.repairs)
        opened = profile.opens_in_thinking and (wished_thinking(request).thinks or not profile.can_stop_thinking)
        stages: list[_Stage | None] = [ThinkTagSplitter(profile.think_tags, opened=opened), self._cutter, gatherer]
        self._stages: list[_Stage] = [stage for stage in stages if stage is not None]
        self._assembler = MessageAssembler(
            message_id=message_id, request_id=request_id, model=request.model, prompt_tokens=prompt_tokens
        )

    @property
    def done(self) -> bool:
        """Whether nothing more of the engine's answer is wanted."""
        return self._assembler.ended or (self._cutter is not None and self._cutter.met is not None)

    @property
    def error(self) -> BridgeError | None:
        """What ended the stream too early, if anything did."""
        return self._assembler.error

    @property
    def usage(self) -> UsageReport:
        """What the engine has reported so far."""
        return self._assembler.usage

    def start(self) -> list[StreamEvent]:
        """Return the opening event."""
        return self._assembler.start()

    def feed(self, deltas: list[Delta]) -> list[StreamEvent]:
        """Return the events that the deltas call for."""
        for stage in self._stages:
            deltas = stage.feed(deltas)
        return self._assembler.feed(deltas)

    def keep_alive(self) -> list[StreamEvent]:
        """Return events that carry nothing but life."""
        return self._assembler.keep_alive()

    def fail(self, error: BridgeError) -> list[StreamEvent]:
        """Return what was held back, and the error that ends the stream."""
        return [*self._drain(), *self._assembler.fail(error)]

    def close(self) -> list[StreamEvent]:
        """Return the end of the stream."""
        events = self._drain()
        usage = self._assembler.usage
        window_full = False
        if self._window_tokens is not None and usage.prompt_tokens and usage.output_tokens:
            # "length" may mean the client's limit or the end of the window, and clients act differently on the two.
            window_full = usage.prompt_tokens + usage.output_tokens >= self._window_tokens
        return events + self._assembler.close(window_full=window_full)

    def _drain(self) -> list[StreamEvent]:
        deltas: list[Delta] = []
        for stage in self._stages:
            deltas = stage.feed(deltas) + stage.close()
        return self._assembler.feed(deltas)


class _Call:
    """A tool call that is still being gathered."""

    def __init__(self, start: ToolCallStart) -> None:
        self.name = start.name
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


class _ToolCallGatherer:
    """Hands tool calls on one by one and whole: the client runs a tool when its block closes, not before.

    A call goes on when the next one or more text begins, if it looks whole by then, and at the finish in any case.
    Text and thinking pass at once.
    """

    def __init__(self, tools: Sequence[Tool], new_tool_id: Callable[[], str], repairs: list[Repair]) -> None:
        """``tools`` are those that the client declared."""
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
            match delta:
                case ToolCallStart():
                    self._release_whole(out)
                    self._calls[delta.key] = _Call(delta)
                case ToolCallArguments(key, fragment):
                    if key in self._calls:  # else it was whole, and is said once more
                        self._calls[key].fragments.append(fragment)
                case ToolCallEnd(key):
                    if key in self._calls:
                        self._calls[key].ended = True
                        self._release_whole(out)
                case TextDelta(text) | ThinkingDelta(text):
                    if text.strip():
                        self._release_whole(out)
                    out.append(delta)
                case Finish(reason):
                    self._release_all(out, cut_off=reason not in (FinishReason.STOP, FinishReason.TOOL_CALLS))
                    out.append(delta)
                case Failure():
                    self._calls.clear()
                    out.append(delta)
                case _:
                    out.append(delta)
        return out

    def close(self) -> list[Delta]:
        """Drop calls that never ended: the stream then ends in an error."""
        self._calls.clear()
        return []

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
            schema = bytes(tool.input_schema) if tool and tool.input_schema is not UNSET else b"{}"
            arguments, notes = mend_input(arguments, schema, name)
            self._repairs += [Repair(name, note) for note in notes]
        key, self._next_key = self._next_key, self._next_key + 1
        out.append(ToolCallStart(key, name, self._new_tool_id()))
        out.append(ToolCallArguments(key, arguments))
        out.append(ToolCallEnd(key))
