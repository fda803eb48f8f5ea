"""A scripted server of the Responses API that refuses what OpenAI refuses, and leaves out thoughts as OpenAI does.

Each thought that it gives is bound to what stood before it. Where a later request has another prefix, the thought is
not shown to the model: HTTP 200, and a line in ``input_transformations``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any

from tests.fake_upstream import ReceivedRequest, Reply, Send, json_document, refusal, stream
from tests.responses_stream import Ending, Json, answer

Play = Callable[[Json], Sequence[Json] | Reply]
"""What the model does with a request: it gives items, of which thoughts get their ciphers here, or plays a reply."""


class ScriptedResponses:
    """The script of a FakeUpstream."""

    def __init__(self, play: Play) -> None:
        self.bodies: list[Json] = []
        """Every request for an answer that was not refused."""
        self.refusals: list[str] = []
        """Why requests were refused."""
        self.removed: list[str] = []
        """Why thoughts were left out."""
        self.cached: list[int] = []
        """How many tokens of each request came from the cache."""
        self._play = play
        self._prefixes: dict[str, str] = {}
        """What stood before each thought, by its cipher."""
        self._prompts: list[str] = []

    def __call__(self, request: ReceivedRequest) -> Reply:
        body = request.json
        if request.path.endswith("/input_tokens"):
            return json_document({"object": "response.input_tokens", "input_tokens": len(request.body) // 4})
        fault = _fault(body, self._prefixes)
        if fault is not None:
            self.refusals.append(fault[1]["message"])
            return refusal(fault[0], **fault[1])
        items = [_canonical(item) for item in body["input"]]
        left_out = [
            {"id": f"rs_{at}", "type": "reasoning", "action": "removed", "reason": "prefix_mismatch"}
            for at, item in enumerate(body["input"])
            if item["type"] == "reasoning" and self._prefixes[item["encrypted_content"]] != _digest(body, items[:at])
        ]
        self.bodies.append(body)
        self.removed += [one["reason"] for one in left_out]
        prompt = json.dumps([_head(body), items])
        self.cached.append(max((_common_chars(prompt, before) for before in self._prompts), default=0) // 4)
        self._prompts.append(prompt)
        played = self._play(body)
        if not all(isinstance(item, dict) for item in played):
            return played  # type: ignore[return-value]  # a reply of its own
        written: list[Json] = []
        for item in played:
            assert isinstance(item, dict), "as checked"
            written.append(self._sealed(body, item, [*items, *map(_canonical, written)]))
        more = {"input_transformations": left_out} if left_out else {}
        ending = Ending(input_tokens=len(prompt) // 4, cached_tokens=self.cached[-1], more=more)
        return stream(answer(*written, ending=ending))

    def _sealed(self, body: Json, item: Json, before: list[Any]) -> Json:
        """Return a thought with a cipher that is good behind these items alone."""
        if item["type"] == "web_search_call":
            assert _searches(body), "the model is offered no search"
        if item["type"] != "reasoning":
            return item
        cipher = f"gAAAA{len(self._prefixes)}"
        self._prefixes[cipher] = _digest(body, before)
        return item | {"encrypted_content": cipher}


def stalled(*items: Json, reply: Sequence[Any]) -> Reply:
    """Return a reply that begins as an answer of these items, and goes on with other steps."""
    head, begun, *_ = stream(answer(*items))
    assert isinstance(begun, Send), "the answer is one write"
    return [head, Send(begun.data.rpartition(b"event: response.output_item.done")[0]), *reply]


def _head(body: Json) -> Json:
    """Return what stands before all items."""
    effort = (body.get("reasoning") or {}).get("effort")
    return {name: body.get(name) for name in ("model", "instructions", "tools", "text")} | {"effort": effort}


def _common_chars(text: str, other: str) -> int:
    return next(
        (at for at, pair in enumerate(zip(text, other, strict=False)) if pair[0] != pair[1]), min(len(text), len(other))
    )


def _digest(body: Json, items: Sequence[Any]) -> str:
    return sha256(json.dumps([_head(body), items]).encode()).hexdigest()


def _canonical(item: Json) -> Any:
    """Return what an item says, whether it was given or sent: ids are nothing that the model reads."""
    match item["type"]:
        case "message":
            content = item["content"]
            texts = [content] if isinstance(content, str) else [part.get("text", part) for part in content]
            return ["message", item["role"], texts, item.get("phase")]
        case "reasoning":
            return ["reasoning", item["encrypted_content"]]
        case "function_call":
            return ["call", item["name"], json.loads(item["arguments"])]
        case "function_call_output":
            return ["output", item["output"]]
        case "web_search_call":
            return ["search", item["action"]]
        case _:
            return item


def _fault(body: Json, ciphers: dict[str, str]) -> tuple[int, Json] | None:
    """Return the status and the error with which OpenAI refuses such a request."""
    waiting: list[str] = []
    if (body.get("reasoning") or {}).get("effort") == "minimal" and _searches(body):
        what = "The following tools cannot be used with reasoning.effort 'minimal': web_search."
        return 400, _error(what, "tools")
    for at, item in enumerate(body["input"]):
        if item.get("id") is not None:
            what = f"Item with id '{item['id']}' not found. Items are not persisted when `store` is set to false."
            return 404, _error(what, "input")
        if item["type"] == "reasoning" and item.get("encrypted_content") not in ciphers:
            what = "The encrypted content could not be verified. Reason: Encrypted content could not be decrypted."
            return 400, _error(what, None, code="invalid_encrypted_content")
        if item["type"] == "function_call":
            waiting.append(item["call_id"])
        if item["type"] == "function_call_output":
            if item["call_id"] not in waiting:
                return 400, _error(
                    f"No tool call found for function call output with call_id {item['call_id']}.", f"input[{at}]"
                )
            waiting.remove(item["call_id"])
    if waiting:
        return 400, _error(f"No tool output found for function call {waiting[0]}.", "input")
    if body.get("max_output_tokens", 16) < 16:
        what = "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16."
        return 400, _error(what, "max_output_tokens", code="integer_below_min_value")
    if body.get("store") is not False:
        return 400, _error("What a test asks is not to be stored.", "store")
    return None


def _searches(body: Json) -> bool:
    """Return whether the service may search, and is to give the pages that it found."""
    requested = any(tool["type"] == "web_search" for tool in body.get("tools") or ())
    return requested and "web_search_call.action.sources" in body.get("include", ())


def _error(message: str, param: str | None, *, code: str | None = None) -> Json:
    return {"message": message, "type": "invalid_request_error", "param": param, "code": code}
