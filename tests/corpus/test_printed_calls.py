"""The corpus of answers: on innocent texts no call is invented, and each real printed call is found."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from claude_bridge.wire.anthropic import TextBlock, ToolUseBlock
from claude_bridge.wire.anthropic_answers import Message
from tests.dialogues import a_request, answered, chunk, folded, sse
from tests.examples import IS_THOROUGH

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "reference" / "conversion.md"

STRING, BOOLEAN = {"type": "string"}, {"type": "boolean"}
NUMBER, INTEGER = {"type": "number"}, {"type": "integer"}
STRINGS = {"type": "array", "items": STRING}
TODO = {"type": "object", "properties": {"content": STRING, "status": STRING, "activeForm": STRING}}


def _tool(name: str, required: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": required.split(), "additionalProperties": False}
    return {"name": name, "description": f"The tool {name}.", "input_schema": schema}


TOOLS = [
    _tool("Read", "file_path", file_path=STRING, offset=INTEGER, limit=INTEGER),
    _tool("Write", "file_path content", file_path=STRING, content=STRING),
    _tool("Edit", "file_path old_string", file_path=STRING, old_string=STRING, new_string=STRING, replace_all=BOOLEAN),
    _tool("Bash", "command", command=STRING, description=STRING, timeout=NUMBER, run_in_background=BOOLEAN),
    _tool("Glob", "pattern", pattern=STRING, path=STRING),
    _tool("Grep", "pattern", pattern=STRING, path=STRING, glob=STRING, output_mode=STRING),
    _tool("WebSearch", "query", query=STRING, allowed_domains=STRINGS),
    _tool("WebFetch", "url prompt", url=STRING, prompt=STRING),
    _tool("TodoWrite", "todos", todos={"type": "array", "items": TODO}),
    _tool("Task", "description prompt", description=STRING, prompt=STRING, subagent_type=STRING),
    _tool("CronList", ""),
    _tool("mcp__github__create_issue", "owner repo title", owner=STRING, repo=STRING, title=STRING, body=STRING),
]
REQUEST = a_request(tools=TOOLS)

PIECES = (None, 1, 3, 7)


def _lines(name: str) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in (HERE / name).read_text("utf-8").splitlines()]


INNOCENT = _lines("innocent_texts.jsonl")
PRINTED = _lines("printed_calls.jsonl")


def _answer(*texts: str) -> Message:
    """Return what the client gets where an engine says this, chunk by chunk."""
    chunks = [chunk(content=text) for text in texts]
    return folded(answered([sse(*chunks, chunk("stop"))], REQUEST))


def _in_pieces(text: str, size: int | None) -> Iterable[str]:
    return [text] if size is None else [text[at : at + size] for at in range(0, len(text), size)]


def _text(message: Message) -> str:
    return "".join(block.text for block in message.content if isinstance(block, TextBlock))


def _calls(message: Message) -> list[dict[str, Any]]:
    blocks = [block for block in message.content if isinstance(block, ToolUseBlock)]
    return [{"name": block.name, "input": msgspec.json.decode(block.input)} for block in blocks]


@pytest.mark.parametrize("size", PIECES)
def test_an_innocent_text_comes_out_as_it_came(size: int | None) -> None:
    for line in INNOCENT:
        message = _answer(*_in_pieces(line["text"], size))
        assert _calls(message) == [], line
        assert [type(block) for block in message.content] == [TextBlock], line
        assert _text(message) == line["text"], line
        assert message.stop_reason == "end_turn", line


@pytest.mark.parametrize(
    ("number", "line"),
    list(enumerate(PRINTED)),
    ids=[f"{number}-{line['format']}" for number, line in enumerate(PRINTED, 1)],
)
def test_a_printed_call_is_found_with_its_input(number: int, line: dict[str, Any]) -> None:
    text = line["text"]
    # A quick run cuts each text at other places than the texts beside it, which are in the same formats.
    places = range(1, len(text)) if IS_THOROUGH else range(1 + number % 7, len(text), 7)
    cuts = [(text[:at], text[at:]) for at in places]
    for texts in [*(_in_pieces(text, size) for size in PIECES), *cuts]:
        message = _answer(*texts)
        assert _calls(message) == line["calls"]
        assert _text(message) == line.get("said", "")
        assert message.stop_reason == "tool_use"


def test_no_text_stands_twice_in_the_corpus() -> None:
    texts = [line["text"] for line in INNOCENT + PRINTED]
    assert len(set(texts)) == len(texts)


def test_the_reference_has_the_corpus_figures() -> None:
    invented = sum(bool(_calls(_answer(line["text"]))) for line in INNOCENT)
    found = sum(_calls(_answer(line["text"])) == line["calls"] for line in PRINTED)
    reported = re.search(
        r"On (\d+) innocent texts in `tests/corpus` no call is invented; of (\d+) printed calls (\d+) are found\.",
        PAGE.read_text("utf-8"),
    )
    assert reported is not None
    assert invented == 0
    assert [int(figure) for figure in reported.groups()] == [len(INNOCENT), len(PRINTED), found]
