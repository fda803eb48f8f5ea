"""Whether a request went upstream whole: every word of it is found there again, or was told as lost.

What may be missing all the same stands here, rule by rule, as docs/reference/conversion.md has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from claude_bridge.clients.claude_code import BILLING_HEADER
from claude_bridge.conversion.loss import Loss
from claude_bridge.conversion.profile import Profile
from claude_bridge.conversion.request.content import ERROR_PREFIX
from claude_bridge.conversion.tool_names import engine_name

NEED_NOT_BE_SAID = ("$schema", "$id", "$ref", "additionalProperties", "propertyNames", "title")
"""Keywords of a JSON Schema whose values an engine can do without, or that are put in place of what they name."""

BY_NAME = ("properties", "patternProperties", "$defs", "definitions")
"""Keywords that hold schemas under names; other keywords may be said in other words."""


UNREAD_INPUT = "__unparsedToolInput"
"""What Claude Code makes of arguments that are no JSON; the model is told what it wrote."""


_NO_PLACE_FOR_THOUGHTS = "earlier thinking has no place in this engine's messages"
"""Told once for all of a conversation."""


_SAYS_NOTHING = ("thinking", "redacted_thinking")
"""Blocks that are left out where a user seems to have them."""


class Piece(Struct, frozen=True):
    """Something that a client said, and where; ``or_words`` may stand for it, such as the text of a PDF."""

    path: str
    words: str
    or_words: str = ""

    @property
    def is_thought(self) -> bool:
        return self.path.endswith(".thinking")


def missing_pieces(
    client_request: dict[str, Any],
    sent: dict[str, Any],
    losses: Sequence[Loss],
    profile: Profile,
    *,
    files: dict[str, str],
) -> list[str]:
    """Return the paths of what a client said and the engine is not told, though nobody said that it is lost.

    ``files`` gives the text in a file by its base64.
    """
    lost = [path for loss in losses for path in _paths(loss, client_request["messages"])]
    keeps_thoughts = profile.reasoning_field is not None or _NO_PLACE_FOR_THOUGHTS not in str(losses)
    out: list[str] = []
    in_place = [item for item in sent.get("input", ()) if item["type"] == "additional_tools"]
    conversation = [sent.get("instructions", ""), sent.get("messages") or sent.get("input", ())]
    tools = [sent.get("tools", ()), in_place]
    for reported, pieces in ((conversation, _conversation(client_request, files)), (tools, _tools(client_request))):
        output = [*_output_text(reported)]
        text, places = "\n".join(output), Counter(output)
        wanted = [piece for piece in pieces if piece.words and not _is_reported(piece, lost)]
        wanted = [piece for piece in wanted if not piece.is_thought or keeps_thoughts]
        times = Counter(piece.words for piece in wanted)
        for piece in wanted:
            forms = (piece.words, _quoted(piece.words), piece.or_words)
            there = max(places[piece.words], sum(text.count(form) for form in {*forms} if form))
            if there < times[piece.words]:
                out.append(f"{piece.path}: {piece.words[:200]!r}")
    return out


def _paths(loss: Loss, messages: list[dict[str, Any]]) -> list[str]:
    """Return where the loss is; the last message may be several, and what follows it may say nothing."""
    if loss.path != "$.messages[-1]":
        return [loss.path]
    spoken = [at for at, message in enumerate(messages) if message["role"] != "assistant" and _says(message["content"])]
    return [f"$.messages[{at}]" for at in range(spoken[-1] + 1 if spoken else 0, len(messages))]


def _says(content: Any) -> bool:
    if isinstance(content, str):
        return bool(content)
    return any(block["type"] not in _SAYS_NOTHING and block != {"type": "text", "text": ""} for block in content)


def _is_reported(piece: Piece, lost: Sequence[str]) -> bool:
    return any(piece.path == path or piece.path.startswith((f"{path}.", f"{path}[")) for path in lost)


def _quoted(words: str) -> str:
    """Return the words as in JSON text: so a call that became text has them, and what stands for a pattern."""
    return msgspec.json.encode(words).decode()[1:-1]


def _output_text(value: Any) -> Iterator[str]:
    """Yield every text in what goes upstream: keys too, and what is in JSON text."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            if key == "arguments" and isinstance(inner, str):
                yield from _output_text(msgspec.json.decode(inner))
            else:
                yield from _output_text(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _output_text(inner)
    elif isinstance(value, str):
        yield value
    else:
        yield msgspec.json.encode(value).decode()


def _leaves(value: Any, path: str) -> Iterator[Piece]:
    """Yield keys and values of any JSON."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield Piece(f"{path}.{key}", key)
            yield from _leaves(inner, f"{path}.{key}")
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from _leaves(inner, f"{path}[{at}]")
    elif isinstance(value, str):
        if value.strip():
            yield Piece(path, value)
    elif value is not None:
        yield Piece(path, msgspec.json.encode(value).decode())


# --- the conversation -----------------------------------------------------------------------------------------


def _conversation(client_request: dict[str, Any], files: dict[str, str]) -> Iterator[Piece]:
    for piece in _content(client_request.get("system") or [], "$.system", files):
        if not piece.words.startswith(BILLING_HEADER):
            yield piece
    for at, message in enumerate(client_request["messages"]):
        for piece in _content(message["content"], f"$.messages[{at}].content", files):
            if not piece.is_thought or message["role"] == "assistant":  # nobody else can think
                yield piece


def _content(content: Any, path: str, files: dict[str, str]) -> Iterator[Piece]:
    if isinstance(content, str):
        if content:
            yield Piece(path, content)
        return
    for at, block in enumerate(content):
        yield from _block(block, f"{path}[{at}]", files)


def _block(block: dict[str, Any], path: str, files: dict[str, str]) -> Iterator[Piece]:
    match block["type"]:
        case "text":
            if block["text"]:
                yield Piece(f"{path}.text", block["text"])
        case "thinking":
            if block["thinking"]:
                yield Piece(f"{path}.thinking", block["thinking"])
        case "tool_use":
            yield Piece(f"{path}.name", engine_name(block["name"]), block["name"])
            unread = block["input"].get(UNREAD_INPUT) if isinstance(block["input"], dict) else None
            yield from _leaves(block["input"] if unread is None else unread["raw"], f"{path}.input")
        case "tool_result":
            pieces = [*_content(block.get("content") or [], f"{path}.content", files)]
            yield from pieces
            if block.get("is_error"):
                yield Piece(f"{path}.is_error", ERROR_PREFIX)
        case "tool_reference":
            yield Piece(f"{path}.tool_name", block["tool_name"])
        case "tool_addition":
            tool = block["tool"].get("definition", block["tool"])
            yield Piece(f"{path}.tool.name", tool["name"])
        case "image" | "document":
            yield from (Piece(f"{path}.{key}", block[key]) for key in ("title", "context") if block.get(key))
            yield from _source(block["source"], f"{path}.source", files)
        case "search_result":
            yield from (Piece(f"{path}.{key}", block[key]) for key in ("title", "source"))
            yield from _content(block["content"], f"{path}.content", files)
        case "redacted_thinking":
            yield Piece(f"{path}.data", block["data"])
        case "server_tool_use":
            yield Piece(f"{path}.name", block["name"])
            yield from _leaves(block["input"], f"{path}.input")
        case "web_search_tool_result":
            yield from _results(block["content"], f"{path}.content")
        case unknown:
            yield Piece(f"{path}.type", f"[{unknown} block omitted]")


def _results(found: Any, path: str) -> Iterator[Piece]:
    """Yield what a search found: of each page its title and its address."""
    if isinstance(found, dict):
        yield Piece(f"{path}.error_code", found["error_code"])
    for at, page in enumerate(found if isinstance(found, list) else []):
        if isinstance(page, dict):
            yield from (Piece(f"{path}[{at}].{key}", page[key]) for key in ("title", "url") if page[key])


def _source(source: dict[str, Any], path: str, files: dict[str, str]) -> Iterator[Piece]:
    match source["type"]:
        case "content":
            yield from _content(source["content"], f"{path}.content", files)
        case "base64" | "text":
            yield Piece(f"{path}.data", source["data"], files.get(source["data"], ""))
        case "url":
            yield Piece(f"{path}.url", source["url"])
        case "file":
            yield Piece(f"{path}.file_id", source["file_id"])
        case unknown:
            raise AssertionError(f"{path}: nobody knows what of a {unknown} source must go on")


# --- the tools ------------------------------------------------------------------------------------------------


def _tools(client_request: dict[str, Any]) -> Iterator[Piece]:
    loaded = _loaded(client_request["messages"])
    for at, tool in enumerate(client_request.get("tools") or []):
        if not tool.get("defer_loading") or tool["name"] in loaded:
            yield Piece(f"$.tools[{at}].name", engine_name(tool["name"]))
            yield Piece(f"$.tools[{at}].description", tool.get("description", ""))
            yield from _schema(tool.get("input_schema", {}), f"$.tools[{at}].input_schema")
    yield from {piece.words: piece for piece in _inline_tools(client_request["messages"])}.values()


def _inline_tools(messages: list[dict[str, Any]]) -> Iterator[Piece]:
    """Yield what the messages say of the tools that they define, which are sent once each."""
    for at, message in enumerate(messages):
        for place, block in enumerate(message["content"] if isinstance(message["content"], list) else ()):
            if block["type"] == "tool_addition" and "definition" in block["tool"]:
                path = f"$.messages[{at}].content[{place}].tool.definition.description"
                yield Piece(path, block["tool"]["definition"]["description"])


def _schema(value: Any, path: str) -> Iterator[Piece]:
    if not isinstance(value, dict):
        yield from _leaves(value, path)
        return
    for key, inner in value.items():
        where = f"{path}.{key}"
        if key in NEED_NOT_BE_SAID:
            continue
        if key in BY_NAME:
            for name, schema in inner.items():
                if key == "properties":
                    yield Piece(f"{where}.{name}", name)
                yield from _schema(schema, f"{where}.{name}")
        elif key in ("enum", "const", "default", "examples"):
            yield from _leaves(inner, where)
        elif isinstance(inner, list):
            for at, schema in enumerate(inner):
                yield from _schema(schema, f"{where}[{at}]")
        else:
            yield from _schema(inner, where)


def _loaded(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(_loaded, value))
    if isinstance(value, dict):
        if value.get("type") == "tool_reference":
            return {value["tool_name"]}
        if value.get("type") == "tool_addition":
            return {value["tool"].get("name", "")}
        return _loaded(value.get("content"))
    return set()
