"""What an engine may say: one answer, as each kind of upstream spells it."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

from tests.dialogues import OLLAMA_CHAT, OPENAI_CHAT, RESPONSES, chunk, event, line

texts = st.text(st.characters(codec="utf-8"), max_size=30)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
inputs = st.dictionaries(st.sampled_from(["file_path", "command", "old", "ä"]), values, max_size=3)
calls = st.tuples(st.sampled_from(["Read", "Bash", "Edit"]), inputs)

PROMPT_TOKENS, OUTPUT_TOKENS = 50, 7


class ModelOutput:
    """One answer of an engine: what it thought, wrote and called, and why it stopped."""

    def __init__(self, thought: str, text: str, calls: list[tuple[str, dict[str, Any]]], reason: str) -> None:
        self.thought, self.text, self.calls, self.reason = thought, text, calls, reason

    def __repr__(self) -> str:
        return f"Said({self.thought!r}, {self.text!r}, {self.calls!r}, {self.reason!r})"

    def as_body(self, kind: str) -> bytes:
        """Return the answer as one JSON body."""
        return json.dumps(_BODIES[kind](self), ensure_ascii=False).encode()

    def as_stream(self, kind: str, piece: int) -> bytes:
        """Return the answer as a stream, in pieces of so many characters."""
        return framed(kind, self.as_chunks(kind, piece))

    def as_chunks(self, kind: str, piece: int) -> list[dict[str, Any]]:
        """Return the JSON objects of the stream."""
        return _CHUNKS[kind](self, piece)


def framed(kind: str, chunks: list[Any], *, done: bool = True) -> bytes:
    """Return JSON values as a stream of that kind; ``done`` adds the last word, where it is no JSON."""
    documents = [json.dumps(document, ensure_ascii=False).encode() for document in chunks]
    if kind == OLLAMA_CHAT:
        return b"".join(document + b"\n" for document in documents)
    return b"".join(
        b"data: " + document + b"\n\n"
        for document in [*documents, *([b"[DONE]"] if done and kind == OPENAI_CHAT else [])]
    )


def text_chunks(kind: str, pieces: list[str]) -> list[dict[str, Any]]:
    """Return a stream of text whose every chunk reports usage, as some engines do."""
    if kind == OLLAMA_CHAT:
        return [*(line(content=part) | _COUNTS for part in pieces), line("stop")]
    if kind == RESPONSES:
        return [*(event("output_text.delta", delta=part) for part in pieces), _ended("stop", [])]
    return [*(chunk(content=part) | {"usage": _USAGE} for part in pieces), chunk("stop")]


def full_chunk(kind: str) -> dict[str, Any]:
    """Return a chunk that holds one of everything."""
    called = {"id": "call_1", "type": "function", "index": 0}
    if kind == OLLAMA_CHAT:
        call = called | {"function": {"name": "Read", "arguments": {"a": 1}}}
        return line("stop", content="Hi", thinking="Hm", tool_calls=[call]) | _COUNTS
    if kind == RESPONSES:
        return _ended("stop", _items(ModelOutput("Hm", "Hi", [("Read", {"a": 1})], "stop")))
    call = called | {"function": {"name": "Read", "arguments": '{"a":1}'}}
    made = chunk("stop", content="Hi", reasoning="Hm", tool_calls=[call])
    return made | {"usage": _USAGE | {"prompt_tokens_details": {"cached_tokens": 20}}, "timings": {"cache_n": 1}}


# --- Chat Completions ---------------------------------------------------------------------------------------

_USAGE: dict[str, Any] = {
    "prompt_tokens": PROMPT_TOKENS,
    "completion_tokens": OUTPUT_TOKENS,
    "prompt_tokens_details": {"cached_tokens": 20},
}


def _openai_body(output: ModelOutput) -> dict[str, Any]:
    message = {
        "role": "assistant",
        "reasoning_content": output.thought,
        "content": output.text,
        "tool_calls": [
            {"id": "call_0", "index": at, "function": {"name": name, "arguments": json.dumps(arguments)}}
            for at, (name, arguments) in enumerate(output.calls)
        ],
    }
    return {"choices": [{"message": message, "finish_reason": output.reason}], "usage": _USAGE}


def _openai_chunks(output: ModelOutput, piece: int) -> list[dict[str, Any]]:
    chunks = [chunk(role="assistant", content="")]
    chunks += [chunk(reasoning_content=part) for part in _pieces(output.thought, piece)]
    chunks += [chunk(content=part) for part in _pieces(output.text, piece)]
    for at, (name, arguments) in enumerate(output.calls):
        chunks.append(chunk(tool_calls=[{"index": at, "id": "call_0", "function": {"name": name}}]))
        chunks += [
            chunk(tool_calls=[{"index": at, "function": {"arguments": part}}])
            for part in _pieces(json.dumps(arguments), piece)
        ]
    return [*chunks, chunk(output.reason), {"choices": [], "usage": _USAGE}]


# --- the Responses API --------------------------------------------------------------------------------------

_RESPONSES_USAGE: dict[str, Any] = {
    "input_tokens": PROMPT_TOKENS,
    "input_tokens_details": {"cached_tokens": 20},
    "output_tokens": OUTPUT_TOKENS,
    "output_tokens_details": {"reasoning_tokens": 0},
}
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def _items(output: ModelOutput) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if output.thought:
        thought = {"type": "reasoning_text", "text": output.thought}
        items.append({"type": "reasoning", "id": "rs_0", "summary": [], "content": [thought]})
    if output.text:
        text = {"type": "output_text", "text": output.text, "annotations": []}
        items.append({"type": "message", "id": "msg_0", "role": "assistant", "content": [text]})
    for at, (name, arguments) in enumerate(output.calls):
        call = {"type": "function_call", "id": f"fc_{at}", "call_id": "call_0", "name": name}
        items.append(call | {"arguments": json.dumps(arguments)})
    return items


def _response(reason: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    response = {"id": "resp_0", "object": "response", "output": items, "usage": copy.deepcopy(_RESPONSES_USAGE)}
    if reason in _INCOMPLETE:
        return response | {"status": "incomplete", "incomplete_details": {"reason": _INCOMPLETE[reason]}}
    return response | {"status": "completed"}


def _ended(reason: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    response = _response(reason, items)
    return event(response["status"], response=response)


def _responses_body(output: ModelOutput) -> dict[str, Any]:
    return _response(output.reason, _items(output))


def _responses_events(output: ModelOutput, piece: int) -> list[dict[str, Any]]:
    """Return the events as OpenAI sends them."""
    events = [event(kind, response={"id": "resp_0", "status": "in_progress"}) for kind in ("created", "in_progress")]
    for at, item in enumerate(_items(output)):
        place = {"item_id": item["id"], "output_index": at}
        events.append(event("output_item.added", output_index=at, item=item | _NOTHING_YET[item["type"]]))
        name, whole = {
            "reasoning": ("reasoning_text", output.thought),
            "message": ("output_text", output.text),
            "function_call": ("function_call_arguments", item.get("arguments", "")),
        }[item["type"]]
        field = "arguments" if item["type"] == "function_call" else "text"
        events += [event(f"{name}.delta", **place, content_index=0, delta=part) for part in _pieces(whole, piece)]
        events.append(event(f"{name}.done", **place, content_index=0, **{field: whole}))
        events.append(event("output_item.done", output_index=at, item=item))
    return [*events, _ended(output.reason, _items(output))]


_NOTHING_YET: dict[str, dict[str, Any]] = {
    "reasoning": {"content": []},
    "message": {"content": []},
    "function_call": {"arguments": ""},
}

# --- Ollama -------------------------------------------------------------------------------------------------

_COUNTS: dict[str, Any] = {
    "prompt_eval_count": PROMPT_TOKENS,
    "prompt_eval_duration": 600_000_000,
    "eval_count": OUTPUT_TOKENS,
    "eval_duration": 250_000_000,
}


def _ollama_calls(output: ModelOutput) -> list[dict[str, Any]]:
    return [{"id": "call_0", "function": {"name": name, "arguments": given}} for name, given in output.calls]


def _ollama_body(output: ModelOutput) -> dict[str, Any]:
    return line(output.reason, content=output.text, thinking=output.thought, tool_calls=_ollama_calls(output)) | _COUNTS


def _ollama_chunks(output: ModelOutput, piece: int) -> list[dict[str, Any]]:
    chunks = [line(thinking=part) for part in _pieces(output.thought, piece)]
    chunks += [line(content=part) for part in _pieces(output.text, piece)]
    chunks += [line(tool_calls=[call]) for call in _ollama_calls(output)]
    return [*chunks, line(output.reason) | _COUNTS]


_BODIES = {OPENAI_CHAT: _openai_body, OLLAMA_CHAT: _ollama_body, RESPONSES: _responses_body}
_CHUNKS = {OPENAI_CHAT: _openai_chunks, OLLAMA_CHAT: _ollama_chunks, RESPONSES: _responses_events}


def _pieces(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


answers = st.builds(
    ModelOutput,
    texts,
    texts,
    st.lists(calls, max_size=3),
    st.sampled_from(["stop", "tool_calls", "length", "content_filter"]),
)
