"""Which tools the model is offered: those that the request declares, as its history changes them.

A deferred tool is not offered before the history loads it. A history may also define tools of its own, and remove any.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from claude_bridge.conversion.builtin_tools import without_optional
from claude_bridge.conversion.loss import Loss
from claude_bridge.wire.anthropic import Tool, ToolChoice


class ToolAt(NamedTuple):
    """A tool, and the JSON path of its declaration in the request."""

    tool: Tool
    path: str


class ToolChange(NamedTuple):
    """What one place of the history does to a tool: it loads, defines (with a ``definition``) or removes it."""

    name: str
    definition: ToolAt | None = None
    is_removal: bool = False


def inline_tools(changes: Iterable[ToolChange]) -> tuple[Tool, ...]:
    """Return the tools that a history defines."""
    return tuple(change.definition.tool for change in changes if change.definition)


def declared_tools(tools: Sequence[Tool]) -> tuple[list[ToolAt], list[Loss]]:
    """Return the tools to offer of those that a request declares, and the losses of the others."""
    kept, lost = without_optional(tools)
    return (
        [ToolAt(tool, f"$.tools[{place}]") for place, tool in kept],
        [Loss(f"$.tools[{place}]", reason) for place, reason in lost],
    )


def offered_tools(
    declared: Sequence[ToolAt], changes: Sequence[ToolChange], choice: ToolChoice | None
) -> Sequence[ToolAt]:
    """Return the tools that the model is offered for its next message; a forced one is always among them.

    What the history loads comes last, in the order of loading: so the tools that were there before stay where they
    were in the prompt.
    """
    if choice and choice.type == "none":
        return ()
    if not changes and not any(tool.defer_loading for tool, _ in declared):
        return declared
    known = {tool.tool.name: tool for tool in declared}
    offered = {name: tool for name, tool in known.items() if not tool.tool.defer_loading}
    for change in changes:
        if change.definition:
            known[change.name] = offered[change.name] = change.definition
        elif change.is_removal:
            offered.pop(change.name, None)
        elif change.name in known:
            offered.setdefault(change.name, known[change.name])
    if choice and choice.type == "tool" and choice.name in known:
        offered.setdefault(choice.name, known[choice.name])
    return tuple(offered.values())


def tools_in_place(
    declared: Sequence[ToolAt], changes: Sequence[Sequence[ToolChange]], choice: ToolChoice | None
) -> tuple[Sequence[ToolAt], dict[int, list[ToolAt]]]:
    """Return the tools that are offered from the beginning, and those that each turn adds, by its number.

    ``changes`` has what each turn does. So nothing that a history holds ever changes the beginning of the prompt: a
    tool that it removes stays there, since the model has read that it is gone.
    """
    known = {tool.tool.name: tool for tool in declared}
    offered = {name: tool for name, tool in known.items() if not tool.tool.defer_loading}
    if choice and choice.type == "tool" and choice.name in known:
        offered.setdefault(choice.name, known[choice.name])
    seen = dict(offered)
    later: dict[int, list[ToolAt]] = {}
    for turn, of_turn in enumerate(changes):
        for change in of_turn:
            tool = change.definition or known.get(change.name)
            if tool is not None and not change.is_removal and seen.get(change.name) != tool:
                seen[change.name] = tool
                later.setdefault(turn, []).append(tool)
    return tuple(offered.values()), later
