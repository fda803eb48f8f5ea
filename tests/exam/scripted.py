"""Scripted models: each knows the tasks, and does them well or in one particular bad way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from claude_bridge.exam.asking import AnswerFigures, Ask, MeasuredAnswer, printed_calls
from claude_bridge.exam.disk import ROOT
from claude_bridge.exam.results import Settings
from claude_bridge.exam.task import Task
from claude_bridge.wire.anthropic import (
    MessagesRequest,
    TextBlock,
    ToolUseBlock,
)
from claude_bridge.wire.anthropic_answers import (
    AnswerBlock,
    Message,
    Usage,
)
from tests.fake_upstream import DONE, Reply, finish, stream, text, tool_call, usage


class Use(NamedTuple):
    """A tool call."""

    name: str
    input: dict[str, Any]


Turn = str | tuple[Use, ...]
Script = tuple[Turn, ...]
"""What a model does, turn by turn: tool calls, or the text that ends its work."""

Behave = Callable[[Task, int], Turn]
"""What a model does in a task at a turn, counted from 0."""

IN_ORDER = {
    "Read": ("file_path",),
    "Write": ("file_path", "content"),
    "Edit": ("file_path", "old_string", "new_string", "replace_all"),
    "Bash": ("command",),
}
"""The inputs of the tools whose calls are written short in tasks.toml."""


def script_from(turns: Sequence[Any]) -> Script:
    """Return an answer of a task as calls and words."""
    return tuple(tuple(map(_use_from, turn)) if isinstance(turn, list) else str(turn) for turn in turns)


def _use_from(call: dict[str, Any]) -> Use:
    ((name, inputs),) = call.items()
    if name == "TodoWrite":
        todos = [
            {"content": text, "status": status, "activeForm": text} for status in inputs for text in inputs[status]
        ]
        return Use(name, {"todos": todos})
    if name in IN_ORDER and not isinstance(inputs, dict):
        inputs = dict(zip(IN_ORDER[name], inputs if isinstance(inputs, list) else [inputs], strict=False))
        if "file_path" in inputs:
            inputs["file_path"] = f"{ROOT}/{inputs['file_path']}"
    return Use(name, inputs)


def perfect(task: Task, turn: int) -> Turn:
    return script_from(task.good)[turn]


def lazy(task: Task, turn: int) -> Turn:
    """Do the first step, and leave the rest."""
    return script_from(task.good)[0] if turn == 0 else "I leave the rest to you."


def lying(task: Task, turn: int) -> Turn:
    """Say what the end should be, without a call."""
    return script_from(task.good)[-1]


def looping(task: Task, turn: int) -> Turn:
    """Do the first step again and again."""
    return script_from(task.good)[0]


def prose_calling(task: Task, turn: int) -> Turn:
    """Describe the calls in a sentence."""
    first = script_from(task.good)[0]
    if isinstance(first, str):
        return first
    return "I will now call " + " and ".join(f"{use.name}({json.dumps(use.input)})" for use in first) + " to do this."


BROKEN = '{"{{'
"""Arguments of which nothing can be made."""


def settings_of(**more: Any) -> Settings:
    given = {"provider": "openai", "model": "scripted", "base_url": "http://x", "engine": "scripted", "runs": 1}
    return Settings(**{**given, **more})


def tasks_of(settings: Settings) -> dict[str, Task]:
    """Return all tasks of an exam, by their prompts."""
    tasks = (kind.task(settings.seed, run) for run in range(1, settings.runs + 1) for kind in settings.kinds)
    return {task.prompt: task for task in tasks}


def asking(behave: Behave, settings: Settings) -> Ask:
    """Return a scripted model without an engine: its answers come as if the bridge had made them."""
    tasks = tasks_of(settings)

    async def ask(request: MessagesRequest, _within_s: float) -> MeasuredAnswer:
        prompts = [message.content for message in request.messages if isinstance(message.content, str)]
        task = tasks[str(prompts[-1])]
        turn = len(request.messages) - 1 - len(task.history)
        blocks = list(_blocks(behave(task, turn // 2), turn))
        calls = [block for block in blocks if isinstance(block, ToolUseBlock)]
        words = "".join(block.text for block in blocks if isinstance(block, TextBlock))
        printed = printed_calls(words, [tool.name for tool in request.tools or ()])
        message = Message(
            id="msg_1", model="scripted", content=blocks, stop_reason="end_turn", usage=Usage(output_tokens=20)
        )
        figures = AnswerFigures(prompt_tokens=100, output_tokens=20, calls=len(calls), printed=printed)
        return MeasuredAnswer(message=message, figures=figures)

    return ask


def _blocks(turn: Turn, number: int) -> Iterator[AnswerBlock]:
    if isinstance(turn, str):
        yield TextBlock(turn)
        return
    for at, use in enumerate(turn):
        yield ToolUseBlock(f"toolu_{number}_{at}", use.name, msgspec.Raw(msgspec.json.encode(use.input)))


def engine(
    behave: Behave, settings: Settings, *, arguments: Callable[[dict[str, Any]], str] = json.dumps
) -> Callable[[Any], Reply]:
    """Return the script of a fake upstream; ``arguments`` writes those of each call as the engine gives them."""
    tasks = tasks_of(settings)

    def reply(request: Any) -> Reply:
        messages = request.json["messages"]
        place = max(at for at, message in enumerate(messages) if message["role"] == "user")
        words = messages[place]["content"]
        task = tasks[words if isinstance(words, str) else words[-1]["text"]]
        did = behave(task, sum(message["role"] == "assistant" for message in messages[place:]))
        if isinstance(did, str):
            return stream(text(did), finish(), usage(100, 20, cached_tokens=50), DONE)
        calls = [tool_call(use.name, arguments(use.input), index=at) for at, use in enumerate(did)]
        return stream(*calls, finish("tool_calls"), usage(100, 20, cached_tokens=50), DONE)

    return reply


def script_of(answers: Sequence[Turn]) -> Behave:
    """Return a model that goes through a script, and repeats its end."""
    script: Script = tuple(answers)
    return lambda _, turn: script[min(turn, len(script) - 1)]
