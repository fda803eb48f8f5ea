"""Requests of any API taken apart into what a person reads: texts, thinking, tool calls, results, images, tools.

Bodies are read loosely: what is wrong, or of a kind not known, becomes a part of JSON and never an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from claude_bridge.wire.lenient_json import read_or_none

Kind = Literal["text", "thinking", "tool_use", "tool_result", "image", "document", "tool", "parameter", "json"]

Json = Any
"""What a JSON document decodes to."""


class Part(Struct, frozen=True, omit_defaults=True):
    """One thing in a request or an answer.

    ``name`` is a tool's or a parameter's, ``data`` an image as a data URL; ``path`` is the JSON path in the client's
    request, where it is of one.
    """

    role: str
    kind: Kind
    text: str = ""
    name: str = ""
    id: str = ""
    data: str = ""
    path: str = ""
    is_error: bool = False
    """Whether it is the result of a call that failed."""

    @property
    def content(self) -> tuple[str, str, str, str]:
        """What two parts must share to be the same; ids and roles may differ between APIs."""
        return self.kind, self.name, self.text.strip(), self.data


_TEXT_TYPES = frozenset({"text", "input_text", "output_text"})
_CALLS = frozenset({"tool_use", "server_tool_use", "mcp_tool_use"})
_REASONING = ("reasoning_content", "reasoning", "thinking")
_APART = frozenset({"messages", "system", "tools", "input", "instructions"})
IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
"""What a browser shows and runs nothing of."""

_members_decoder = msgspec.json.Decoder(dict[str, Raw])
_items_decoder = msgspec.json.Decoder(list[Raw])


def members(body: bytes) -> dict[str, Raw]:
    """Return the members of a JSON object as they stand; empty for anything else."""
    return read_or_none(_members_decoder.decode, body) or {}


def items(raw: Raw | None) -> list[Raw]:
    """Return the items of a JSON list as they stand; empty for anything else."""
    return [] if raw is None else read_or_none(_items_decoder.decode, raw) or []


def parsed(raw: Raw | bytes | None) -> Json:
    """Return a JSON value; None for what is none."""
    return None if raw is None else read_or_none(msgspec.json.decode, raw)


def system_parts(fields: Mapping[str, Raw]) -> list[Part]:
    """Return the system prompt of a request that has it apart from its messages."""
    name = "system" if "system" in fields else "instructions"
    return list(_content_parts("system", parsed(fields.get(name)), f"$.{name}"))


def message_parts(message: Json, path: str = "") -> list[Part]:
    """Return the parts of one message of any API, or of one input item of the Responses API."""
    if not isinstance(message, dict):
        return [Part("?", "json", _json_text(message), path=path)]
    role = str(message.get("role") or message.get("type") or "?")
    parts = [
        Part(role, "thinking", text, path=path)
        for name in _REASONING
        if isinstance(text := message.get(name), str) and text
    ]
    if role == "tool":
        parts += _result_parts(role, message.get("content"), str(message.get("tool_call_id") or ""), path)
    elif "content" in message:
        parts += _content_parts(role, message["content"], f"{path}.content")
    elif "role" not in message:
        parts += _block_parts("?", message, path)
    for image in _list(message.get("images")):
        parts.append(Part(role, "image", data=_data_url("image/png", image), path=path))
    for call in _list(message.get("tool_calls")):
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            parts.append(_call(role, call.get("id"), function.get("name"), function.get("arguments"), path))
    return parts


def answer_parts(content: Json) -> list[Part]:
    """Return the parts of an answer's content."""
    return list(_content_parts("assistant", content, ""))


def tool_parts(tool: Json, path: str = "") -> list[Part]:
    """Return the definition of a tool as one part, in the form that all APIs share."""
    definition = tool if isinstance(tool, dict) else {}
    function = definition.get("function")
    definition = function if isinstance(function, dict) else definition
    name = str(definition.get("name") or definition.get("type") or "?")
    schema = next((definition[key] for key in ("input_schema", "parameters") if key in definition), None)
    text = str(definition.get("description") or "")
    return [Part("tools", "tool", f"{text}\n{_json_text(schema)}" if schema is not None else text, name, path=path)]


def parameter_parts(fields: Mapping[str, Raw]) -> list[Part]:
    """Return what a request says beside its conversation and its tools."""
    return [
        Part("request", "parameter", _json_text(parsed(raw)), name, path=f"$.{name}")
        for name, raw in fields.items()
        if name not in _APART
    ]


def _content_parts(role: str, content: Json, path: str) -> Iterator[Part]:
    if isinstance(content, str):
        if content:
            yield Part(role, "text", content, path=path)
    elif isinstance(content, list):
        for at, block in enumerate(content):
            yield from _block_parts(role, block, f"{path}[{at}]")
    elif content is not None:
        yield Part(role, "json", _json_text(content), path=path)


def _block_parts(role: str, block: Json, path: str) -> Iterator[Part]:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind in _TEXT_TYPES:
        yield Part(role, "text", str(block.get("text") or ""), path=path)
    elif kind in ("thinking", "reasoning"):
        yield Part(role, "thinking", str(block.get("thinking") or block.get("text") or ""), path=path)
    elif kind in _CALLS:
        yield _call(role, block.get("id"), block.get("name"), block.get("input"), path)
    elif kind == "function_call":
        yield _call("assistant", block.get("call_id"), block.get("name"), block.get("arguments"), path)
    elif kind == "function_call_output":
        yield from _result_parts("tool", block.get("output"), str(block.get("call_id") or ""), path)
    elif kind == "tool_result":
        result_id, is_error = str(block.get("tool_use_id") or ""), block.get("is_error") is True
        yield from _result_parts(role, block.get("content"), result_id, path, is_error=is_error)
    elif kind in ("image", "image_url", "input_image"):
        yield _image(role, block, path)
    elif kind in ("document", "file", "input_file"):
        yield _document(role, block, path)
    else:
        yield Part(role, "json", _json_text(block), path=path)


def _call(role: str, call_id: Json, name: Json, arguments: Json, path: str) -> Part:
    if isinstance(arguments, str):
        decoded = parsed(arguments.encode("utf-8", "replace"))
        arguments = arguments if decoded is None else decoded
    text = arguments if isinstance(arguments, str) else _json_text(arguments if arguments is not None else {})
    return Part(role, "tool_use", text, str(name or "?"), str(call_id or ""), path=path)


def _result_parts(role: str, content: Json, call_id: str, path: str, *, is_error: bool = False) -> Iterator[Part]:
    """Yield one part for the text of a result, and one for each image in it."""
    parts = list(_content_parts(role, content, f"{path}.content"))
    text = "\n".join(part.text for part in parts if part.kind != "image")
    if text or not parts:
        yield Part(role, "tool_result", text, id=call_id, path=path, is_error=is_error)
    yield from (replace(part, id=call_id) for part in parts if part.kind == "image")


def _image(role: str, block: Mapping[str, Json], path: str) -> Part:
    source = block.get("source") or block.get("image_url") or {}
    if isinstance(source, str):
        source = {"url": source}
    url = str(source.get("url") or "") if isinstance(source, dict) else ""
    if isinstance(source, dict) and isinstance(source.get("data"), str):
        url = _data_url(str(source.get("media_type") or ""), source["data"])
    media_type = url.removeprefix("data:").partition(";")[0]
    if url.startswith("data:") and media_type in IMAGE_TYPES:
        return Part(role, "image", data=url, path=path)
    return Part(role, "image", url[:2_000] or _json_text(block)[:2_000], path=path)


def _document(role: str, block: Mapping[str, Json], path: str) -> Part:
    """Return a document by its text, or by its type and its size: nobody reads a file in base64."""
    source = next((found for name in ("source", "file") if isinstance(found := block.get(name), dict)), block)
    name = str(block.get("title") or source.get("filename") or "")
    data = source.get("data") or source.get("file_data")
    if not isinstance(data, str):
        return Part(role, "document", _json_text(block)[:2_000], name, path=path)
    if source.get("type") != "text":
        header, _, encoded = data.rpartition(",")
        media_type = source.get("media_type") or header.removeprefix("data:").partition(";")[0]
        data = f"({media_type or 'file'}, {len(encoded) * 3 // 4:,} bytes)"
    return Part(role, "document", data, name, path=path)


def _data_url(media_type: str, data: Json) -> str:
    return f"data:{media_type};base64,{data}"


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def _json_text(value: Json) -> str:
    """Return a value as JSON in one line, with spaces at which it can be broken."""
    return msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=0).decode("utf-8", "replace")
