"""Request bodies shaped like a coding agent's, the same session once for each API."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import msgspec

MODEL = "bench-model"
MAX_TOKENS = 8000

SMALL, MIDDLE, LARGE = "0.1 KB", "100 KB", "1 MB"
SIZES_BYTES = {SMALL: 100, MIDDLE: 100_000, LARGE: 1_000_000}

TOOL_COUNT = 30
STEPS = 20
"""Each is an assistant's message with tool calls and a user's with their results: 41 messages with the first one."""

LATER_RESULT_BYTES = 2_000
"""Of the tool in each turn by which a session grows."""

_WORDS = (
    "anchor basket candle drift ember fabric garden harbour island jacket kettle lantern marble needle orchard pepper "
    "quarry ribbon saddle timber umbrella valley willow yarrow zephyr copper meadow pigeon thistle walnut"
)
WORDS = _WORDS.split()
VERBS = ["read", "write", "list", "find", "move", "open", "close", "count", "merge", "split"]

Json = dict[str, Any]


class Call(msgspec.Struct, frozen=True):
    """One tool call and what came of it."""

    id: str
    name: str
    arguments: Json
    result: str


class Step(msgspec.Struct, frozen=True):
    """What the assistant said and which tools it called, all at once."""

    said: str
    calls: list[Call]


class Session(msgspec.Struct, frozen=True):
    """A conversation that belongs to no API; ``tools`` holds (name, description, schema)."""

    system: list[str]
    tools: list[tuple[str, str, Json]]
    question: str
    steps: list[Step]


def messages_body(size: str, *, stream: bool, later_turns: int = 0) -> bytes:
    """Return a Messages request of about the size that is named, and so many turns later."""
    session = _session(SIZES_BYTES[size], later_turns)
    turns: list[Json] = [{"role": "user", "content": session.question}]
    for step in session.steps:
        uses = [{"type": "tool_use", "id": c.id, "name": c.name, "input": c.arguments} for c in step.calls]
        results = [{"type": "tool_result", "tool_use_id": c.id, "content": c.result} for c in step.calls]
        turns += [
            {"role": "assistant", "content": [{"type": "text", "text": step.said}, *uses]},
            {"role": "user", "content": results},
        ]
    body: Json = {"model": MODEL, "max_tokens": MAX_TOKENS, "stream": stream, "messages": turns}
    if session.system:
        cached = {"cache_control": {"type": "ephemeral"}}
        body["system"] = [{"type": "text", "text": text, **cached} for text in session.system]
    if session.tools:
        body["tools"] = [{"name": n, "description": d, "input_schema": schema} for n, d, schema in session.tools]
    return msgspec.json.encode(body)


def chat_body(size: str, *, stream: bool, later_turns: int = 0) -> bytes:
    """Return the Chat Completions request that asks the same as ``messages_body``."""
    session = _session(SIZES_BYTES[size], later_turns)
    turns: list[Json] = [{"role": "user", "content": session.question}]
    if session.system:
        turns.insert(0, {"role": "system", "content": "\n\n".join(session.system)})
    for step in session.steps:
        turns.append({"role": "assistant", "content": step.said, "tool_calls": [_chat_call(c) for c in step.calls]})
        turns += [{"role": "tool", "tool_call_id": c.id, "content": c.result} for c in step.calls]
    body: Json = {"model": MODEL, "max_tokens": MAX_TOKENS, "stream": stream, "messages": turns}
    if stream:
        body["stream_options"] = {"include_usage": True}
    if session.tools:
        body["tools"] = [
            {"type": "function", "function": {"name": n, "description": d, "parameters": schema}}
            for n, d, schema in session.tools
        ]
    return msgspec.json.encode(body)


def _chat_call(call: Call) -> Json:
    arguments = msgspec.json.encode(call.arguments).decode()
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _session(size_bytes: int, later_turns: int) -> Session:
    """Return the same session for the same size: a bare question if it is small, else one with tools and history.

    With more ``later_turns`` it goes on from the one with fewer.
    """
    if size_bytes < 10_000:
        return Session(system=[], tools=[], question="Good day.", steps=[])
    rng = random.Random(size_bytes)
    tools = [_tool(rng, number) for number in range(TOOL_COUNT)]
    system = [_text(rng, 8_000), _text(rng, 4_000)]
    call_counts = [1 + number % 3 for number in range(STEPS)]
    bare_bytes = len(msgspec.json.encode((system, tools))) + STEPS * 350 + sum(call_counts) * 260
    result_bytes = max(100, (size_bytes - bare_bytes) // sum(call_counts))
    steps = [
        Step(
            said=_text(rng, 200),
            calls=[_call(rng, f"{n:02}{k}", tools[(n + k) % TOOL_COUNT][0], result_bytes) for k in range(count)],
        )
        for n, count in enumerate(call_counts)
    ]
    question = _text(rng, 400)
    later = [
        Step(said=_text(rng, 200), calls=[_call(rng, f"later{turn}", tools[0][0], LATER_RESULT_BYTES)])
        for turn in range(later_turns)
    ]
    return Session(system=system, tools=tools, question=question, steps=[*steps, *later])


def _call(rng: random.Random, number: str, name: str, result_bytes: int) -> Call:
    arguments = {
        "path": f"/{rng.choice(WORDS)}/{rng.choice(WORDS)}.py",
        "limit": rng.randrange(500),
        "why": _text(rng, 60),
    }
    return Call(id=f"call_{number}", name=name, arguments=arguments, result=_text(rng, result_bytes))


def _tool(rng: random.Random, number: int) -> tuple[str, str, Json]:
    names = rng.sample(WORDS, 5)
    kinds: list[Json] = [
        {"type": "string"},
        {"type": "integer", "minimum": 0},
        {"type": "boolean"},
        {"type": "array", "items": {"type": "string"}},
        {"type": "string", "enum": rng.sample(WORDS, 3)},
    ]
    properties = {name: {**kind, "description": _text(rng, 90)} for name, kind in zip(names, kinds, strict=True)}
    schema = {"type": "object", "properties": properties, "required": names[:2], "additionalProperties": False}
    return f"{VERBS[number % len(VERBS)]}_{WORDS[number]}", _text(rng, 600), schema


def _text(rng: random.Random, size_bytes: int) -> str:
    """Return lines that look like indented source, and take about ``size_bytes`` in JSON."""
    lines: list[str] = []
    left = size_bytes
    for line in _lines(rng):
        left -= len(msgspec.json.encode(line))  # the two quotes stand for the escaped line end
        if left < 0:
            return "\n".join(lines) or line[:size_bytes]
        lines.append(line)
    raise AssertionError("the lines never end")


def _lines(rng: random.Random) -> Iterator[str]:
    while True:
        first, second, third = rng.choices(WORDS, k=3)
        indent = "    " * rng.randrange(4)
        yield indent + rng.choice(
            (
                f"{first} = {second}({third}, limit={rng.randrange(100)})",
                f'{first}["{second}"] = "{third}"',
                f"# {first} {second}: naïve {third}",
                f"if {first} is not {second}: return {third}",
                f"{first}, {second} = {third}[{rng.randrange(10)}:]",
            )
        )
