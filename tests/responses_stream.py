"""Answers of the Responses API, written from items, as OpenAI sends them and as other servers do."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from msgspec import Struct

from tests.dialogues import sse

Json = dict[str, Any]

Dialect = Literal["openai", "llama_cpp", "lm_studio", "ollama", "vllm", "sglang"]


def reasoning(summary: str | Sequence[str] = (), *, cipher: str | None = None, text: str | None = None) -> Json:
    """Return a thought: with parts of a summary, what only the service can read, or its text."""
    parts = [summary] if isinstance(summary, str) else summary
    item: Json = {"type": "reasoning", "summary": [{"type": "summary_text", "text": part} for part in parts]}
    if text is not None:
        item["content"] = [{"type": "reasoning_text", "text": text}]
    return item if cipher is None else item | {"encrypted_content": cipher}


def message(*texts: str, phase: str | None = None, refusal: str | None = None) -> Json:
    """Return a message of some texts, or one that refuses."""
    content: list[Json] = [{"type": "output_text", "text": text, "annotations": []} for text in texts]
    if refusal is not None:
        content.append({"type": "refusal", "refusal": refusal})
    item = {"type": "message", "role": "assistant", "status": "completed", "content": content}
    return item if phase is None else item | {"phase": phase}


def call(name: str, arguments: Any, call_id: str = "call_1") -> Json:
    """Return a tool call; ``arguments`` is JSON text or what it stands for."""
    written = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": written, "status": "completed"}


def search(query: str, *urls: str, status: str = "completed") -> Json:
    """Return a search of the web that the service ran, with the pages that it found."""
    sources = [{"type": "url", "url": url} for url in urls]
    action = {"type": "search", "query": query, "queries": [query], "sources": sources}
    return {"type": "web_search_call", "status": status, "action": action}


def opened(url: str) -> Json:
    """Return a page that the model had the service open."""
    return {"type": "web_search_call", "status": "completed", "action": {"type": "open_page", "url": url}}


def cited(text: str, **pages: str) -> Json:
    """Return a message whose text rests on pages, by their titles."""
    annotations = [
        {"type": "url_citation", "start_index": 0, "end_index": len(text), "title": title, "url": url}
        for title, url in pages.items()
    ]
    item = message(text)
    item["content"][0]["annotations"] = annotations
    return item


class Ending(Struct, frozen=True, kw_only=True):
    """How an answer ends: ``incomplete`` is the reason for that, ``more`` goes into the last response."""

    incomplete: str | None = None
    input_tokens: int = 100
    cached_tokens: int = 0
    written_tokens: int | None = None
    output_tokens: int = 20
    reasoning_tokens: int = 0
    more: Json = {}


def answer(*items: Json, dialect: Dialect = "openai", ending: Ending | None = None, piece: int = 8) -> bytes:
    """Return a whole answer as a stream, its texts in pieces of so many characters."""
    return stream(events(items, dialect=dialect, ending=ending or Ending(), piece=piece))


def stream(documents: Iterable[Json]) -> bytes:
    """Return events as they are on the wire, each with its name."""
    return b"".join(
        b"event: " + document["type"].encode() + b"\n" + sse(document, done=False) for document in documents
    )


def events(items: Sequence[Json], *, dialect: Dialect = "openai", ending: Ending, piece: int = 8) -> list[Json]:
    """Return the events of an answer in the way of a server."""
    named = [_with_id(item, at) for at, item in enumerate(items)]
    written = [_event("created", response=_response("in_progress"))]
    if dialect == "llama_cpp":
        written = [_event("created", response={"id": "resp_1", "object": "response", "status": "in_progress"})]
    written.append(_event("in_progress", response=_response("in_progress")))
    for at, item in enumerate(named):
        written += map(copy.deepcopy, _of_item(item, at, dialect, piece))
    status = "incomplete" if ending.incomplete and dialect not in ("llama_cpp", "ollama") else "completed"
    final = _response(status, [] if dialect == "sglang" else named, ending)
    written.append(_event(status, response=final))
    for number, document in enumerate(written):
        if dialect == "llama_cpp":
            for name in ("output_index", "content_index", "summary_index"):
                document.pop(name, None)
        elif dialect == "openai":
            document["sequence_number"] = number
    return written


def _with_id(item: Json, at: int) -> Json:
    prefixes = {"reasoning": "rs", "message": "msg", "function_call": "fc", "web_search_call": "ws"}
    return {"type": item["type"], "id": f"{prefixes.get(item['type'], 'it')}_{at}", **item}


def _event(kind: str, **fields: Any) -> Json:
    return {"type": f"response.{kind}", **fields}


def _of_item(item: Json, at: int, dialect: Dialect, piece: int) -> Iterator[Json]:
    """Yield the events of one item, from its beginning to its end."""
    place: Json = {"item_id": item["id"], "output_index": at}
    if dialect == "vllm":
        place["item_id"] = f"{item['id']}_streamed"
    if dialect != "lm_studio":
        yield _event("output_item.added", output_index=at, item=_begun(item))
    if item["type"] == "function_call":
        if dialect != "lm_studio":
            for part in _pieces(item["arguments"], piece):
                yield _event("function_call_arguments.delta", **place, delta=part)
        if dialect not in ("llama_cpp", "lm_studio"):
            done = {"name": item["name"], "arguments": item["arguments"]}
            yield _event("function_call_arguments.done", **place, **done)
    if item["type"] == "web_search_call":
        yield from (_event(f"web_search_call.{step}", **place) for step in ("in_progress", "searching", "completed"))
    for number, part in enumerate(item["summary"] if item["type"] == "reasoning" else ()):
        where = place | {"summary_index": number}
        yield _event("reasoning_summary_part.added", **where, part={"type": "summary_text", "text": ""})
        for words in _pieces(part["text"], piece):
            yield _event("reasoning_summary_text.delta", **where, delta=words)
        yield _event("reasoning_summary_text.done", **where, text=part["text"])
        yield _event("reasoning_summary_part.done", **where, part=part)
    for number, part in enumerate(item.get("content") or ()):
        yield from _of_part(part, place | {"content_index": number}, piece)
    if not (dialect == "sglang" and item["type"] == "function_call"):
        ended = item | {"id": f"{item['id']}_done"} if dialect == "vllm" else item
        yield _event("output_item.done", output_index=at, item=ended)


def _of_part(part: Json, place: Json, piece: int) -> Iterator[Json]:
    kind = part["type"]
    field = "refusal" if kind == "refusal" else "text"
    logprobs: Json = {"logprobs": []} if kind == "output_text" else {}
    empty: Json = {"annotations": []} if "annotations" in part else {}
    yield _event("content_part.added", **place, part=part | {field: ""} | empty)
    for words in _pieces(part[field], piece):
        yield _event(f"{kind}.delta", **place, delta=words, **logprobs)
    for number, annotation in enumerate(part.get("annotations", ())):
        yield _event("output_text.annotation.added", **place, annotation_index=number, annotation=annotation)
    yield _event(f"{kind}.done", **place, **{field: part[field]}, **logprobs)
    yield _event("content_part.done", **place, part=part)


def _begun(item: Json) -> Json:
    """Return an item as it is announced."""
    begun: Json = {name: value for name, value in item.items() if name != "encrypted_content"}
    empty: dict[str, Json] = {
        "reasoning": {"summary": []},
        "message": {"content": [], "status": "in_progress"},
        "function_call": {"arguments": "", "status": "in_progress"},
        "web_search_call": {"status": "in_progress"},
    }
    if item["type"] == "reasoning":
        begun.pop("content", None)
    return begun | empty.get(item["type"], {})


def _pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def _response(status: str, output: Sequence[Json] = (), ending: Ending | None = None) -> Json:
    response: Json = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": "local-model",
        "output": list(output),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "error": None,
        "incomplete_details": None,
    }
    if ending is None:
        return response
    if status == "incomplete":
        response["incomplete_details"] = {"reason": ending.incomplete}
    read: Json = {"cached_tokens": ending.cached_tokens, "cache_write_tokens": ending.written_tokens or 0}
    response["usage"] = {
        "input_tokens": ending.input_tokens,
        "input_tokens_details": read,
        "output_tokens": ending.output_tokens,
        "output_tokens_details": {"reasoning_tokens": ending.reasoning_tokens},
        "total_tokens": ending.input_tokens + ending.output_tokens,
    }
    return response | ending.more
