"""A scripted Ollama: its version, its models and what it says in a chat, on a real socket."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.fake_upstream import FakeUpstream, Head, ReceivedRequest, Reply, Send, json_document

NDJSON = "application/x-ndjson"

QWEN3_INFO: dict[str, Any] = {
    "general.architecture": "qwen3",
    "qwen3.context_length": 40_960,
    "qwen3.block_count": 28,
    "qwen3.attention.head_count": 16,
    "qwen3.attention.head_count_kv": 8,
    "qwen3.attention.key_length": 128,
    "qwen3.attention.value_length": 128,
}


def a_model(*capabilities: str, parameters: str = "", info: Mapping[str, Any] = QWEN3_INFO, **fields: Any) -> Any:
    """Return what /api/show answers for a model."""
    return {
        "capabilities": ["completion", *capabilities],
        "model_info": dict(info),
        "parameters": parameters,
        "details": {"family": "qwen3"},
        **fields,
    }


def chat_line(message: Mapping[str, Any] | None = None, **fields: Any) -> bytes:
    """Return one line of a chat's stream."""
    spoken = {"role": "assistant", "content": "", **(message or {})}
    return json.dumps({"model": "m", "message": spoken, "done": False, **fields}).encode() + b"\n"


def chat_answer(words: str, *, prompt_tokens: int = 10, output_tokens: int = 5) -> Reply:
    """Return a whole answer in a chat."""
    last = chat_line(done=True, done_reason="stop", prompt_eval_count=prompt_tokens, eval_count=output_tokens)
    return [Head(200, {"content-type": NDJSON}), Send(chat_line({"content": words})), Send(last)]


def too_long_by_llama_server(prompt_tokens: int, window_tokens: int) -> str:
    """Return how an Ollama since 0.30 refuses a prompt: its llama-server's whole answer, as text."""
    words = (
        f"request ({prompt_tokens} tokens) exceeds the available context size ({window_tokens} tokens), "
        "try increasing it"
    )
    numbers = {"n_prompt_tokens": prompt_tokens, "n_ctx": window_tokens}
    error = {"code": 400, "message": words, "type": "exceed_context_size_error", **numbers}
    return json.dumps({"error": error}, separators=(",", ":"))


def too_long_by_own_runner(prompt_tokens: int, window_tokens: int) -> str:
    """Return how an Ollama before 0.30 refuses a prompt."""
    return "the input length exceeds the context length"


Speak = Callable[[Any], Sequence[Mapping[str, Any]]]
"""From the body of a chat to the messages of its answer, one for each line of the stream."""


Refuse = Callable[[int, int], str]
"""From the tokens of a prompt and of the window to the words of a refusal."""


def chat_that_counts(
    speak: Speak, *, refuse: Refuse | None = too_long_by_llama_server, bytes_per_token: float = 3.8
) -> Callable[[ReceivedRequest], Reply]:
    """Return a chat that reports its tokens and times truthfully, and refuses a prompt that does not fit, if asked to.

    ``refuse`` None stands for an Ollama before 0.12.4, which knows neither ``truncate`` nor ``shift``: it cuts the
    prompt to half the window.
    """

    loaded_with: list[Any] = []

    def answer(request: ReceivedRequest) -> Reply:
        body = request.json
        options = body["options"]
        window_tokens, prompt_tokens = options["num_ctx"], prompt_length(body, bytes_per_token)
        loader = [body["model"], window_tokens, body.get("shift")]
        load_ms = 5 if loader == loaded_with else 900
        loaded_with[:] = loader
        if prompt_tokens > window_tokens:
            if refuse is not None and (body.get("truncate"), body.get("shift")) == (False, False):
                return json_document({"error": refuse(prompt_tokens, window_tokens)}, status=400)
            prompt_tokens = window_tokens // 2
        spoken, reason = list(speak(body)), "stop"
        room = min(window_tokens - prompt_tokens, options.get("num_predict", window_tokens))
        if answer_length(spoken) > room:
            spoken, reason = [_cut(spoken[0], int(room * bytes_per_token))], "length"
        counts = {"prompt_eval_count": prompt_tokens, "eval_count": min(room, answer_length(spoken))}
        counts["load_duration"] = load_ms * 1_000_000
        last = chat_line(done=True, done_reason=reason, **counts)
        return [
            Head(200, {"content-type": NDJSON}),
            *(Send(chat_line(part)) for part in spoken),
            Send(last),
        ]

    def answer_length(spoken: Sequence[Mapping[str, Any]]) -> int:
        return round(sum(len(json.dumps(part)) for part in spoken) / bytes_per_token)

    return answer


def _cut(message: Mapping[str, Any], chars: int) -> dict[str, Any]:
    """Return what is left of a message at the limit of an answer: of a tool call nothing."""
    return {name: said[:chars] for name, said in message.items() if isinstance(said, str)}


def prompt_length(body: Any, bytes_per_token: float = 3.8) -> int:
    """Return the tokens of what a chat gives the model to read."""
    read = {name: body[name] for name in ("messages", "tools") if name in body}
    return round(len(json.dumps(read, ensure_ascii=False, separators=(",", ":")).encode()) / bytes_per_token)


def call_line(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message that calls a tool, whole in one line as Ollama does it."""
    return {
        "tool_calls": [{"id": "call_00000000", "function": {"index": 0, "name": name, "arguments": dict(arguments)}}]
    }


class ScriptedOllama(FakeUpstream):
    """An Ollama with these models; ``chat`` answers /api/chat. Names without a tag mean ``:latest``, as there."""

    def __init__(
        self,
        models: Mapping[str, Any],
        *,
        chat: Callable[[ReceivedRequest], Reply] | None = None,
        version: str = "0.32.15",
        loaded: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._models = dict(models)
        self._chat = chat or (lambda _: chat_answer("Hello"))
        tags = {"models": [{"name": name, "model": name} for name in models]}
        listed = {"object": "list", "data": [{"id": name, "owned_by": "library"} for name in models]}
        super().__init__(
            self._answer,
            documents={
                "/api/version": json_document({"version": version}),
                "/api/tags": json_document(tags),
                "/v1/models": json_document(listed),
                "/api/ps": json_document({"models": list(loaded)}),
            },
        )

    @property
    def root_url(self) -> str:
        """The address without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def chats(self) -> list[ReceivedRequest]:
        """All requests to /api/chat."""
        return [request for request in self.requests if request.path == "/api/chat"]

    def _answer(self, request: ReceivedRequest) -> Reply:
        name = str(request.json.get("model"))
        known = self._models.get(name) or self._models.get(f"{name}:latest")
        if known is None:
            return json_document({"error": f"model '{name}' not found"}, status=404)
        if request.path == "/api/show":
            return json_document(known)
        return self._chat(request)
